"""Look into a video file and decode the frames that are wanted (behind `numpro.video`)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

_BATCH_BYTES = 1 << 27


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
        self.path = Path(path)
        self.reason = reason

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
        raise VideoError(path, f"not a readable video ({_words(error)})") from error


def _scan(container, stream) -> tuple[list[tuple], object]:
    """Return (pts, duration, keyframe) of every packet, and the first frame."""
    import av

    rows, first = [], None
    stream.codec_context.thread_type = "NONE"  # the first frame comes without a queue
    try:
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(_decode_packet(packet)), None)
            if packet.size and not packet.is_discard and not packet.is_corrupt:
                rows.append((packet.pts, packet.duration or 0, packet.is_keyframe))
    except av.FFmpegError:
        if not rows:
            raise
        # a file that is cut short: _describe compares with what the header promises
    return rows, first


def _describe(path: Path, container, stream, rows: list[tuple], first) -> Index:
    """Put the packets in presentation order and say what the file is."""
    import av

    reason = _not_for_decord(container, stream, rows, first)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    tick, stamps = stream.time_base, [row[0] for row in rows]
    bare = container.format.name == "avi" and stream.codec_context.has_b_frames
    if counted := bare or None in stamps or len(set(stamps)) < len(stamps):
        # raw streams carry no times, AVI with B-frames wrong ones: count at the stated rate
        with av.open(str(path)) as again:
            frames = _frames(again, again.streams[stream.index])
            rows = [(at, 1, at == 0) for at, _ in enumerate(frames)]
        tick = 1 / rate
    pts, lengths, keyframe = (np.array(column) for column in zip(*sorted(rows), strict=True))
    gaps = np.diff(pts)
    usual = float(np.median(gaps)) if gaps.size else float(1 / rate / tick)
    last = int(lengths[-1]) if lengths[-1] > 0 else max(1, round(usual))
    # whole ticks up to the last step: the seconds are the nearest floats to the true times
    duration = float((int(pts[-1] - pts[0]) + last) * tick)
    begin = float(int(pts[0]) * tick)
    rotation = round(-first.rotation) % 360
    size = (first.width, first.height)
    info = VideoInfo(
        path=path,
        duration=duration,
        frames=len(pts),
        fps=len(pts) / duration,
        variable=bool(gaps.size and np.ptp(gaps) > max(2, 0.02 * usual)),
        width=size[rotation % 180 // 90],
        height=size[1 - rotation % 180 // 90],
        rotation=rotation,
        codec=stream.codec.canonical_name,
        start=begin,
        streams=tuple(s.type for s in container.streams),
        warnings=_check_whole(path, container, stream, begin + duration),
    )
    seconds = (pts - pts[0]) * tick.numerator / tick.denominator
    return Index(info, stream.index, None if counted else pts, seconds, keyframe, reason)


def _not_for_decord(container, stream, rows: list[tuple], first) -> str | None:
    """Say why decord 0.6 cannot read this file or gives wrong frames without a word (seen)."""
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
    return None


def _check_whole(path: Path, container, stream, end: float) -> tuple[str, ...]:
    """Compare what is there with what the header promises."""
    entries = [entry.pos + entry.size for entry in stream.index_entries]
    there = int((np.array(entries) <= path.stat().st_size).sum())
    if (missing := len(entries) - there) > 0:
        said = f"{there} of the {len(entries)} frames it promises are there"
        if missing > max(1, 0.01 * len(entries)):
            raise VideoError(path, f"cut short: {said}")
        return (said,)
    promised = (container.duration or 0) / 1e6
    if promised > end + max(1, 0.05 * end):
        return (f"the file promises {promised:.2f} s, its video ends at {end:.2f} s",)
    return ()


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoError(path, "empty file")
    except FileNotFoundError:
        raise VideoError(path, "no such file") from None
    except IsADirectoryError:
        raise VideoError(path, "a directory, not a file") from None
    except OSError as error:
        raise VideoError(path, (error.strerror or "cannot be opened").lower()) from error


def _words(error: Exception) -> str:
    """Return what a library says, without its error number and the path."""
    return (getattr(error, "strerror", None) or type(error).__name__).lower()


class _NotForDecord(Exception):
    """Decord cannot give these frames; the message says why."""


def read(index: Index, wanted: np.ndarray, size) -> tuple[np.ndarray, np.ndarray, dict]:
    """Decode frames.

    Parameters
    ----------
    index : Index
        The file.
    wanted : int array, sorted
        Places in the index.
    size : (width, height) or None
        Resize to this.

    Returns
    -------
    frames : uint8 array
    shown : int array
        The place that each frame really has: in a damaged file the last one that could be
        decoded stays on screen, as in a player.
    how : dict
        ``backend``, ``why``, ``warnings``.
    """
    try:
        frames = _read_decord(index, wanted, size)
        return frames, wanted, {"backend": "decord", "why": "default", "warnings": ()}
    except _NotForDecord as reason:
        frames, shown = _read_pyav(index, wanted, size)
        how = {"backend": "pyav", "why": str(reason), "warnings": ()}
    if lost := int((shown != wanted).sum()):
        said = f"damaged: {lost} of the {len(wanted)} frames asked for cannot be decoded"
        how["warnings"] = (f"{said}; the ones before them are shown",)
    return frames, shown, how


def _read_decord(index: Index, wanted: np.ndarray, size) -> np.ndarray:
    """Decode with decord, after checking that it sees the same frames at the same times."""
    info = index.info
    if index.not_for_decord:
        raise _NotForDecord(index.not_for_decord)
    try:
        import decord
    except ImportError as error:
        raise _NotForDecord(f"decord is not installed here ({error})") from error
    out = np.empty((len(wanted), *_shape(info, size), 3), np.uint8)
    batch = max(1, _BATCH_BYTES // (3 * info.width * info.height))
    try:
        # more threads have led to hangs in decord, and many videos are read side by side
        reader = decord.VideoReader(str(info.path), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != info.frames:
            raise _NotForDecord(f"decord counts {len(reader)} frames of {info.frames}")
        stamps = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        if not np.allclose(stamps - stamps[0], index.seconds, rtol=1e-5, atol=1e-3):
            raise _NotForDecord("decord gives other times")
        for at in range(0, len(wanted), batch):
            pictures = reader.get_batch(wanted[at : at + batch]).asnumpy()
            if pictures.shape[1:] != (info.height, info.width, 3):
                raise _NotForDecord(f"decord gives frames of shape {pictures.shape[1:]}")
            for slot, picture in enumerate(pictures, at):
                out[slot] = _resize(picture, size)
    except (RuntimeError, decord.DECORDError) as error:
        raise _NotForDecord(f"decord fails on it ({type(error).__name__})") from error
    return out


def _read_pyav(index: Index, wanted: np.ndarray, size) -> tuple[np.ndarray, np.ndarray]:
    """Decode with PyAV; return the frames and the place that each one really has."""
    info = index.info
    out = np.empty((len(wanted), *_shape(info, size), 3), np.uint8)
    shown = np.full(len(wanted), -1)
    # the second pass goes from the start: a seek may lead astray, or skip what is left of a
    # damaged stretch
    for seeking in (True, False):
        slot, last = 0, None
        for at, frame in chain(_decoded(index, wanted, seeking), [(info.frames, None)]):
            while last is not None and slot < len(wanted) and wanted[slot] < at:
                picture = np.rot90(last[1].to_ndarray(format="rgb24"), -(info.rotation // 90))
                out[slot], shown[slot] = _resize(picture, size), last[0]
                slot += 1
            last = at, frame
        if (shown == wanted).all():
            return out, shown
    lost = int((shown != wanted).sum())
    if (shown < 0).any() or 2 * lost > len(wanted):
        raise VideoError(info.path, f"damaged: {lost} of {len(wanted)} frames cannot be decoded")
    return out, shown


def _decoded(index: Index, wanted: np.ndarray, seeking: bool) -> Iterator[tuple[int, object]]:
    """Yield (index, frame), forwards, until every wanted frame has had its turn."""
    import av

    keys = np.flatnonzero(index.keyframe)
    with av.open(str(index.info.path)) as container:
        stream = container.streams[index.stream]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "AUTO", 2
        frames, here = _frames(container, stream), -1
        for at in wanted:
            key = keys[np.searchsorted(keys, at, side="right") - 1] if len(keys) else 0
            if seeking and index.pts is not None and here + 1 < key <= at:
                container.seek(int(index.pts[key]), stream=stream)
                frames = _frames(container, stream)
            while here < at and (frame := next(frames, None)) is not None:
                if index.pts is None:
                    here += 1
                elif frame.pts is None or frame.pts not in index.ordinal:
                    continue
                else:
                    here = index.ordinal[frame.pts]
                yield here, frame


def _frames(container, stream) -> Iterator:
    """Yield the frames that can be decoded from here on."""
    import av

    try:
        for packet in container.demux(stream):
            yield from _decode_packet(packet)
    except av.FFmpegError:
        return  # the file ends early; the caller counts what is missing


def _decode_packet(packet) -> list:
    """Decode one packet; what is damaged gives no frame (the caller counts what is missing)."""
    import av

    try:
        return [frame for frame in packet.decode() if not frame.is_corrupt]
    except av.FFmpegError:
        return []


def _shape(info: VideoInfo, size) -> tuple[int, int]:
    return (size[1], size[0]) if size else (info.height, info.width)


def _resize(picture: np.ndarray, size) -> np.ndarray:
    if size is None or picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
