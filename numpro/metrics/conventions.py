"""How the field's projects read and score the same answers, by the table ``conventions.yaml``.

What crashes there does not crash here, and the table says so.
"""

import math
import re
from collections.abc import Callable
from functools import partial, reduce
from itertools import islice
from typing import NamedTuple

import numpy as np

from numpro.metrics.moment_retrieval import THRESHOLDS
from numpro.metrics.span_sets import Spans, ious_of_sums, merge, outward, set_areas
from numpro.paths import yaml_beside
from numpro.prompting import MomentAnswer, parse_moment
from numpro.prompting.answers import NO_SPAN
from numpro.spans import temporal_iou

_LONGEST = 20_000  # characters of a text that are read; answers are shorter
_TABLE = yaml_beside(__file__)


class Convention(NamedTuple):
    """How a project scores; what it leaves out is as most projects have it.

    An answer that could not be read has IoU 0 and is counted, everywhere.
    """

    source: str
    reader: str = "numpro"  # of READERS, for rows that give a text
    swapped: bool = False  # an end before its start: put in order, else it overlaps nothing
    clipped: bool = False  # answers to the film, where its length is known
    true_clipped: bool = False  # true spans, too
    spans: str = "first"  # of an answer: the "first", the "sum" of all, or all as one "set"
    true_merged: bool = False  # of a set the true spans, too
    truth: str = "first"  # of several true spans: "first", "best"; "all" with a sum or a set
    outward: bool = False  # answers rounded outwards to whole seconds
    decimals: int | None = None  # that an IoU is rounded to
    above: bool = False  # R@t counts IoU > t, else IoU >= t
    single: bool = False  # in 32-bit numbers
    instant: float = 0.0  # the IoU of a span of no length with itself
    detection: bool = False  # the project also scores all windows as detections, by their mAP
    fault: str = ""  # what the project does wrong, and what becomes of it here


CONVENTIONS = {name: Convention(**rule) for name, rule in _TABLE["conventions"].items()}


def _ends(way: dict, text: str) -> list[str]:
    """Return the ends of spans that one way of a reader finds."""
    words, most = way.get("sentences"), 1 if way.get("take") == "each" else None
    parts = re.split(r"[!?\n]", text) if words else [text]
    kept = [part for part in parts if not words or re.search(words, part)]
    kept = kept or (parts if "otherwise" in way else [])
    matches = (m for part in kept for m in islice(re.finditer(way["pattern"], part), most))
    found = [end for match in matches for end in match.groups() or (match[0],)]
    return {"first": found[:2], "last": found[-2:]}.get(way.get("take"), found)


def _read(reader: dict, text: str) -> MomentAnswer:
    """Read a text by the ways of a reader; its ends are numbers, "4.0", or clock times, "0:04"."""
    plain = text[: reader.get("longest", _LONGEST)]
    plain = plain.lower() if "lower" in reader else plain
    for old, new in reader.get("replace", {}).items():
        plain = plain.replace(old, new)
    found = next((ends for way in reader["ways"] if len(ends := _ends(way, plain)) > 1), [])
    ends = [reduce(lambda t, part: 60 * t + float(part), e.split(":"), 0.0) for e in found]
    pairs = tuple(p for p in zip(ends[::2], ends[1::2], strict=False) if max(p) < math.inf)
    return MomentAnswer(text, pairs, reader.get("unit", "second"), None if pairs else NO_SPAN)


READERS: dict[str, Callable[[str], MomentAnswer]] = {"numpro": parse_moment}
READERS |= {name: partial(_read, rule) for name, rule in _TABLE["readers"].items()}


def differences(name: str) -> str:
    """Say in words how a convention differs from numpro's; of numpro's, what it does.

    Examples
    --------
    >>> differences("moment-detr")
    'an end before its start scores 0; answers are not clipped; a span of no length scores 0'
    """
    rule, usual = CONVENTIONS[name], CONVENTIONS["numpro"]
    read = _TABLE["readers"].get(rule.reader)
    changed = (k for k in _TABLE["words"] if getattr(rule, k) != getattr(usual, k))
    words = [read and f"reads {read['words']}", rule is usual and _TABLE["usual"]]
    words += [*(_TABLE["words"][k][getattr(rule, k)] for k in changed), rule.fault]
    return "; ".join(filter(None, words))


def _clip(spans: Spans, durations: np.ndarray) -> Spans:
    """Clip spans to their films; NaN is a film of unknown length, whose spans stay."""
    limits = durations[spans.queries, None]
    return spans._replace(ends=np.where(np.isnan(limits), spans.ends, spans.ends.clip(0, limits)))


def _first_ious(rule: Convention, predicted: Spans, true: Spans) -> np.ndarray:
    """Return the IoU ``[N]`` of the first predicted span with a true one."""
    found = np.tile(np.array([1.0, 0.0], predicted.ends.dtype), (len(true.counts), 1))
    answered = predicted.counts > 0  # a reversed span, as for the others, overlaps nothing
    found[answered] = predicted.ends[predicted.starts_at[answered]]
    if rule.truth == "first":
        true = Spans(true.ends[true.starts_at], np.ones(len(found), int))
    found, ends, once = found[true.queries], true.ends, np.ones(len(true.ends), int)
    if rule.single:
        ious = ious_of_sums(Spans(found, once), Spans(ends, once))
    else:
        ious = temporal_iou(found, ends)
        ious[(found == ends).all(1) & (ends[:, 0] == ends[:, 1])] = rule.instant
    return np.maximum.reduceat(ious, true.starts_at)


def convention_scores(
    name: str, predicted: Spans, true: Spans, durations: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Score all queries by one convention.

    Parameters
    ----------
    name
        One of `CONVENTIONS`.
    predicted
        All spans of each answer in seconds, as written; none is unparsed.
    true
        The true spans of each query, at least one.
    durations
        Seconds ``[N]`` of each query's film; NaN where it is not known: nothing is clipped.

    Returns
    -------
    tuple of dict
        By metric one value a query ``[N]``: ``mIoU`` and ``R@0.3``, ``R@0.5``, ``R@0.7``. And what
        is no mean over queries: of sets `numpro.metrics.span_sets.set_areas`, in percent.
    """
    rule = CONVENTIONS[name]
    if rule.swapped:
        predicted = predicted._replace(ends=np.sort(predicted.ends, axis=1))
    predicted = _clip(predicted, durations) if rule.clipped else predicted
    true = _clip(true, durations) if rule.true_clipped else true
    true = merge(true) if rule.true_merged else true
    if rule.single:
        predicted, true = (s._replace(ends=s.ends.astype(np.float32)) for s in (predicted, true))
    predicted = outward(predicted) if rule.outward else predicted
    if rule.spans == "first":
        ious = _first_ious(rule, predicted, true)
    elif rule.spans == "sum":
        ious = ious_of_sums(predicted, true)
    else:  # true spans that overlap count twice unless merged, but give no more than 1
        ious = ious_of_sums(merge(predicted), true).clip(0, 1)
    if rule.decimals is not None:  # Python's way to round, as theirs
        ious = np.array([round(iou, rule.decimals) for iou in ious.tolist()])
    passes = np.greater if rule.above else np.greater_equal
    levels = {f"R@{t:g}": passes(ious, ious.dtype.type(t)) for t in THRESHOLDS}
    areas = set_areas(predicted, true, ious) if rule.spans == "set" else {}
    return {"mIoU": ious, **levels}, areas
