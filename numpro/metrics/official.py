"""QVHighlights as its official scorer has it (moment_detr, standalone_eval): the same keys.

Moment retrieval there is detection: up to ten scored windows a query, average precision at
IoU 0.50 to 0.95. The rules are those of the published script, its rounding to two decimals
included; they are written anew for all queries at once.
"""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from numpro.datasets import qvhighlights
from numpro.datasets.rows import items, need, number, windows_of
from numpro.metrics import baselines
from numpro.metrics.bootstrap import bootstrap_interval
from numpro.metrics.highlight_detection import CLIP_SECONDS, matrix_values, saliency_matrix
from numpro.metrics.read import check_same_queries, count_kinds, read_file
from numpro.paths import find, resolve, write_whole

THRESHOLDS = np.arange(50, 100, 5) / 100
# a window counts for a range when it is longer than the first number and not longer than the
# second; "full" takes all windows
RANGES = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": (-np.inf, np.inf)}
MOST_WINDOWS = 10  # of a query, the first ones listed
Pair = tuple[Sequence[np.ndarray | None], Sequence[np.ndarray]] | None  # predicted and true
WINDOWS, SALIENCY = "pred_relevant_windows", "pred_saliency_scores"  # the keys of predictions


def _padded(windows: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Stack windows of different number into ``[N, most, width]``, filled up with NaN."""
    counts = np.array([len(w) for w in windows])
    stacked = np.full((len(windows), max(counts.max(initial=0), 1), width), np.nan)
    stacked[np.arange(stacked.shape[1]) < counts[:, None]] = np.concatenate(windows)
    return stacked


def _overlaps(windows: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU ``[N, P, G]`` by the sum of lengths, and by the hull, as the script has both.

    Padding overlaps nothing: -1.
    """
    windows, true = windows[:, :, None, :2], true[:, None]
    low, high = np.minimum(windows, true), np.maximum(windows, true)
    shared = np.maximum(low[..., 1] - high[..., 0], 0)
    union = (windows[..., 1] - windows[..., 0]) + (true[..., 1] - true[..., 0]) - shared
    wholes = union, high[..., 1] - low[..., 0]
    return tuple(np.divide(shared, w, out=np.full_like(w, -1), where=w > 0) for w in wholes)


def _matched(ious: np.ndarray) -> np.ndarray:
    """Tell which windows ``[N, P]``, best score first, find a true one ``[N, T, P]``.

    Each takes the true window it fits best of those not yet taken, if its IoU reaches T.
    """
    n, most, windows = ious.shape
    query, level = np.arange(n)[:, None], np.arange(len(THRESHOLDS))
    free = np.ones((n, len(THRESHOLDS), windows), bool)
    found = np.zeros((n, len(THRESHOLDS), most), bool)
    for p in range(most):
        fit = np.where(free, ious[:, p, None], -1)
        best = windows - 1 - fit[..., ::-1].argmax(axis=2)  # the last of equals, as in the script
        found[..., p] = fit[query, level, best] >= THRESHOLDS
        free[query, level, best] &= ~found[..., p]
    return found


def _window_values(windows: np.ndarray, true: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return AP and R@1 ``[N, 2, T]`` of windows ``[N, P, 3]`` against `counts` ``[N, G, 2]``."""
    sums, hulls = _overlaps(windows, true)
    first = np.take_along_axis(hulls[:, 0], sums[:, 0].argmax(axis=1)[:, None], axis=1)
    order = np.argsort(-windows[..., 2], axis=1, kind="stable")  # NaN, the padding, comes last
    found = _matched(np.take_along_axis(sums, order[..., None], axis=1))
    precision = found.cumsum(axis=2) / np.arange(1, found.shape[2] + 1)
    best = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    ap = (best * found).sum(axis=2) / counts[:, None]
    return np.stack([ap, first >= THRESHOLDS], axis=1)


def detection_values(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> dict:
    """Return average precision and R@1 of every query for each range of window lengths.

    Parameters
    ----------
    predicted
        Windows of each query ``[P, 3]``: start, end, score; the first ten count, and
        the first one for R@1. None predicted scores 0.
    true
        True windows of each query ``[G, 2]``.

    Returns
    -------
    dict
        By name of `RANGES` the values ``[N, 2, 10]`` at `THRESHOLDS`, 0 to 1; NaN for queries
        without a true window in the range.
    """
    padded, values = _padded([w[:MOST_WINDOWS] for w in predicted], 3), {}
    stacked = _padded(true, 2)
    lengths = stacked[..., 1] - stacked[..., 0]
    for name, (low, high) in RANGES.items():
        kept = (low < lengths) & (lengths <= high)
        here = kept.any(axis=1)
        chosen = np.where(kept[here, :, None], stacked[here], np.nan)
        values[name] = np.full((len(true), 2, len(THRESHOLDS)), np.nan)
        values[name][here] = _window_values(padded[here], chosen, kept[here].sum(axis=1))
    return values


def _percent(values: np.ndarray) -> float | None:
    """Return the mean of what is counted, in percent with two decimals as the script prints it."""
    counted = values[~np.isnan(values)]
    return float(f"{100 * counted.mean():.2f}") if counted.size else None


def official_scores(windows: Pair = None, saliency: Pair = None, *bootstrap: Any) -> dict:
    """Return the official scorer's nested scores: what is predicted decides which there are.

    Parameters
    ----------
    windows
        Predicted and true windows, as `detection_values` takes them.
    saliency
        Predicted clip scores and `saliency_matrix` of each query.
    *bootstrap
        Groups, resamples and seed of `bootstrap_interval`.

    Returns
    -------
    dict
        ``brief``; ``full``, ``long``, ``middle``, ``short`` with ``MR-mAP`` and ``MR-R1``;
        ``HL-min-Fair``, ``HL-min-Good``, ``HL-min-VeryGood`` with ``HL-mAP`` and ``HL-Hit1``;
        all in percent with two decimals, None where no query has a window in the range.
        Besides, ``intervals``: the 95 % interval of each figure in ``brief``; None where some
        resample of the videos counts nothing.
    """
    columns, scores, marks = {}, {}, [f"{t:g}" for t in THRESHOLDS]
    for name, values in (detection_values(*windows) if windows else {}).items():
        columns[f"MR-{name}-mAP"] = average = values[:, 0].mean(axis=1)
        ap, r1 = ({m: _percent(values[:, i, t]) for t, m in enumerate(marks)} for i in (0, 1))
        scores[name] = {"MR-mAP": ap | {"average": _percent(average)}, "MR-R1": r1}
        if name == "full":
            columns |= {f"MR-full-mAP@{marks[t]}": values[:, 0, t] for t in (0, 5)}
            columns |= {f"MR-full-R1@{marks[t]}": values[:, 1, t] for t in (0, 4)}
    for level, values in (matrix_values(*saliency) if saliency else {}).items():
        both = dict(zip(("mAP", "Hit1"), values.T, strict=True))
        columns |= {f"HL-min-{level}-{name}": column for name, column in both.items()}
        scores[f"HL-min-{level}"] = {f"HL-{name}": _percent(both[name]) for name in both}
    brief = {name: _percent(column) for name, column in columns.items()}
    ends = 100 * bootstrap_interval(np.column_stack(list(columns.values())), *bootstrap)
    ends = [None if np.isnan(pair).any() else pair.tolist() for pair in ends]
    return {"brief": brief, **scores, "intervals": dict(zip(columns, ends, strict=True))}


# --- files ---


def _ordered(value: Any, key: str, *widths: int) -> np.ndarray:
    """Return windows ``[K, width]`` of which none ends before it starts."""
    windows = windows_of(value, key, *widths)
    if late := [window[:2] for window in windows if window[0] > window[1]]:
        raise ValueError(f"{key} has a window that ends before it starts: {late[0]}")
    return np.array(windows, float) if windows else np.zeros((0, widths[0]))


def _submitted(name: Any, row: dict, parts: list[str]) -> tuple:
    """Return windows ``[P, 3]``, clip scores, and the reason a row gives for having none.

    The first row fills `parts` with the keys that all rows must have.
    """
    row = moment_detr_row(row)
    if not parts:
        parts += [key for key in (WINDOWS, SALIENCY) if key in row]
    need(row, *(parts or [f"{WINDOWS} or {SALIENCY}"]))
    windows, scores = (row[key] if key in parts else None for key in (WINDOWS, SALIENCY))
    what = "finite, one number a clip"
    scores = [number(score, SALIENCY, what) for score in items(scores or [], SALIENCY)]
    return _ordered(windows or [], WINDOWS, 3), scores or None, row.get("reason")


def _annotated(name: Any, row: dict, parts: list[str]) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the video, true windows ``[G, 2]`` and clip scores ``[C, 3]`` of a row."""
    windows, matrix = np.zeros((0, 2)), np.zeros((0, 3))
    if WINDOWS in parts or "relevant_windows" in row:
        windows = _ordered(*need(row, "relevant_windows"), "relevant_windows", 2, 3)[:, :2]
        if WINDOWS in parts and not len(windows):
            raise ValueError("relevant_windows is empty")
    if SALIENCY in parts:
        graded, (duration,) = qvhighlights.saliency(row), need(row, "duration")
        matrix = saliency_matrix(graded, number(duration, "duration"))
    return str(row.get("vid") or name), windows, matrix


def _guesses(true: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> dict[str, dict]:
    """Score what clips get without the video, and from the true windows with flat scores."""
    videos = baselines.records((name, CLIP_SECONDS * len(m), w) for name, w, m in true)
    _, windows, matrices = zip(*true, strict=True)
    guesses = {"unparsed": baselines.unparsed(videos)}
    guesses["centre-prior"] = baselines.centre_prior(videos)
    if all(map(len, windows)):
        guesses["perfect-windows"] = baselines.perfect_windows(videos)
    scores = {name: official_scores(None, (g, matrices), None, 1) for name, g in guesses.items()}
    return {name: found["brief"] for name, found in scores.items()}


def evaluate_highlight_predictions(
    predictions: str | Path, annotations: str | Path, resamples: int = 1000, beside: bool = False
) -> dict:
    """Score predictions on QVHighlights exactly as the official scorer does.

    Parameters
    ----------
    predictions
        JSON Lines with qid and what is to be scored: ``pred_relevant_windows`` ([start, end,
        score] in seconds; ours, ``pred``, are taken in their order) and
        ``pred_saliency_scores``, one per 2-second clip. Empty or null is an unparsed answer: no
        window, all zeros.
    annotations
        QVHighlights' JSON Lines: qid, vid, duration, relevant_windows, relevant_clip_ids,
        saliency_scores.
    resamples
        Of the bootstrap by video.
    beside
        True scores floors, too, for clip scores.

    Returns
    -------
    dict
        ``n``, ``unparsed`` (queries of which a part is), ``reasons`` (their kinds, counted), and
        what `numpro.metrics.official.official_scores` returns for the parts that are predicted.
        With `beside` and clip scores, ``beside``: the scores of floors (``unparsed``,
        ``centre-prior``) and of the true windows with flat scores (``perfect-windows``).

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side.
    """
    path, true_path, parts = find(predictions), find(annotations), []
    submitted = read_file(path, partial(_submitted, parts=parts))
    true = read_file(true_path, partial(_annotated, parts=parts))
    check_same_queries(submitted, true, path, true_path)
    answers, rows = list(submitted.values()), [true[qid] for qid in submitted]
    windows, scores, _ = zip(*answers, strict=True)
    videos, true_windows, matrices = zip(*rows, strict=True)
    moments = (windows, true_windows) if WINDOWS in parts else None
    saliency = (scores, matrices) if SALIENCY in parts else None
    found = official_scores(moments, saliency, videos, resamples)
    silent = [bool((moments and not len(w)) or (saliency and s is None)) for w, s, _ in answers]
    found["reasons"] = count_kinds(reason for *_, reason in compress(answers, silent))
    if beside and saliency:
        found["beside"] = _guesses(rows)
    return {"n": len(answers), "unparsed": sum(silent), **found}


def moment_detr_row(row: dict) -> dict:
    """Return a prediction row with the keys of moment_detr's submission files.

    Ours do not score their windows, so their order does: 1, 1/2, 1/3, ...
    """
    if "pred" not in row or WINDOWS in row:
        return row
    windows = [] if row["pred"] is None else _ordered(row["pred"], "pred", 2, 3).tolist()
    return row | {WINDOWS: [[*w[:2], 1 / place] for place, w in enumerate(windows, 1)]}


def write_moment_detr(rows: Iterable[dict], out: str | Path) -> Path:
    """Write prediction rows as the official QVHighlights scorer reads them.

    An unparsed answer becomes what scores nothing there: a window of no length, zeros. (The
    script fails on a query without windows, or leaves it out of the mean.)

    Parameters
    ----------
    rows
        With qid, query, video, duration, and ``pred`` or ``pred_saliency_scores``.
    out
        JSON Lines with ``qid, query, vid``, and ``pred_relevant_windows`` or
        ``pred_saliency_scores``.
    """
    lines = []
    for row in map(moment_detr_row, rows):
        qid = int(row["qid"]) if str(row["qid"]).isdigit() else row["qid"]
        made = {"qid": qid, "query": row["query"], "vid": row.get("video") or row["vid"]}
        if WINDOWS in row:
            made[WINDOWS] = row[WINDOWS] or [[0.0, 0.0, 0.0]]
        if SALIENCY in row:
            made[SALIENCY] = row[SALIENCY] or [0.0] * int(row["duration"] // CLIP_SECONDS)
        lines.append(json.dumps(made) + "\n")
    return write_whole(resolve(out), "".join(lines))
