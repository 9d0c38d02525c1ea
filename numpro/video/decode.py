"""Decode the frames that are wanted, and as few others as possible."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
from PIL import Image

from numpro.video.container import Index, VideoError, VideoInfo, one_thread, stream_frames

_BATCH_BYTES = 1 << 27
Size = tuple[int, int] | None  # width and height; None is the video's own


class _NotForDecord(Exception):
    """Decord cannot give these frames, for the reason in the message."""


def read(index: Index, wanted: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray, dict]:
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
        if index.not_for_decord:
            raise _NotForDecord(index.not_for_decord)
        frames = read_decord(index, wanted, size)
        return frames, wanted, {"backend": "decord", "why": "default", "warnings": ()}
    except _NotForDecord as reason:
        frames, shown = read_pyav(index, wanted, size)
        how = {"backend": "pyav", "why": str(reason), "warnings": ()}
    if lost := int((shown != wanted).sum()):
        damage = f"damaged: {lost} of the {len(wanted)} frames asked for cannot be decoded"
        how["warnings"] = (f"{damage}; the ones before them are shown",)
    return frames, shown, how


def read_decord(index: Index, wanted: np.ndarray, size: Size) -> np.ndarray:
    """Decode with decord, after checking that it sees the same frames at the same times."""
    info = index.info
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
            if len(pictures) == len(wanted) and size in (None, (info.width, info.height)):
                return pictures
            for slot, picture in enumerate(pictures, at):
                out[slot] = _resize(picture, size)
    except (RuntimeError, decord.DECORDError) as error:
        raise _NotForDecord(f"decord fails on it ({type(error).__name__})") from error
    return out


def read_pyav(index: Index, wanted: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Decode with PyAV; return the frames and the place that each one really has."""
    from av.video.reformatter import VideoReformatter

    info, convert = index.info, VideoReformatter()  # one for all: it is slow to set up
    sides = (info.width, info.height)[:: -1 if info.rotation % 180 else 1]
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
                out[slot] = _resize(np.rot90(picture, -(info.rotation // 90)), size)
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
    frames that neither are wanted nor serve any other.
    """
    import av

    keys = np.flatnonzero(index.keyframe)
    sparing = sparing and index.pts is not None
    # codecs other than H.264 do not mark in each packet whether others need it
    needed = set(index.pts[wanted].tolist()) if sparing and index.info.codec == "h264" else None
    with av.open(str(index.info.path)) as container:
        stream = one_thread(container.streams[index.stream])
        frames, here = stream_frames(container, stream, needed), -1
        for at in wanted:
            key = keys[np.searchsorted(keys, at, side="right") - 1] if len(keys) else 0
            if sparing and here + 1 < key <= at:
                container.seek(int(index.pts[key]), stream=stream)
                frames = stream_frames(container, stream, needed)
            while here < at and (frame := next(frames, None)) is not None:
                place = here + 1 if index.pts is None else index.ordinal.get(frame.pts)
                if place is not None:
                    here = place
                    yield here, frame


def _shape(info: VideoInfo, size: Size) -> tuple[int, int]:
    return (size[1], size[0]) if size else (info.height, info.width)


def _resize(picture: np.ndarray, size: Size) -> np.ndarray:
    if size is None or picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
