"""Lets a torchvision that was built for GPUs be imported beside a torch for CPUs.

Its compiled part cannot be loaded then, and importing it fails where it registers two operators of
that part. With their schemas defined the rest works, which is all that processors use. It does
nothing where torchvision is absent or imports by itself.
"""

import sys
from importlib.util import find_spec

_defined = None  # operators are forgotten with the object that defined them


def prepare_torchvision() -> None:
    """Import torchvision, with its two missing operators where they are missing."""
    global _defined
    if not find_spec("torchvision"):
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _defined = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _defined.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        import torchvision  # noqa: F401
