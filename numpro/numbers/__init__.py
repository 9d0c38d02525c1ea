"""Numbers on frames: drawing them, whole films of them, and whether they can be read.

In come frames and labels. Out come new frames with the numbers drawn (`number_frames`), a film of
them (`number_video`), or, as a control, numbers that should help differently (`disturb`).
"""

import lazy_loader

_NAMES = {
    "overlay": ["FONT", "POSITIONS", "NumberStyle", "number_frames"],
    "numbered_video": ["number_video"],
    "controls": ["CONTROLS", "disturb"],
    "legibility": ["warn_unreadable"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
