"""Moment retrieval: mean temporal IoU and recall of the first span at IoU thresholds."""

from collections.abc import Sequence

import numpy as np

from numpro.metrics.bootstrap import score_table
from numpro.metrics.span_sets import Spans, ious_of_sums, merge
from numpro.spans import Span, temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7)


def moment_ious(predicted: Sequence[Span | None], truth: Sequence[Sequence[Span]]) -> np.ndarray:
    """Return the IoU ``[N]`` of each predicted span with the true span it fits best.

    Parameters
    ----------
    predicted
        One span in seconds per query; None (unparsed) has IoU 0.
    truth
        The true spans of each query, at least one.

    Examples
    --------
    >>> moment_ious([(0, 4), None], [[(0, 8), (0, 5)], [(1, 2)]]).tolist()
    [0.8, 0.0]
    """
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} predictions for {len(truth)} queries")
    if empty := [i for i, spans in enumerate(truth) if not len(spans)]:
        raise ValueError(f"query {empty[0]} has no true span")
    true = Spans.of(truth)
    # a reversed span overlaps nothing
    found = Spans.of([[(1.0, 0.0) if span is None else span] for span in predicted]).ends
    if not np.isfinite(true.ends).all() or not np.isfinite(found).all():
        raise ValueError("spans must be finite numbers of seconds; an unparsed answer is None")
    ious = temporal_iou(found[true.queries], true.ends)
    return np.maximum.reduceat(ious, true.starts_at) if len(truth) else ious


def moment_retrieval(
    predicted: Sequence[Span | None], truth: Sequence[Sequence[Span]],
    videos: Sequence[str] | None = None, thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = 2000, seed: int = 0, sets: Sequence[Sequence[Span]] | None = None,
) -> dict:  # fmt: skip
    """Score one predicted span per query.

    A query with several true spans is scored against the one that fits best, as the official
    QVHighlights scorer does for its R1. R@t counts IoU >= t.

    Parameters
    ----------
    predicted
        One span in seconds per query; None is an unparsed answer: IoU 0, and counted.
    truth
        The true spans of each query.
    videos
        The video of each query, for the interval (95 %, bootstrap by video).
    thresholds
        IoU thresholds of the recalls.
    resamples, seed
        Of the bootstrap.
    sets
        All predicted spans of each query. Where a query has several true spans, ``set_mIoU`` is
        the IoU of all predicted with all true ones.

    Returns
    -------
    dict
        ``n``, ``unparsed``, and ``mIoU`` and each ``R@t`` as [value, low, high] in percent.

    Raises
    ------
    ValueError
        When there are no queries, the lengths differ, or a span is not finite.

    Examples
    --------
    >>> scores = moment_retrieval([(0, 4), None], [[(0, 5)], [(1, 2)]], videos=["a", "a"])
    >>> scores["n"], scores["unparsed"], scores["mIoU"], scores["R@0.7"]
    (2, 1, [40.0, 40.0, 40.0], [50.0, 50.0, 50.0])
    """
    ious = moment_ious(predicted, truth)
    columns = {"mIoU": ious} | {f"R@{t:g}": ious >= t for t in thresholds}
    if sets is not None and any(len(spans) > 1 for spans in truth):
        columns["set_mIoU"] = ious_of_sums(merge(Spans.of(sets)), merge(Spans.of(truth)))
    unparsed = sum(span is None for span in predicted)
    return score_table(unparsed, columns, videos, resamples, seed)
