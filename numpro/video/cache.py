"""Clips kept on disk, so that a film sampled the same way is decoded once."""

import hashlib
import io
import json
import os
import sqlite3
import warnings
import weakref
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numpro import __version__
from numpro.video import Clip, read_clip

if TYPE_CHECKING:
    from diskcache import Cache

_ARRAYS = ("frames", "seconds", "source_index")


class ClipCache:
    """A folder of clips, for any number of processes on one machine.

    A clip is found again by the file's path, size and time of change, the sampling, and the
    version of numpro. Each is stored whole, with a checksum, or not at all; one that is damaged
    is read anew. No pickle is read.

    Parameters
    ----------
    folder
        Made when missing; on a local disk (it holds an SQLite file).
    size_limit
        Bytes; the clips that were not used for the longest time make room.

    Examples
    --------
    >>> cache = ClipCache("cache", size_limit=2 * 2**30)
    >>> clip = cache.read("film.mp4", fps=1.0, size=(336, 336))  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike, size_limit: int = 20 * 2**30):
        if size_limit <= 0:
            raise ValueError(f"size_limit must be above 0 bytes; got {size_limit!r}")
        self.folder, self.size_limit = Path(folder), int(size_limit)

    def __reduce__(self):
        return type(self), (self.folder, self.size_limit)

    @cached_property
    def _store(self):
        from diskcache import Cache

        # two at most make room for one, where the default is ten: clips are large
        how = {"eviction_policy": "least-recently-used", "cull_limit": 2}
        return closed_with(self, Cache(str(self.folder), size_limit=self.size_limit, **how))

    def read(self, path: str | os.PathLike, **sampling) -> Clip:
        """Return the clip that ``read_clip(path, **sampling)`` does, from here when it is here.

        Raises
        ------
        ValueError, VideoError
            As `numpro.read_clip`.

        Warns
        -----
        UserWarning
            As `numpro.read_clip`; and when the clip cannot be kept (a full disk, say).
        """
        key = _key(path, sampling)
        if key and (clip := self._found(key, path)):
            for said in clip.source["warnings"]:
                warnings.warn(f"{path}: {said}", stacklevel=2)
            return clip
        clip = read_clip(path, **sampling)
        if key and key == _key(path, sampling):  # unchanged while it was read
            self._keep(key, clip, path)
        return clip

    def _found(self, key: str, path: str | os.PathLike) -> Clip | None:
        """Return a clip that is there and whole."""
        file = self._store.get(key, read=True, retry=True)
        if file is None:
            return None
        try:
            with file, np.load(file, allow_pickle=False) as stored:
                arrays = [stored[name] for name in _ARRAYS]
                facts = json.loads(str(stored["source"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None  # damaged: the caller reads it anew and puts it here
        facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        return Clip(*arrays, facts | {"path": str(path)})

    def _keep(self, key: str, clip: Clip, path: str | os.PathLike) -> None:
        if clip.frames.nbytes > self.size_limit:
            return
        whole, facts = io.BytesIO(), json.dumps(clip.source, default=lambda value: value.item())
        np.savez(whole, source=facts, **{name: getattr(clip, name) for name in _ARRAYS})
        whole.seek(0)
        try:
            self._store.set(key, whole, read=True, retry=True)
            if self._store.volume() > self.size_limit:  # two small ones for a large one
                self._store.cull(retry=True)
        except (OSError, sqlite3.Error) as error:
            warnings.warn(f"{path}: read, but not kept in {self.folder}: {error}", stacklevel=3)


def closed_with(owner: object, store: "Cache") -> "Cache":
    """Return a store whose database is closed when its owner is no more: it does not do it itself.

    From Python 3.13 on each one that is left open is warned of.
    """
    weakref.finalize(owner, store.close)
    return store


def _key(path: str | os.PathLike, sampling: dict) -> str | None:
    """Return what a clip is found by; None for a file that is not there."""
    try:
        file = Path(path).resolve(strict=True)
        about = file.stat()
    except OSError:
        return None  # read_clip says why
    given = {k: np.asarray(v, float).tolist() for k, v in sampling.items() if v is not None}
    told = [str(file), about.st_size, about.st_mtime_ns, sorted(given.items()), __version__]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
