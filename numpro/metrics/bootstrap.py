"""Intervals by resampling whole videos, because queries of one video are not independent."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

Groups = Sequence[Hashable] | None
_AT_ONCE = 64  # resamples; what is drawn for them stays in the processor's cache
_CELLS = 4_000_000  # and of very many videos in little memory: so many draws at once


def bootstrap_interval(
    values: Any, groups: Groups = None, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Return the 95 % percentile bootstrap interval of means, resampling groups.

    Parameters
    ----------
    values
        One row per query, one column per metric ``[N, M]``; NaN is not counted.
    groups
        The video of each query; None treats each query as its own.
    resamples, seed
        Number of resamples, and the seed that makes them the same every time.

    Returns
    -------
    numpy.ndarray
        Low and high ``[M, 2]``; NaN for a metric that counts nothing in some resample.

    Examples
    --------
    >>> bootstrap_interval(np.array([[1.0], [1.0], [1.0]])).tolist()
    [[1.0, 1.0]]
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    values = np.asarray(values, float)
    n = len(values)
    if not n or values.ndim != 2:
        raise ValueError(f"values must be [N, M] with N > 0; got shape {values.shape}")
    if groups is not None and len(groups) != n:
        raise ValueError(f"one group per value is needed: {len(groups)} groups, {n} values")
    groups = range(n) if groups is None else groups
    place = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    counted, rng, tail = ~np.isnan(values), np.random.default_rng(seed), (1 - 0.95) / 2
    sums = np.zeros((len(place), 2, values.shape[1]))
    np.add.at(sums, [place[g] for g in groups], np.stack([np.nan_to_num(values), counted], axis=1))
    videos, means = len(sums), []
    once = min(_AT_ONCE, max(_CELLS // videos, 1))
    for at in range(0, resamples, once):
        rows = min(once, resamples - at)
        drawn = rng.integers(videos, size=(rows, videos)) + videos * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * videos).reshape(rows, videos)
        total, count = np.tensordot(times.astype(float), sums, 1).swapaxes(0, 1)
        means.append(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))
    return np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0).T


def score_table(unparsed: int, columns: dict[str, np.ndarray], *bootstrap: Any) -> dict:
    """Return ``n``, ``unparsed`` and each column's ``[mean, low, high]``, in percent.

    Parameters
    ----------
    unparsed
        How many answers could not be read.
    columns
        By name, one value per query ``[N]``, 0 to 1.
    *bootstrap
        Groups, resamples and seed, as in `bootstrap_interval`.
    """
    values = 100 * np.column_stack(list(columns.values())).astype(float)
    if not len(values):
        raise ValueError("there are no queries to score")
    interval = bootstrap_interval(values, *bootstrap)
    scores = np.column_stack([values.mean(axis=0), interval]).tolist()
    return {"n": len(values), "unparsed": unparsed, **dict(zip(columns, scores, strict=True))}


def paired_difference(a: Any, b: Any, groups: Groups = None, resamples: int = 2000) -> list[float]:
    """Return ``[difference, low, high]`` of the mean of `a` minus `b` on the same queries.

    Parameters
    ----------
    a, b
        One value per query ``[N]``, in the same order.
    groups, resamples
        As in `bootstrap_interval`.

    Examples
    --------
    >>> paired_difference([3.0, 2.0], [1.0, 0.0])
    [2.0, 2.0, 2.0]
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a and b must be [N] for the same queries; got {a.shape} and {b.shape}")
    low, high = bootstrap_interval((a - b)[:, None], groups, resamples)[0]
    return [float((a - b).mean()), float(low), float(high)]
