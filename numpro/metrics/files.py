"""Scores of prediction files; whatever is malformed is named with its file and row."""

from pathlib import Path
from typing import Any

import numpy as np

from numpro.datasets import Saliency
from numpro.datasets.rows import number, read_rows
from numpro.metrics.highlight_detection import highlight_values, saliency_matrix
from numpro.metrics.moment_retrieval import moment_retrieval
from numpro.paths import resolve
from numpro.spans import Span


def _list(row: dict, key: str) -> list:
    """Return a list from a row."""
    if not isinstance(row.get(key), list):
        raise ValueError(f"{key} must be a list; got {row.get(key)!r:.80}")
    return row[key]


def _windows(row: dict, key: str) -> list[Span]:
    """Return the windows of a row; a third value (a confidence) is passed over."""
    spans = []
    for window in _list(row, key):
        if not isinstance(window, list) or len(window) not in (2, 3):
            raise ValueError(f"{key} must hold [start, end] in seconds; got {window!r:.80}")
        spans.append(Span(*(number(value, key) for value in window[:2])))
    return spans


def _truth(row: dict) -> list[Span]:
    """Return the true spans of a row of ours, of the NumPro JSON, or of QVHighlights."""
    if "start_time" in row:
        return [Span(*(number(row.get(k), k) for k in ("start_time", "end_time")))]
    key = next((k for k in ("truth", "relevant_windows", "spans") if k in row), None)
    if key is None:
        raise ValueError("has no truth, relevant_windows, or start_time and end_time")
    if not (spans := _windows(row, key)):
        raise ValueError(f"{key} is empty")
    return spans


def _moment(row: dict) -> tuple[str, Span | None]:
    """Return the video of a row and the first span predicted."""
    if "pred" not in row:
        raise ValueError("has no pred")
    spans = [] if row["pred"] is None else _windows(row, "pred")
    if late := [tuple(span) for span in spans if span.start > span.end]:
        raise ValueError(f"pred has a window that ends before it starts: {late[0]}")
    return str(row.get("video", row.get("vid", ""))), spans[0] if spans else None


def _same_queries(said: dict, true: dict, said_path: Any, true_path: Any) -> None:
    """Refuse predictions that leave out queries or bring others."""
    for there, others, path in ((true, said, said_path), (said, true, true_path)):
        if missing := [qid for qid in there if qid not in others]:
            count = f"{len(missing)} of {len(there)} queries"
            raise ValueError(f"{resolve(path)}: has no row for {count}, first qid {missing[0]!r}")


def evaluate_moment_predictions(path: str | Path, annotations: str | Path | None = None) -> dict:
    """Score a ``predictions.jsonl`` of `numpro.predict` for moment retrieval.

    Of each row ``pred`` ([[start, end], ...] in seconds; empty or null is unparsed) the first
    span counts.

    Parameters
    ----------
    path
        JSONL with qid, video, pred and, without `annotations`, truth.
    annotations
        Where the truth is taken from instead: the NumPro repository's test JSON
        (``start_time``, ``end_time``) or QVHighlights' JSONL (``relevant_windows``).

    Returns
    -------
    dict
        ``n``, ``unparsed``; ``R@0.3``, ``R@0.5``, ``R@0.7`` and ``mIoU`` in percent; and the
        95 % ``intervals`` of each (bootstrap by video).

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side.
    """
    said, true = read_rows(path, _moment), read_rows(annotations or path, _truth)
    _same_queries(said, true, path, annotations or path)
    # a row without a video stands for itself
    videos = [video or f"query {qid}" for qid, (video, _) in said.items()]
    spans, truth = [span for _, span in said.values()], [true[qid] for qid in said]
    scores = moment_retrieval(spans, truth, videos)
    metrics = {name: value for name, value in scores.items() if isinstance(value, list)}
    intervals = {name: value[1:] for name, value in metrics.items()}
    return scores | {name: value[0] for name, value in metrics.items()} | {"intervals": intervals}


def _saliency(row: dict) -> tuple[Saliency, float]:
    """Return the saliency and duration of a QVHighlights annotation row."""
    ids, rated = _list(row, "relevant_clip_ids"), _list(row, "saliency_scores")
    if any(isinstance(i, bool) or not isinstance(i, int) for i in ids):
        raise ValueError("relevant_clip_ids must be whole numbers")
    if len(ids) != len(rated) or any(not isinstance(s, list) or len(s) != 3 for s in rated):
        raise ValueError("saliency_scores must hold three scores for each relevant clip")
    scores = tuple(tuple(number(x, "saliency_scores") for x in s) for s in rated)
    truth, duration = Saliency(tuple(ids), scores), number(row.get("duration"), "duration")
    saliency_matrix(truth, duration)  # refuses clips outside the video
    return truth, duration


def _scores(row: dict) -> np.ndarray | None:
    """Return the clip scores of a prediction row; None where there are none."""
    key = "pred_saliency_scores"
    if key not in row:
        raise ValueError(f"has no {key}")
    return None if row[key] in (None, []) else np.array([number(x, key) for x in _list(row, key)])


def evaluate_highlight_predictions(predictions: str | Path, annotations: str | Path) -> dict:
    """Score predictions for highlight detection as the official QVHighlights scorer does.

    Parameters
    ----------
    predictions
        JSONL with qid and pred_saliency_scores, one score per 2-second clip; null or empty is
        an unparsed answer: all zeros, and counted.
    annotations
        QVHighlights' JSONL: qid, duration, relevant_clip_ids, saliency_scores.

    Returns
    -------
    dict
        ``n``, ``unparsed`` and the official scorer's keys ``brief`` and ``HL-min-Fair``,
        ``HL-min-Good``, ``HL-min-VeryGood`` with ``HL-mAP`` and ``HL-Hit1``, in percent with
        two decimals as it prints them.

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side.
    """
    said, true = read_rows(predictions, _scores), read_rows(annotations, _saliency)
    _same_queries(said, true, predictions, annotations)
    truth, durations = zip(*(true[qid] for qid in said), strict=True)
    values = highlight_values(list(said.values()), truth, durations)
    brief, levels = {}, {}
    for level, value in values.items():
        ap, hit = (float(f"{x:.2f}") for x in 100 * value.mean(axis=0))
        brief |= {f"HL-min-{level}-mAP": ap, f"HL-min-{level}-Hit1": hit}
        levels[f"HL-min-{level}"] = {"HL-mAP": ap, "HL-Hit1": hit}
    unparsed = sum(scores is None for scores in said.values())
    return {"n": len(said), "unparsed": unparsed, "brief": brief, **levels}
