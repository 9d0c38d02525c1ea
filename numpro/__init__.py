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


def _moved_modules() -> dict[str, str]:
    """Return the new name of every module that has moved, by its old one."""
    from numpro.paths import yaml_beside

    return yaml_beside(__file__, "moved.yaml")


class _MovedModules(MetaPathFinder, Loader):
    """Imports a module under the name it had in version 0.1."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Find a module that has moved; None leaves the name to the other finders."""
        ours = fullname.startswith(f"{__name__}.")  # the table itself is read with imports
        return ModuleSpec(fullname, self) if ours and fullname in _moved_modules() else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself, so that both names mean one object."""
        new = _moved_modules()[spec.name]
        notice = f"{spec.name} has moved to {new}; the old name goes with the next version"
        warn(notice, DeprecationWarning, stacklevel=2)
        self.spec = (module := import_module(new)).__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is: it knows its new name."""
        module.__spec__ = self.spec


sys.meta_path.append(_MovedModules())
