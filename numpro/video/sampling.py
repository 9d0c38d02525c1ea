"""How frames are taken from a video, as one record."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How a video is sampled; the defaults are the paper's for untrained models.

    Attributes
    ----------
    fps : float
        Sampled frames a second.
    size : (int, int) or None
        Width and height of a frame in pixels; None keeps the video's own.
    max_frames : int or None
        A longer video is thinned to so many frames; None takes them all.
    """

    fps: float = 1.0
    size: tuple[int, int] | None = (336, 336)
    max_frames: int | None = 240
