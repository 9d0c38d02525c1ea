"""Number a whole video, or list its sampled frames, however long it is: a stretch at a time."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from numpro.numbers.overlay import NumberStyle, number_frames
from numpro.progress import progress_bar
from numpro.prompting.encodings import DRAWN
from numpro.prompting.prompts import build_prompt
from numpro.spans import one_of
from numpro.video import Clip, probe, read_clip, sampling_times, write_video

# What is read at once; each stretch opens the file again, but it is looked through only once.
_STRETCH_BYTES, _STRETCH_FRAMES = 1 << 28, 4096


def number_video(
    path: str | os.PathLike, out: str | os.PathLike, fps: float = 1.0,
    size: tuple[int, int] | None = None, style: NumberStyle | None = None,
    time_encoding: str = "overlay-index", origin: str = "beginning",
) -> dict:  # fmt: skip
    """Write a video of the sampled frames with a number on each.

    The new video shows each sampled frame, under its label, for as long as it stands for: from
    its own second to the next one's, the last one to the end. It is H.264 (yuv420p, header
    first), as browsers want it, and appears whole or not at all. Frames are read, numbered and
    coded in stretches of 256 MB at most, so that an hour of video fits into memory.

    Parameters
    ----------
    path : path
        A video file.
    out : path
        The file to write, ``.mp4``; not the video itself. What is there is replaced.
    fps : float
        Frames a second.
    size : (width, height), optional
        Resize the frames to this before they are numbered.
    style : NumberStyle, optional
        How the numbers look; the published style by default.
    time_encoding : str
        What is drawn: one of `numpro.prompting.encodings.DRAWN`.

    origin : {"beginning", "first-picture"}
        What second 0 is, as in `numpro.read_clip`.

    Returns
    -------
    dict
        ``out``, ``frames``, ``seconds`` (the video's duration) and ``warnings`` of the reader.

    Raises
    ------
    ValueError
        For a wrong argument.
    VideoError
        When the file cannot be read as a video.
    OSError
        When `out` cannot be written.
    """
    one_of("time_encoding", time_encoding, DRAWN)
    _check_out(Path(path), Path(out))
    info = probe(path, origin)
    seconds = sampling_times(info.duration, fps)
    options = {"time_encoding": time_encoding, "duration": info.duration}
    labels = build_prompt("anything", seconds, **options).frame_labels
    messages: dict[str, None] = {}  # in order, each once

    def pages() -> Iterator[np.ndarray]:
        drawn = iter(labels)
        with progress_bar(title="numbering", total=len(seconds), unit="frame") as bar:
            for clip in _stretches(path, seconds, size or (info.width, info.height), origin):
                messages.update(dict.fromkeys(clip.source["warnings"]))
                here = list(islice(drawn, len(clip)))
                for page in number_frames(clip.frames, style, here, out=clip.frames):
                    yield page
                    bar.update()
                del clip, page  # before the next stretch is read

    write_video(out, pages(), seconds=seconds, duration=info.duration)
    facts = {"out": str(out), "frames": len(seconds), "seconds": info.duration}
    return facts | {"warnings": list(messages)}


def list_frames(path: str | os.PathLike, fps: float = 1.0, origin: str = "beginning") -> list[dict]:
    """Return a row for each sampled frame: ``label``, ``seconds`` and ``source_index``.

    The frames are decoded, so that in a damaged file the source is the frame really shown.

    Parameters
    ----------
    path : path
        A video file.
    fps : float
        Frames a second.
    origin : {"beginning", "first-picture"}
        What second 0 is, as in `numpro.read_clip`.

    Raises
    ------
    ValueError
        For an `fps` that is not above 0.
    VideoError
        When the file cannot be read as a video.
    """
    seconds = sampling_times(probe(path, origin).duration, fps)
    shown = []
    with progress_bar(title="reading", total=len(seconds), unit="frame") as bar:
        for clip in _stretches(path, seconds, (16, 16), origin):
            shown.append(clip.source_index)
            bar.update(len(clip))
    columns = zip(seconds.tolist(), np.concatenate(shown).tolist(), strict=True)
    return [{"label": i, "seconds": s, "source_index": n} for i, (s, n) in enumerate(columns)]


def _stretches(path, seconds: np.ndarray, size: tuple[int, int], origin: str) -> Iterator[Clip]:
    """Yield clips of these seconds, one after the other."""
    most = min(max(1, _STRETCH_BYTES // max(1, 3 * size[0] * size[1])), _STRETCH_FRAMES)
    for first in range(0, len(seconds), most):
        yield read_clip(path, times=seconds[first : first + most], size=size, origin=origin)


def _check_out(path: Path, out: Path) -> None:
    """Say what is wrong with where to write to, before anything is read."""
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"the numbered video must be named .mp4; got {out}")
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a directory, not a file to write")
    if path.exists() and out.exists() and path.samefile(out):
        raise ValueError(f"the numbered video must be another file than the video {path}")
