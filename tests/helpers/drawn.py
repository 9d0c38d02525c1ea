"""The frames of a flipbook film as they were drawn, to hold what is read from its file against."""

import numpy as np

from numpro.flipbook.world import Film, draw_frame


def sample_frames(film: Film, fps: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw the frames that sampling the film's file at `fps` would show, before compression.

    Returns
    -------
    frames : uint8 [T, SIZE, SIZE, 3]
    seconds : float64 [T]
    """
    seconds = np.arange(0, film.duration - 1e-9, 1 / fps)
    native = film.frame_times()
    on_screen = native[np.searchsorted(native, seconds + 1e-9, side="right") - 1]
    return np.stack([draw_frame(film, t) for t in on_screen]), seconds
