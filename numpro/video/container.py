"""What a video file holds, and when each of its frames is shown."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

_LONGEST = 1e7  # seconds; four months


class VideoError(ValueError):
    """A video that cannot be read.

    Parameters
    ----------
    path : str or path
        The file.
    reason : str
        Why, in a few words.
    """

    def __init__(self, path: str | os.PathLike, reason: str):
        super().__init__(path, reason)
        self.path, self.reason = Path(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds (`probe`).

    Attributes
    ----------
    duration : float
        Seconds from the first frame's time to the end of the last frame.
    frames : int
        Frames that are in the file.
    fps : float
        Average rate; `variable` tells whether the gaps between frames differ.
    width, height : int
        Size in pixels as shown, after `rotation` (degrees clockwise, from the file) is applied.
    start : float
        The first frame's own time in the container, second 0 of this package.
    """

    path: Path
    duration: float
    frames: int
    fps: float
    variable: bool
    width: int
    height: int
    rotation: int
    codec: str
    start: float
    streams: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """The frames of a file in presentation order."""

    info: VideoInfo
    stream: int  # the video stream's place in the container
    pts: np.ndarray | None  # int64 [N], ticks of the container's clock; None: frames are counted
    seconds: np.ndarray  # float64 [N], since the first frame
    keyframe: np.ndarray  # bool [N]
    not_for_decord: str | None  # why decord would give other frames

    @cached_property
    def ordinal(self) -> dict[int, int]:
        """Map a frame's pts to its place."""
        return {pts: at for at, pts in enumerate(self.pts.tolist())}


def find_index(path: str | os.PathLike) -> Index:
    """Return `make_index` of a file, made once for as long as the file stays as it is.

    Queries about stretches of one film, or a long film read by stretches, ask for it again and
    again.
    """
    stat = _check_file(Path(path))
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _kept_index(Path(path), identity)


@lru_cache(maxsize=4)  # of a film of two hours it is some 15 MB
def _kept_index(path: Path, identity: tuple) -> Index:
    return make_index(path)


def make_index(path: str | os.PathLike) -> Index:
    """Look at every packet of the video stream; only the first frame is decoded."""
    import av

    path = Path(path)
    _check_file(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
                raise VideoError(path, f"no video stream (it holds {kinds})")
            rows, first = _scan(container, stream)
            if first is None:
                raise VideoError(path, "no frame can be decoded")
            return _describe(path, container, stream, rows, first)
    except (av.FFmpegError, UnicodeDecodeError) as error:
        why = (getattr(error, "strerror", None) or type(error).__name__).lower()
        raise VideoError(path, f"not a readable video ({why})") from error


def _scan(container, stream) -> tuple[list[tuple], object]:
    """Return (pts, duration, keyframe) of every packet, and the first frame."""
    import av

    rows, first = [], None
    one_thread(stream)  # and the first frame comes without a queue
    try:
        for packet in container.demux(stream):
            first = first or next(iter(_packet_frames(packet)), None)
            if packet.size and not packet.is_discard and not packet.is_corrupt:
                rows.append((packet.pts, packet.duration or 0, packet.is_keyframe))
    except av.FFmpegError:
        if not rows:
            raise
        # a file that is cut short: _check_whole compares with what the header promises
    return rows, first


def _order(path: Path, container, stream, rows: list[tuple]) -> tuple[bool, Fraction, tuple]:
    """Return whether frames are counted, the tick, and (pts, duration, keyframe) as shown."""
    import av

    stamps, tick = [row[0] for row in rows], stream.time_base
    bare = container.format.name == "avi" and stream.codec_context.has_b_frames
    if counted := bare or None in stamps or len(set(stamps)) < len(stamps):
        # raw streams carry no times, AVI with B-frames wrong ones: count at the stated rate
        with av.open(str(path)) as again:
            frames = stream_frames(again, one_thread(again.streams[stream.index]))
            rows = [(at, 1, at == 0) for at, _ in enumerate(frames)]
        tick = 1 / _rate(stream)
    return counted, tick, tuple(np.array(column) for column in zip(*sorted(rows), strict=True))


def _rate(stream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _describe(path: Path, container, stream, rows: list[tuple], first) -> Index:
    """Put the packets in presentation order and say what the file is."""
    reason = _not_for_decord(container, stream, rows, first)
    counted, tick, (pts, lengths, keyframe) = _order(path, container, stream, rows)
    gaps = np.diff(pts)
    usual = float(np.median(gaps)) if gaps.size else float(1 / _rate(stream) / tick)
    last = int(lengths[-1]) if lengths[-1] > 0 else max(1, round(usual))
    # whole ticks up to the last step: the seconds are the nearest floats to the true times
    duration = float((int(pts[-1] - pts[0]) + last) * tick)
    begin = float(int(pts[0]) * tick)
    if duration > _LONGEST:
        raise VideoError(path, f"damaged: its frames span {duration:.0f} s")
    rotation = round(-first.rotation) % 360
    width, height = (first.width, first.height)[:: -1 if rotation % 180 else 1]
    variable = bool(gaps.size and np.ptp(gaps) > max(2, 0.02 * usual))
    warnings = [_check_whole(path, container, stream, begin + duration)]
    warnings += [] if counted else [_check_gaps(container, gaps, usual)]
    info = VideoInfo(
        path=path, duration=duration, frames=len(pts), fps=len(pts) / duration, variable=variable,
        width=width, height=height, rotation=rotation, codec=stream.codec.canonical_name,
        start=begin, streams=tuple(s.type for s in container.streams),
        warnings=tuple(filter(None, warnings)),
    )  # fmt: skip
    seconds = (pts - pts[0]) * tick.numerator / tick.denominator
    return Index(info, stream.index, None if counted else pts, seconds, keyframe, reason)


def _not_for_decord(container, stream, rows: list[tuple], first) -> str | None:
    """Return why decord 0.6 cannot read this file, gives wrong frames or is slow; else None."""
    codec, key = stream.codec.canonical_name, None
    if codec in ("av1", "vvc"):  # it bundles FFmpeg 4.1
        return f"decord has no {codec} decoder"
    if len(container.streams.video) > 1:
        return "more than one video stream: decord may take another"
    if container.format.name in ("mpegts", "mpeg"):
        return "decord loses frames at seeks in MPEG-TS and MPEG-PS"
    if any(component.bits > 8 for component in first.format.components):
        return "decord rounds more than 8 bits a channel otherwise"
    for pts, _, keyframe in rows:  # in decoding order
        key = pts if keyframe else key
        if None not in (pts, key) and pts < key:
            return "decord loses frames at seeks in open groups of pictures"
    if codec == "h264" and stream.codec_context.has_b_frames:
        return "PyAV need not decode all of the B-frames, decord does"
    return None


def _check_whole(path: Path, container, stream, end: float) -> str | None:
    """Return a warning where a little of what the header promises is missing; raise if much is."""
    entries = [entry.pos + entry.size for entry in stream.index_entries]
    there = int((np.array(entries) <= path.stat().st_size).sum())
    if (missing := len(entries) - there) > 0:
        found = f"{there} of the {len(entries)} frames it promises are there"
        if missing > max(1, 0.01 * len(entries)):
            raise VideoError(path, f"cut short: {found}")
        return found
    promised = (container.duration or 0) / 1e6
    if promised > end + max(1, 0.05 * end):
        return f"the file promises {promised:.2f} s, its video ends at {end:.2f} s"
    return None


def _check_gaps(container, gaps: np.ndarray, usual: float) -> str | None:
    """Return a warning where frames are missing inside a film of one rate."""
    longer = gaps[gaps > max(2, 1.5 * usual)]
    even = np.abs(gaps - usual) <= max(2, 0.02 * usual)
    one_rate = even.sum() + longer.size >= gaps.size and 0 < longer.size <= 0.05 * gaps.size
    # in other containers, as mp4 and gif, a gap may be meant
    if container.format.name in ("matroska,webm", "avi", "flv", "mpeg", "mpegts") and one_rate:
        missing = round(float((longer / usual - 1).sum()))
        return f"about {missing} of {len(gaps) + 1 + missing} frames are missing inside"
    return None


def _check_file(path: Path) -> os.stat_result:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise VideoError(path, f"a {'directory' if path.is_dir() else 'device'}, not a file")
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoError(path, "empty file")
            return os.fstat(file.fileno())
    except FileNotFoundError:
        raise VideoError(path, "no such file") from None
    except OSError as error:
        raise VideoError(path, (error.strerror or "cannot be opened").lower()) from error


def stream_frames(container: Any, stream: Any, needed: set[int] | None = None) -> Iterator:
    """Yield the frames that can be decoded from here on, in one thread.

    `needed`: times (pts) of H.264 frames; of the others, those that no frame is predicted from
    are left out undecoded, which changes nothing in the frames that come.
    """
    import av

    decoder = stream.codec_context
    try:
        for packet in container.demux(stream):
            if needed is not None and packet.pts is not None:
                decoder.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            yield from _packet_frames(packet)
    except av.FFmpegError:
        return  # the file ends early; the caller counts what is missing


def _packet_frames(packet) -> list:
    """Decode one packet; what is damaged gives no frame (the caller counts what is missing)."""
    import av

    try:
        return [frame for frame in packet.decode() if not frame.is_corrupt]
    except av.FFmpegError:
        return []


def one_thread(stream: Any) -> Any:
    """Return the stream, to be decoded in one thread: many videos are read side by side."""
    stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
    return stream
