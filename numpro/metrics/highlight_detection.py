"""Highlight detection as the official QVHighlights scorer has it (moment_detr, standalone_eval).

Three annotators scored each 2-second clip of a video 0 to 4. A clip counts as a highlight for
one of them from 2 ("Fair"), 3 ("Good") or 4 ("VeryGood") on. Papers quote VeryGood.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpro.metrics.bootstrap import score_table

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
    ids = np.asarray(truth.clip_ids, int)
    scores = np.asarray(truth.scores if len(ids) else np.zeros((0, 3)), float)
    if scores.shape != (len(ids), 3):
        raise ValueError(f"each of {len(ids)} clips needs three scores; got {scores.shape}")
    if ((ids < 0) | (ids >= clips)).any():
        where = f"0 to {clips - 1}, inside the video of {duration:g} s"
        raise ValueError(f"clips must be {where}; got {ids.tolist()}")
    matrix = np.zeros((clips, 3))
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
    ends_tie = np.diff(ranked, axis=1, append=-np.inf)[..., None] != 0
    precision = hits * ends_tie / np.arange(1, clips + 1)[:, None]
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    rises = np.diff(np.maximum.accumulate(hits * ends_tie, axis=1), axis=1, prepend=0) > 0
    ap = (best * rises).sum(axis=1) / np.maximum(rises.sum(axis=1), 1)
    return np.where(hits[:, -1] == clips, 1.0, ap)


def _fit(predicted: np.ndarray | None, clips: int, query: int) -> tuple[np.ndarray, int]:
    """Return scores cut or filled with zeros to `clips`, and the clip ranked first."""
    said = np.zeros(1) if predicted is None else np.asarray(predicted, float)
    if said.ndim != 1 or not said.size or not np.isfinite(said).all():
        accepted = "a non-empty list of finite numbers, or None"
        raise ValueError(f"query {query}: scores must be {accepted}")
    return np.pad(said[:clips], (0, max(clips - said.size, 0))), int(said.argmax())


def highlight_values(
    predicted: Sequence[np.ndarray | None], truth: Sequence[Any], durations: Sequence[float]
) -> dict[str, np.ndarray]:
    """Return for each level the values ``[N, 2]`` of every query: mean AP and HIT@1, 0 to 1."""
    counts = len(predicted), len(truth), len(durations)
    if len(set(counts)) > 1:
        raise ValueError("{} predictions, {} truths and {} durations".format(*counts))
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
        top = matrices[np.arange(len(rows)), np.minimum(first, clips - 1)].max(axis=1)
        for level, least in LEVELS.items():
            values[level][index, 0] = _average_precision(fitted, matrices >= least).mean(axis=1)
            values[level][index, 1] = (first < clips) & (top >= least)
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
    values = highlight_values(predicted, truth, durations)
    values = {"": values["VeryGood"]} | {f"@{level}": values[level] for level in LEVELS}
    columns = {m + at: values[at][:, i] for at in values for i, m in enumerate(("mAP", "HIT@1"))}
    return score_table(predicted, columns, videos, resamples, seed)
