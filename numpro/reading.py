"""The lower half of reading an answer: clean text, and the numbers in it with their units.

The work is bounded: of a long text the first and last thousands of characters are read, and
every search looks at a stretch of fixed length.
"""

import re
from typing import NamedTuple

_READ = 3000  # characters read at each end of a long text
_NUMBERS = 120  # numbers read at each end of a list of spans

# --- words ---
FRAME = (
    r"frames?|f|pages?|panels?|cards?|sheets?|scenes?|images?|imgs?"
    r"|bild(?:er)?|fotogram{1,2}[aio]s?|кадр[а-я]{0,3}|帧|フレーム|프레임"
)
SECOND = r"seconds?|secs?|seconde[sn]?|sekunden?|segundos?|секунд[а-я]{0,2}|s|秒钟?|초"
AND = r"and|&|et|und|y|e|и|和|与|と"
TO = r"to|till?|until|through|-+>?|~|\.\.+|…|=>|bis|à|a|au|al|hasta|по|до|到|至|から|부터"
THE = r"the|la|le|el|das|den|dem|zum|about|around|approximately|roughly"
NUM = r"\d++(?:\.\d++)?"

_DIGITS = re.compile(
    r"(?:(?:^|(?<=[,:=~])|(?<=[,:=~] ))-)?(?<!\d)(?<!\d[.:])"
    rf"(?:\d++,\d{{1,2}}(?= ?(?:{SECOND})\b)|{NUM})"
)
_PRE = re.compile(
    rf"(?:(?<![a-zà-ÿа-я])(?:(?P<frame>{FRAME})|(?P<second>seconds?|sec|timestamps?|times?|t))"
    r"[ #:=\[\"'(<{-]{0,6}(?:(?:number|no\.?|index|id|nr\.?) ?[#:=\"']{0,3} ?)?|第 ?|[#@])$"
)
_POST = re.compile(
    r"(?:(?P<ordinal>st|nd|rd|th)(?![a-z]))?(?: ?(?:(?P<percent>%|(?:percent|prozent)(?![a-z]))"
    rf"|(?P<second>(?:{SECOND})(?![^\W\d]|')|秒钟?|초)|(?P<frame>(?:{FRAME})(?![a-z]))))?"
)
_AT = re.compile(r"(?<![a-z])(?:at|around|about|near|approximately|from|after|since)(?: the)? $")

# --- cleaning ---
_SAME = str.maketrans(
    "".join(map(chr, range(0xFF01, 0xFF5F))) + "‐‑‒–—―−〜∼→⇒“”„«»‘’_\\",
    "".join(map(chr, range(0x21, 0x7F))) + '-------~~~~"""""\'\'  ',
    "*`\u200b\ufeff\u200e",
)
_THOUGHT = re.compile(r"</think(?:ing)?>")  # what stands before it is thinking, opened or not
_ECHO = re.compile(r"during which[^?]{0,400}\?|is given as.{0,80}?\.(?!\d)|scale from 1 to 5")
_GLUED = re.compile(r"(\d(?=to)|(?=from))(to|from)(?=\d)")  # "from3to7"
_CLOCK = re.compile(r"(?<!\d)(?<!\d[.:])(?:(\d{1,3}):)?(\d{1,4}):(\d\d(?:\.\d+|,\d{3})?)(?!\d)")
_LONG = re.compile(
    rf"(?<![\d.a-z])(?:{NUM} ?(?:hours?|hrs?|h|小时|minutes?|mins?|m(?= ?\d)|分钟?)(?![a-z])"
    rf"(?:,? and)?,? ?)+(?:{NUM} ?(?:{SECOND})(?![a-z]))?"
)
_LENGTHS = {"h": 3600, "小": 3600, "m": 60, "分": 60}


class Item(NamedTuple):
    """A span said, at first a single number: its ends, unit and place, and how sure it is."""

    a: float
    b: float | None
    unit: str | None
    start: int  # of its unit words, as `end`
    end: int
    anchored: bool  # a position by itself: "frame 3", "0:03", "at 3"
    pair: bool = False
    asked: bool = False  # said in the form that was asked for, "from ... to ..."


def _clock(match: re.Match) -> str:
    """Rewrite "1:05" as a position in seconds."""
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in match.groups())
    return f"t={round(3600 * hours + 60 * minutes + seconds, 6)}"


def _length(match: re.Match) -> str:
    """Rewrite "1 min 5 s" in seconds."""
    parts = re.findall(r"([\d.]+) ?(\D)", match[0])
    return f"{round(sum(float(n) * _LENGTHS.get(unit, 1) for n, unit in parts), 6)}s "


def clean_text(text: str) -> tuple[str, bool]:
    """Return the text to read and whether the model was still thinking when it ended.

    Lower case, one kind of digits, dashes and spaces, times in seconds; thinking and the echoed
    question are gone.
    """
    if len(text) > 2 * _READ:
        text = text[:_READ] + "\n...\n" + text[-_READ:]
    text = _THOUGHT.split(" ".join(text.translate(_SAME).lower().split()))[-1]
    text, opened, _ = text.partition("<think")
    for pattern, new in ((_ECHO, " "), (_GLUED, r"\1 \2 "), (_CLOCK, _clock), (_LONG, _length)):
        text = pattern.sub(new, text)
    return text.strip(), bool(opened) and not text.strip()


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
    said = match[0][:300].replace(",", ".")
    value = float(said) if "." in said or len(said) > 15 else int(said)
    known = pre or (post["ordinal"] and unit == "frame")
    anchored = bool(known or _AT.search(text[max(start - 24, 0) : start]))
    return Item(value, value, unit, start, end, anchored)


def numbers_in(text: str) -> list[Item]:
    """Read the numbers of a text in order, of very many the first and the last."""
    matches, found, floor = list(_DIGITS.finditer(text)), [], 0
    for match in matches[:_NUMBERS] + matches[_NUMBERS:][-_NUMBERS:]:
        number = _number(text, match, floor)
        floor = number.end if number else match.end()
        found += [number] if number else []
    return found
