"""Model text in, an answer out: spans or highlights as said, or a failure with its reason.

Nothing here raises on any text, and the work is bounded: of a very long text the first and
the last thousands of characters are read, and every search looks at a stretch of fixed length.
An answer is passed on as said, whether or not it lies inside the video; `numpro.spans` clips
it and turns it into seconds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from numpro.prompts import EXAMPLE_LABELS, EXAMPLE_SCORES
from numpro.reading import AND, THE, TO, Number, clean_text, numbers_in

EMPTY = "empty answer"
EXAMPLE = "repeats the prompt's example"
NOT_PRESENT = "says it is not present"
NO_SPAN = "no span found"
NO_SCORES = "no highlight frames with scores found"
UNFINISHED = "thinking not finished"

_RANGE = 5000  # labels a range such as "frames 3-7" may stand for


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


@dataclass
class _Item:
    """One span found: its ends, the text it covers, and how sure its form makes it."""

    a: float
    b: float | None
    unit: str | None
    start: int
    end: int
    pair: bool
    asked: bool = False  # said in the form that was asked for, "from ... to ..."
    anchored: bool = True


# --- words ---
_JOIN = re.compile(
    rf",? ?(?:(?:all the way|right|up|down|on|through) )?(?:{TO})(?: and including)?"
    rf"(?: (?:{THE}))*"
)
_BOTH = re.compile(rf"(?:{AND})(?: (?:{THE}))*")
_BETWEEN = re.compile(r"(?:between|entre|zwischen|между|在)[^\d]{0,16}$")
_FROM = re.compile(r"(?<![a-z])(?:from|between|de|von|с|从)[^\d,;.]{0,4}$")
_LIST = re.compile(
    rf"[,;、]? ?(?:{AND}|or|then)?,? ?(?:also )?(?:from|between|at|in)?(?: (?:{THE}))*"
)
_BEGINS = re.compile(r"(?<![a-z])(?:start|begin|appear|enter)")
_ENDS = re.compile(
    r"(?<![a-z])(?:end|stop|finish|disappear|vanish|leav|exit|conclu|terminat|until|till)|结束|消失"
)
_LAST = r"(?:the |la |le |el )?(?:very )?(?:end|last|final|finish|ende|fin|конец|конца)(?![a-z])"
_OPEN = re.compile(
    r"[\])>\"' ]{0,3},? ?(?:onwards?|forwards?|on(?= ?[.,;!]|$)|\+|以后|之后|起"
    r"|and (?:on|onwards?|later|after|beyond)"
    rf"|(?:{TO}) ?(?:{_LAST}|最后|末尾|结束)"
    r"|[^\da-z]{1,6}end[^\da-z]{0,3}(?:time|frame)?[^\da-z]{1,5}(?:null|none))"
)
_SINCE = re.compile(
    r"(?<![a-z])(?:after|since|from|(?:start|begin)(?:s|ning|ing)? (?:at|from|with))(?: the)? $"
)
_TILL = re.compile(
    r"(?:(?:beginning|start|outset|first frame|开头|开始|anfang|début|inicio|начала)"
    rf"[^\d]{{0,24}}(?<![a-z])(?:{TO})|until|till|up to|before|hasta|直到)(?: the)? ?$"
)
_WHOLE = re.compile(
    r"throughout|(?:whole|entire|full|complete) (?:video|clip|film|duration)|整个视频"
    r"|every frame(?! represent)|all (?:of )?(?:the )?frames|(?:beginning|start) to (?:the )?end"
)
_ABSENT = re.compile(
    r"(?:not|n't|never|cannot|unable to|nowhere)(?: [a-z]{1,12}){0,2} (?:present|visible|appear"
    r"|shown?|seen?|find|found|there|contain|occur|happen|depict|exist|any|in the)"
    r"|(?<![a-z])(?:no (?:such|frames?|highlights?)|none|n/a|absent|null|not present"
    r"|there (?:is|are) no)(?![a-z])|没有|不存在|未出现|无法"
)
_TURN = re.compile(r"[.!?。;](?: |$)|(?<![a-z])(?:but|however|except|only|although|until|before)")
_NO_NUMBERS = re.compile(r"from (?:frame )?x (?:seconds )?to (?:frame )?y")
_ANSWER = re.compile(r"(?<!/)answer ?(?:is|:|=|\">|>)|boxed ?\{")
_ONLY = re.compile(r"(?:frames?|seconds?|spans?|moments?|answer|and|to|at|the|from|is|in)|[\W\d_]")

_BRACKETS = str.maketrans("", "", "<>[](){}\"'|")


# --- spans ---
def _is_pair(text: str, a: Number, b: Number) -> bool:
    """Tell whether two neighbouring numbers are the two ends of one span."""
    gap = text[a.end : b.start]
    if len(gap) > 60:
        return False
    bare = gap.translate(_BRACKETS).strip()
    before = text[max(a.start - 24, 0) : a.start]
    if _JOIN.fullmatch(bare) or (_BOTH.fullmatch(bare) and _BETWEEN.search(before)):
        return True
    if _ENDS.search(gap) or (_BEGINS.search(gap) and _ENDS.search(before)):
        return True
    opened = text[max(a.first_digit - 3, 0) : a.first_digit].rstrip(" \"'-")[-1:]
    closed = text[b.end : b.end + 3].lstrip(" \"'")[:1]
    return bare in (",", ";", "") and opened in tuple("[(<{") and closed in tuple("])>}")


def _items(text: str, numbers: list[Number]) -> Iterator[_Item]:
    """Yield the pairs, open ends and single numbers of a text in order."""
    i = 0
    while i < len(numbers):
        a, b = numbers[i], numbers[i + 1] if i + 1 < len(numbers) else None
        before = text[max(a.start - 48, 0) : a.start]
        i += 1
        if b and _is_pair(text, a, b):
            i += 1
            low, high = sorted((a.value, b.value))
            asked = bool(_FROM.search(before))
            yield _Item(low, high, b.unit or a.unit, a.start, b.end, True, asked)
        elif opened := _OPEN.match(text, a.end):
            yield _Item(a.value, None, a.unit, a.start, opened.end(), True, True)
        elif _TILL.search(before) and (a.unit or a.anchored):
            yield _Item(min(0, a.value), a.value, a.unit, a.start, a.end, True)
        else:
            since = _SINCE.search(before) and not (b and _gap(text, a.end, b.start) is not None)
            end = None if since else a.value
            yield _Item(a.value, end, a.unit, a.start, a.end, False, False, a.anchored)


def _gap(text: str, start: int, end: int) -> str | None:
    """Return the words between two items of one list; None when they are no list."""
    bare = text[start:end].translate(_BRACKETS).strip() if end - start <= 24 else ""
    return bare if bare and _LIST.fullmatch(bare) else None


def _runs(text: str, items: list[_Item]) -> list[list[_Item]]:
    """Group items that stand in one list; a unit named once holds for the whole list."""
    runs: list[list[_Item]] = []
    for item in items:
        last = runs[-1][-1] if runs else None
        same = last and (item.unit in (None, last.unit) or last.unit is None)
        if same and _gap(text, last.end, item.start) is not None:
            runs[-1].append(item)
        else:
            runs.append([item])
    for run in runs:
        unit = next((item.unit for item in run if item.unit), None)
        for item in run:
            item.unit = unit
    return runs


def _merged(run: list[_Item]) -> list[_Item]:
    """Turn a list of single numbers into spans: neighbours of one step apart are one span."""
    values = [item.a for item in run]
    if len(run) < 2:
        return run
    if any(item.pair or item.b is None for item in run):
        # a single frame among spans counts as one of them
        return [replace(item, pair=any(item.pair for item in run)) for item in run]
    if len(run) == 2 or (len(run) == 3 and isinstance(values[2], float) and values[2] <= 1):
        # two ends, or two ends and a confidence
        return [replace(run[0], a=min(values[:2]), b=max(values[:2]), pair=True)]
    values = sorted(set(values))
    steps = [round(y - x, 6) for x, y in zip(values, values[1:], strict=False)]
    step = steps[0] if len(set(steps)) == 1 else 1
    spans, first = [], values[0]
    for x, y in zip(values, [*values[1:], None], strict=True):
        if y is None or round(y - x, 6) != step:
            spans.append(replace(run[0], a=first, b=x, pair=len(run) > 2))
            first = y
    return spans


def _denied(text: str, item: _Item) -> bool:
    """Tell whether an item stands in a sentence that says the thing is not there."""
    before = text[max(item.start - 80, 0) : item.start]
    said = list(_ABSENT.finditer(before))
    return bool(said) and not _TURN.search(before, said[-1].end())


def _spans(text: str) -> tuple[tuple[tuple[float, float | None], ...], str | None]:
    """Return the spans said in a text and their unit."""
    numbers = numbers_in(text)
    runs = _runs(text, list(_items(text, numbers)))
    denies = _ABSENT.search(text) is not None
    only = len(text) < 300 and not _ONLY.sub("", text)
    kept = []
    for run in runs:
        listed = len(run) > 2 and run[0].unit is not None
        if any(item.pair or item.anchored for item in run) or listed or only:
            kept += [item for item in _merged(run) if not (denies and _denied(text, item))]
    if not kept:
        return (), None
    best = max((item.pair, item.unit is not None) for item in kept)
    kept = [item for item in kept if (item.pair, item.unit is not None) == best]
    kept.sort(key=lambda item: not item.asked)
    unit = kept[0].unit
    said = ((item.a, item.b) for item in kept if item.unit == unit)
    return tuple(dict.fromkeys(said)), unit


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
    marks = list(_ANSWER.finditer(clean))
    parts = [clean[marks[-1].end() :].partition("</answer")[0]] if marks else []
    for part in (*parts, clean):
        spans, unit = _spans(part)
        if spans and any(a >= 0 for a, _ in spans):
            return MomentAnswer(text, spans, unit)
    if _NO_NUMBERS.search(clean):
        return MomentAnswer(text, reason=EXAMPLE)
    if _ABSENT.search(clean) or spans:
        return MomentAnswer(text, reason=NOT_PRESENT)
    if _WHOLE.search(clean):
        return MomentAnswer(text, ((0, None),))
    return MomentAnswer(text, reason=NO_SPAN)


# --- highlights ---
_PLAIN = r"\d++(?:\.\d++)?"
_LABEL = (
    rf"(?:frames? ?#?|第 ?)?{_PLAIN} ?(?:s(?![a-z])|seconds?|frames?|帧|秒)?"
    rf"(?: ?(?:-|to|~|到) ?(?:frames? ?)?{_PLAIN} ?(?:s(?![a-z])|seconds?|帧|秒)?)?"
)
_SEPARATOR = r" ?(?:[,;、] ?(?:and )?|and |& )(?:also )?"
_LABELS = re.compile(rf"(?<![a-z\d.]){_LABEL}(?:{_SEPARATOR}{_LABEL})*")
_SCORES = re.compile(rf"scores?[^\d]{{0,40}}({_PLAIN}(?: ?,? ?(?:and )?{_PLAIN})*)")
_PLAINS = re.compile(_PLAIN)
_PARTS = re.compile(rf"({_PLAIN})[^\d,;]*(?:({_PLAIN}))?")
_PAIRS = re.compile(
    rf"(?<![\d.])({_PLAIN}) ?(?:s|seconds?|帧|秒)?\W{{0,3}}[:=(-]\W{{0,3}}(?:saliency ?)?(?:score)?"
    rf"\W{{0,3}}({_PLAIN})"
)
_OUT_OF = re.compile(r" ?/ ?(?:5|10)(?:\.0)?(?![\d.])")


def _labels(segment: str) -> tuple[list[float], str]:
    """Read the frames named in the text before their scores: its longest list, and its words."""
    lists = [m[0] for m in _LABELS.finditer(segment)]
    if not lists:
        return [], ""
    longest = max(reversed(lists), key=lambda found: len(_PARTS.findall(found)))
    labels: list[float] = []
    for first, last in _PARTS.findall(longest):
        a, b = float(first), float(last or first)
        if a == b or not (a.is_integer() and b.is_integer() and abs(b - a) <= _RANGE):
            labels += [a] if a == b else [a, b]
        elif len(labels) <= _RANGE:
            labels += [float(x) for x in range(int(min(a, b)), int(max(a, b)) + 1)]
    return labels, longest


def _pairs(text: str) -> Iterator[tuple[list[float], list[float], str]]:
    """Yield lists of labels with their scores, and the words the labels stood in."""
    at = 0
    for match in _SCORES.finditer(text):
        segment = text[at : match.start()]
        labels, words = _labels(segment)
        at = match.end()
        scores = [float(x) for x in _PLAINS.findall(match[1])]
        if labels and scores:
            scores = scores * len(labels) if len(scores) == 1 else scores
            yield labels, scores, words + segment[-60:]


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
    clean = _OUT_OF.sub("", clean)
    found, example, words = {}, False, ""
    for labels, scores, said in _pairs(clean):
        if tuple(labels) == EXAMPLE_LABELS and tuple(scores) == EXAMPLE_SCORES[: len(scores)]:
            example = True
            continue
        words = words or said
        for label, score in zip(labels, scores, strict=False):
            found.setdefault(label, score)
    if not found and not example:
        words = clean
        found = {float(a): float(b) for a, b in reversed(_PAIRS.findall(clean))}
        found = dict(reversed(found.items()))
    found = {a: b for a, b in found.items() if max(a, b) < 1e9}
    if not found:
        absent = NOT_PRESENT if _ABSENT.search(clean) else NO_SCORES
        return HighlightAnswer(text, reason=EXAMPLE if example else absent)
    unit = re.search(r"(?P<second>second|\d ?s(?![a-z])|time|秒)|(?P<frame>frame|帧)", words)
    whole = tuple(int(a) if a.is_integer() else a for a in found)
    return HighlightAnswer(text, whole, tuple(found.values()), unit.lastgroup if unit else None)
