"""Model text in, an answer out: spans or highlights as said, or a failure with its reason.

Nothing here raises on any text, and the work is bounded: of a very long text the first and
the last thousands of characters are read, and every search looks at a stretch of fixed length.
An answer is passed on as said, whether or not it lies inside the video; `numpro.spans` clips
it and turns it into seconds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numpro.prompts import EXAMPLE_LABELS, EXAMPLE_SCORES
from numpro.reading import AND, NUM, THE, TO, Item, clean_text, numbers_in

EMPTY = "empty answer"
EXAMPLE = "repeats the prompt's example"
NOT_PRESENT = "says it is not present"
NO_SPAN = "no span found"
NO_SCORES = "no highlight frames with scores found"
UNFINISHED = "thinking not finished"


@dataclass(frozen=True)
class MomentAnswer:
    """What a model said about when something happens.

    Attributes
    ----------
    text
        The model's text, unchanged.
    spans
        Start and end as said, start <= end; end is None when it was left open.
    unit
        "frame", "second" or "percent" as said; None when no unit was named.
    reason
        Why there are no spans; None when there are.
    """

    text: str
    spans: tuple[tuple[float, float | None], ...] = ()
    unit: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class HighlightAnswer:
    """What a model said about highlight frames: labels and scores of equal length.

    Attributes
    ----------
    text, unit, reason
        As in `MomentAnswer`.
    labels, scores
        The frames (or seconds) named, each once, and the saliency score of each.
    """

    text: str
    labels: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    unit: str | None = None
    reason: str | None = None


# --- words ---
_JOIN = re.compile(rf",? ?(?:all the way |right |up |on )?(?:{TO})(?: (?:{THE}))*")
_BOTH = re.compile(rf"(?:{AND})(?: (?:{THE}))*")
_BETWEEN = re.compile(r"(?:between|entre|zwischen|между|在)[^\d]{0,16}$")
_FROM = re.compile(r"(?<![a-z])(?:from|between|de|von|с|从)[^\d,;.]{0,4}$")
_LIST = re.compile(rf"[,;、]? ?(?:{AND}|or|then)?,? ?(?:from|between|at|in)?(?: (?:{THE}))*")
_BEGINS = re.compile(r"(?<![a-z])(?:start|begin|appear|enter)")
_ENDS = re.compile(r"(?<![a-z])(?:end|stop|finish|disappear|vanish|leav|exit|until|till)|结束|消失")
_OPEN = re.compile(
    r",? ?(?:onwards?|forwards?|on(?= ?[.,;!]|$)|以后|之后|起|and (?:on|later|after)"
    rf"|(?:{TO}) ?(?:(?:the |la |le |el )?(?:very )?(?:end|last|final|fin|конца?)(?![a-z])|最后))"
)
_NULL = re.compile(r"[\"', ]{0,4}end[ \"']?(?:time|frame)?[^\da-z]{1,5}(?:null|none)")  # of JSON
_SINCE = re.compile(r"(?<![a-z])(?:after|since|from|(?:start|begin)\w{0,4} (?:at|with))(?: the)? $")
_TILL = re.compile(rf"(?:(?:beginning|start)\D{{0,24}}(?:{TO})|till?|up to|before)(?: the)? $")
_WHOLE = re.compile(r"throughout|(?:whole|entire) video|(?:start|beginning) to (?:the )?end")
_ABSENT = re.compile(
    r"(?:not|n't|never|unable to|nowhere)(?: [a-z]{1,12}){0,2} (?:present|visible|appear|show|see"
    r"|find|found|there|contain|occur|happen|depict|exist|any|in the)|没有|不存在|未出现|无法"
    r"|(?<![a-z])(?:no (?:such|frames?|highlights?)|none|n/a|null|there (?:is|are) no)(?![a-z])"
)
_TURN = r"[.!?。;](?: |$)|(?<![a-z])(?:but|however|except|only|although|until|before)"
_DENIED = re.compile(rf"(?:{_ABSENT.pattern})(?:(?!{_TURN}).){{0,80}}")
_NO_NUMBERS = re.compile(r"from (?:frame )?x (?:seconds )?to (?:frame )?y")
_ANSWER = re.compile(r"(?<!/)answer ?(?:is|:|=|\">|>)|boxed ?\{")
_ONLY = re.compile(r"(?:frames?|seconds?|spans?|moments?|answer|and|to|at|the|from|is|in)|[\W\d_]")
_TWO = re.compile(r"[\[({<]([^][(){}<>,;]+)[,;]([^][(){}<>,;]+)(?:, ?[01]?\.\d+ ?)?[])}>]")
_BRACKETS = str.maketrans("<>[](){}\"'|", " " * 11)


# --- spans ---
def _is_pair(text: str, a: Item, b: Item) -> bool:
    """Tell whether two neighbouring numbers are the two ends of one span."""
    gap, before = text[a.end : b.start].strip(), text[max(a.start - 24, 0) : a.start]
    joined = _JOIN.fullmatch(gap) or (_BOTH.fullmatch(gap) and _BETWEEN.search(before))
    told = _ENDS.search(gap) or (_BEGINS.search(gap) and _ENDS.search(before))
    return len(gap) <= 60 and bool(joined or told)


def _items(text: str, numbers: list[Item]) -> Iterator[Item]:
    """Yield the pairs, open ends and single numbers of a text in order."""
    rest = zip(numbers, [*numbers[1:], None], strict=False)
    for a, b in rest:
        before = text[max(a.start - 48, 0) : a.start]
        if b and _is_pair(text, a, b):
            next(rest)
            low, high = sorted((a.a, b.a))
            unit, asked = b.unit or a.unit, bool(_FROM.search(before))
            yield a._replace(a=low, b=high, unit=unit, end=b.end, pair=True, asked=asked)
        elif opened := _OPEN.match(text, a.end):
            yield a._replace(b=None, end=opened.end(), pair=True, asked=True)
        elif _TILL.search(before) and (a.unit or a.anchored):
            yield a._replace(a=min(0, a.a), pair=True)
        elif _SINCE.search(before) and not (b and _gap(text, a.end, b.start)):
            yield a._replace(b=None)
        else:
            yield a


def _gap(text: str, start: int, end: int) -> bool:
    """Tell whether the words between two items are those between two items of one list."""
    bare = text[start:end].strip() if end - start <= 24 else ""
    return bool(bare and _LIST.fullmatch(bare))


def _runs(text: str, items: Iterator[Item]) -> list[list[Item]]:
    """Group items that stand in one list; a unit named once holds for the whole list."""
    runs: list[list[Item]] = []
    for item in items:
        last = runs[-1][-1] if runs else None
        same = last and (item.unit in (None, last.unit) or last.unit is None)
        if same and _gap(text, last.end, item.start):
            runs[-1].append(item._replace(unit=item.unit or last.unit))
        else:
            runs.append([item])
    return [[item._replace(unit=run[-1].unit) for item in run] for run in runs]


def _merged(run: list[Item]) -> list[Item]:
    """Turn a list of single numbers into spans: neighbours of one step apart are one span."""
    values, pair = [item.a for item in run], any(item.pair for item in run)
    if len(run) < 2 or pair or any(item.b is None for item in run):
        # a single frame among spans counts as one of them
        return [item._replace(pair=pair) for item in run]
    if len(run) == 2:
        return [run[0]._replace(a=min(values), b=max(values), pair=True)]
    places = np.unique(values)
    steps = np.diff(places).round(6)
    step = steps[0] if len(set(steps)) == 1 else 1
    spans = [part.tolist() for part in np.split(places, np.flatnonzero(steps != step) + 1)]
    return [run[0]._replace(a=span[0], b=span[-1], pair=True) for span in spans]


def _spans(text: str) -> tuple[tuple[tuple[float, float | None], ...], str | None]:
    """Return the spans said in a text and their unit."""
    only = len(text) < 300 and not _ONLY.sub("", text)
    text = _DENIED.sub(" ", _TWO.sub(r" \1~\2 ", _NULL.sub(" onwards", text)))
    text = " ".join(text.translate(_BRACKETS).split())
    kept = []
    for run in _runs(text, _items(text, numbers_in(text))):
        listed = len(run) > 2 and run[0].unit is not None
        if only or listed or any(item.pair or item.anchored for item in run):
            kept += _merged(run)
    # the best form first: two ends, a unit, and the words asked for; the rest of that form follows
    kept.sort(key=lambda item: (not item.pair, item.unit is None, not item.asked))
    best = [x[:2] for x in kept if (x.pair, x.unit) == (kept[0].pair, kept[0].unit)]
    return tuple(dict.fromkeys(best)), kept[0].unit if kept else None


def parse_moment(text: str) -> MomentAnswer:
    """Read from a model's text when something happens.

    It reads "From Frame 3 to Frame 7", "3-7", clock times, percentages, JSON, lists, single
    frames, open ends and several languages' common forms; it passes over thinking, an echoed
    question and a statement that the thing is not there. Several spans are given in the order
    said, those in the form asked for ("from ... to ...") first.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    MomentAnswer
        With spans, or with the reason why there are none. Nothing raises.

    Examples
    --------
    >>> parse_moment("From Frame 3 to Frame 7.").spans
    ((3, 7),)
    >>> answer = parse_moment("It starts at 0:05 and ends at 0:12.5")
    >>> answer.spans, answer.unit
    (((5.0, 12.5),), 'second')
    >>> parse_moment("I cannot see a red star.").reason
    'says it is not present'
    """
    clean, unfinished = clean_text(text)
    if unfinished or not clean:
        return MomentAnswer(text, reason=UNFINISHED if unfinished else EMPTY)
    for part in dict.fromkeys((_ANSWER.split(clean)[-1].partition("</answer")[0], clean)):
        spans, unit = _spans(part)
        if spans and any(a >= 0 for a, _ in spans):
            return MomentAnswer(text, spans, unit)
    absent = spans or _ABSENT.search(clean)
    reason = EXAMPLE if _NO_NUMBERS.search(clean) else NOT_PRESENT if absent else NO_SPAN
    if reason == NO_SPAN and _WHOLE.search(clean):
        return MomentAnswer(text, ((0, None),))
    return MomentAnswer(text, reason=reason)


# --- highlights ---
_UNIT = r"(?: ?(?:s(?![a-z])|seconds?|frames?|帧|秒))?"
_LABEL = rf"(?:frames? ?#?|第|t=)?{NUM}{_UNIT}"
_LABELS = re.compile(rf"(?<![a-z\d.]){_LABEL}(?:(?: ?[,;、&]| and) ?(?:and |also )?{_LABEL})*")
_INT = r"(\d{1,6})"
_SPREAD = re.compile(rf"(?<![\d.]){_INT}{_UNIT} ?(?:-|to|~|到) ?(?:frames? )?{_INT}(?!\.?\d)")
_SCORES = re.compile(rf"scores?[^\d]{{0,40}}({NUM}(?: ?,? ?(?:and )?{NUM})*)")
_PAIRS = re.compile(rf"(?<!\d)({NUM}){_UNIT}\W{{0,3}}[:=(-]\W{{0,3}}(?:score)?\W{{0,3}}({NUM})")
_OUT_OF = re.compile(r" ?/ ?(?:5|10)(?:\.0)?(?![\d.])")


def _listed(match: re.Match) -> str:
    """Write a range of labels as a list, of at most a thousand."""
    first, last = sorted(map(int, match.groups()))
    return ", ".join(map(str, range(first, min(last, first + 1000) + 1)))


def _pairs(text: str) -> Iterator[tuple[list[float], list[float], str]]:
    """Yield the longest list of labels before each list of scores, the scores, and the words."""
    at = 0
    for match in _SCORES.finditer(text):
        segment, at = text[at : match.start()], match.end()
        lists = reversed(_LABELS.findall(segment))
        words = max(lists, key=lambda found: len(re.findall(NUM, found)), default="")
        labels, scores = ([float(x) for x in re.findall(NUM, part)] for part in (words, match[1]))
        yield labels, scores * len(labels) if len(scores) == 1 else scores, words + segment[-60:]


def parse_highlights(text: str) -> HighlightAnswer:
    """Read highlight frames and their saliency scores from a model's text.

    It reads the paper's format, ranges of frames, JSON, and lists of "frame: score". Of labels
    and scores of unequal number the surplus is left out (a label without a score counts as
    not said); one score for several labels holds for all. A label said twice keeps its first
    score. The example of the published prompt, repeated, is a failure.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    HighlightAnswer
        With labels and scores, or with the reason why there are none. Nothing raises.

    Examples
    --------
    >>> said = "The highlight frames are in the 3, 4 frames. Their saliency scores are 1.0, 2.5"
    >>> answer = parse_highlights(said)
    >>> answer.labels, answer.scores, answer.unit
    ((3, 4), (1.0, 2.5), 'frame')
    """
    clean, unfinished = clean_text(text)
    if unfinished or not clean:
        return HighlightAnswer(text, reason=UNFINISHED if unfinished else EMPTY)
    clean = _SPREAD.sub(_listed, _OUT_OF.sub("", clean), count=20)
    found, example, words = {}, False, ""
    for labels, scores, said in _pairs(clean):
        if tuple(labels) == EXAMPLE_LABELS and tuple(scores) == EXAMPLE_SCORES[: len(scores)]:
            example = True
        elif labels:
            words = words or said
            for label, score in zip(labels, scores, strict=False):
                found.setdefault(label, score)
    if not found and not example:
        words = clean
        for label, score in _PAIRS.findall(clean):
            found.setdefault(float(label), float(score))
    found = {a: b for a, b in found.items() if max(a, b) < 1e9}
    if not found:
        absent = NOT_PRESENT if _ABSENT.search(clean) else NO_SCORES
        return HighlightAnswer(text, reason=EXAMPLE if example else absent)
    unit = re.search(r"(?P<second>second|\d ?s(?![a-z])|time|t=|秒)|(?P<frame>frame|帧)", words)
    whole = tuple(int(a) if a.is_integer() else a for a in found)
    return HighlightAnswer(text, whole, tuple(found.values()), unit.lastgroup if unit else None)
