"""Open a video file, take its stream and decode it, with one kind of error for all that fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpro.paths import find, places

_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC
_KEPT_FRAMES = 18  # that a decoder may hold: H.264 predicts from 16


class VideoError(ValueError):
    """A video that cannot be read.

    Parameters
    ----------
    path : str or path
        The file.
    reason : str
        Why, in a few words.
    where : str
        Where was looked for it; in the message, and in no stored reason.
    """

    def __init__(self, path: str | os.PathLike, reason: str, where: str = ""):
        super().__init__(path, reason, where)
        self.path, self.reason, self.where = Path(path), reason, where

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}{self.where}"


class SamplingError(VideoError):
    """A video that cannot be sampled as asked: of too many frames, or too large ones."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into a `VideoError`: one film must not end a run."""
    try:
        yield
    except (VideoError, MemoryError):
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise VideoError(path, f"not a readable video ({why.lower()})") from error


def check_file(path: Path) -> os.stat_result:
    """Return the state of a file that can be read; a `VideoError` says why it cannot."""
    try:
        if (found := find(path)).exists() and not found.is_file():  # a pipe would be waited for
            raise VideoError(path, f"a {'directory' if found.is_dir() else 'device'}, not a file")
        with found.open("rb") as file:
            if not file.read(1):
                raise VideoError(path, "empty file")
            return os.fstat(file.fileno())
    except FileNotFoundError:
        raise VideoError(path, "no such file", places(path)) from None
    except OSError as error:
        raise VideoError(path, (error.strerror or "cannot be opened").lower()) from error


def open_film(path: Path) -> Any:
    """Open a file with PyAV, whatever its name (a colon, say) and its titles are."""
    import av

    return av.open(f"file:{path}", metadata_errors="replace")


def films_in(container: Any) -> list:
    """Return the video streams that are no cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & _COVER]


def choose_stream(path: Path, container: Any, number: int | None) -> Any:
    """Return the video stream of this number, or the one that a player takes.

    Raises
    ------
    VideoError
        When there is none, or none of this number, or its codec is unknown.
    """
    if not (films := films_in(container)):
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(path, f"no video stream (it holds {kinds})")
    best = container.streams.best("video")
    chosen = best if best in films else films[0]
    if number is not None and (chosen := {s.index: s for s in films}.get(number)) is None:
        numbers = ", ".join(str(stream.index) for stream in films)
        raise VideoError(path, f"stream {number} is not one of its video streams: {numbers}")
    if chosen.codec_context is None:
        raise VideoError(path, "its codec is not known to FFmpeg")
    return chosen


def decoder_bytes(stream: Any) -> int:
    """Return how much memory decoding a stream may take, by its header, before it is decoded."""
    decoder = stream.codec_context
    bits = decoder.format.padded_bits_per_pixel if decoder.format else 24
    return decoder.width * decoder.height * (_KEPT_FRAMES * bits // 8 + 6)  # and one, as RGB, twice


def check_memory(path: Path, needed: int, content: str, most: float | None) -> None:
    """Refuse what may not fit into the memory: the system would end the whole process.

    `most` is in bytes; a quarter of this computer's memory by default, as several videos are
    read side by side.
    """
    import psutil

    bound = psutil.virtual_memory().total / 4 if most is None else most
    if needed > bound:
        sizes = f"{content} may need {needed / 1e9:.2f} GB, allowed are {bound / 1e9:.2f} GB"
        remedy = "lower fps, or give max_frames, size, start or end; or raise max_memory"
        raise SamplingError(path, f"too large for the memory: {sizes}: {remedy}")


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
            yield from packet_frames(packet)
    except av.FFmpegError:
        return  # the file ends early; the caller counts what is missing


def packet_frames(packet: Any) -> list:
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
