"""Ways of giving a model the time of each frame; the table of them is ``encodings.yaml``.

======================= ====================================================================
``none``                nothing is given but, in words, how many frames there are and how long
                        the video is
``overlay-index``       the frame's number is drawn on it (NumPro)
``overlay-seconds``     the frame's time is drawn on it, "10.2s"
``text-index``          the frame's number stands as text before it
``text-seconds``        the frame's time stands as text before it
``overlay-clock``       the frame's time is drawn on it as mm:ss
``text-clock``          the frame's time stands as text before it as mm:ss
``overlay-sparse``      every fifth frame has its number
``overlay+text-index``  the number is drawn on the frame and stands before it
``hundredths``          drawn from 00 to 99, in hundredths of the video
``bar``                 a bar along the bottom is filled as the video passes: no digits
``native``              what the model's own processor writes beside frames, and nothing else
``overlay+native``      the number is drawn, and the processor writes what it writes
======================= ====================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpro.paths import yaml_beside
from numpro.spans import one_of

Marks = tuple[str, ...] | None


@dataclass(frozen=True)
class Value:
    """What is shown of a frame, and how a model is to answer in it (see ``encodings.yaml``)."""

    of: str
    text: str
    unit: str
    form: str
    noun: str
    place: str
    label: str
    end: str
    digits: int = 0

    def write(self, value: float, digits: int | None = None) -> str:
        """Return the text of one value."""
        digits = self.digits if digits is None else digits
        minutes, rest = divmod(round(float(value), digits), 60)
        clock = {"minutes": int(minutes), "rest": rest, "width": 2 + bool(digits) + digits}
        return self.text.format(value, digits=digits, **clock)

    def write_all(
        self, numbers: Sequence[int], seconds: Sequence[float], duration: float | None
    ) -> list[str]:
        """Return each frame's text, with as many digits as keep them apart, up to three."""
        values = numbers
        if self.of != "number":
            values = [t if self.of == "second" else to_percent(t, duration) for t in seconds]
        for digits in range(self.digits, 4):
            texts = [self.write(value, digits) for value in values]
            if len(set(texts)) == len(texts):
                break
        return texts


_TABLE = yaml_beside(__file__)
VALUES = {name: Value(**fields) for name, fields in _TABLE["values"].items()}


@dataclass(frozen=True)
class Encoding:
    """A way of giving the time (see ``encodings.yaml``); `value` and `shows` name `VALUES`."""

    sentence: str
    drawn: str = ""
    written: str = ""
    value: str = "number"
    shows: str = ""
    every: int = 1
    native: bool = False
    first: int = 0

    @property
    def shown(self) -> Value:
        """What is shown, which is what is asked for unless `shows` names another."""
        return VALUES[self.shows or self.value]


ENCODINGS = {name: Encoding(**fields) for name, fields in _TABLE["encodings"].items()}
TIME_ENCODINGS = tuple(name for name in ENCODINGS if ":" not in name)
# what a numbered film can hold whole; what can be exported for other trainers; what shows numbers
DRAWN = tuple(n for n, how in ENCODINGS.items() if how.drawn and not (how.written or how.native))
EXPORTED = tuple(n for n in TIME_ENCODINGS if not ENCODINGS[n].written)
NUMBERED = tuple(
    n for n, how in ENCODINGS.items() if how.shown.of == "number" and (how.drawn or how.written)
)
# Published (NumPro repository, evaluation scripts); only the colour word is a parameter here.
NUMBERS = ENCODINGS["overlay-index"].sentence


def value_of(time_encoding: str) -> Value:
    """Return what an encoding asks for.

    >>> value_of("text-clock").write(67.4), value_of("hundredths").write(5)
    ('01:07', '05')
    """
    return VALUES[ENCODINGS[one_of("time_encoding", time_encoding, ENCODINGS)].value]


def asked_unit(time_encoding: str) -> str:
    """Return the unit the model is to answer in: "frame", "second" or "percent".

    Examples
    --------
    >>> asked_unit("overlay-index"), asked_unit("text-seconds"), asked_unit("hundredths")
    ('frame', 'second', 'percent')
    """
    return value_of(time_encoding).unit


def frame_marks(
    time_encoding: str, numbers: Sequence[int], seconds: Sequence[float],
    duration: float | None = None,
) -> tuple[Marks, Marks]:  # fmt: skip
    """Return the texts to draw on the frames and those to write before them; None for none.

    Examples
    --------
    >>> frame_marks("text-index", [0, 1], [0.0, 2.0])
    (None, ('Frame 0: ', 'Frame 1: '))
    >>> frame_marks("overlay-seconds", [0, 1], [0.0, 0.04])
    (('0.00s', '0.04s'), None)
    >>> frame_marks("hundredths", [0, 1], [0.0, 62.5], 125.0), frame_marks("bar", [0], [1.0], 4.0)
    ((('00', '50'), None), (('▁25.0%',), None))
    """
    how = ENCODINGS[time_encoding]
    texts = how.shown.write_all(numbers, seconds, duration)
    texts = [text if number % how.every == 0 else "" for number, text in enumerate(texts)]
    drawn, written = (
        tuple(text and form.format(text) for text in texts) if form else None
        for form in (how.drawn, how.written)
    )
    return drawn, written


def to_percent(second: float, duration: float) -> float:
    """Return how much of a video has passed: below 100, as VTimeLLM has it.

    >>> [to_percent(second, 8.0) for second in (0.0, 2.0, 8.0)]
    [0.0, 25.0, 99.0]
    """
    return min(100.0 * second / duration, 99.0)
