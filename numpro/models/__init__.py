"""Video LLMs behind one protocol: `load_model` gives a `VideoModel`, whose `answer` is asked.

In come a clip and queries. Out come answers (spans or highlights in labels); a video is encoded
once for all its queries. A question without an answer has a `NoAnswer` with the reason.
"""

import lazy_loader

_NAMES = {
    "registry": ["check_model", "load_model"],
    "base": ["CutResponse", "NoAnswer", "VideoModel"],
    "files": ["read_notes"],
    "moments": ["Moment", "RankedMoments", "expected_ious", "keep_distinct"],
    "question": ["Question"],
    "loading": ["pick_device"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
