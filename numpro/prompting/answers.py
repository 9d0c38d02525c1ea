"""Read spans or highlights from a model's text; a text without them gives the reason instead.

No text raises an error, and the work is bounded: of a very long text the first and the last
thousands of characters are read, and every search looks at a stretch of fixed length. Numbers are
given as they are written, whether or not they lie inside the video; `numpro.spans` clips them and
turns them into seconds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from numpro.prompting.prompts import EXAMPLE_LABELS, EXAMPLE_SCORES
from numpro.prompting.reading import Item, clean_text, numbers_in
from numpro.prompting.vocabulary import patterns, rewriter

EMPTY = "empty answer"
EXAMPLE = "repeats the prompt's example"
NOT_PRESENT = "says it is not present"
NO_SPAN = "no span found"
NO_SCORES = "no highlight frames with scores found"
UNFINISHED = "thinking not finished"
CUT = "cut off after {} tokens"
_SPAN, _HIGHLIGHT = patterns("span"), patterns("highlight")
_BRACKETS = str.maketrans("<>[](){}\"'|", " " * 11)
_rewritten, _without_about = rewriter("spans"), rewriter("about")


@dataclass(frozen=True)
class MomentAnswer:
    """When something happens, by a model's text.

    Attributes
    ----------
    text
        The model's text, unchanged.
    spans
        Start and end as written, start <= end; end is None when it was left open.
    unit
        "frame", "second" or "percent"; None when the text names no unit.
    reason
        Why there are no spans; None when there are.
    """

    text: str
    spans: tuple[tuple[float, float | None], ...] = ()
    unit: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class HighlightAnswer:
    """The highlight frames in a model's text: labels and scores of equal length.

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


def _clean(text: str, cut: int | None) -> tuple[str, str | None]:
    """Return the text to read, and the reason why there can be no answer in it."""
    clean, unfinished = clean_text(text)
    # it ends amid a span or a number
    if cut and (unfinished or _SPAN.half.search(text[-200:]) or _SPAN.linked.search(clean[-60:])):
        return clean, CUT.format(cut)
    return clean, UNFINISHED if unfinished else None if clean else EMPTY


# --- spans ---
def _is_pair(gap: str, before: str) -> bool:
    """Tell whether two numbers are the ends of one span, by the words between and before them."""
    between = _SPAN.both.fullmatch(gap) and _SPAN.between.search(before)
    begins_ends = _SPAN.ends.search(gap) or (_SPAN.begins.search(gap) and _SPAN.ends.search(before))
    return len(gap) <= 60 and bool(_SPAN.join.fullmatch(gap) or between or begins_ends)


def _items(text: str, numbers: list[Item]) -> Iterator[Item]:
    """Yield the pairs, open ends and single numbers of a text in order."""
    rest, floor = zip(numbers, [*numbers[1:], None], strict=False), 0
    for a, b in rest:
        before = text[max(a.start - 48, floor) : a.start]
        if b and _is_pair(text[a.end : b.start].strip(), before[-24:]):
            next(rest)
            (a.a, a.b), a.end, a.unit = sorted((a.a, b.a)), b.end, b.unit or a.unit
            a.pair, a.from_to = True, bool(_SPAN.from_.search(before))
        elif b and _SPAN.lasts.fullmatch(text[a.end : b.start]):
            next(rest)
            a.b, a.end, a.unit, a.pair = a.a + b.a, b.end, a.unit or b.unit, True
        elif a.unit == "second" and not a.anchored and _SPAN.lasts.search(before):  # a length
            continue
        elif opened := _SPAN.open.match(text, a.end):
            a.b, a.end, a.pair, a.from_to = None, opened.end(), True, True
        elif _SPAN.till.search(before) and (a.unit or a.anchored):
            a.a, a.pair = min(0, a.a), True
        elif _SPAN.since.search(before) and not (b and _gap(text, a.end, b.start)):
            a.b = None
        floor = a.end
        yield a


def _gap(text: str, start: int, end: int) -> bool:
    """Tell whether the words between two items are those between two items of one list."""
    bare = text[start:end].strip() if end - start <= 24 else ""
    return bool(bare and _SPAN.list.fullmatch(bare))


def _runs(text: str, items: Iterator[Item]) -> list[list[Item]]:
    """Group items that stand in one list; a unit named once holds for the whole list."""
    runs: list[list[Item]] = []
    for item in items:
        last = runs[-1][-1] if runs else None
        same = last and (item.unit in (None, last.unit) or last.unit is None)
        if same and _gap(text, last.end, item.start):
            item.unit = item.unit or last.unit
            runs[-1].append(item)
        else:
            runs.append([item])
    for run in runs:
        for item in run:
            item.unit = run[-1].unit
    return runs


def _merged(run: list[Item]) -> list[Item]:
    """Turn a list of single numbers into spans: neighbours of one step apart are one span."""
    pair = any(item.pair for item in run)
    if len(run) < 2 or pair or any(item.b is None for item in run):
        # a single frame among spans counts as one of them
        return [replace(item, pair=pair) for item in run]
    places, spans = sorted({item.a for item in run}), []
    steps = {round(b - a, 6) for a, b in pairwise(places)}
    step = steps.pop() if len(steps) == 1 else 1
    for place in places:
        if spans and round(place - spans[-1][1], 6) == step:
            spans[-1][1] = place
        else:
            spans.append([place, place])
    return [replace(run[0], a=a, b=b, pair=True) for a, b in spans]


def _spans(text: str) -> tuple[tuple[tuple[float, float | None], ...], str | None]:
    """Return the spans in a text and their unit."""
    only = len(text) < 300 and not _SPAN.only.sub("", text)
    text = " ".join(_rewritten(text).translate(_BRACKETS).split())
    kept = []
    for run in _runs(text, _items(text, numbers_in(text))):
        if only or (len(run) > 2 and run[0].unit) or any(x.pair or x.anchored for x in run):
            kept += _merged(run)
    # the best form first: two ends, a unit, "from ... to ..."; then the others of that form
    kept.sort(key=lambda item: (not item.pair, item.unit is None, not item.from_to))
    best = [(x.a, x.b) for x in kept if (x.pair, x.unit) == (kept[0].pair, kept[0].unit)]
    return tuple(dict.fromkeys(best)), kept[0].unit if kept else None


def parse_moment(text: str, cut: int | None = None) -> MomentAnswer:
    """Read from a model's text when something happens.

    It reads "From Frame 3 to Frame 7", "3-7", clock times, percentages, JSON, lists, single
    frames, open ends and several languages' common forms; it passes over thinking, an echoed
    question and a statement that the thing is not there. Several spans keep their order, those
    in the form of the question ("from ... to ...") first.

    Parameters
    ----------
    text
        Any text.
    cut
        After so many tokens the text was cut; None when the model ended it. A text that is cut
        in its thinking, in its last number or before its span has no answer.

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
    clean, reason = _clean(text, cut)
    if reason:
        return MomentAnswer(text, reason=reason)
    parts = dict.fromkeys((_SPAN.answer.split(clean)[-1].partition("</answer")[0], clean))
    # what is said of the whole film is read only where there is nothing else
    for part in dict.fromkeys((*(_without_about(part) for part in parts), *parts)):
        spans, unit = _spans(part)
        if any(b is None or b >= 0 for _, b in spans):
            return MomentAnswer(text, spans, unit)
    absent = spans or _SPAN.absent.search(clean)
    nothing = CUT.format(cut) if cut else NO_SPAN
    reason = EXAMPLE if _SPAN.no_numbers.search(clean) else NOT_PRESENT if absent else nothing
    if reason == nothing and _SPAN.whole.search(clean):
        return MomentAnswer(text, ((0, None),))
    return MomentAnswer(text, reason=reason)


# --- highlights ---
def _listed(match: re.Match) -> str:
    """Write a range of labels as a list, of at most 500."""
    first, last = sorted(map(int, match.groups()))
    return ", ".join(map(str, range(first, min(last + 1, first + 500))))


def _floats(text: str) -> list[float]:
    return [float(number) for number in _HIGHLIGHT.number.findall(text)]


def _pairs(text: str) -> Iterator[tuple[list[float], list[float], str]]:
    """Yield the longest list of labels before each list of scores, the scores, and the words."""
    at = 0
    for match in _HIGHLIGHT.scores.finditer(text):
        segment, at = text[at : match.start()], match.end()
        lists = reversed(_HIGHLIGHT.labels.findall(segment))
        if longest := max(lists, key=lambda found: len(_floats(found)), default=""):
            labels, scores = _floats(longest), _floats(match[1])
            scores = scores * len(labels) if len(scores) == 1 else scores
            yield labels, scores, longest + segment[-60:]


def parse_highlights(text: str, cut: int | None = None) -> HighlightAnswer:
    """Read highlight frames and their saliency scores from a model's text.

    It reads the paper's format, ranges of frames, JSON, and lists of "frame: score". Of labels
    and scores of unequal number the surplus is left out (a label without a score does not
    count); one score for several labels holds for all. A label given twice keeps its first
    score. The example of the published prompt, repeated, is a failure.

    Parameters
    ----------
    text
        Any text.
    cut
        As in `parse_moment`.

    Returns
    -------
    HighlightAnswer
        With labels and scores, or with the reason why there are none. Nothing raises.

    Examples
    --------
    >>> text = "The highlight frames are in the 3, 4 frames. Their saliency scores are 1.0, 2.5"
    >>> answer = parse_highlights(text)
    >>> answer.labels, answer.scores, answer.unit
    ((3, 4), (1.0, 2.5), 'frame')
    """
    clean, reason = _clean(text, cut)
    if reason:
        return HighlightAnswer(text, reason=reason)
    clean = _HIGHLIGHT.out_of.sub("", clean)
    clean = _HIGHLIGHT.spread.sub(_listed, clean, count=20)[:8000]  # ranges written out
    pairs = (([float(a)], [float(b)], clean) for a, b in _HIGHLIGHT.pairs.findall(clean))
    rows, found = list(_pairs(clean)) or list(pairs), {}
    example = (*EXAMPLE_LABELS, *EXAMPLE_SCORES)
    answered = [x for x in rows if (*x[0], *x[1]) != example[: len(EXAMPLE_LABELS) + len(x[1])]]
    for labels, scores, _ in answered:
        for label, score in zip(labels, scores, strict=False):
            if max(label, score) < 1e9:
                found.setdefault(int(label) if label.is_integer() else label, score)
    if not found:
        nothing = CUT.format(cut) if cut else NO_SCORES
        absent = NOT_PRESENT if _SPAN.absent.search(clean) else nothing
        return HighlightAnswer(text, reason=absent if answered == rows else EXAMPLE)
    unit = _HIGHLIGHT.named.search(answered[0][2])
    return HighlightAnswer(text, tuple(found), tuple(found.values()), unit and unit.lastgroup)
