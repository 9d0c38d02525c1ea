"""Video files: what is in them, the frames at wanted times, and films written.

In comes a file or a path to one, with how it is to be sampled. Out comes a `Clip`: uint8 frames
[T, H, W, 3] with the true second of each; or a `VideoError` that says what is wrong.
"""

import lazy_loader

_NAMES = {
    "clip": ["Clip", "Sampling", "probe", "read_clip", "sampling_times"],
    "cache": ["ClipCache"],
    "container": ["VideoInfo"],
    "opening": ["SamplingError", "VideoError"],
    "windows": ["Windows", "check_windows", "cut_windows", "film_of_window", "open_windows"],
    "workers": ["Request", "read_many", "run_many"],
    "writing": ["write_video"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
