"""The first steps of reading an answer: clean the text, find the numbers in it and their units.

The work is bounded, however long a text is. Of a long text only the start and the end are read,
each as long as the longest list that a question asks for (240 frames, the published limit, with a
score each); and every search looks at a stretch of fixed length. The words of all languages are in
``words.yaml``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

_READ = 2000  # characters read at each end of a long text
_NUMBERS = 120  # numbers read at each end of a list of spans
_WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
NUM = r"\d++(?:\.\d++)?"


def words(pattern: str) -> re.Pattern:
    """Compile a pattern in which ``@name`` stands for the words of that meaning."""
    known = {name: "|".join(languages.values()) for name, languages in _WORDS.items()}
    return re.compile(re.sub("@([a-z]+)", lambda m: f"(?:{known.get(m[1], m[1])})", pattern))


_DIGITS = words(
    r"(?:(?:^|(?<=[,:=~])|(?<=[,:=~] )|(?<=frame )|(?<=from )|(?<= to ))-)?(?<!\d)(?<!\d[.:])"
    rf"(?:\d++,\d{{1,2}}(?= ?(?:@second|s)\b)|{NUM})"
)
_PRE = words(
    r"(?:(?<![a-zà-ÿа-я])(?:(?P<frame>@frame)|(?P<second>@second|timestamps?|times?|t)"
    r"|(?P<percent>百分之))[ #:=\[\"'(<{-]{0,6}"
    r"(?:(?:number|no\.?|index|id|nr\.?) ?[#:=\"']{0,3} ?)?|第 ?|[#@])$"
)
_POST = words(
    r"(?:(?P<ordinal>st|nd|rd|th)(?![a-z]))?(?: ?(?:(?P<percent>%|(?:percent|prozent)(?![a-z]))"
    r"|(?P<second>(?:-?@second|s)(?![^\W\d]|')|秒钟?|초)|(?P<frame>@frame(?![a-z]))))?"
)
_AT = words(r"(?<![a-z])(?:at|around|about|near|approximately|from|after|since)(?: the)? $")

# --- cleaning ---
_SAME = str.maketrans(
    "".join(map(chr, range(0xFF01, 0xFF5F))) + "‐‑‒–—―−〜∼﹘﹣→⇒“”„«»‘’◁▷_\\",
    "".join(map(chr, range(0x21, 0x7F))) + '-------~~--~~"""""\'\'<>  ',
    "*`\u200b\ufeff\u200e",
)
# what stands before its end is thinking, opened or not
_THOUGHT = re.compile("/(?:think|thinking|thought|reasoning|analysis)[>▷]")
_OPENED = re.compile("<(?:think|thought|reasoning|analysis)")
_ECHO = re.compile(r"during which[^?]{0,400}\?|is given as.{0,80}?\.(?!\d)|scale from 1 to 5")
_TAG = re.compile(r"</(?!answer)[a-z]{1,16}>|<(?:b|i|em|strong|li|p|br|span)>")
_GLUED = re.compile(r"(\d(?=to)|(?=from))(to|from)(?=\d)")  # "from3to7"
# "3,5 to 7,5 s": the unit says so of both commas
_COMMA = words(r"(?<![\d.,])(\d{1,6}),(?=\d{1,2} ?@to(?: @the)* ?\d{1,6},\d{1,2} ?(?:@second|s)\b)")
_CLOCK = re.compile(r"(?<!\d)(?<!\d[.:])(?:(\d{1,3}):)?(\d{1,4})[:'](\d\d(?:\.\d+|,\d{3})?)(?!\d)")
_LONG = words(
    rf"(?<![\d.a-z])(?:{NUM} ?(?:@hour|@minute|ms|milliseconds?)(?![a-z])(?:,? and)?,? ?)+"
    rf"(?:{NUM} ?(?:@second|s)(?![a-z]))?"
)
_LENGTHS = {"h": 3600, "小": 3600, "m": 60, "分": 60, "ms": 0.001, "mil": 0.001}


@dataclass
class Item:
    """A span in a text, at first a single number: its ends, unit and place, and how sure it is."""

    a: float
    b: float | None
    unit: str | None
    start: int  # of its unit words, as `end`
    end: int
    anchored: bool  # a position by itself: "frame 3", "0:03", "at 3"
    pair: bool = False
    from_to: bool = False  # in the form that the question asks for, "from ... to ..."


def _clock(match: re.Match) -> str:
    """Rewrite "1:05" as a position in seconds."""
    hours, minutes, seconds = match.groups("0")
    total = 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    return f"t={round(total, 6)}"


def _length(match: re.Match) -> str:
    """Rewrite "1 min 5 s" in seconds."""
    parts = re.findall(r"([\d.]+) ?(ms|mil|\D)", match[0])
    return f"{round(sum(float(n) * _LENGTHS.get(unit, 1) for n, unit in parts), 6)}s "


def clean_text(text: str) -> tuple[str, bool]:
    """Return the text to read and whether the model was still thinking when it ended.

    Lower case, one kind of digits, dashes and spaces, times in seconds; thinking and the echoed
    question are gone.
    """
    text = _THOUGHT.split(text)[-1]
    if len(text) > 2 * _READ:
        text = text[:_READ] + " . . " + text[-_READ:]
    text, *opened = _OPENED.split(" ".join(text.translate(_SAME).lower().split()), maxsplit=1)
    plain = (_ECHO, " "), (_TAG, " "), (_COMMA, r"\1."), (_GLUED, r"\1 \2 "), (_CLOCK, _clock)
    for pattern, new in plain:
        text = pattern.sub(new, text)
    return _LONG.sub(_length, text).strip(), bool(opened) and not text.strip()


def _number(text: str, match: re.Match, floor: int) -> Item | None:
    """Read one number with the unit words around it; None when it is part of a name."""
    first, last = match.span()
    pre = _PRE.search(text[max(floor, first - 32) : first])
    post = _POST.match(text, last)
    word, start = post.lastgroup, first - (len(pre[0]) if pre else 0)
    end = last if word == "frame" and pre and pre["frame"] else post.end()
    before = "" if pre else text[max(first - 1, floor) : first]
    if re.search("[a-z]", before + text[end : end + 1]):
        return None
    unit = None if word == "ordinal" else word
    if pre and unit in (None, "frame"):
        unit = pre.lastgroup or unit
    digits = match[0][:300].replace(",", ".")
    value = float(digits) if "." in digits or len(digits) > 15 else int(digits)
    known = pre or (post["ordinal"] and unit == "frame")
    anchored = bool(known or _AT.search(text[max(start - 24, floor) : start]))
    return Item(value, value, unit, start, end, anchored)


def numbers_in(text: str) -> list[Item]:
    """Read the numbers of a text in order, of very many the first and the last."""
    matches, found, floor = list(_DIGITS.finditer(text)), [], 0
    for match in matches[:_NUMBERS] + matches[_NUMBERS:][-_NUMBERS:]:
        number = _number(text, match, floor)
        floor = number.end if number else match.end()
        found += [number] if number else []
    return found
