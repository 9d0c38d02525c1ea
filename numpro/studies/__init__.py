"""The experiments that notebooks call.

In come videos and models. Out come tables: the four arms, number styles as CLIP reads them, where
a model looks, whether it reads a frame's time, and what fine-tuning costs elsewhere.
"""

import lazy_loader

from numpro.flipbook.description import description_accuracy

_ARMS = ["Arm", "ask_arms", "choose_arms", "claims", "encoding_arms", "first_spans", "four_arms"]
_ARMS += ["learning_curve", "score_arms", "score_floors", "worst"]
_HEADS = ["ask_crop", "brightest_stretch", "choose_heads", "question_attention"]
_OTHERS = {"parts": ["fit_parts", "load_parts"]}
_OTHERS |= {"attention": ["frame_attention", "readings", *_HEADS]}
_OTHERS |= {"lookup": ["ask_lookups", "number_or_place"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"arms": _ARMS} | _OTHERS)
__all__ += ["description_accuracy"]
