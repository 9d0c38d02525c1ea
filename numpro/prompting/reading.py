"""The first steps of reading an answer: clean the text, find the numbers in it and their units.

The work is bounded, however long a text is. Of a long text only the start and the end are read,
each as long as the longest list that a question asks for (240 frames, the published limit, with a
score each); and every search looks at a stretch of fixed length. The words of all languages and the
patterns are in ``words.yaml``.
"""

import re
from dataclasses import dataclass

from numpro.prompting.number_words import write_digits
from numpro.prompting.vocabulary import WORDS, patterns, rewriter

_READ = 2000  # characters read at each end of a long text
_NUMBERS = 120  # numbers read at each end of a list of spans

_NUMBER, _THOUGHT = patterns("number"), patterns("thought")

# --- cleaning ---
_SAME = {sign: sign - 0xFEE0 for sign in range(0xFF01, 0xFF5F)}  # of full width
_SAME |= str.maketrans(*WORDS["signs"].values())
_SIGNS = dict(zip(WORDS["cardinals"]["en"].split()[:10], "0123456789", strict=True)) | {"dot": "."}
_SECONDS = {1: 1, 2: 3600, 3: 60, 4: 0.001}  # by the group of the unit


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


def _row_by_row(table: re.Match) -> str:
    """Rewrite a table in Markdown so that each cell follows the name of its column."""
    lines = [table[1], *filter(str.strip, table[2].splitlines())]
    names, *rows = ([cell.strip() for cell in line.strip(" |").split("|")] for line in lines)
    if any(name[:1].isdigit() for name in names):  # they name no columns
        return table[0]
    return " . ".join("; ".join(map(": ".join, zip(names, row, strict=False))) for row in rows)


def _decimal(match: re.Match) -> str:
    """Rewrite decimal commas of seconds as points."""
    return re.sub(r"(?<=\d),(?=\d)", ".", match[0]) if match[1] or match[2] else match[0]


def _clock(match: re.Match) -> str:
    """Rewrite "1:05" as a position in seconds."""
    hours, minutes, seconds = match.groups("0")
    total = 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    return f"t={round(total, 6)}"


def _token_digits(match: re.Match) -> str:
    """Rewrite a number in time tokens as a position in seconds."""
    names = re.findall(r"<time (\w+)>", match[0])
    return f"t={''.join(_SIGNS.get(name, name) for name in names)} "


def _length(match: re.Match) -> str:
    """Rewrite "1 min 5 s" in seconds."""
    parts = _NUMBER.part.finditer(match[0])
    return f"{round(sum(float(part[1]) * _SECONDS[part.lastindex] for part in parts), 6)}s "


_raw = rewriter("raw", table=_row_by_row)
_plain = rewriter("clean", token=_token_digits, decimal=_decimal, clock=_clock, length=_length)


def _outside_thought(text: str) -> tuple[str, bool]:
    """Return what is said outside of thinking, and whether the thinking never ended."""
    if not any(part in text for part in WORDS["thinking"]):  # quicker, of a long text
        return text, False
    *thoughts, last = _THOUGHT.closed.split(text)
    if thoughts and not last.strip():  # the answer stood before its thinking
        last = _THOUGHT.opened.split(thoughts[0])[0] if _THOUGHT.opened.search(thoughts[0]) else ""
    spoken, *thought = _THOUGHT.opened.split(last, maxsplit=1)
    if thought and not spoken.strip():
        spoken = thought[0].rpartition("<answer>")[2] if "<answer>" in thought[0] else ""
    return spoken, bool(thought) and not spoken.strip()


def clean_text(text: str) -> tuple[str, bool]:
    """Return the text to read and whether the model was still thinking when it ended.

    Lower case, one kind of digits, dashes and spaces, times in seconds; thinking and the echoed
    question are gone.
    """
    text, unfinished = _outside_thought(text)
    if len(text) > 2 * _READ:
        text = text[:_READ] + " . . " + text[-_READ:]
    text = _plain(write_digits(" ".join(_raw(text).translate(_SAME).lower().split())))
    return text.strip(), unfinished


def _number(text: str, match: re.Match, floor: int) -> Item | None:
    """Read one number with the unit words around it; None when it is part of a name."""
    first, last = match.span()
    pre = _NUMBER.before.search(text[max(floor, first - 32) : first])
    post = _NUMBER.behind.match(text, last)
    word, start = post.lastgroup, first - (len(pre[0]) if pre else 0)
    end = last if word == "frame" and pre and pre["frame"] else post.end()
    before = "" if pre else text[max(first - 1, floor) : first]
    named = pre and pre.lastgroup and len(pre[pre.lastgroup]) > 1
    while named and "a" <= text[end : end + 1] <= "z":  # "frame 5x" is 5, "f5x" a name
        end += 1
    if re.search("[a-z]", before + text[end : end + 1]):
        return None
    unit = None if word == "ordinal" else word
    if pre and unit in (None, "frame"):
        unit = pre.lastgroup or unit
    digits = match[0][:300].replace(",", ".")
    value = float(digits) if "." in digits or len(digits) > 15 else int(digits)
    known = pre or (post["ordinal"] and unit == "frame") or _NUMBER.into.match(text, end)
    anchored = bool(known or _NUMBER.at.search(text[max(start - 24, floor) : start]))
    return Item(value, value, unit, start, end, anchored)


def numbers_in(text: str) -> list[Item]:
    """Read the numbers of a text in order, of very many the first and the last."""
    matches, found, floor = list(_NUMBER.digits.finditer(text)), [], 0
    for match in matches[:_NUMBERS] + matches[_NUMBERS:][-_NUMBERS:]:
        number = _number(text, match, floor)
        floor = number.end if number else match.end()
        found += [number] if number else []
    return found
