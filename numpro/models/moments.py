"""Ranked moments: what is read off the probabilities that a model gives to labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from numpro.prompting.answers import MomentAnswer
from numpro.spans import temporal_iou


@dataclass(frozen=True)
class Moment:
    """A stretch of a film and how sure the model is of it.

    Attributes
    ----------
    start, end
        Seconds on the film's clock.
    probability
        Of exactly this pair of labels, as the model puts it into words; nan where it gives none.
    expected_iou
        Mean temporal IoU with what the model may answer, by its probabilities: what moments are
        ranked by, and the confidence before it is calibrated; nan where the model gives none.
    """

    start: float
    end: float
    probability: float
    expected_iou: float


@dataclass(frozen=True)
class RankedMoments:
    """What a model holds possible as the answer to one query.

    Attributes
    ----------
    moments
        Best first: the largest expected IoU, without near-repeats.
    answer
        The greedy answer beside it.
    reason
        Why there is one moment only, the greedy one, or none; None where they are ranked.
    spans : float array [N, 2]
        Seconds of all pairs of labels that were looked at.
    labels : float array [N, 2]
        Those labels (or seconds, or hundredths, where the question asks for these).
    probabilities : float array [N]
        Of each pair; they sum to at most 1.
    left_out : float
        A bound on the probability of all pairs that were not looked at.
    """

    moments: tuple[Moment, ...]
    answer: MomentAnswer
    reason: str | None = None
    spans: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    left_out: float = 1.0


@dataclass(frozen=True)
class Distribution:
    """Pairs of labels, as indices [N, 2], their probabilities [N], and a bound on all others."""

    pairs: np.ndarray
    probabilities: np.ndarray
    left_out: float


def expected_ious(spans: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return of each span its mean temporal IoU with all of them, weighed by probability.

    Probability that is missing to 1 counts as no overlap.

    Parameters
    ----------
    spans : float [N, 2]
        Start and end of each.
    probabilities : float [N]
        Of each.

    Returns
    -------
    float [N]

    Examples
    --------
    >>> expected_ious(np.array([(0, 4), (2, 6), (10, 12)]), np.array([0.5, 0.25, 0.25])).round(3)
    array([0.583, 0.417, 0.25 ])
    """
    spans, probabilities = np.asarray(spans, float), np.asarray(probabilities, float)
    if spans.shape != (len(probabilities), 2):
        raise ValueError(f"one probability per span: {len(probabilities)} for {spans.shape} spans")
    # a row of the table at a time, or a long film's table would fill the memory
    return np.array([temporal_iou(span, spans) @ probabilities for span in spans])


def keep_distinct(spans: np.ndarray, scores: Sequence[float], overlap: float = 0.7) -> list[int]:
    """Return the indices of spans, best first, without near-repeats (temporal NMS).

    A span is dropped when its temporal IoU with a better one that stays is above `overlap`.

    Examples
    --------
    >>> keep_distinct(np.array([(0, 4), (0, 5), (8, 9)]), [0.4, 0.5, 0.1], overlap=0.7)
    [1, 2]
    """
    spans, kept = np.asarray(spans, float).reshape(-1, 2), []
    for index in np.argsort(-np.asarray(scores, float), kind="stable").tolist():
        if not kept or (temporal_iou(spans[index], spans[kept]) <= overlap).all():
            kept.append(index)
    return kept


def check_ranking(top: int, overlap: float, least: float) -> None:
    """Raise a ValueError for settings with which nothing can be ranked."""
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top must be a whole number of moments, 1 or more; got {top!r}")
    for name, value, most in (("overlap", overlap, 1), ("least", least, 0.5)):
        if not 0 <= value <= most:
            raise ValueError(f"{name} must be from 0 to {most}; got {value!r}")


def rank(spans: np.ndarray, probabilities: np.ndarray, top: int, overlap: float) -> tuple:
    """Return the `top` moments of a distribution: the largest expected IoU first, and NMS."""
    confidences = expected_ious(spans, probabilities)
    kept = keep_distinct(spans, confidences, overlap)[:top]
    columns = np.column_stack([spans, probabilities, confidences])[kept]
    return tuple(Moment(*row) for row in columns.tolist())
