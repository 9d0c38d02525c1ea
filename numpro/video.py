"""Read frames with their true times, whatever the file; write films that a browser plays.

Times are seconds since the presentation time of the first video frame and come from the
container, packet by packet; they are never computed from a frame rate. The frame for second t is
the frame on screen at t: the last one whose time is <= t.

Two readers give the same frames: decord by default, PyAV where decord cannot (AV1, platforms
without a wheel, odd files). Which one was used and why is in ``Clip.source``.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np

from numpro.decode import VideoError, VideoInfo, make_index, read

__all__ = ["Clip", "VideoError", "VideoInfo", "probe", "read_clip", "write_video"]

# Times of a file and times asked for are both rounded floats: equal to within a microsecond.
_SAME_TIME = 1e-6
_TICKS = 360_000  # a second, in written files: every usual rate is a whole number of ticks


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
        codec, the reader (``backend``) with the reason for it (``why``), and ``warnings``.
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
        return replace(
            self,
            frames=self.frames[kept],
            seconds=self.seconds[kept],
            source_index=self.source_index[kept],
        )


def probe(path: str | os.PathLike) -> VideoInfo:
    """Read the facts of a video file, with every frame's time looked at.

    Raises
    ------
    VideoError
        When the file cannot be read as a video.
    """
    return make_index(path).info


def read_clip(
    path: str | os.PathLike,
    fps: float | None = None,
    times: Sequence[float] | None = None,
    num_frames: int | None = None,
    start: float | None = None,
    end: float | None = None,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
) -> Clip:
    """Sample a video: for each sampling time, the frame on screen.

    Parameters
    ----------
    path : path
        A video file.
    fps, times, num_frames
        Exactly one of them. `fps`: one frame every 1/fps seconds, at ``start + k / fps``.
        `times`: these seconds, in any order, from 0 to the video's duration. `num_frames`: so
        many, evenly, at ``start + k * (end - start) / num_frames``.
    start, end : float, optional
        Seconds; the part sampled by `fps` or `num_frames`, ``start <= t < end``. The whole
        video by default; an `end` beyond the end of the video is the end of the video.
    size : (width, height), optional
        Resize to this (Pillow, bicubic); otherwise the size of the video.
    max_frames : int, optional
        When the sampling gives more, keep so many, evenly; each keeps its second.

    Returns
    -------
    Clip

    Raises
    ------
    ValueError
        For a wrong argument.
    VideoError
        When the file cannot be read as a video.

    Warns
    -----
    UserWarning
        When a few frames cannot be decoded: the ones before them stay on screen, and
        ``source_index`` says so; or when the file holds fewer than it promises.
    """
    _check_sampling(fps, times, num_frames, max_frames)
    size = _check_size(size)
    index = make_index(path)
    info = index.info
    if times is not None:
        if start is not None or end is not None:
            raise ValueError("start and end go with fps or num_frames; got times too")
        seconds = np.asarray(times, dtype=np.float64)
        outside = seconds[~((seconds >= 0) & (seconds <= info.duration + _SAME_TIME))]
        if outside.size:
            raise ValueError(f"times must lie in 0..{info.duration:.3f} s; got {outside[0]}")
    else:
        seconds = _sampling_times(info.duration, fps, num_frames, start, end)
    if max_frames is not None and len(seconds) > max_frames:
        seconds = seconds[np.arange(max_frames) * len(seconds) // max_frames]
    chosen = np.searchsorted(index.seconds, seconds + _SAME_TIME, side="right") - 1
    wanted, back = np.unique(chosen, return_inverse=True)
    frames, shown, how = read(index, wanted, size)
    if not np.array_equal(back, np.arange(len(wanted))):
        frames = frames[back]
    how["warnings"] += info.warnings
    for said in how["warnings"]:
        warnings.warn(f"{path}: {said}", stacklevel=2)
    facts = ("duration", "frames", "fps", "variable", "width", "height", "rotation", "codec")
    source = {"path": str(path), **{name: getattr(info, name) for name in facts}, **how}
    return Clip(frames, seconds, shown[back].astype(np.int64), source)


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float | None = None,
    seconds: Sequence[float] | None = None,
    duration: float | None = None,
    crf: int = 18,
    preset: str = "veryfast",
) -> Path:
    """Write an H.264 mp4 (yuv420p, header first) that players and browsers show.

    Each frame stays on screen until the next one's time, also at variable rates (times are kept
    to 1/360000 s). A width or height that is odd grows by one pixel, the edge repeated, as
    yuv420p has no odd sizes. The file appears whole or not at all.

    Parameters
    ----------
    path : path
        The file to write; its folder must exist.
    frames : array [T, H, W, 3] or iterable of arrays [H, W, 3]
        RGB, uint8; an iterable is written as it comes.
    fps, seconds
        One of them: the rate, or one increasing time a frame, counted from the first.
    duration : float, optional
        Seconds from the first frame to the end of the last; by default the last frame stays as
        long as the one before it (one second for a single frame with `seconds`).
    crf, preset
        Quality (0 lossless .. 51) and speed of x264.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        For no frames, frames of another shape, or times that do not increase.
    """
    if (fps is None) == (seconds is None):
        raise ValueError("give fps or seconds, one of them")
    path, ticks = Path(path), _write_ticks(fps, seconds)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder to write to: {path.parent}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    # no B-frames: the order of writing is the order of showing, so times stay exact in mp4;
    # one thread: many films are written side by side
    options = {"crf": str(crf), "preset": preset, "bf": "0", "threads": "1"}
    try:
        _encode(partial, frames, ticks, duration, options)
        if seconds is not None and next(ticks, None) is not None:
            raise ValueError(f"frames are fewer than the {len(seconds)} seconds")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _sampling_times(duration, fps, num_frames, start, end) -> np.ndarray:
    """Return the sampling times in [start, end)."""
    start = 0.0 if start is None else float(start)
    end = duration if end is None else min(float(end), duration)
    if not 0 <= start < end:
        raise ValueError(
            f"start and end must satisfy 0 <= start < end, start < duration {duration:.3f} s; "
            f"got start {start}, end {end}"
        )
    if num_frames is not None:
        return start + np.arange(num_frames) * ((end - start) / num_frames)
    count = int(np.ceil((end - start - _SAME_TIME) * fps))
    return start + np.arange(max(count, 1)) / fps


def _check_sampling(fps, times, num_frames, max_frames) -> None:
    given = [
        name
        for name, value in (("fps", fps), ("times", times), ("num_frames", num_frames))
        if value is not None
    ]
    if len(given) != 1:
        raise ValueError(f"give exactly one of fps, times, num_frames; got {given or 'none'}")
    if fps is not None and not 0 < fps < np.inf:
        raise ValueError(f"fps must be above 0; got {fps}")
    if times is not None and (np.ndim(times) != 1 or not len(times)):
        raise ValueError(f"times must be a sequence of seconds; got {times!r}")
    for name, value in (("num_frames", num_frames), ("max_frames", max_frames)):
        if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
            raise ValueError(f"{name} must be a whole number above 0; got {value!r}")


def _check_size(size) -> tuple[int, int] | None:
    if size is None:
        return None
    if np.shape(size) != (2,) or not all(isinstance(n, int | np.integer) and n > 0 for n in size):
        raise ValueError(f"size must be (width, height) in whole pixels above 0; got {size!r}")
    return int(size[0]), int(size[1])


def _write_ticks(fps, seconds) -> Iterator[int]:
    """Yield one time a frame, in ticks, for as long as times are given."""
    if fps is not None:
        if not 0 < fps < np.inf:
            raise ValueError(f"fps must be above 0; got {fps}")
        return (round(k * _TICKS / fps) for k in count())
    ticks = np.asarray(seconds, dtype=np.float64) * _TICKS
    if ticks.ndim != 1 or not ticks.size or not np.isfinite(ticks).all():
        raise ValueError(f"seconds must be one finite number a frame; got {seconds!r}")
    ticks = np.rint(ticks - ticks[0]).astype(np.int64)
    if (np.diff(ticks) < 1).any():
        raise ValueError(f"seconds must increase by at least 1/{_TICKS} s; got {seconds!r}")
    return iter(ticks.tolist())


def _encode(path: Path, frames, ticks: Iterator[int], duration, options: dict) -> None:
    """Encode the frames with their times into an mp4."""
    import av

    base = Fraction(1, _TICKS)
    packets, stream = [], None
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        for frame in frames:
            frame = _even(frame)
            if stream is None:
                stream = out.add_stream("libx264", rate=25, options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = base
                stream.codec_context.colorspace = 6  # SMPTE 170M, what the conversion is
            if frame.shape[:2] != (stream.height, stream.width):
                raise ValueError(f"frames must all have one size; got {frame.shape[:2]} among them")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = next(ticks, None), base
            if picture.pts is None:
                raise ValueError("frames are more than the seconds")
            packets += stream.encode(picture)
        if stream is None:
            raise ValueError("frames must hold at least one frame; got none")
        packets += stream.encode()
        _mux(out, packets, duration)


def _mux(out, packets: list, duration: float | None) -> None:
    """Write the packets, each lasting until the next one's time."""
    times = [packet.pts for packet in packets]
    if duration is not None:
        end = round(duration * _TICKS)
    else:
        end = 2 * times[-1] - times[-2] if len(times) > 1 else _TICKS
    if end <= times[-1]:
        raise ValueError(
            f"duration must be above the last frame's time, {times[-1] / _TICKS:.3f} s; "
            f"got {duration}"
        )
    for packet, until in zip(packets, [*times[1:], end], strict=True):
        packet.duration = until - packet.pts
        out.mux(packet)


def _even(frame: np.ndarray) -> np.ndarray:
    """Return a frame with even sides, the last row or column repeated."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3:
        raise ValueError(f"frames must be uint8 arrays [H, W, 3]; got {frame!r:.80}")
    height, width = frame.shape[:2]
    if frame.shape[2] != 3 or not height or not width:
        raise ValueError(f"frames must have shape [H, W, 3]; got {frame.shape}")
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
