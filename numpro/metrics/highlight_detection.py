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
Scores = Sequence[np.ndarray | None]  # one a clip for each query; None is an unparsed answer


def saliency_matrix(truth: Any, duration: float) -> np.ndarray:
    """Return the scores ``[clips, 3]`` of a whole video, 0 outside the relevant clips.

    Raises
    ------
    ValueError
        When the video has no clip, or a clip lies outside it or has not three scores.
    """
    if not duration >= CLIP_SECONDS:
        raise ValueError(f"a video of {duration} s has no {CLIP_SECONDS}-s clip")
    clips = int(duration // CLIP_SECONDS)
    ids = np.asarray(truth.clip_ids, float)
    scores = np.asarray(truth.scores if len(ids) else np.zeros((0, 3)), float)
    if scores.shape != (len(ids), 3):
        raise ValueError(f"each of {len(ids)} clips needs three scores; got {scores.shape}")
    if ((ids < 0) | (ids >= clips)).any():
        where = f"0 to {clips - 1}, inside the video of {duration:g} s"
        raise ValueError(f"clips must be {where}; got {[*truth.clip_ids]!s:.80}")
    matrix = np.zeros((clips, 3))
    matrix[ids.astype(int)] = scores
    return matrix


def _average_precision(predicted: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Interpolated AP of scores ``[Q, C]`` against positives ``[Q, C, K]``; returns ``[Q, K]``.

    Equal scores share one threshold. The mean is over the thresholds at which recall rises,
    each counted once, as in the official scorer; none positive is 0, all positive is 1.
    """
    clips = predicted.shape[1]
    order = np.argsort(-predicted, axis=1, kind="stable")
    ranked = np.take_along_axis(predicted, order, axis=1)
    # clips last: all that follows runs along them
    hits = np.take_along_axis(positive.swapaxes(1, 2), order[:, None], axis=2)
    hits = hits.cumsum(axis=2, dtype=np.int32)
    total = hits[..., -1]
    hits *= (np.diff(ranked, axis=1, append=-np.inf) != 0)[:, None]  # counted where a tie ends
    precision = hits / np.arange(1, clips + 1, dtype=np.int32)
    best = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    rises = np.diff(np.maximum.accumulate(hits, axis=2), axis=2, prepend=0) > 0
    ap = (best * rises).sum(axis=2) / np.maximum(np.count_nonzero(rises, axis=2), 1)
    return np.where(total == clips, 1.0, ap)


def matrix_values(predicted: Scores, matrices: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return `highlight_values` for truth given by `saliency_matrix`."""
    values = {level: np.zeros((len(predicted), 2)) for level in LEVELS}
    given = [np.zeros(1) if scores is None else np.asarray(scores, float) for scores in predicted]
    alike: dict[tuple, list[int]] = {}  # queries that can be scored at once
    for i, (scores, matrix) in enumerate(zip(given, matrices, strict=True)):
        alike.setdefault((scores.shape, len(matrix)), []).append(i)
    for (shape, clips), index in alike.items():
        scores, stacked = (np.array([part[i] for i in index]) for part in (given, matrices))
        if len(shape) != 1 or not scores.size or not np.isfinite(scores).all():
            accepted = "a non-empty list of finite numbers, or None"
            raise ValueError(f"query {index[0]} or one like it: scores must be {accepted}")
        fitted = np.zeros((len(index), clips))
        fitted[:, : shape[0]] = scores[:, :clips]
        positive = np.concatenate([stacked >= least for least in LEVELS.values()], axis=2)
        ap = _average_precision(fitted, positive).reshape(len(index), len(LEVELS), -1).mean(axis=2)
        first = scores.argmax(axis=1)  # past the end of the video it is a miss
        top = stacked[np.arange(len(index)), np.minimum(first, clips - 1)].max(axis=1)
        for i, (level, least) in enumerate(LEVELS.items()):
            values[level][index] = np.stack([ap[:, i], (first < clips) & (top >= least)], axis=1)
    return values


def highlight_values(predicted: Scores, truth: Sequence[Any], durations: Sequence[float]) -> dict:
    """Return for each level the values ``[N, 2]`` of every query: mean AP and HIT@1, 0 to 1."""
    counts = len(predicted), len(truth), len(durations)
    if len(set(counts)) > 1:
        raise ValueError("{} predictions, {} truths and {} durations".format(*counts))
    return matrix_values(predicted, list(map(saliency_matrix, truth, durations)))


def highlight_detection(
    predicted: Scores, truth: Sequence[Any], durations: Sequence[float],
    videos: Sequence[str] | None = None, resamples: int = 2000, seed: int = 0,
) -> dict:  # fmt: skip
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
    unparsed = sum(scores is None for scores in predicted)
    return score_table(unparsed, columns, videos, resamples, seed)
