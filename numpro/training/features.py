"""Vision features of a frozen tower, kept over epochs and runs: in memory, and on disk if asked."""

import hashlib
import json
import os
import sqlite3
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from numpro import __version__
from numpro.video.cache import closed_with

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def feature_key(path: Path, tower: str, **shown) -> str:
    """Return the key of a video's features.

    Parameters
    ----------
    path
        The video; it is known by place, size and time of change.
    tower
        From `tower_fingerprint`.
    shown
        All that decides the pixels: sampling, size, style, labels. Text of each counts.
    """
    try:
        about = path.stat()
        file = [str(path.resolve()), about.st_size, about.st_mtime_ns]
    except OSError:
        file = [str(path)]  # there is nothing to keep; whoever reads it says why
    seen = [__version__, *file, tower, sorted(shown.items())]
    return hashlib.sha256(json.dumps(seen, default=str).encode()).hexdigest()[:32]


def tower_fingerprint(model: "PreTrainedModel") -> str:
    """Tell towers apart: a hash over the weights, the layer read and how pixels are prepared.

    Parameters
    ----------
    model : numpro.models.longva.video_model.Longva
        Its weights' type counts, too: features in bfloat16 are others than those in float32.
    """
    import torch

    inner = model.model
    if hasattr(inner, "get_base_model"):  # peft's wrapper
        inner = inner.get_base_model()
    digest = hashlib.sha256(model.image_processor.to_json_string().encode())
    digest.update(str(inner.config.vision_feature_layer).encode())
    for name, value in sorted(inner.vision_tower.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class FeatureCache:
    """Tensors by key: the latest in memory, and on disk when a folder is given.

    Both are bounded; what was used longest ago goes first. A file is entered when it is whole, so
    a run may be killed at any time; what cannot be read back is as good as not there.

    Parameters
    ----------
    memory_gib
        Kept in memory at most; the last tensor always is.
    folder
        Kept there, too (diskcache, least recently used; several processes may share it).
    disk_gib
        Kept on disk at most.
    """

    def __init__(self, memory_gib: float, folder: str | Path | None = None, disk_gib: float = 20.0):
        self.memory_bytes = int(memory_gib * 2**30)
        self._memory: OrderedDict = OrderedDict()
        self._bytes = 0
        self._disk = None
        if folder:
            self._disk = closed_with(self, _open(Path(folder), int(disk_gib * 2**30)))

    def __len__(self) -> int:
        return len(self._memory)

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self._disk is not None and key in self._disk)

    def get(self, key: str) -> "torch.Tensor | None":
        """Return the tensor of a key; None where there is none."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        from safetensors import SafetensorError
        from safetensors.torch import load

        stored = self._on_disk("get", key)
        if stored is None:
            return None
        try:
            found = load(stored)["features"]
        except (SafetensorError, KeyError):  # damaged: computed anew
            self._on_disk("delete", key)
            return None
        self._keep(key, found)
        return found

    def put(self, key: str, tensor: "torch.Tensor") -> None:
        """Keep a tensor; on a full disk in memory alone, with a warning."""
        self._keep(key, tensor)
        if self._disk is not None:
            from safetensors.torch import save

            self._on_disk("set", key, save({"features": tensor.contiguous()}))

    def _on_disk(self, what: str, *arguments):
        """Get, set or delete on disk; a disk that fails is not asked again."""
        if self._disk is None:
            return None
        try:
            return getattr(self._disk, what)(*arguments, retry=True)
        except (OSError, sqlite3.Error) as error:
            folder, self._disk = self._disk.directory, None
            warnings.warn(
                f"no more features are kept in {folder}: {error}; they are computed anew, free "
                "some space or name another folder",
                stacklevel=3,
            )

    def _keep(self, key: str, tensor) -> None:
        self._bytes += tensor.nbytes - (self._memory[key].nbytes if key in self._memory else 0)
        self._memory[key] = tensor
        while self._bytes > self.memory_bytes and len(self._memory) > 1:
            self._bytes -= self._memory.popitem(last=False)[1].nbytes


def _open(folder: Path, limit: int):
    """Open the cache of a folder; the first process of a machine sweeps what a kill left."""
    from diskcache import Cache

    cache = Cache(str(folder), size_limit=limit, eviction_policy="least-recently-used")
    if os.environ.get("LOCAL_RANK", "0") == "0":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells each file of no entry that it takes away
            cache.check(fix=True)
    return cache
