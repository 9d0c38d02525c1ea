"""Films as other people's tools leave them, made with PyAV alone: cut, delayed, joined, edited.

Every picture carries its number in the source film (30 pictures a second), so that "picture 150"
is what a player shows at second 5 of the source.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from struct import pack, unpack_from

import av
import numpy as np
from films import numbered

RATE, BARS = 30, 10
_SOUND = 48000


def make_source(
    path: Path, seconds: float = 30, codec: str = "libx264", options: dict | None = None,
    times: Sequence[float] | None = None, sound: bool = True, **container,
) -> Path:  # fmt: skip
    """Write numbered pictures, a keyframe every ten seconds, with silent sound or without."""
    count = len(times) if times is not None else round(seconds * RATE)
    numbers = np.rint(np.asarray(times) * RATE).astype(int) if times is not None else range(count)
    with av.open(str(path), "w", options=container) as out:
        video = out.add_stream(
            codec, rate=RATE, options={"g": "300", "sc_threshold": "0"} | (options or {})
        )
        video.width, video.height, video.pix_fmt = 160, 32, "yuv420p"
        audio = out.add_stream("libopus" if "vp" in codec else "aac", rate=_SOUND) if sound else 0
        pixels = numbered(1024, 160, 32, BARS)
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[number]), "rgb24")
            frame.pts, frame.time_base = int(number), Fraction(1, RATE)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for at in range(round(seconds * 50) if sound else 0):
            quiet = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), "fltp", "mono")
            quiet.rate, quiet.pts, quiet.time_base = _SOUND, 960 * at, Fraction(1, _SOUND)
            out.mux(audio.encode(quiet))
        if sound:
            out.mux(audio.encode())
    return path


def copy(
    source: Path, path: Path, place: Callable[[str, float], float | None], sound: bool = True,
    **container,
) -> Path:  # fmt: skip
    """Copy packets: `place` is given the type and second of each, and returns the new second.

    None leaves the packet out.
    """
    with av.open(str(source)) as film, av.open(str(path), "w", options=container) as out:
        streams = [*film.streams.video, *(film.streams.audio if sound else ())]
        copies = {s.index: out.add_stream_from_template(s) for s in streams}
        packets = [packet for packet in film.demux(streams) if packet.size]
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            second = float(packet.pts * packet.time_base)
            new = place(packet.stream.type, second)
            if new is not None:
                shift = round((new - second) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path


def edit(source: Path, path: Path, pieces: list[tuple[float, float | None]]) -> Path:
    """Copy an mp4 of one track with another edit list.

    Each piece is the seconds that it lasts, and where it begins in the source; None is empty.
    """
    data = source.read_bytes()
    assert data.count(b"elst") <= 1 and data.index(b"moov") > data.index(b"mdat")
    ticks = unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    media = unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    entries = b"".join(
        pack(">IiI", round(length * ticks), -1 if at is None else round(at * media), 1 << 16)
        for length, at in pieces
    )
    elst = b"elst" + pack(">II", 0, len(pieces)) + entries
    edts = b"edts" + pack(">I", 4 + len(elst)) + elst
    edts = pack(">I", 4 + len(edts)) + edts
    if (old := data.find(b"edts")) > 0:
        start, end = old - 4, old - 4 + unpack_from(">I", data, old - 4)[0]
    else:
        start = end = data.index(b"mdia") - 4
    grown = len(edts) - (end - start)
    whole = bytearray(data[:start] + edts + data[end:])
    for box in (b"moov", b"trak"):
        at = whole.index(box) - 4
        whole[at : at + 4] = pack(">I", unpack_from(">I", whole, at)[0] + grown)
    path.write_bytes(whole)
    return path
