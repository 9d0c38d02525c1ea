"""NumPro: number the frames of a video, ask a video LLM on which pages something happens.

Importing the package loads neither torch nor transformers nor a video reader; each name is
fetched from its room on first use. Modules of version 0.1 that have moved can still be imported
under their old names, with a DeprecationWarning; the next version drops them.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from warnings import warn

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["datasets", "flipbook", "inference", "metrics", "models", "numbers", "plots", "prompting"]
    + ["spans", "studies", "training", "video", "workbook"],
    {
        "numbers": ["NumberStyle", "number_frames"],
        "models": ["Question"],
        "spans": ["Span"],
        "video": ["Clip", "Sampling", "VideoError", "probe", "read_clip", "write_video"],
    },
)

# new room: old modules directly in numpro, each as old name, or old=new
_MOVED = {
    "video": "cache container decode workers writing",
    "prompting": "answers prompts reading",
    "numbers": "controls legibility numbering=numbered_video overlay",
    "models": "adapters merging",
    "models.longva": "convert",
    "inference": "own=one_video predict=prediction predictions=prediction_files",
    "training": "ahead=prefetch checkpoints features finetune=finetuning items=samples memory "
    "presets samples trainer training_run=finetuning validation",
    "studies": "arms design",
    "workbook": "compare=comparison notebooks readme report runs widgets",
}
_MOVED_NAMES = {
    f"numpro.{old}": f"numpro.{room}.{new or old}"
    for room, modules in _MOVED.items()
    for old, _, new in (module.partition("=") for module in modules.split())
}


class _MovedModules(MetaPathFinder, Loader):
    """Imports a module under the name it had in version 0.1."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Find a module that has moved; None leaves the name to the other finders."""
        return ModuleSpec(fullname, self) if fullname in _MOVED_NAMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself, so that both names mean one object."""
        new = _MOVED_NAMES[spec.name]
        notice = f"{spec.name} has moved to {new}; the old name goes with the next version"
        warn(notice, DeprecationWarning, stacklevel=2)
        self.spec = (module := import_module(new)).__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is: it knows its new name."""
        module.__spec__ = self.spec


sys.meta_path.append(_MovedModules())
