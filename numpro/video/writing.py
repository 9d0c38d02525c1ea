"""Write films that a browser plays, every frame at its own time."""

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np

_TICKS = 360_000  # a second, in written files: every usual rate is a whole number of ticks


def write_video(
    path: str | os.PathLike, frames: np.ndarray | Iterable[np.ndarray], fps: float | None = None,
    seconds: Sequence[float] | None = None, duration: float | None = None, crf: int = 18,
    preset: str = "veryfast",
) -> Path:  # fmt: skip
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
    import av

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
        flags = {"movflags": "+faststart"}
        with av.open(str(partial), "w", format="mp4", options=flags) as out:
            _mux(out, _packets(out, frames, ticks, options), duration)
        if seconds is not None and next(ticks, None) is not None:
            raise ValueError(f"frames are fewer than the {len(seconds)} seconds")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


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


def _packets(out, frames, ticks: Iterator[int], options: dict) -> Iterator:
    """Yield the coded frames as they come."""
    import av

    base, stream = Fraction(1, _TICKS), None
    for frame in frames:
        frame = _even(frame)
        if stream is None:
            stream = out.add_stream("libx264", rate=25, options=options, pix_fmt="yuv420p")
            stream.height, stream.width = frame.shape[:2]
            stream.codec_context.time_base = base
            stream.codec_context.colorspace = 6  # SMPTE 170M, what the conversion is
        if frame.shape[:2] != (stream.height, stream.width):
            raise ValueError(f"frames must all have one size; got {frame.shape[:2]} among them")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = next(ticks, None), base
        if picture.pts is None:
            raise ValueError("frames are more than the seconds")
        yield from stream.encode(picture)
    if stream is None:
        raise ValueError("frames must hold at least one frame; got none")
    yield from stream.encode()


def _mux(out, packets: Iterator, duration: float | None) -> None:
    """Write the packets, each lasting until the next one's time."""
    last, length = next(packets), _TICKS
    for packet in packets:
        last.duration = length = packet.pts - last.pts
        out.mux(last)
        last = packet
    end = last.pts + length if duration is None else round(duration * _TICKS)
    if end <= last.pts:
        least = f"above the last frame's time, {last.pts / _TICKS:.3f} s"
        raise ValueError(f"duration must be {least}; got {duration}")
    last.duration = end - last.pts
    out.mux(last)


def _even(frame: np.ndarray) -> np.ndarray:
    """Return a frame with even sides, the last row or column repeated."""
    shape, kind = np.shape(frame), getattr(frame, "dtype", type(frame).__name__)
    if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"frames must be uint8 arrays [H, W, 3]; got {kind} {shape}")
    odd = [side % 2 for side in shape[:2]]
    return np.pad(frame, [(0, odd[0]), (0, odd[1]), (0, 0)], mode="edge") if any(odd) else frame
