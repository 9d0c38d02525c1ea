"""Controls: the same films with numbers that should help differently, or not at all.

=========== ===========================================================================
``offset``   numbers start at a random one: a model that counts positions is now wrong
``shuffled`` the numbers 0..T-1 stand on the frames in random order: a model that reads
             them can still find the frames, one that counts cannot
``blank``    numbers on empty grey frames: there is nothing to find
=========== ===========================================================================

An answer becomes seconds by the numbers drawn (`numpro.spans.labels_to_seconds` with ``labels``).
"""

import hashlib
from dataclasses import replace

import numpy as np

from numpro.spans import one_of
from numpro.video import Clip

CONTROLS = ("offset", "shuffled", "blank")


def disturb(clip: Clip, control: str | None, name: str = "") -> tuple[Clip, list[int] | None]:
    """Return the clip and the numbers to draw on it under a control.

    Parameters
    ----------
    clip
        Sampled frames, not numbered; left unchanged.
    control
        One of `CONTROLS`, or None for none: the clip as it is, and 0..T-1 (None).
    name
        The video's name; it seeds the draw, so that every model gets the same numbers.

    Raises
    ------
    ValueError
        For another control.
    """
    if control is None:
        return clip, None
    one_of("control", control, CONTROLS)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    rng, count = np.random.default_rng(seed), len(clip)
    if control == "offset":
        first = int(rng.integers(20, 200))
        return clip, list(range(first, first + count))
    if control == "shuffled":
        return clip, rng.permutation(count).tolist()
    return replace(clip, frames=np.full_like(clip.frames, 127)), None
