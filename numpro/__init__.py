"""NumPro: number the frames of a video, ask a video LLM on which pages something happens.

Importing the package loads neither torch nor transformers nor a video reader; each name is
fetched from its module on first use.
"""

from importlib import import_module

__version__ = "0.1.0"

_NAMES = {
    "Clip": "video",
    "VideoError": "video",
    "probe": "video",
    "read_clip": "video",
    "write_video": "video",
    "NumberStyle": "overlay",
    "number_frames": "overlay",
    "Span": "spans",
}
_MODULES = (
    "answers",
    "arms",
    "controls",
    "datasets",
    "design",
    "finetune",
    "flipbook",
    "metrics",
    "models",
    "overlay",
    "paths",
    "plots",
    "predict",
    "prompts",
    "runs",
    "samples",
    "spans",
    "video",
)
__all__ = [*sorted(_NAMES), *_MODULES, "__version__"]


def __getattr__(name: str):
    """Import a public name or submodule when it is first asked for."""
    if name in _NAMES:
        return getattr(import_module(f"numpro.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"numpro.{name}")
    raise AttributeError(f"module 'numpro' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
