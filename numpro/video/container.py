"""What a video file holds, and when each of its frames is shown."""

import mmap
import os
import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpro.paths import find
from numpro.spans import one_of
from numpro.video import opening
from numpro.video.opening import VideoError, one_thread, open_film, stream_frames

ORIGINS = ("beginning", "first-picture")
_LONGEST = 1e7  # seconds; four months
_NO_TIMES, _TIMES_JUMP = 0x80, 0x200  # of a format: AVFMT_NOTIMESTAMPS, AVFMT_TS_DISCONT
# what a file begins with whose demuxer reads on to no other that was added behind it
_HEAD = re.compile(
    rb"(?s)\0{3}.ftyp|FLV\x01.\0{3}\t|0&\xb2u\x8ef\xcf\x11|DKIF\0\0|nut/multimedia|YUV4MPEG2 "
)
_STEADY = ("matroska,webm", "avi", "flv", "mpeg", "mpegts")  # elsewhere a gap may be meant

_OTHERS = "{} video streams: stream {} is read; stream={} of read_clip takes another"
_BEFORE = "its first {} frames cannot be decoded: they need some from before the film"
_JOINED = "its times jump back at {:.2f} s, where another recording was added, and are read on"


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds (`probe`).

    Attributes
    ----------
    duration : float
        Seconds from second 0 to the end of the last frame.
    frames : int
        Frames that are in the file.
    fps : float
        Average rate; `variable` tells whether the gaps between frames differ.
    width, height : int
        Size in pixels as shown, after `rotation` (degrees clockwise, from the file) is applied.
    start : float
        The first frame's own time in the container.
    begins : float
        The second of the first frame. A player shows it before that, too.
    gaps : tuple of (float, float)
        Seconds from and to which frames are missing in the file: one is shown all the while.
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
    begins: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Index:
    """The frames of a file in presentation order."""

    info: VideoInfo
    stream: int  # the video stream's place in the container
    pts: np.ndarray | None  # int64 [N], ticks of the container's clock; None: frames are counted
    seconds: np.ndarray  # float64 [N]
    keyframe: np.ndarray  # bool [N]
    turn: tuple[bool, bool, bool]  # rows become columns; then left and right, top and bottom change
    decoder_bytes: int  # what decoding may take
    not_for_decord: str | None  # why decord gives no frames, or others

    @cached_property
    def ordinal(self) -> dict[int, int]:
        """Map a frame's pts to its place."""
        return {pts: at for at, pts in enumerate(self.pts.tolist())}


class _Packet(NamedTuple):
    pts: int | None
    lasts: int
    keyframe: bool
    dts: int | None
    blank: bool  # zeros where a picture should be
    end: int  # its last byte's place in the file


def find_index(path: str | os.PathLike, *choices: Any) -> Index:
    """Return `make_index` of a file, made once for as long as the file stays as it is.

    Queries about stretches of one film, or a long film read by stretches, ask for it again and
    again. `choices` are the further arguments of `make_index`.
    """
    stat = opening.check_file(Path(path))
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _kept_index(find(path), choices, identity)


@lru_cache(maxsize=4)  # of a film of two hours it is some 15 MB
def _kept_index(path: Path, choices: tuple, identity: tuple) -> Index:
    return make_index(path, *choices)


def make_index(
    path: str | os.PathLike, origin: str = "beginning", stream: int | None = None,
    max_memory: float | None = None,
) -> Index:  # fmt: skip
    """Look at every packet of the video stream; only the first frame is decoded.

    Parameters
    ----------
    path, origin, stream, max_memory
        As in `numpro.read_clip`.

    Raises
    ------
    ValueError
        For an unknown origin.
    VideoError
        When the file cannot be read as a video.
    """
    path = Path(path)
    one_of("origin", origin, ORIGINS)
    with opening.reading(path), open_film(path) as container:
        video = opening.choose_stream(path, container, stream)
        opening.check_memory(path, opening.decoder_bytes(video), "frames being decoded", max_memory)
        packets, first = _scan(container, video)
        if first is None:
            raise VideoError(path, "no frame can be decoded")
        index = _describe(path, container, video, packets, first, origin)
        _check_single(path, packets, index.info.duration)
        return index


def _scan(container, stream) -> tuple[list[_Packet], Any]:
    """Return the packets, and the first frame that can be decoded."""
    import av

    found, first = [], None
    one_thread(stream)  # and the first frame comes without a queue
    lossy = stream.codec.lossy  # the zeros of others may be a picture
    try:
        for packet in container.demux(stream):
            first = first or next(iter(opening.packet_frames(packet)), None)
            if packet.size and not packet.is_discard and not packet.is_corrupt:
                blank = lossy and packet.size >= 32 and not any(memoryview(packet)[:32])
                lasts, key = packet.duration or 0, packet.is_keyframe
                end = (packet.pos or 0) + packet.size
                found.append(_Packet(packet.pts, lasts, key, packet.dts, blank, end))
    except av.FFmpegError:
        if not found:
            raise
        # a file that is cut short: _check_whole compares with what the header promises
    return found, first


def _check_single(path: Path, packets: list[_Packet], duration: float) -> None:
    """Refuse a file with another one behind it that is never read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # what cannot be read is sometimes taken for one packet more
        read = sorted(packet.end for packet in packets)[-2:][0]
        again = _HEAD.match(content) and _HEAD.search(content, max(read, 1))
        if again or _described_twice(content, read):
            remedy = "write both into one film, such as by ffmpeg's concat"
            raise VideoError(path, f"another recording begins at {duration:.2f} s: {remedy}")


def _described_twice(content: mmap.mmap, read: int) -> bool:
    """Tell whether mov or mp4 atoms describe a film again, and its pictures begin after `read`.

    Old mov files have no ``ftyp``: nothing else marks where the next one begins.
    """
    place, kinds = 0, []
    while place + 16 <= len(content):
        size, kind, large = struct.unpack_from(">I4sQ", content, place)
        kinds += [kind] * (kind == b"moov" or (kind == b"mdat" and place >= read))
        if (size := large if size == 1 else size) < 8:
            break
        place += size
    return b"mdat" in kinds and kinds.count(b"moov") > 1


def _order(path: Path, container, stream, packets: list[_Packet]) -> tuple[bool, Fraction, list]:
    """Return whether frames are counted, the tick, and the packets in the order of showing."""
    stamps, order = [p.pts for p in packets], [p.dts for p in packets if p.dts is not None]
    joined = any(b < a for a, b in pairwise(order))
    bare = container.format.name == "avi" and stream.codec_context.has_b_frames
    if not (joined or bare or None in stamps or len(set(stamps)) < len(stamps)):
        return False, stream.time_base, sorted(packets)
    with open_film(path) as again:
        decoded = stream_frames(again, one_thread(again.streams[stream.index]))
        stamps, tick = [frame.pts for frame in decoded], stream.time_base
    if not joined or None in stamps:
        # raw streams carry no times, AVI with B-frames wrong ones: count at the stated rate
        stamps, tick = range(len(stamps)), 1 / _rate(container, stream)
    return True, tick, [_Packet(pts, 0, at == 0, None, False, 0) for at, pts in enumerate(stamps)]


def _rate(container, stream) -> Fraction:
    rates = stream.average_rate, stream.guessed_rate, Fraction(25)
    # where there are no times, FFmpeg's average is a default of its own
    return next(filter(None, rates[bool(container.format.flags & _NO_TIMES) :]))


def _beginning(container, stream, first: Fraction) -> Fraction:
    """Return where a player's clock begins, in the container's seconds.

    The earliest start of any stream; of mp4 and mov the beginning of their timeline, from where
    an edit list counts, also with an empty edit.
    """
    others = (s for s in (*opening.films_in(container), *container.streams.audio) if s != stream)
    starts = [s.start_time * s.time_base for s in others if s.start_time is not None]
    timeline = [Fraction(0)] * ("mp4" in container.format.name.split(","))
    return min([first, *starts, *timeline])


def _run_on(pts: np.ndarray, otherwise: float) -> tuple[np.ndarray, float, np.ndarray]:
    """Let times that jump back go on; return them, the usual step, and the places of the jumps."""
    steps = np.diff(pts)
    forward = steps[steps > 0]
    usual = float(np.median(forward)) if forward.size else otherwise
    jumps = np.flatnonzero(steps <= 0)
    steps[jumps] = max(1, round(usual))
    return pts[0] + np.concatenate([[0], steps.cumsum()]), usual, jumps


def _describe(path: Path, container, stream, packets: list, first, origin: str) -> Index:
    """Put the packets in presentation order and say what the file is."""
    counted, tick, packets = _order(path, container, stream, packets)
    # the first ones may refer to pictures from before the film
    lost = 0 if counted or first.pts is None else sum(packet.pts < first.pts for packet in packets)
    columns = (np.array(column) for column in zip(*packets[lost:], strict=True))
    pts, lengths, keyframe, _, blank, _ = columns
    pts, usual, jumps = _run_on(pts, float(1 / _rate(container, stream) / tick))
    last = int(lengths[-1]) if lengths[-1] > 0 else max(1, round(usual))
    start = int(pts[0]) * tick
    late = start - _beginning(container, stream, start)
    begins = float(late) if origin == "beginning" else 0.0
    # whole ticks up to the last step: the seconds are the nearest floats to the true times
    seconds = (pts - pts[0]) * tick.numerator / tick.denominator + begins
    duration = float((int(pts[-1] - pts[0]) + last) * tick) + begins
    if duration > _LONGEST:
        raise VideoError(path, f"damaged: its frames span {duration:.0f} s")
    missing, gaps = _find_gaps(container, pts, usual, blank, np.append(seconds, duration))
    steps, turn = np.diff(pts), _find_turn(first)
    width, height = (first.width, first.height)[:: -1 if turn[0] else 1]
    variable = bool(steps.size and np.ptp(steps) > max(2, 0.02 * usual))
    others = [s.index for s in opening.films_in(container) if s != stream]
    notes = (
        others and _OTHERS.format(1 + len(others), stream.index, others[0]),
        lost and _BEFORE.format(lost),
        jumps.size and _JOINED.format(*seconds[jumps[:1] + 1]),
        _check_whole(path, container, stream, duration - begins + float(start)),
        missing,
    )
    info = VideoInfo(
        path=path, duration=duration, frames=len(pts), fps=len(pts) / (duration - begins),
        variable=variable, width=width, height=height, rotation=round(-first.rotation) % 360,
        codec=stream.codec.canonical_name, start=float(start),
        streams=tuple(s.type for s in container.streams), warnings=tuple(filter(None, notes)),
        begins=begins, gaps=gaps,
    )  # fmt: skip
    reason = _not_for_decord(container, stream, first, turn)
    places = stream.index, None if counted else pts
    return Index(info, *places, seconds, keyframe, turn, opening.decoder_bytes(stream), reason)


def _find_turn(first) -> tuple[bool, bool, bool]:
    """Return what the display matrix of a frame does, in quarter turns (see `Index`)."""
    matrix = first.side_data.get("DISPLAYMATRIX")
    # x = a * column + c * row, y = b * column + d * row
    a, b, _, c, d = struct.unpack_from("=5i", matrix) if matrix else (1, 0, 0, 0, 1)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def _not_for_decord(container, stream, first, turn: tuple) -> str | None:
    """Return why decord 0.6 cannot read this file, or gives other frames; else None."""
    codec, bits = stream.codec.canonical_name, [one.bits for one in first.format.components]
    reasons = {
        f"decord has no {codec} decoder": codec in ("av1", "vvc"),  # it bundles FFmpeg 4.1
        "decord may take another of its video streams": len(container.streams.video) > 1,
        "decord loses frames in MPEG-TS and MPEG-PS": container.format.flags & _TIMES_JUMP,
        "decord rounds more than 8 bits a channel otherwise": max(bits, default=0) > 8,
        "decord does not mirror frames": sum(turn) % 2,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _check_whole(path: Path, container, stream, end: float) -> str | None:
    """Return a warning where a little of what the header promises is missing; raise if much is."""
    entries = [entry.pos + entry.size for entry in stream.index_entries]
    there = int((np.array(entries) <= path.stat().st_size).sum())
    if (missing := len(entries) - there) > 0:
        found = f"{there} of the {len(entries)} frames it promises are there"
        if missing > max(1, 0.01 * len(entries)):
            raise VideoError(path, f"cut short: {found}")
        return found
    promised = 0 if container.format.flags & _TIMES_JUMP else (container.duration or 0) / 1e6
    if promised > end + max(1, 0.05 * end):
        return f"the file promises {promised:.2f} s, its video ends at {end:.2f} s"
    return None


def _find_gaps(container, pts, usual: float, blank, bounds) -> tuple[str | None, tuple]:
    """Return a warning, and the seconds, of where a film of one rate lacks frames.

    `blank` tells frames of which there are only zeros; `bounds` are the seconds of the frames,
    and the end.
    """
    steps = np.diff(pts)
    longer = steps > max(2, 1.5 * usual)
    even = np.abs(steps - usual) <= max(2, 0.02 * usual)
    one_rate = (even | longer).all() and longer.sum() <= 0.05 * steps.size
    longer &= one_rate and container.format.name in _STEADY
    between = round(float((steps[longer] / usual - 1).sum()))
    edges = np.diff(blank | np.append(longer, False), prepend=False, append=False)
    gaps = bounds[np.flatnonzero(edges)].reshape(-1, 2)
    if not gaps.size:
        return None, ()
    where = ", ".join(f"{begin:.2f} to {end:.2f} s" for begin, end in gaps[:3])
    where += f" and {len(gaps) - 3} times more" if len(gaps) > 3 else ""
    count = f"about {between + int(blank.sum())} of {len(pts) + between} frames"
    return f"{count} are missing inside, from {where}", tuple(map(tuple, gaps.tolist()))
