"""Ranked moments: whether one of the first five is right, and whether their confidence is true.

The confidence of an answer is that of its first moment: the IoU with the truth which it expects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpro.metrics.bootstrap import paired_difference, score_table
from numpro.metrics.moment_retrieval import THRESHOLDS, moment_ious
from numpro.metrics.official import WINDOWS, detection_values

_READS = "pred", "greedy"  # the moment of largest expected IoU, and the likeliest words
FIRST = 5  # moments of a query that R5 and the best of five count
_TEMPERATURES = np.geomspace(0.05, 20, 601)
_LEAST = 1e-6  # of a confidence, and of what it lacks to 1: its logarithm is finite


def ranked_columns(windows: Sequence[Sequence], truth: Sequence[Sequence]) -> dict:
    """Return by metric one value a query ``[N]``, 0 to 1, of ranked moments.

    Parameters
    ----------
    windows
        The moments of each query, best first, as [start, end, score]; none is unparsed.
    truth
        The true spans of each query, at least one.

    Returns
    -------
    dict
        ``R5@0.3``, ``R5@0.5``, ``R5@0.7``: whether one of the first five reaches that IoU;
        ``moment_mAP``: average precision as the official QVHighlights scorer has it
        (``MR-full-mAP``); ``best5_mIoU``: the IoU of the best of the first five.

    Examples
    --------
    >>> found = ranked_columns([[(6, 8, 0.9), (0, 4, 0.1)]], [[(0, 4)]])
    >>> found["best5_mIoU"].tolist(), found["moment_mAP"].tolist()
    ([1.0], [0.5])
    """
    places = ([w[k] if k < len(w) else None for w in windows] for k in range(FIRST))
    best = np.max([moment_ious(place, truth) for place in places], axis=0)
    scored = [np.array(w, float).reshape(-1, 3) for w in windows]
    precision = detection_values(scored, [np.array(spans, float) for spans in truth])["full"][:, 0]
    recalls = {f"R5@{t:g}": best >= t for t in THRESHOLDS}
    return recalls | {"moment_mAP": precision.mean(axis=1), "best5_mIoU": best}


def _first_ious(rows: Sequence[Mapping]) -> list[np.ndarray]:
    """Return the IoU ``[N]`` of each row's first moment, and of its greedy answer."""
    truth = [row["truth"] for row in rows]
    return [moment_ious([(row[key] or [None])[0] for row in rows], truth) for key in _READS]


def ranked_retrieval(rows: Sequence[Mapping], resamples: int = 2000) -> dict:
    """Score rows of ranked moments, the greedy answer beside them.

    Parameters
    ----------
    rows
        Of `numpro.inference.predict` with ``read="ranked"``.
    resamples
        Of the bootstrap by video.

    Returns
    -------
    dict
        ``n``, ``unparsed``; ``mIoU`` of the first moment, ``greedy_mIoU`` and what
        `ranked_columns` gives, as [value, low, high] in percent.
    """
    truth, windows = [row["truth"] for row in rows], [row[WINDOWS] for row in rows]
    first, greedy = _first_ious(rows)
    columns = {"mIoU": first, "greedy_mIoU": greedy} | ranked_columns(windows, truth)
    unparsed = sum(not found for found in windows)
    return score_table(unparsed, columns, [row["video"] for row in rows], resamples)


# --- confidence ---


def confidences(
    rows: Sequence[Mapping], calibration: Mapping | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidence ``[N]`` and the IoU ``[N]`` of each row's first moment; 0 without one.

    Parameters
    ----------
    rows
        Of ranked moments, with their truth.
    calibration
        From `fit_calibration`, of other films; None takes confidences as they are.

    Raises
    ------
    ValueError
        When a confidence lies outside 0 to 1: then it is none. For a calibration that was fitted
        on some of the same videos.
    """
    windows = [row[WINDOWS] for row in rows]
    confidence = np.array([w[0][2] if w else 0.0 for w in windows], float)
    if (odd := confidence[~((confidence >= 0) & (confidence <= 1))]).size:
        raise ValueError(f"{WINDOWS}: a confidence must be 0 to 1; got the score {odd[0]:g}")
    ious = moment_ious([w[0] if w else None for w in windows], [row["truth"] for row in rows])
    if calibration is None:
        return confidence, ious
    if both := sorted(set(calibration["videos"]) & {row["video"] for row in rows}):
        shared = f"{len(both)} of the scored videos, first {both[0]!r}"
        raise ValueError(f"the calibration was fitted on {shared}; fit it on other films")
    return calibrate(confidence, calibration["temperature"]), ious


def calibrate(confidence: Any, temperature: float) -> Any:
    """Return confidences with their log-odds divided by a temperature.

    The order of answers stays. Above 1 the temperature draws confidences towards one half. None,
    which is 0, stays none.

    Examples
    --------
    >>> round(float(calibrate(0.9, 2.0)), 3)
    0.75
    """
    sure = np.clip(confidence, _LEAST, 1 - _LEAST)
    return np.sign(confidence) / (1 + ((1 - sure) / sure) ** (1 / temperature))


def fit_temperature(confidence: np.ndarray, ious: np.ndarray) -> float:
    """Return the temperature with the least cross-entropy of confidences against IoUs."""
    sure = np.clip(confidence, _LEAST, 1 - _LEAST)
    odds = np.log(sure / (1 - sure))[:, None] / _TEMPERATURES
    loss = np.logaddexp(0, odds) - ious[:, None] * odds  # the sure ones' logarithms stay finite
    return float(_TEMPERATURES[loss.mean(axis=0).argmin()])


def reliability(confidence: np.ndarray, ious: np.ndarray, bins: int = 10) -> np.ndarray:
    """Return ``[B, 3]`` for each filled bin of equal width: confidence, IoU (means), how many."""
    places = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    found = [(confidence[places == b].mean(), ious[places == b].mean(), (places == b).sum())
             for b in np.unique(places)]  # fmt: skip
    return np.array(found)


def calibration_error(confidence: np.ndarray, ious: np.ndarray, bins: int = 10) -> float:
    """Return the mean gap of confidence and IoU over the bins (ECE, Guo et al. 2017), 0 to 1."""
    sure, right, counts = reliability(confidence, ious, bins).T
    return float((np.abs(sure - right) * counts).sum() / counts.sum())


def risk_coverage(confidence: np.ndarray, ious: np.ndarray) -> np.ndarray:
    """Return ``[N, 2]``: answering the k surest, their share of all queries and 1 - their mIoU."""
    order, counts = np.argsort(-confidence, kind="stable"), np.arange(1, len(ious) + 1)
    return np.column_stack([counts / len(ious), 1 - np.cumsum(ious[order]) / counts])


def fit_calibration(rows: Sequence[Mapping]) -> dict:
    """Fit one temperature on rows of validation films.

    Returns
    -------
    dict
        ``temperature``; ``n`` queries of which ``videos`` of which ``dataset`` it was fitted on;
        ``calibration_error`` there, [before, after].

    Raises
    ------
    ValueError
        For rows of a split that is scored (its name has test in it) or was learned from (train),
        and where no row has a confidence.
    """
    parts = sorted({f"{row.get('dataset')}/{row.get('split')}" for row in rows})
    if wrong := [part for part in parts if "test" in part or "train" in part]:
        raise ValueError(f"a calibration is fitted on validation films only; got {wrong[0]}")
    confidence, ious = confidences(rows)
    if not (known := confidence > 0).any():
        raise ValueError("no row has a confidence: its model gives no probabilities")
    temperature = fit_temperature(confidence[known], ious[known])
    pair = confidence, calibrate(confidence, temperature)
    errors = [calibration_error(sure, ious) for sure in pair]
    about = {"n": len(rows), "dataset": parts, "videos": sorted({row["video"] for row in rows})}
    return {"temperature": temperature, "calibration_error": errors} | about


def trust(
    rows: Sequence[Mapping], calibration: Mapping | None = None, least: float | None = None
) -> dict:
    """Return how true the confidence of ranked moments is, and what trusting it gains.

    Parameters
    ----------
    rows, calibration
        As in `confidences`.
    least
        The confidence below which an answer is "not sure".

    Returns
    -------
    dict
        ``calibration_error`` (0 to 1) and ``temperature``; where rows have a greedy answer
        ``against_greedy``, by how many points of mIoU the first moment is better, [difference,
        low, high]; with `least` ``coverage``, the share (0 to 1) of answers that are sure, and
        ``sure_mIoU``, their mIoU in percent, [value, low, high] (None where none is).

    Raises
    ------
    ValueError
        For a calibration that was fitted on the same videos, or a `least` outside 0 to 1.
    """
    if least is not None and not 0 <= least <= 1:
        raise ValueError(f"the least confidence must be 0 to 1; got {least!r}")
    videos = [row["video"] for row in rows]
    confidence, ious = confidences(rows, calibration)
    found = {"calibration_error": calibration_error(confidence, ious)}
    found["temperature"] = calibration["temperature"] if calibration else 1.0
    if all(row.get("greedy") is not None for row in rows):
        pair = (100 * ious for ious in _first_ious(rows))
        found["against_greedy"] = paired_difference(*pair, videos)
    if least is not None:
        sure = np.flatnonzero(confidence >= least)
        found |= {"coverage": len(sure) / len(rows), "sure_mIoU": None}
        if sure.size:
            covered = score_table(0, {"mIoU": ious[sure]}, [videos[i] for i in sure])
            found["sure_mIoU"] = covered["mIoU"]
    return found
