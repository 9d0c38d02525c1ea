"""Films for the tests: every frame carries its index in its pixels."""

from fractions import Fraction

import av
import numpy as np
import pytest


def numbered(count, width=64, height=48, bars=8):
    """Frames that carry their index as black or white bars, one for each bit."""
    bits = np.arange(count)[:, None] >> (np.arange(width) * bars // width) & 1
    return np.broadcast_to(
        (bits * 255).astype(np.uint8)[:, None, :, None], (count, height, width, 3)
    )


def number_of(frame, bars=8):
    """Read the index back."""
    width = frame.shape[1]
    edge = 2 if width > 32 else 0  # left out, for it may be blurred; a bar of 2 pixels is all edge
    ends = [(b * width // bars + edge, (b + 1) * width // bars - edge) for b in range(bars)]
    white = [frame[:, left:right].mean() > 127 for left, right in ends]
    return sum(int(bar) << b for b, bar in enumerate(white))


def encode(path, codec="libx264", frames=None, pix_fmt="yuv420p", rate=25, **more):
    """Write a file with PyAV alone, as other people's tools do (B-frames, any codec)."""
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    frames = numbered(40) if frames is None else frames
    default = more.pop("default", 0)  # the stream that a player shows, and the right one
    start, options = more.pop("start", 0), {"g": "8"} | more.pop("options", {})
    with av.open(f"file:{path}", "w", options=more.pop("container", {})) as out:
        out.metadata.update(more.pop("metadata", {}))
        streams = [
            out.add_stream(codec, rate=Fraction(rate), options=options)
            for _ in range(more.pop("streams", 1))
        ]
        for place, stream in enumerate(streams):
            if place == default > 0:
                stream.disposition = av.stream.Disposition.default
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pix_fmt
            if rotation := more.get("rotation"):
                stream.set_display_rotation(rotation)
        for at, frame in enumerate(frames):
            for place, stream in enumerate(streams):
                shown = np.ascontiguousarray(frame if place == default else 255 - frame)
                picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
                picture.pts, picture.time_base = at + start, 1 / Fraction(rate)
                out.mux(stream.encode(picture))
        for stream in streams:
            out.mux(stream.encode())
    return path


def on_screen(times, seconds):
    """The rule, in its plainest form: the last frame whose time is <= t."""
    return [max(i for i, s in enumerate(seconds) if s <= t + 1e-6) for t in times]


def assert_right(clip, seconds):
    """The clip shows, at each of its seconds, the frame on screen in a file of these times."""
    wanted = on_screen(clip.seconds, seconds)
    assert clip.source_index.tolist() == wanted
    assert [number_of(frame) for frame in clip.frames] == wanted
