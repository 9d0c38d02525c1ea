"""Sets of spans: an answer of several spans against a truth of several.

The rules are those of VUE-TR-V2's scorer (bytedance/vidi @ fc30c87, ``VUE_TR_V2/qa_eval.py``),
written anew for all queries at once. Spans come flat: all of the first query, then all of the
second, with the number of each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LEVELS = np.linspace(0, 1, 101)  # the thresholds under whose curve an area is taken


class Spans(NamedTuple):
    """Spans of N queries: ``ends`` [K, 2] in seconds and, of each query, its ``counts`` [N]."""

    ends: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence]) -> "Spans":
        """Return the spans of one list a query."""
        ends = [tuple(span[:2]) for spans in lists for span in spans]
        counts = np.array([len(spans) for spans in lists], int)
        return cls(np.array(ends, float).reshape(-1, 2), counts)

    @property
    def queries(self) -> np.ndarray:
        """The query ``[K]`` that each span belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts_at(self) -> np.ndarray:
        """The place ``[N]`` of the first span of each query."""
        return np.cumsum(self.counts) - self.counts

    def take(self, places: np.ndarray) -> "Spans":
        """Return the spans of these queries, in this order."""
        counts = self.counts[places]
        begin = np.repeat(self.starts_at[places] - (np.cumsum(counts) - counts), counts)
        return Spans(self.ends[np.arange(len(begin)) + begin], counts)

    def lengths(self) -> np.ndarray:
        """Return the seconds ``[N]`` of each query's spans together, overlaps counted twice."""
        lengths = self.ends[:, 1] - self.ends[:, 0]
        return np.bincount(self.queries, lengths, len(self.counts)).astype(lengths.dtype)


def merge(spans: Spans) -> Spans:
    """Join spans of a query that overlap or touch; those that end before they start are dropped."""
    kept = spans.ends[:, 0] <= spans.ends[:, 1]
    queries, ends = spans.queries[kept], spans.ends[kept]
    order = np.lexsort((ends[:, 0], queries))
    queries, (starts, stops), n = queries[order], ends[order].T, len(order)
    # the latest stop of a query so far: by rank, as whole numbers can be put behind the query's
    ranked, new = np.sort(stops), np.ones(n, bool)
    latest = np.maximum.accumulate(queries * n + np.searchsorted(ranked, stops))
    until = ranked[latest % max(n, 1)]
    new[1:] = (np.diff(queries) > 0) | (starts[1:] > until[:-1])
    counts = np.bincount(queries[new], minlength=len(spans.counts))
    return Spans(np.column_stack([starts[new], until[np.roll(new, -1)]]), counts)


def shared_seconds(predicted: Spans, true: Spans) -> np.ndarray:
    """Return the overlap ``[N]`` of each predicted span with each true one, added up by query."""
    beside = true.take(predicted.queries)  # for each predicted span every true one of its query
    a, b = np.repeat(predicted.ends, beside.counts, axis=0), beside.ends
    overlap = np.minimum(a[:, 1], b[:, 1]) - np.maximum(a[:, 0], b[:, 0])
    queries = np.repeat(predicted.queries, beside.counts)
    shared = np.bincount(queries, np.maximum(overlap, 0), len(true.counts))
    return shared.astype(overlap.dtype)


def ious_of_sums(predicted: Spans, true: Spans) -> np.ndarray:
    """Return the IoU ``[N]`` by sums of lengths; above 1 where spans of one query overlap."""
    shared = shared_seconds(predicted, true)
    union = predicted.lengths() + true.lengths() - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def outward(spans: Spans) -> Spans:
    """Round starts down and stops up to whole seconds."""
    return Spans(np.column_stack([np.floor(spans.ends[:, 0]), np.ceil(spans.ends[:, 1])]),
                 spans.counts)  # fmt: skip


def _area(values: np.ndarray, strict: bool = False) -> float:
    """Return the area in percent under the share of values that reach each threshold."""
    below = np.searchsorted(np.sort(values), _LEVELS, "right" if strict else "left")
    shares = 1 - below / max(len(values), 1)
    return float(100 * ((shares[1:] + shares[:-1]) / 2).mean())


def set_areas(predicted: Spans, true: Spans, ious: np.ndarray) -> dict[str, float]:
    """Return ``IoU_AUC``, ``precision_AUC`` and ``recall_AUC`` in percent.

    Parameters
    ----------
    predicted
        Not merged; a span that ends before it starts counts from end to start.
    true
        The true spans.
    ious
        Of the sets ``[N]``; a threshold counts what lies above it, for precision and recall what
        reaches it. Queries without an answer have no precision.
    """
    predicted = Spans(np.sort(predicted.ends, axis=1), predicted.counts)
    shared, answered = shared_seconds(predicted, true), predicted.lengths() > 0
    precision = shared[answered] / predicted.lengths()[answered]
    recall = shared[true.lengths() > 0] / true.lengths()[true.lengths() > 0]
    areas = {"IoU": (ious, True), "precision": (precision,), "recall": (recall,)}
    return {f"{name}_AUC": _area(*of) for name, of in areas.items()}
