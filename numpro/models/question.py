"""How a question is put to a model, as one record."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from numpro.numbers import NumberStyle
from numpro.prompting import TASKS
from numpro.video import check_windows

WHOLE = "whole"


@dataclass(frozen=True)
class Question:
    """How a question is put; the defaults are the published ones.

    Attributes
    ----------
    task : str
        ``moment_retrieval`` or ``highlight_detection`` (`numpro.prompting.TASKS`).
    time_encoding : str
        How the model is given the time (`numpro.prompting.TIME_ENCODINGS`).
    style : NumberStyle
        How numbers are drawn on the frames.
    template : str or None
        The wording, with ``{query}``; None takes the adapter's own, else the published one.
    max_new_tokens : int or None
        Where a response is cut; None goes by the task (`numpro.models.base.answer_tokens`).
    windows : (frames, stride), "whole" or None
        Ranked moments are asked of so many frames at a time, and again so many frames later. None
        goes by what the adapter was trained on (`window_size`); "whole" asks once.
    """

    task: str = TASKS[0]
    time_encoding: str = "overlay-index"
    style: NumberStyle = NumberStyle()
    template: str | None = None
    max_new_tokens: int | None = field(default=None, repr=False)
    windows: tuple[int, int] | str | None = field(default=None, repr=False)

    def __post_init__(self):
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more; got {self.max_new_tokens!r}")
        if self.windows not in (None, WHOLE):
            check_windows(self.windows)

    def window_size(self, notes: dict) -> tuple[int, int] | None:
        """Return the windows of ranked moments, frames and stride; None asks a film whole.

        Without `windows` they are as long as the longest film that an adapter was trained on, by
        its notes, and a quarter of that apart.

        Examples
        --------
        >>> Question().window_size({"longest": 16}), Question().window_size({})
        ((16, 4), None)
        """
        if self.windows is not None:
            return None if self.windows == WHOLE else self.windows
        longest = notes.get("longest") or 0
        return (longest, max(1, longest // 4)) if longest > 1 else None


def differences_from_training(
    notes: dict, question: Question, seconds: Sequence[float], origin: str | None = None
) -> list[str]:
    """Say in what a question differs from those an adapter was trained on.

    Parameters
    ----------
    notes
        The adapter's; {} of a plain peft adapter, of which nothing is known.
    question
        How it is put.
    seconds
        Of the frames. A single one has no rate, and a video thinned to the most frames that
        training took has a rate of its own.
    origin
        What their second 0 is (`numpro.read_clip`), where that is known.

    Examples
    --------
    >>> trained = {"fps": 0.5, "time_encoding": "none"}
    >>> differences_from_training(trained, Question(time_encoding="none"), [0.0, 1.0, 2.0])
    ['was trained at 0.5 frames a second, it is asked at 1']
    """
    differences = []
    trained, now = notes.get("time_encoding"), question.time_encoding
    if trained and trained != now:
        differences.append(f"was trained with time encoding {trained!r}, it is asked with {now!r}")
    drawn, style = notes.get("style"), question.style.as_dict()
    if drawn and trained == now == "overlay-index" and drawn != style:
        differences.append(f"was trained with numbers {drawn}, it is asked with {style}")
    zero = notes.get("origin")
    if zero and origin and zero != origin:
        clocks = f"on the clock of origin {zero!r}, it is asked on that of {origin!r}"
        differences.append(f"was trained {clocks}")
    rate = notes.get("fps" if question.task == "moment_retrieval" else "highlight_fps")
    if rate and 1 < len(seconds) < (notes.get("max_frames") or 240):
        fps = (len(seconds) - 1) / (seconds[-1] - seconds[0])
        if abs(fps / rate - 1) > 0.02:
            differences.append(f"was trained at {rate:g} frames a second, it is asked at {fps:.3g}")
    return differences
