"""The lower half of reading an answer: clean text, and the numbers in it with their units.

The work is bounded: of a long text the first and last thousands of characters are read, and
every search looks at a stretch of fixed length.
"""

import re
from dataclasses import dataclass, replace

_READ = 3000  # characters read at each end of a long text
_NUMBERS = 120  # numbers read at each end of a list of spans

# --- words ---
FRAME = (
    r"frames?|frm?|f|images?|imgs?|pages?|bild(?:er)?|fotogram{1,2}[aio]s?|quadros?"
    r"|cuadros?|кадр[а-я]{0,3}|帧|幀|フレーム|프레임"
)
SECOND = (
    r"seconds?|secs?|seconde[sn]?|sekunden?|segundos?|secondi|секунд[а-я]{0,2}|сек|s"
    r"|秒钟?|초"
)
AND = r"and|&|et|und|y|e|и|和|与|と"
TO = (
    r"to|till?|until|thru|through|-+>?|~|\.\.+|…|=>|bis|à|a|au|al|ao|até|hasta"
    r"|jusqu'?(?:à|au)|fino (?:a|al)|по|до|到|至|から|부터|에서"
)
THE = r"the|la|le|el|il|das|den|dem|zum|about|around|approximately|roughly"

_DIGITS = re.compile(
    r"(?=\d)(?<!\d)(?<!\d[.:])(?:"
    r"(?P<h>\d{1,3}):(?P<m>\d\d):(?P<s>\d\d(?:\.\d{1,6}|,\d{3}(?!\d))?)(?!\d)"
    r"|(?P<m2>\d{1,4}):(?P<s2>\d\d(?:\.\d{1,6}|,\d{3}(?!\d))?)(?!\d)"
    r"|(?P<comma>\d{1,6},\d{1,2}(?= ?(?:s|sec|sek|seg|secondes?|sekunden?|segundos?|секунд)\b))"
    r"|(?P<n>\d++(?:\.\d++)?))"
)
_PRE = re.compile(
    rf"(?:(?<![a-zà-ÿа-я])(?:(?P<frame>{FRAME})|(?P<second>seconds?|sec|timestamps?|times?|t))"
    r"[ #:=\[\"'(<{-]{0,6}(?:(?:number|no\.?|index|id|nr\.?) ?[#:=\"']{0,3} ?)?|第 ?|[#@])$"
)
_POST = re.compile(
    r"(?:(?P<ordinal>st|nd|rd|th)(?![a-z]))?(?: ?(?:(?P<percent>%|(?:percent|prozent)(?![a-z]))"
    r"|(?P<hour>(?:hours?|hrs?|h)(?![a-z])|小时)"
    r"|(?P<minute>(?:minutes?|mins?|m(?= ?\d))(?![a-z])|分钟?)"
    rf"|(?P<second>(?:{SECOND})(?![^\W\d]|')|秒钟?|초)|(?P<frame>(?:{FRAME})(?![a-z]))))?"
)
_AT = re.compile(r"(?<![a-z])(?:at|around|about|near|approximately|from|after|since)(?: the)? $")
_GLUED = re.compile(r"(\d(?=to)|(?=from))(to|from)(?=\d)")  # "from3to7"

_SAME = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},
        **dict.fromkeys("‐‑‒–—―−﹣", "-"),
        **dict.fromkeys("〜～∼", "~"),
        **dict.fromkeys("→⇒➔➜", "~"),
        **dict.fromkeys("“”„«»", '"'),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("*`\u200b\ufeff\u200e", ""),
        **dict.fromkeys("_\\", " "),
    }
)


@dataclass
class Number:
    """A number in a text: its value, and where it stands with and without its unit words."""

    value: float
    unit: str | None
    scale: int  # seconds in its unit of time, 0 for all others
    start: int
    first_digit: int
    last_digit: int
    end: int
    anchored: bool  # a position by itself: "frame 3", "0:03", "at 3"


# --- cleaning ---
def _without(text: str, start: str, stop: str, within: int = 400) -> str:
    """Cut out every passage from `start` to `stop`, at most `within` characters long."""
    parts, at = [], 0
    while (found := text.find(start, at)) >= 0:
        close = text.find(stop, found, found + within)
        parts.append(text[at:found])
        at = found + len(start) if close < 0 else close + len(stop)
    return " ".join([*parts, text[at:]])


def clean_text(text: str) -> tuple[str, bool]:
    """Return the text to read and whether the model was still thinking when it ended.

    Lower case, one kind of digits, dashes and spaces; thinking and the echoed question are gone.
    """
    if len(text) > 2 * _READ:
        text = text[:_READ] + "\n...\n" + text[-_READ:]
    text = " ".join(text.translate(_SAME).lower().split())
    for mark in ("think", "thinking"):
        # whatever stands before a closing mark is thinking, opened or not
        text = text.rpartition(f"</{mark}>")[2]
    thought = text.find("<think")
    unfinished = thought >= 0 and not text[:thought].strip()
    text = text if thought < 0 else text[:thought]
    for start, stop in (
        ("during which", "?"),
        ("the video is given as", "seconds."),
        ("on a scale from", "5"),
    ):
        text = _without(text, start, stop)
    text = _GLUED.sub(r"\1 \2 ", text)
    return text.strip(), unfinished


# --- numbers ---
def _value(match: re.Match) -> tuple[float, bool]:
    """Return the number a match of `_DIGITS` stands for, and whether it is a clock time."""
    if match["n"] or match["comma"]:
        said = (match["n"] or match["comma"]).replace(",", ".")
        return (float(said[:300]) if "." in said or len(said) > 15 else int(said)), False
    hours, minutes = int(match["h"] or 0), int(match["m"] or match["m2"])
    return hours * 3600 + minutes * 60 + float((match["s"] or match["s2"]).replace(",", ".")), True


def _sign(text: str, at: int) -> int:
    """Return -1 for a number at `at` with a minus, and 1 for one with a dash or nothing."""
    before = text[max(at - 3, 0) : at - 1].rstrip()[-1:] if text[at - 1 : at] == "-" else "x"
    return -1 if before in ("", "[", "(", "{", ",", ":", "=") else 1


def _number(text: str, match: re.Match, floor: int) -> Number | None:
    """Read one number with the unit words around it; None when it is part of a name."""
    first, last = match.span()
    value, clock = _value(match)
    pre = _PRE.search(text[max(floor, first - 32) : first])
    post = _POST.match(text, last)
    start, end, word = first - (len(pre[0]) if pre else 0), last, post.lastgroup
    if word and not (word == "frame" and pre and pre["frame"]):
        end = post.end()
    named = text[first - 1 : first] if first > floor else ""
    follows = text[end : end + 1]
    if (not pre and named.isascii() and named.isalpha()) or (
        follows.isascii() and follows.isalpha()
    ):
        return None
    scale = {"second": 1, "minute": 60, "hour": 3600}.get(word, 0)
    unit = "second" if scale or clock else word if word in ("percent", "frame") else None
    if pre and unit in (None, "frame"):
        unit = pre.lastgroup or unit
    ordinal = bool(post["ordinal"]) and unit == "frame"
    anchored = bool(pre) or clock or ordinal or bool(_AT.search(text[max(start - 24, 0) : start]))
    value *= _sign(text, first) * (scale or 1)
    return Number(value, unit, scale, start, first, last, end, anchored)


def numbers_in(text: str) -> list[Number]:
    """Read the numbers of a text in order; "1 min 30 s" is one number."""
    matches = list(_DIGITS.finditer(text))
    if len(matches) > 2 * _NUMBERS:
        matches = matches[:_NUMBERS] + matches[-_NUMBERS:]
    found: list[Number] = []
    floor = 0
    for match in matches:
        number = _number(text, match, floor)
        floor = match.end() if number is None else number.end
        if number is None:
            continue
        before = found[-1] if found else None
        if before and before.scale > number.scale > 0:
            gap = text[before.end : number.start].strip(" ,")
            if gap in ("", "and"):
                value = before.value + number.value
                start, first = before.start, before.first_digit
                number = replace(number, value=value, start=start, first_digit=first)
                found.pop()
        found.append(number)
    return found
