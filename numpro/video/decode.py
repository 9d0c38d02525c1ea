"""Decode the frames that are wanted, and as few others as possible."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
from PIL import Image

from numpro.video.container import Index, VideoInfo
from numpro.video.opening import VideoError, one_thread, open_film, reading, stream_frames

READERS = ("pyav", "decord")
Size = tuple[int, int] | None  # width and height; None is the video's own


class _NotForDecord(Exception):
    """Decord cannot give these frames, for the reason in the message."""


def read(
    index: Index, wanted: np.ndarray, size: Size, reader: str = "pyav"
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Decode frames.

    Parameters
    ----------
    index : Index
        The file.
    wanted : int array, sorted
        Places in the index.
    size : (width, height) or None
        Resize to this.
    reader : {"pyav", "decord"}
        PyAV reads where decord is not to be had, cannot, or would give other frames.

    Returns
    -------
    frames : uint8 array
    shown : int array
        The place that each frame really has: in a damaged file the last one that could be
        decoded stays on screen, as in a player.
    how : dict
        ``backend``, ``why``, ``warnings``.
    """
    why, notes = "default", []
    if reader == "decord":
        try:
            frames = read_decord(index, wanted, size)
            return frames, wanted, {"backend": "decord", "why": "by name", "warnings": ()}
        except _NotForDecord as reason:
            why = str(reason)
            notes.append(f"read by PyAV: {why}")
    with reading(index.info.path):
        frames, shown = read_pyav(index, wanted, size)
    if (lost := wanted[shown != wanted]).size:
        damage = f"damaged: {len(lost)} of the {len(wanted)} frames asked for cannot be decoded"
        where = f"between {index.seconds[lost[0]]:.2f} and {index.seconds[lost[-1]]:.2f} s"
        notes.append(f"{damage}, {where}; the ones before them are shown")
    return frames, shown, {"backend": "pyav", "why": why, "warnings": tuple(notes)}


def read_decord(index: Index, wanted: np.ndarray, size: Size) -> np.ndarray:
    """Decode with decord, after checking that it sees the same frames at the same times.

    Every frame is read in order: decord's seeks, also those of ``get_batch`` and of
    ``skip_frames``, end at wrong frames in many files, and nothing tells.
    """
    info = index.info
    if index.not_for_decord:
        raise _NotForDecord(index.not_for_decord)
    try:
        import decord
    except ImportError as error:
        raise _NotForDecord(f"decord is not installed here ({error})") from error
    out, slot = np.empty((len(wanted), *_shape(info, size), 3), np.uint8), 0
    try:
        # more threads have led to hangs in decord, and many videos are read side by side
        reader = decord.VideoReader(str(info.path.absolute()), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != info.frames:
            raise _NotForDecord(f"decord counts {len(reader)} frames of {info.frames}")
        stamps = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        if not np.allclose(stamps - stamps[0], index.seconds - info.begins, rtol=1e-5, atol=1e-3):
            raise _NotForDecord("decord gives other times")
        for at in range(int(wanted[-1]) + 1):
            picture = reader.next()
            if at == wanted[slot]:
                picture = picture.asnumpy()
                if picture.shape != (info.height, info.width, 3):
                    raise _NotForDecord(f"decord gives frames of shape {picture.shape}")
                out[slot] = _resize(picture, size)
                slot += 1
    except (RuntimeError, StopIteration, decord.DECORDError) as error:
        raise _NotForDecord(f"decord fails on it ({type(error).__name__})") from error
    return out


def read_pyav(index: Index, wanted: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Decode with PyAV; return the frames and the place that each one really has."""
    from av.video.reformatter import VideoReformatter

    info, convert = index.info, VideoReformatter()  # one for all: it is slow to set up
    sides = (info.width, info.height)[:: -1 if index.turn[0] else 1]
    out = np.empty((len(wanted), *_shape(info, size), 3), np.uint8)
    shown = np.full(len(wanted), -1)
    # the second pass decodes everything from the start: a seek may end at a wrong place, or skip
    # frames of a damaged part that can be decoded
    for sparing in (True, False):
        slot, last = 0, None
        for at, frame in chain(decoded(index, wanted, sparing), [(info.frames, None)]):
            while last is not None and slot < len(wanted) and wanted[slot] < at:
                # a stream may change its size on the way; it is shown in the first one's
                picture = convert.reformat(last[1], *sides, format="rgb24").to_ndarray()
                out[slot] = _resize(_turned(picture, *index.turn), size)
                shown[slot] = last[0]
                slot += 1
            last = at, frame
        if (shown == wanted).all():
            return out, shown
    lost = int((shown != wanted).sum())
    if (shown < 0).any() or 2 * lost > len(wanted):
        raise VideoError(info.path, f"damaged: {lost} of {len(wanted)} frames cannot be decoded")
    return out, shown


def decoded(index: Index, wanted: np.ndarray, sparing: bool) -> Iterator[tuple[int, object]]:
    """Yield (index, frame), forwards, until every wanted frame has had its turn.

    `sparing`: seek to the next keyframe when the next wanted frame lies beyond it, and leave out
    frames that neither are wanted nor serve any other. It ends early where a seek led to a frame
    that is not a keyframe by itself, whatever the container says, or beyond the wanted one.
    """
    keys = np.flatnonzero(index.keyframe)
    sparing = sparing and index.pts is not None
    # codecs other than H.264 do not mark in each packet whether others need it
    needed = set(index.pts[wanted].tolist()) if sparing and index.info.codec == "h264" else None
    with open_film(index.info.path) as container:
        stream = one_thread(container.streams[index.stream])
        frames, here, sought = stream_frames(container, stream, needed), -1, False
        for at in wanted:
            key = keys[np.searchsorted(keys, at, side="right") - 1] if len(keys) else 0
            if sparing and here + 1 < key <= at:
                container.seek(int(index.pts[key]), stream=stream)
                frames, sought = stream_frames(container, stream, needed), True
            while here < at and (frame := next(frames, None)) is not None:
                place = here + 1 if index.pts is None else index.ordinal.get(frame.pts)
                if sought and (not frame.key_frame or (place or 0) > at):
                    return
                sought = False
                if place is not None:
                    here = place
                    yield here, frame


def _shape(info: VideoInfo, size: Size) -> tuple[int, int]:
    return (size[1], size[0]) if size else (info.height, info.width)


def _turned(picture: np.ndarray, transposed: bool, mirrored: bool, flipped: bool) -> np.ndarray:
    picture = picture.transpose(1, 0, 2) if transposed else picture
    return picture[:: -1 if flipped else 1, :: -1 if mirrored else 1]


def _resize(picture: np.ndarray, size: Size) -> np.ndarray:
    if size is None or picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
