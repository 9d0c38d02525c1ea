"""A long film a window at a time: however long it is, few of its frames are in memory."""

import os
from collections.abc import Callable, Collection, Iterator, MutableMapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from numpro.video.clip import Clip, Sampling, probe, read_clip, sampling_times

_BLOCK = 4  # windows' frames are read together; where two readings meet, some are read twice


@dataclass(frozen=True, eq=False)
class Windows:
    """Overlapping windows over the sampled frames of a film.

    Attributes
    ----------
    seconds : float64 [T]
        Of all sampled frames of the film.
    source : dict
        Facts about the film, as in `Clip`.
    size : (int, int)
        Frames of a window, and by how many the next one begins later.
    read : callable
        Gives a clip of the frames from one number up to another.
    answers : mapping
        What each window has answered, by its first frame: windows that stand here are not asked.
    """

    seconds: np.ndarray
    source: dict
    size: tuple[int, int]
    read: Callable[[int, int], Clip]
    answers: MutableMapping[int, list] = field(default_factory=dict)

    def __post_init__(self):
        check_windows(self.size)

    def __len__(self) -> int:
        return len(self.seconds)

    def __str__(self) -> str:
        frames, stride = self.size
        if len(self.starts) == 1:
            return f"windows of {frames} frames: the film has {len(self)}, it is asked whole"
        return f"{len(self.starts)} windows of {frames} frames, one every {stride}"

    @property
    def duration(self) -> float:
        """Seconds of the whole film."""
        return float(self.source["duration"])

    @cached_property
    def starts(self) -> list[int]:
        """The first frame of each window; the last window ends with the film.

        A film that is no longer than a window has one.
        """
        frames, stride = self.size
        last = max(len(self) - frames, 0)
        return [*range(0, last, stride), last]

    def stop(self, start: int) -> int:
        """Return the frame after the last one of the window that begins at `start`."""
        return min(start + self.size[0], len(self))

    def clips(self, skip: Collection[int] = ()) -> Iterator[tuple[int, Clip]]:
        """Yield each window's first frame and its clip, without those that begin at `skip`."""
        block, first = None, 0
        for start in self.starts:
            if start in skip:
                continue
            stop = self.stop(start)
            if block is None or stop > first + len(block):
                block, first = None, start  # so that two do not lie in memory
                block = self.read(start, min(start + _BLOCK * self.size[0], len(self)))
            yield start, block.select(range(start - first, stop - first))


def check_windows(size: tuple[int, int]) -> None:
    """Refuse windows of fewer than 2 frames, and a stride that would leave frames out."""
    whole = np.shape(size) == (2,) and all(isinstance(n, int | np.integer) for n in size)
    if not whole or size[0] < 2 or not 1 <= size[1] <= size[0]:
        rule = "frames of 2 or more, and a stride of 1 to as many (no frame is left out)"
        raise ValueError(f"windows must be (frames, stride): {rule}; got {size!r}")


def film_of_window(clip: Clip) -> Clip:
    """Return a window as a film of its own, whose clock begins at 0."""
    seconds = clip.seconds - clip.seconds[0]
    step = float(np.median(np.diff(seconds))) if len(clip) > 1 else 0.0
    duration = min(clip.duration - clip.seconds[0], seconds[-1] + step)
    return replace(clip, seconds=seconds, source={**clip.source, "duration": float(duration)})


def cut_windows(clip: Clip, size: tuple[int, int]) -> Windows:
    """Return the windows of a clip that is in memory."""
    return Windows(clip.seconds, clip.source, size, lambda a, b: clip.select(range(a, b)))


def open_windows(
    path: str | os.PathLike, size: tuple[int, int], sampling: Sampling,
    max_memory: float | None = None,
) -> Windows:  # fmt: skip
    """Return the windows of a film at its full rate; frames are read as windows are taken.

    Parameters
    ----------
    path, max_memory
        As in `read_clip`.
    size
        Frames of a window and stride.
    sampling
        How the film is sampled; its `max_frames` does not hold: no window is thinned.

    Raises
    ------
    ValueError
        For a wrong size of windows or sampling.
    VideoError
        When the file cannot be read as a video, here or while windows are taken.
    """
    check_windows(size)
    info = probe(path, sampling.origin, max_memory=max_memory)
    seconds = sampling_times(info.duration, sampling.fps)
    how = asdict(replace(sampling, max_frames=None)) | {"fps": None, "max_memory": max_memory}
    source = {"path": str(path), "duration": info.duration, "warnings": tuple(info.warnings)}
    return Windows(seconds, source, size, lambda a, b: read_clip(path, times=seconds[a:b], **how))
