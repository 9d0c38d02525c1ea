"""What is LongVA's alone: its transformers class, its prompts, and LLaVA's formats.

In comes a checkpoint or an adapter, ours or as published. Out comes a `Longva`, a `LocalModel`.
"""

import lazy_loader

_NAMES = {
    "modeling": ["LongvaConfig", "LongvaForConditionalGeneration"],
    "video_model": ["Longva", "OriginalLongva"],
    "convert": ["convert"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
