"""Numbers that are written as words ("frame four", "the ninth frame") or in Chinese numerals.

A word becomes digits only where it says a place in time: beside the name of a frame or of a unit,
or as an end of "from ... to ...". "Two dogs" stays as it is. The words of each language, and the
rules, stand in ``words.yaml``.
"""

import re

from numpro.prompting.vocabulary import WORDS, patterns, rewriter


def _listed(name: str, end: str) -> dict[str, str]:
    """Return the digits of each word in the lists of a name, which begin with 0."""
    rows = (enumerate(listed.split()) for listed in WORDS[name].values())
    return {form: f"{n}{end}" for row in rows for n, forms in row for form in forms.split("/")}


_ONES, _TENS = _listed("cardinals", "") | _listed("ordinals", "th"), WORDS["tens"].split()
_DIGITS = _ONES | {name: str(10 * ten) for ten, name in enumerate(_TENS, 2)}
_WORD = re.compile(
    rf"(?<![^\W_])(?<!-)(?:(?:{'|'.join(_TENS)})-[^\W\d_]+|[^\W\d_]{{2,}})(?![^\W_])"
)
_NUMERAL = {sign: i % 10 for i, sign in enumerate("零一二三四五六七八九〇일이삼사오육칠팔구")}
_POWERS = {"十": 10, "십": 10, "百": 100}
_places, _NUMERALS = rewriter("numbers"), patterns("number").numerals


def _marked(word: re.Match) -> str:
    """Return a number word with its digits before it, as ``⟨4|four⟩``."""
    tens, _, ones = word[0].rpartition("-")
    digits = _DIGITS.get(ones)
    if tens and digits:
        digits = _DIGITS[tens][0] + digits
    return f"⟨{digits}|{word[0]}⟩" if digits else word[0]


def _numeral(numeral: re.Match) -> str:
    """Return the digits of a number such as 二十三."""
    total = last = 0
    for sign in numeral[0].replace("两", "二"):
        power = _POWERS.get(sign)
        total, last = (total + (last or 1) * power, 0) if power else (total, _NUMERAL[sign])
    return str(total + last)


def write_digits(text: str) -> str:
    """Write number words that say a place in time as digits, in text of lower case.

    Examples
    --------
    >>> write_digits("two dogs from frame four to frame twenty-one")
    'two dogs from frame 4 to frame 21'
    >>> write_digits("从第十二帧到第二十三帧")
    '从第12帧到第23帧'
    """
    marked = _WORD.sub(_marked, _NUMERALS.sub(_numeral, text))
    return _places(marked) if "⟨" in marked or "the second" in marked else marked
