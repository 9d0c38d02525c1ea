"""The labels that an answer may name, and the words around them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from numpro.prompting.answers import MomentAnswer
from numpro.prompting.encodings import ENCODINGS, value_of

_NUMBER = r"[0-9]+(\.[0-9]+)?"


@dataclass(frozen=True)
class LabelForm:
    """Which labels an answer may name, and in what words.

    Attributes
    ----------
    texts
        Of each label as an answer writes it, in the order of `values`.
    values
        The numbers they stand for, ascending.
    words
        The form that the question asks for: what stands before, between and behind two labels.
    """

    texts: tuple[str, ...]
    values: tuple[float, ...]
    words: tuple[str, str, str]

    def words_of(self, answer: MomentAnswer) -> tuple[tuple[str, str, str], tuple[str, str]]:
        """Return an answer's own words around its numbers, and the numbers; else those of the form.

        The first two neighbours among its numbers are taken that are the span it was read as.
        """
        span = sorted(answer.spans[0]) if answer.spans and None not in answer.spans[0] else None
        for one, two in pairwise(re.finditer(_NUMBER, answer.text)):
            if sorted((float(one[0]), float(two[0]))) == span:
                cuts = answer.text[: one.start()], answer.text[one.end() : two.start()]
                return (*cuts, answer.text[two.end() :]), (one[0], two[0])
        return self.words, self.texts[:1] * 2


def label_form(
    time_encoding: str, frames: int, labels: Sequence[float] | None, duration: float
) -> LabelForm | str:
    """Return the labels that answers about a clip may name; the reason where they are no numbers.

    Numbers are those of the frames; seconds every tenth of one; hundredths all of them.

    Examples
    --------
    >>> label_form("overlay-index", 3, None, 2.5)
    LabelForm(texts=('0', '1', '2'), values=(0, 1, 2), words=('From Frame ', ' to Frame ', '.'))
    >>> label_form("hundredths", 3, None, 2.5).texts[:2]
    ('00', '01')
    >>> label_form("text-clock", 3, None, 2.5)
    'its labels are no plain numbers but like 00:00'
    """
    value = value_of(time_encoding)
    if value.of == "percent":
        values = range(100)
    elif value.of == "second":
        values = [tenth / 10 for tenth in range(int(duration * 10) + 1)]
    else:
        first = ENCODINGS[time_encoding].first
        values = sorted({*(range(first, first + frames) if labels is None else labels)})
    texts = tuple(map(value.write, values))
    if strange := [text for text in texts if not re.fullmatch(_NUMBER, text)]:
        return f"its labels are no plain numbers but like {strange[0]}"
    before, after = value.place.split("{}")
    words = f"From {before}", f"{after} to {before}", f"{after}."
    return LabelForm(texts, tuple(values), words)
