"""Values kept on disk by key, and so clips: a film sampled the same way is decoded once."""

import hashlib
import io
import json
import os
import sqlite3
import warnings
import weakref
import zlib
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from diskcache import Cache

from numpro import __version__
from numpro.paths import find
from numpro.video import Clip, read_clip

SIZE_LIMIT = 20 * 2**30


class Store:
    """A folder of bytes by key, for any number of processes and threads on one machine.

    A value is stored whole, with a checksum, or not at all; one that is damaged counts as absent.
    When the disk fails (it is full, say), one warning says so, nothing more is stored by this
    object, and what is there can still be read.

    Parameters
    ----------
    folder
        Made at the first use; on a local disk (it holds an SQLite file).
    size_limit
        Bytes; the values that were not used for the longest time make room. A larger value is
        not stored.
    content
        What the values are, in the plural, for the warning.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(folder)
    ...     store.put("a", b"value")
    ...     found = store.get("a"), store.get("b")
    ...     del store
    >>> found
    (b'value', None)
    """

    def __init__(
        self, folder: str | os.PathLike, size_limit: int = SIZE_LIMIT, content: str = "values"
    ):
        if size_limit <= 0:
            raise ValueError(f"size_limit must be above 0 bytes; got {size_limit!r}")
        self.folder, self.size_limit, self.content = Path(folder), int(size_limit), content
        self._failed = False

    def __reduce__(self):
        return type(self), (self.folder, self.size_limit, self.content)

    @cached_property
    def database(self) -> Cache:
        """The cache of diskcache, opened now; it is closed when this object is no more."""
        # two values at most make room for one, where the default is ten: they are large
        options = {"eviction_policy": "least-recently-used", "cull_limit": 2}
        database = Cache(str(self.folder), size_limit=self.size_limit, **options)
        # from Python 3.13 on a database that is left open is warned of
        weakref.finalize(self, database.close)
        return database

    def __contains__(self, key: str) -> bool:
        with self._failure_warned():
            return key in self.database
        return False

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None where there is none, or a damaged one."""
        with self._failure_warned():
            # only opened under the database's lock, so that others do not wait for the reading
            file, checksum = self.database.get(key, read=True, tag=True, retry=True)
            if checksum is not None:
                with file:
                    value = file.read()
                return value if zlib.crc32(value) == checksum else None
        return None

    def put(self, key: str, value: bytes) -> None:
        """Store a value under a key, in place of what was there."""
        if self._failed or len(value) > self.size_limit:
            return
        with self._failure_warned():
            file, checksum = io.BytesIO(value), zlib.crc32(value)
            self.database.set(key, file, read=True, tag=checksum, retry=True)
            if self.database.volume() > self.size_limit:  # two small values for a large one
                self.database.cull(retry=True)

    def sweep(self) -> None:
        """Remove files that processes have left unfinished when they were killed."""
        with self._failure_warned(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # diskcache warns of each file that it removes
            self.database.check(fix=True, retry=True)

    @contextmanager
    def _failure_warned(self):
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            if not self._failed:
                message = f"no more {self.content} are kept in {self.folder}: {error}; free some"
                warnings.warn(f"{message} space or name another folder", stacklevel=5)
            self._failed = True


class ClipCache:
    """A `Store` of clips.

    A clip is found again by the file's path, size and time of change, the sampling, and the
    version of numpro.

    Parameters
    ----------
    folder, size_limit
        As in `Store`.

    Examples
    --------
    >>> cache = ClipCache("cache", size_limit=2 * 2**30)
    >>> clip = cache.read("film.mp4", fps=1.0, size=(336, 336))  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike, size_limit: int = SIZE_LIMIT):
        self.store = Store(folder, size_limit, "clips")

    def has(self, path: str | os.PathLike, **sampling) -> bool:
        """Tell whether the clip that ``read(path, **sampling)`` gives is here."""
        return (key := _key(path, sampling)) is not None and key in self.store

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
        if key and (value := self.store.get(key)) is not None:
            file = io.BytesIO(value)
            *arrays, source = (np.load(file) for _ in range(4))
            facts = json.loads(str(source)) | {"path": str(path)}
            for message in facts["warnings"]:
                warnings.warn(f"{path}: {message}", stacklevel=2)
            return Clip(*arrays, facts | {"warnings": tuple(facts["warnings"])})
        clip = read_clip(path, **sampling)
        if key and key == _key(path, sampling):  # unchanged while it was read
            value, source = io.BytesIO(), json.dumps(clip.source, default=lambda v: v.item())
            for array in (clip.frames, clip.seconds, clip.source_index, source):
                np.save(value, array)
            self.store.put(key, value.getvalue())
        return clip


def file_key(path: str | os.PathLike, facts: dict) -> str | None:
    """Return what tells values made of a file from all others; None where there is no file.

    Parameters
    ----------
    path
        The file; it is known by place, size and time of change.
    facts
        What else the values depend on. The text of each counts. The version of numpro does, too.
    """
    try:
        file = find(path).resolve(strict=True)
        stat = file.stat()
    except OSError:
        return None
    parts = [str(file), stat.st_size, stat.st_mtime_ns, sorted(facts.items()), __version__]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _key(path: str | os.PathLike, sampling: dict) -> str | None:
    """Return what a clip is found by; None for a file that is not there: read_clip says why."""
    given = {"origin": "beginning", "reader": "pyav"} | sampling | {"max_memory": None}
    given = {k: v if isinstance(v, str) else np.asarray(v, float).tolist()
             for k, v in given.items() if v is not None}  # fmt: skip
    return file_key(path, given)
