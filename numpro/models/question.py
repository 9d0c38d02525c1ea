"""How a question is put to a model, as one record."""

from dataclasses import dataclass

from numpro.numbers.overlay import NumberStyle
from numpro.prompting.prompts import TASKS


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
    """

    task: str = TASKS[0]
    time_encoding: str = "overlay-index"
    style: NumberStyle = NumberStyle()
    template: str | None = None
