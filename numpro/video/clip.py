"""Read frames with their true times, whatever the file.

Times come from the container, packet by packet; they are never computed from a frame rate. They
count from where a player's clock begins: the earliest start of any stream, or the beginning of the
timeline that mp4 has. The frame for second t is the frame on screen at t: the last one whose time
is <= t, or the first one, which a player shows before its time, too.

PyAV reads. decord does where it is asked for by name and gives the same frames. Which one was
used and why is in ``Clip.source``. Both work in one thread.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpro.spans import one_of
from numpro.video.container import ORIGINS, VideoInfo, find_index
from numpro.video.decode import READERS, read
from numpro.video.opening import check_memory

# A file's times and requested times are rounded floats; they are equal within a microsecond.
_SAME_TIME = 1e-6
_MOST_TIMES = 10_000_000  # sampled of one film; more is a slip, and fills the memory by itself


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a video with the seconds they stand for.

    Attributes
    ----------
    frames : uint8 array, shape [T, H, W, 3]
        RGB.
    seconds : float64 array, shape [T]
        The sampling times: frame i is what was on screen at ``seconds[i]``.
    source_index : int64 array, shape [T]
        The frame of the file, counted from 0 in presentation order; a slow video repeats frames.
    source : dict
        Facts about the file: path, duration, frames, fps, variable, width, height, rotation,
        codec, the second of its first frame (``begins``), the clock (``origin``), the reader
        (``backend``) with the reason for it (``why``), and ``warnings``.
    """

    frames: np.ndarray
    seconds: np.ndarray
    source_index: np.ndarray
    source: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def duration(self) -> float:
        """Seconds of the whole video that the clip comes from."""
        return float(self.source["duration"])

    def select(self, indices: Sequence[int]) -> "Clip":
        """Return the clip of these frames only, each with its own second."""
        kept = np.asarray(indices)
        return Clip(self.frames[kept], self.seconds[kept], self.source_index[kept], self.source)


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
    origin, reader : str
        As in `read_clip`.
    """

    fps: float = 1.0
    size: tuple[int, int] | None = (336, 336)
    max_frames: int | None = 240
    origin: str = "beginning"
    reader: str = "pyav"


def probe(
    path: str | os.PathLike, origin: str = "beginning", stream: int | None = None,
    max_memory: float | None = None,
) -> VideoInfo:  # fmt: skip
    """Read the facts of a video file; the time of every frame is looked at.

    Parameters
    ----------
    path, origin, stream, max_memory
        As in `read_clip`.

    Raises
    ------
    VideoError
        When the file cannot be read as a video.
    """
    return find_index(path, origin, stream, max_memory).info


def read_clip(
    path: str | os.PathLike, fps: float | None = None, times: Sequence[float] | None = None,
    num_frames: int | None = None, start: float | None = None, end: float | None = None,
    size: tuple[int, int] | None = None, max_frames: int | None = None,
    origin: str = "beginning", reader: str = "pyav", stream: int | None = None,
    max_memory: float | None = None,
) -> Clip:  # fmt: skip
    """Sample a video: for each sampling time, the frame on screen.

    Parameters
    ----------
    path : path
        A video file.
    fps, times, num_frames
        Exactly one of them. `fps`: one frame every 1/fps seconds, at ``start + k / fps``.
        `times`: these seconds, in any order, from 0 to the video's duration. `num_frames`: this
        many, evenly spaced, at ``start + k * (end - start) / num_frames``.
    start, end : float, optional
        Seconds; the part sampled by `fps` or `num_frames`, ``start <= t < end``. The whole
        video by default; an `end` beyond the end of the video is the end of the video.
    size : (width, height), optional
        Resize to this by Pillow, bicubic, as the published frames are; otherwise the size of the
        video. The decoder's own scaler is not used, for it gives other pictures: on the films of
        ``benchmarks/video.py`` pixels differ by 4.5 and 5.1 of 255 on average and by up to 180.
    max_frames : int, optional
        When the sampling gives more, keep this many, evenly spaced; each keeps its second.
    origin : {"beginning", "first-picture"}
        What second 0 is: where the film begins for a player, which may be before its first
        picture; or that picture.
    reader : {"pyav", "decord"}
        Decord gives the same frames, and PyAV takes its place, with a warning, where it cannot.
    stream : int, optional
        A video stream, counted among all streams; by default the one that a player takes.
    max_memory : float, optional
        Bytes that the clip, and the frames that the decoder keeps, may take; by default a quarter
        of this computer's memory.

    Returns
    -------
    Clip

    Raises
    ------
    ValueError
        For a wrong argument.
    VideoError
        When the file cannot be read as a video, or what is read is larger than `max_memory`.

    Warns
    -----
    UserWarning
        When a few frames cannot be decoded: the ones before them stay on screen, and
        ``source_index`` says so; when frames are missing inside or at the end; when the first
        one comes more than half a sample late; or when another reader or stream could be taken.
    """
    check_arguments(fps, times, num_frames, start, end, size, max_frames, origin, reader)
    size = size and (int(size[0]), int(size[1]))
    index = find_index(path, origin, stream, max_memory)
    info = index.info
    if times is None:
        seconds = _sampling_times(info.duration, fps, num_frames, start, end)
    else:
        seconds = np.asarray(times, dtype=np.float64)
        outside = seconds[~((seconds >= 0) & (seconds <= info.duration + _SAME_TIME))]
        if outside.size:
            raise ValueError(f"times must lie in 0..{info.duration:.3f} s; got {outside[0]}")
    seconds = _at_most(seconds, max_frames)
    width, height = size or (info.width, info.height)
    needed = index.decoder_bytes + 3 * len(seconds) * width * height
    check_memory(info.path, needed, f"{len(seconds)} frames of {width}x{height}", max_memory)
    chosen = np.searchsorted(index.seconds, seconds + _SAME_TIME, side="right") - 1
    wanted, back = np.unique(np.maximum(chosen, 0), return_inverse=True)
    frames, shown, how = read(index, wanted, size, reader)
    if not np.array_equal(back, np.arange(len(wanted))):
        frames = frames[back]
    how["warnings"] += info.warnings + _late(info.begins, seconds)
    for message in how["warnings"]:
        warnings.warn(f"{path}: {message}", stacklevel=2)
    facts = ("duration", "frames", "fps", "variable", "width", "height", "rotation", "codec")
    source = {name: getattr(info, name) for name in (*facts, "begins")}
    source |= {"path": str(path), "origin": origin, **how}
    return Clip(frames, seconds, shown[back].astype(np.int64), source)


def sampling_times(duration: float, fps: float, max_frames: int | None = None) -> np.ndarray:
    """Return the times `read_clip` takes frames at in a video of so many seconds.

    Examples
    --------
    >>> sampling_times(5.0, fps=0.5).tolist()
    [0.0, 2.0, 4.0]
    """
    check_arguments(fps, max_frames=max_frames)
    return _at_most(_sampling_times(duration, fps, None, None, None), max_frames)


def _at_most(seconds: np.ndarray, max_frames: int | None) -> np.ndarray:
    """Return the times, thinned evenly to `max_frames` where they are more."""
    if max_frames is None or len(seconds) <= max_frames:
        return seconds
    return seconds[np.arange(max_frames) * len(seconds) // max_frames]


def _sampling_times(duration, fps, num_frames, start, end) -> np.ndarray:
    """Return the sampling times in [start, end)."""
    start = 0.0 if start is None else float(start)
    end = duration if end is None else min(float(end), duration)
    if not 0 <= start < end:
        rule = f"0 <= start < end, start < duration {duration:.3f} s"
        raise ValueError(f"start and end must satisfy {rule}; got start {start}, end {end}")
    if num_frames is not None:
        return start + np.arange(num_frames) * ((end - start) / num_frames)
    count = int(np.ceil(min((end - start - _SAME_TIME) * fps, _MOST_TIMES + 1)))
    if count > _MOST_TIMES:
        sampled = f"fps {fps:g} takes more than {_MOST_TIMES} frames of {end - start:.2f} s"
        raise ValueError(f"{sampled}; give a lower fps, or start and end")
    return start + np.arange(max(count, 1)) / fps


def _late(begins: float, seconds: np.ndarray) -> tuple[str, ...]:
    """Return a warning where the first frame comes more than half a sample late."""
    apart = np.diff(np.unique(seconds))
    early = int((seconds < begins - _SAME_TIME).sum())
    if not early or begins <= (apart.min() if apart.size else 1) / 2:
        return ()
    shown = f"{early} of the {len(seconds)} frames show it before that, as a player does"
    return (f"its first picture comes at {begins:.2f} s; {shown}",)


def check_arguments(
    fps: Any = None, times: Any = None, num_frames: Any = None, start: Any = None, end: Any = None,
    size: Any = None, max_frames: Any = None, origin: str = "beginning", reader: str = "pyav",
    stream: Any = None, max_memory: Any = None,
) -> None:  # fmt: skip
    """Refuse arguments that `read_clip` could use for no video at all."""
    one_of("origin", origin, ORIGINS)
    one_of("reader", reader, READERS)
    whole = np.shape(size) == (2,) and all(isinstance(n, int | np.integer) and n > 0 for n in size)
    if size is not None and not whole:
        raise ValueError(f"size must be (width, height) in whole pixels above 0; got {size!r}")
    ways = {"fps": fps, "times": times, "num_frames": num_frames}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of fps, times, num_frames; got {given or 'none'}")
    if fps is not None and not 0 < fps < np.inf:
        raise ValueError(f"fps must be above 0; got {fps}")
    if times is not None and (np.ndim(times) != 1 or not len(times)):
        raise ValueError(f"times must be a sequence of seconds; got {times!r}")
    for name, value in {"num_frames": num_frames, "max_frames": max_frames}.items():
        if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
            raise ValueError(f"{name} must be a whole number above 0; got {value!r}")
    if times is not None and (start, end) != (None, None):
        raise ValueError("start and end go with fps or num_frames; got times too")
    if (num_frames or 0) > _MOST_TIMES:
        raise ValueError(f"num_frames must be at most {_MOST_TIMES}; got {num_frames!r}")
