"""Five ways of giving a model the time of each frame, and more that are added by name.

============== ============================================================================
``none``            nothing is given but, in words, how many frames there are and how long
                    the video is (a baseline without this fails by format alone)
``overlay-index``   the frame's number is drawn on it (NumPro, arXiv 2411.10332)
``overlay-seconds`` the frame's time is drawn on it, "10.2s" (TimeLens, arXiv 2512.14698)
``text-index``      the frame's number stands as text before it
``text-seconds``    the frame's time stands as text before it (UniTime, arXiv 2506.18883)
============== ============================================================================

The sentence of ``overlay-index`` and the text before a frame of ``text-seconds`` are as published;
the other sentences are our own.
"""

from collections.abc import Sequence

from numpro.spans import one_of

# Published (NumPro repository, evaluation scripts); only the colour word is a parameter here.
NUMBERS = "The {color} numbers on each frame represent the frame number."

# Name -> the sentence that says what the numbers are, and what is drawn on each frame
# ("overlay-...") or written before it ("text-..."). An encoding whose name ends in "-seconds" gives
# times, and asks for them.
ENCODINGS = {
    "none": ("The video is given as {n} frames, numbered from {first} to {last}{lasting}.", ""),
    "overlay-index": (NUMBERS, "{}"),
    "overlay-seconds": ("The {color} numbers on each frame represent its time in seconds.", "{}s"),
    "text-index": ("The number before each frame is its frame number.", "Frame {}: "),
    "text-seconds": (
        "The timestamp before each frame is its time in seconds.", "timestamp: {} seconds "
    ),
}  # fmt: skip
TIME_ENCODINGS = tuple(ENCODINGS)

Marks = tuple[str, ...] | None


def asked_unit(time_encoding: str) -> str:
    """Return the unit the model is to answer in, "frame" or "second".

    Examples
    --------
    >>> asked_unit("overlay-index"), asked_unit("text-seconds"), asked_unit("none")
    ('frame', 'second', 'frame')
    """
    timed = one_of("time_encoding", time_encoding, ENCODINGS).endswith("seconds")
    return "second" if timed else "frame"


def frame_marks(
    time_encoding: str, numbers: Sequence[int], seconds: Sequence[float]
) -> tuple[Marks, Marks]:
    """Return the texts to draw on the frames and those to write before them; None for none.

    Times have one decimal, or as many more as keep the frames apart.

    Examples
    --------
    >>> frame_marks("text-index", [0, 1], [0.0, 2.0])
    (None, ('Frame 0: ', 'Frame 1: '))
    >>> frame_marks("overlay-seconds", [0, 1], [0.0, 0.04])
    (('0.00s', '0.04s'), None)
    """
    mark = ENCODINGS[time_encoding][1]
    values = _times(seconds) if asked_unit(time_encoding) == "second" else numbers
    marks = tuple(mark.format(value) for value in values) if mark else None
    return (None, marks) if time_encoding.startswith("text") else (marks, None)


def _times(seconds: Sequence[float]) -> list[str]:
    """Return times with one decimal, or with as many more, up to three, as keep them apart."""
    digits = next((d for d in (1, 2) if len({f"{t:.{d}f}" for t in seconds}) == len(seconds)), 3)
    return [f"{t:.{digits}f}" for t in seconds]
