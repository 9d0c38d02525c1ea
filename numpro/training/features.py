"""Vision features of a frozen tower, kept over epochs and runs: in memory, and on disk if asked."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load, save

from numpro.models.longva.video_model import Longva
from numpro.training.processes import rank
from numpro.video.cache import Store, file_key


def feature_key(path: Path, tower: str, **shown) -> str:
    """Return the key of a video's features.

    Parameters
    ----------
    path
        The video; it is known by place, size and time of change.
    tower
        From `tower_fingerprint`.
    shown
        All that decides the pixels: sampling, size, style, labels. The text of each counts.
    """
    # frames of 0.1.0 were taken from the first picture on
    facts = shown | {"tower": tower, "clock": "beginning"}
    return file_key(path, facts) or f"{path} {facts}"  # of one that is gone nothing will be kept


def tower_fingerprint(model: Longva) -> str:
    """Return a hash that tells towers apart: weights, the layer read and how pixels are prepared.

    Parameters
    ----------
    model : numpro.models.longva.video_model.Longva
        The type of its weights counts, too: features in bfloat16 are others than in float32.
    """
    base = model.model  # or peft's wrapper, which hands on what is asked of it
    digest = hashlib.sha256(model.image_processor.to_json_string().encode())
    digest.update(str(base.config.vision_feature_layer).encode())
    for name, value in sorted(base.vision_tower.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class FeatureCache:
    """Tensors by key: the latest in memory, and on disk when a folder is given.

    Both are bounded; what was used longest ago goes first.

    Parameters
    ----------
    memory_gib
        Kept in memory at most; the last tensor always is.
    folder
        Of a `numpro.video.cache.Store`, which several processes may share.
    disk_gib
        Kept on disk at most.
    """

    def __init__(self, memory_gib: float, folder: str | Path | None = None, disk_gib: float = 20.0):
        self.memory_bytes = int(memory_gib * 2**30)
        self._memory, self._bytes = OrderedDict(), 0
        self._disk = Store(folder, int(disk_gib * 2**30), "features") if folder else None
        if folder and rank("LOCAL_RANK") == 0:
            self._disk.sweep()

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self._disk is not None and key in self._disk)

    def get(self, key: str) -> torch.Tensor | None:
        """Return the tensor of a key; None where there is none, or a damaged one."""
        if key in self._memory:
            self._memory.move_to_end(key)
        elif self._disk and (stored := self._disk.get(key)):
            self._keep(key, load(stored)["features"])
        return self._memory.get(key)

    def put(self, key: str, tensor: torch.Tensor) -> None:
        """Keep a tensor; on a full disk in memory alone, with a warning."""
        self._keep(key, tensor)
        if self._disk:
            self._disk.put(key, save({"features": tensor.contiguous()}))

    def _keep(self, key: str, tensor: torch.Tensor) -> None:
        self._bytes += tensor.nbytes - (self._memory[key].nbytes if key in self._memory else 0)
        self._memory[key] = tensor
        while self._bytes > self.memory_bytes and len(self._memory) > 1:
            self._bytes -= self._memory.popitem(last=False)[1].nbytes
