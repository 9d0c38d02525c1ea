"""Highlight detection as the official QVHighlights scorer has it (moment_detr, standalone_eval).

Three annotators scored each 2-second clip of a video 0 to 4. A clip counts as a highlight for
one of them from 2 ("Fair"), 3 ("Good") or 4 ("VeryGood") on. Papers quote VeryGood.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpro.metrics.bootstrap import bootstrap_interval

LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
CLIP_SECONDS = 2


def saliency_matrix(truth: Any, duration: float) -> np.ndarray:
    """Return the scores ``[clips, 3]`` of a whole video, 0 outside the relevant clips.

    Raises
    ------
    ValueError
        When a clip lies outside the video, or has not three scores.
    """
    clips = int(duration // CLIP_SECONDS)
    ids, scores = np.asarray(truth.clip_ids, int), np.asarray(truth.scores, float)
    if scores.shape != (len(ids), 3) and len(ids):
        raise ValueError(f"each of {len(ids)} clips needs three scores; got {scores.shape}")
    if any(not 0 <= i < clips for i in ids):
        raise ValueError(f"clips must be 0 to {clips - 1} for {duration} s; got {ids.tolist()}")
    matrix = np.zeros((clips, 3))
    if len(ids):
        matrix[ids] = scores
    return matrix


def _average_precision(predicted: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Interpolated AP of scores ``[Q, C]`` against positives ``[Q, C, K]``; returns ``[Q, K]``.

    Equal scores share one threshold. The mean is over the thresholds at which recall rises,
    each counted once, as in the official scorer; none positive is 0, all positive is 1.
    """
    order = np.argsort(-predicted, axis=1, kind="stable")
    ranked = np.take_along_axis(predicted, order, axis=1)
    hits = np.take_along_axis(positive, order[..., None], axis=1).cumsum(axis=1)
    clips = predicted.shape[1]
    last_of_tie = np.append(ranked[:, 1:] != ranked[:, :-1], np.ones((len(ranked), 1), bool), 1)
    precision = hits / np.arange(1, clips + 1)[:, None]
    precision = np.where(last_of_tie[..., None], precision, 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # the hits at the end of the tie before this one, 0 before the first
    ends = np.where(last_of_tie[..., None], hits, 0)
    before = np.maximum.accumulate(ends, axis=1)
    before = np.concatenate([np.zeros_like(before[:, :1]), before[:, :-1]], axis=1)
    rises = last_of_tie[..., None] & (hits > before)
    count = rises.sum(axis=1)
    ap = (best * rises).sum(axis=1) / np.maximum(count, 1)
    return np.where(hits[:, -1] == clips, 1.0, ap)


def _fit(predicted: np.ndarray | None, clips: int, query: int) -> tuple[np.ndarray, int]:
    """Return scores cut or filled with zeros to `clips`, and the clip ranked first."""
    said = np.zeros(1) if predicted is None else np.asarray(predicted, float)
    if said.ndim != 1 or not said.size or not np.isfinite(said).all():
        raise ValueError(
            f"query {query}: scores must be a non-empty list of finite numbers, or None"
        )
    fitted = np.zeros(clips)
    fitted[: min(clips, said.size)] = said[:clips]
    return fitted, int(said.argmax())


def highlight_values(
    predicted: Sequence[np.ndarray | None], truth: Sequence[Any], durations: Sequence[float]
) -> dict[str, np.ndarray]:
    """Return for each level the values ``[N, 2]`` of every query: mean AP and HIT@1, 0 to 1."""
    if not len(predicted) == len(truth) == len(durations):
        raise ValueError(
            f"{len(predicted)} predictions, {len(truth)} truths and {len(durations)} durations"
        )
    values = {level: np.zeros((len(predicted), 2)) for level in LEVELS}
    by_length: dict[int, list[tuple[int, np.ndarray, np.ndarray, int]]] = {}
    for i, (said, true, duration) in enumerate(zip(predicted, truth, durations, strict=True)):
        matrix = saliency_matrix(true, duration)
        if not len(matrix):
            raise ValueError(f"query {i}: a video of {duration} s has no {CLIP_SECONDS}-s clip")
        fitted, first = _fit(said, len(matrix), i)
        by_length.setdefault(len(matrix), []).append((i, fitted, matrix, first))
    for clips, rows in by_length.items():
        index, fitted, matrices, first = (np.array(column) for column in zip(*rows, strict=True))
        inside = first < clips
        top = matrices[np.arange(len(rows)), np.where(inside, first, 0)].max(axis=1)
        for level, least in LEVELS.items():
            values[level][index, 0] = _average_precision(fitted, matrices >= least).mean(axis=1)
            values[level][index, 1] = inside & (top >= least)
    return values


def highlight_detection(
    predicted: Sequence[np.ndarray | None],
    truth: Sequence[Any],
    durations: Sequence[float],
    videos: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict:
    """Score one saliency score per 2-second clip for each query, as the official scorer does.

    Parameters
    ----------
    predicted
        Scores per clip; too many are cut, missing ones are 0. None is an unparsed answer:
        all zeros, and counted.
    truth
        `numpro.datasets.Saliency` of each query.
    durations
        Length of each query's video in seconds.
    videos
        The video of each query, for the interval (95 %, bootstrap by video).
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``n``, ``unparsed``, ``mAP`` and ``HIT@1`` (VeryGood, which papers quote), and both at
        each level (``mAP@Fair``, ...), as [value, low, high] in percent.

    Raises
    ------
    ValueError
        When there are no queries, lengths differ, or scores are not finite.

    Examples
    --------
    >>> from numpro.datasets import Saliency
    >>> truth = [Saliency((1,), ((4, 4, 2),))]
    >>> scores = highlight_detection([[0.0, 3.0]], truth, [4.0])
    >>> round(scores["mAP"][0], 1), scores["mAP@Fair"][0], scores["HIT@1"][0]
    (66.7, 100.0, 100.0)
    """
    if not len(predicted):
        raise ValueError("there are no queries to score")
    values = highlight_values(predicted, truth, durations)
    columns = 100 * np.concatenate([values["VeryGood"], *values.values()], axis=1)
    interval = bootstrap_interval(columns, videos, resamples, seed)
    names = ("mAP", "HIT@1", *(f"{m}@{level}" for level in LEVELS for m in ("mAP", "HIT@1")))
    scores = np.column_stack([columns.mean(axis=0), interval]).tolist()
    unparsed = sum(said is None for said in predicted)
    return {"n": len(columns), "unparsed": unparsed, **dict(zip(names, scores, strict=True))}
