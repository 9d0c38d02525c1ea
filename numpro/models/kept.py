"""Models kept in memory for the next question: notebooks ask the same few again and again."""

import gc
import json
from collections.abc import Callable, Mapping

import torch

from numpro.models.base import VideoModel
from numpro.models.files import fingerprint_files

MOST_BYTES = 500_000_000
_kept: dict[str, VideoModel] = {}  # the last one asked stands last


def load_kept(
    load: Callable[..., VideoModel], name: str, adapter: str = "", options: Mapping | None = None
) -> VideoModel:
    """Load a model, or take the one that was loaded before from the same files alike.

    Models whose weights fill `MOST_BYTES` together are kept, the last ones asked first. A larger
    one is kept alone, and let go of *before* another is loaded: two do not lie in memory at once.

    Parameters
    ----------
    load
        `numpro.models.load_model`.
    name, adapter
        As it takes them.
    options
        Its further arguments.
    """
    weights = fingerprint_files(filter(None, [name, adapter]))
    key = json.dumps([name, adapter, weights, options or {}], sort_keys=True, default=str)
    model = _kept.pop(key, None)
    if model is None:
        forget_large()
        model = load(name, adapter=adapter, **(options or {}))
    _kept[key] = model
    while len(_kept) > 1 and sum(map(weight_bytes, _kept.values())) > MOST_BYTES:
        del _kept[next(iter(_kept))]
    return model


def forget_large() -> None:
    """Let go of a model that is kept alone, and give a GPU's memory back."""
    if all(weight_bytes(model) <= MOST_BYTES for model in _kept.values()):
        return
    _kept.clear()
    gc.collect()  # modules refer to each other
    torch.cuda.empty_cache()  # nothing where there is no GPU


def weight_bytes(model: VideoModel) -> int:
    """Return what the weights of a model fill; 0 for one that runs elsewhere."""
    module = getattr(model, "model", None)
    parameters = module.parameters() if hasattr(module, "parameters") else ()
    return sum(p.numel() * p.element_size() for p in parameters)
