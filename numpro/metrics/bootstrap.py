"""Intervals by resampling whole videos, because queries of one video are not independent."""

from collections.abc import Hashable, Sequence

import numpy as np

_BLOCK = 4_000_000  # resampled videos drawn at once: bounds the memory


def _resampled_means(
    values: np.ndarray, groups: Sequence[Hashable] | None, resamples: int, seed: int
) -> np.ndarray:
    """Return the means ``[resamples, M]`` of values ``[N, M]`` over resampled groups."""
    n = len(values)
    if not n or values.ndim != 2:
        raise ValueError(f"values must be [N, M] with N > 0; got shape {values.shape}")
    if groups is not None and len(groups) != n:
        raise ValueError(f"one group per value is needed: {len(groups)} groups, {n} values")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups or range(n)))}
    index = np.arange(n) if groups is None else np.array([number[g] for g in groups])
    sums = np.zeros((len(number), values.shape[1] + 1))
    np.add.at(sums, index, np.column_stack([values, np.ones(n)]))
    rng, means, block = np.random.default_rng(seed), [], max(_BLOCK // len(sums), 1)
    for done in range(0, resamples, block):
        rows = min(block, resamples - done)
        drawn = rng.integers(len(sums), size=(rows, len(sums)))
        drawn += np.arange(rows)[:, None] * len(sums)
        times = np.bincount(drawn.ravel(), minlength=rows * len(sums)).reshape(rows, -1)
        total = times @ sums
        means.append(total[:, :-1] / total[:, -1:])
    return np.concatenate(means)


def bootstrap_interval(
    values: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> np.ndarray:
    """Return the percentile bootstrap interval of means, resampling groups.

    Parameters
    ----------
    values
        One row per query, one column per metric ``[N, M]``.
    groups
        The video of each query; None treats each query as its own.
    resamples, seed
        Number of resamples, and the seed that makes them the same every time.
    level
        Share of the resamples inside the interval.

    Returns
    -------
    numpy.ndarray
        Low and high ``[M, 2]``.

    Examples
    --------
    >>> bootstrap_interval(np.array([[1.0], [1.0], [1.0]])).tolist()
    [[1.0, 1.0]]
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    means = _resampled_means(np.asarray(values, float), groups, resamples, seed)
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0).T


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[float]:
    """Return ``[difference, low, high]`` of the mean of `a` minus `b` on the same queries.

    Parameters
    ----------
    a, b
        One value per query ``[N]``, in the same order.
    groups, resamples, seed, level
        As in `bootstrap_interval`.

    Examples
    --------
    >>> paired_difference([3.0, 2.0], [1.0, 0.0])
    [2.0, 2.0, 2.0]
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a and b must be [N] for the same queries; got {a.shape} and {b.shape}")
    low, high = bootstrap_interval((a - b)[:, None], groups, resamples, seed, level)[0]
    return [float((a - b).mean()), float(low), float(high)]
