"""The embedded models know one world: who gives them another film is told so."""

from pathlib import Path

import numpy as np

from numpro.flipbook import SIZE
from numpro.models import VideoModel
from numpro.paths import find_model, flipbook_dir
from numpro.video import Clip

_LEVELS, _SHARE = 3, 0.9  # ten validation films: 0.95 to 0.98; two real films: 0.54 and 0.83


def caution(model: VideoModel, clip: Clip) -> str | None:
    """Return what to know where an embedded model is given a film that is not of its world.

    A film is taken to be of the embedded world when its pictures are 336 x 336 pixels and, as drawn
    areas are even, nine in ten of neighbouring pixels differ by at most 3 of 255 levels, on average
    over up to eight of the frames that were sampled.
    """
    if not Path(find_model(model.name)).is_relative_to(flipbook_dir("models")):
        return None
    frames = clip.frames[:: max(1, len(clip) // 8)].astype(int)
    even = (np.abs(np.diff(frames, axis=2)).max(axis=-1) <= _LEVELS).mean() >= _SHARE
    if even and (clip.source["width"], clip.source["height"]) == (SIZE, SIZE):
        return None
    knows = f"{model.name} is a tiny model that knows drawn coloured shapes only"
    return f"{knows}; on another film its answer means nothing: name a real model (--model)"
