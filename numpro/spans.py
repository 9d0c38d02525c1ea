"""Spans of time: overlap, and the way between frame labels and seconds.

A label never becomes seconds by arithmetic: it is looked up in the true times of the sampled
frames, ``Clip.seconds``.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

ENDS = ("instant", "inclusive", "halfway")
ROUNDINGS = ("nearest", "half_even", "floor", "outer", "inner")
UNITS = ("frame", "second", "percent")
Labels = Sequence[float] | None  # the number drawn on each frame; None is 0..T-1


class Span(NamedTuple):
    """A stretch of time in seconds; equal to the plain tuple ``(start, end)``."""

    start: float
    end: float


def temporal_iou(a: Any, b: Any) -> Any:
    """Intersection over union of spans, with the true union.

    (The published scorers divide by the hull; for spans that overlap the two are the same.)
    A span of no length, or one with its start after its end, overlaps nothing; the one
    exception is a span of no length against itself, which is 1.

    Parameters
    ----------
    a, b
        Spans ``[..., 2]``, broadcast against each other.

    Returns
    -------
    float or numpy.ndarray
        IoU in [0, 1]; a float when both are single spans.

    Examples
    --------
    >>> temporal_iou((0, 4), (2, 6))
    0.3333333333333333
    >>> temporal_iou([(0, 2), (5, 5)], (5, 5)).tolist()
    [0.0, 1.0]
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape[-1:] != (2,) or b.shape[-1:] != (2,):
        raise ValueError(f"spans must have shape [..., 2]; got {a.shape} and {b.shape}")
    overlap = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    # spans that overlap (a reversed one never does) fill their hull, which is exact where a sum
    # would be rounded
    hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    same_instant = (a == b).all(-1) & (a[..., 0] == a[..., 1])
    iou = np.divide(overlap, hull, np.zeros_like(overlap), where=overlap > 0) + same_instant
    return float(iou) if iou.ndim == 0 else iou


def one_of(name: str, value: str, accepted: Iterable[str]) -> str:
    """Return a value that is one of those accepted; refuse another, naming them all and near ones.

    Examples
    --------
    >>> one_of("unit", "frames", UNITS)
    Traceback (most recent call last):
    ValueError: unit must be one of frame, second, percent; got 'frames': did you mean frame?
    """
    if value not in (accepted := tuple(accepted)):
        from difflib import get_close_matches

        near = " or ".join(get_close_matches(str(value), accepted))
        hint = f": did you mean {near}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(accepted)}; got {value!r}{hint}")
    return value


def _times(seconds: Sequence[float]) -> np.ndarray:
    """Return the sampled times as an array, refusing an empty or unordered one."""
    times = np.asarray(seconds, float)
    if times.ndim != 1 or not times.size:
        raise ValueError(f"seconds must be a non-empty list of times; got shape {times.shape}")
    if np.any(np.diff(times) < 0):
        raise ValueError("seconds must not decrease: they are the times of the sampled frames")
    return times


def _nearest(values: Any, places: np.ndarray) -> np.ndarray:
    """Return for each value the index of the place nearest to it, the first of equals."""
    return np.abs(np.subtract.outer(np.asarray(values, float), places)).argmin(axis=-1)


def labels_to_seconds(
    span: tuple[float, float | None], seconds: Sequence[float], labels: Labels = None,
    end: str = "instant", duration: float | None = None,
) -> Span:  # fmt: skip
    """Look up what a span of frame labels means in seconds.

    Parameters
    ----------
    span
        First and last label of the answer; None as the last one is the end of the video.
        A label that was not drawn stands for the nearest one that was.
    seconds
        True times of the T sampled frames.
    labels
        The number drawn on each frame, in any order; None is 0..T-1.
    end
        "instant": `b` ends at the instant of its frame. "inclusive": it ends where the next
        sampled frame begins (for the last frame, at the end of the video). "halfway": a label
        stands for the time that is nearer to its frame than to others, as what a frame shows
        began somewhere after the frame before it; so a span is half a step longer on either side.
    duration
        Length of the video; without it the video is taken to end with its last frame
        ("inclusive": one median step later).

    Raises
    ------
    ValueError
        When there are no times, not one label per time, or `end` is unknown.

    Examples
    --------
    >>> labels_to_seconds((1, 3), [0.0, 2.0, 4.0, 6.0])
    Span(start=2.0, end=6.0)
    >>> labels_to_seconds((1, None), [0.0, 2.0, 4.0], end="inclusive", duration=5.5)
    Span(start=2.0, end=5.5)
    >>> labels_to_seconds((11, 12), [0.0, 2.0, 4.0], labels=[10, 11, 12], end="inclusive")
    Span(start=2.0, end=6.0)
    >>> labels_to_seconds((1, 2), [0.0, 2.0, 4.0, 6.0], end="halfway")
    Span(start=1.0, end=5.0)
    """
    one_of("end", end, ENDS)
    times = _times(seconds)
    drawn = np.arange(len(times)) if labels is None else np.asarray(labels, float)
    if drawn.shape != times.shape:
        raise ValueError(f"one label per frame is needed: {drawn.size} labels, {times.size} times")
    step = np.median(np.diff(times)) if end != "instant" and times.size > 1 else 0.0
    last = times[-1] + step if duration is None else max(duration, times[-1])
    starts = ends = times
    if end == "inclusive":
        ends = np.append(times[1:], last)
    if end == "halfway":
        starts = (times + np.append(max(times[0] - step, 0.0), times[:-1])) / 2
        ends = (times + np.append(times[1:], last)) / 2
    first, *final = sorted(_nearest([label for label in span if label is not None], drawn))
    return Span(float(starts[first]), float(ends[final[0]] if final else last))


def seconds_to_labels(
    span: tuple[float, float], seconds: Sequence[float], rounding: str = "nearest"
) -> tuple[int, int]:
    """Turn a span in seconds into the labels 0..T-1 of sampled frames, for instruction data.

    Parameters
    ----------
    span
        Start and end in seconds.
    seconds
        True times of the T sampled frames.
    rounding
        "nearest" frame (a tie goes to the later one); "half_even": a tie goes to the even
        label; "floor": the last frame not after the time; "outer": start as "floor", end the
        first frame not before it; "inner": the first and the last frame inside, which is what
        frames show (the two around it where none is inside). Only sampled frames count.

    Examples
    --------
    >>> times = [0.0, 2.0, 4.0, 6.0]
    >>> {r: seconds_to_labels((1.0, 4.9), times, r) for r in ROUNDINGS}
    {'nearest': (1, 2), 'half_even': (0, 2), 'floor': (0, 2), 'outer': (0, 3), 'inner': (1, 2)}
    """
    one_of("rounding", rounding, ROUNDINGS)
    times, ends = _times(seconds), np.asarray(span, float)
    below = np.maximum(np.searchsorted(times, ends, side="right") - 1, 0)
    above = np.minimum(np.searchsorted(times, ends, side="left"), len(times) - 1)
    later, earlier = times[above] - ends, ends - times[below]
    tie = (later == earlier) & (rounding == "nearest" or above % 2 == 0)
    fixed = {"floor": False, "outer": np.array([False, True]), "inner": np.array([True, False])}
    up = fixed.get(rounding, tie | (later < earlier))
    labels = np.where(up, above, below).tolist()
    return tuple(sorted(labels) if rounding == "inner" else labels)


def to_seconds(
    answer: Any, clip: Any, labels: Labels = None, end: str = "instant", unit: str = "frame"
) -> tuple[Span, ...]:
    """Turn a parsed answer of any unit into spans in seconds that lie inside the video.

    Parameters
    ----------
    answer
        A `numpro.prompting.answers.MomentAnswer`; an unparsed one gives no spans.
    clip
        The clip that the model was given: its ``seconds`` and ``duration``.
    labels, end
        As in `labels_to_seconds`; of other units only "halfway" counts, as half a median step on
        either side: who names the times of frames names frames.
    unit
        The unit that the question asks for (`numpro.prompting.asked_unit`); it holds when the
        answer names none. Where percents are asked for, what the answer calls a frame is one.

    Examples
    --------
    >>> from types import SimpleNamespace as Made
    >>> clip = Made(seconds=[0.0, 2.0, 4.0], duration=6.0)
    >>> to_seconds(Made(spans=((1, 2),), unit="frame"), clip)
    (Span(start=2.0, end=4.0),)
    >>> to_seconds(Made(spans=((50, None), (7, 9)), unit="percent"), clip)
    (Span(start=3.0, end=6.0), Span(start=0.42, end=0.54))
    """
    unit = _unit_of(answer, unit)
    duration = float(clip.duration)
    if unit == "frame":
        found = [labels_to_seconds(s, clip.seconds, labels, end, duration) for s in answer.spans]
    else:
        scale = duration / 100 if unit == "percent" else 1.0
        step = np.median(np.diff(clip.seconds)) if len(clip.seconds) > 1 else 0.0
        half = float(step) / 2 if end == "halfway" else 0.0
        pairs = [(a, duration if b is None else b * scale) for a, b in answer.spans]
        found = [Span(a * scale - half, b + half) for a, b in pairs]
    return tuple(Span(*(min(max(t, 0.0), duration) for t in span)) for span in found)


def _unit_of(answer: Any, unit: str) -> str:
    """Return the unit of an answer to a question that asks for one."""
    named = None if unit == "percent" and answer.unit == "frame" else answer.unit
    return one_of("unit", named or unit, UNITS)


def highlight_scores(
    answer: Any, clip: Any, labels: Labels = None, clip_seconds: float = 2.0, unit: str = "frame"
) -> np.ndarray:
    """Turn a parsed highlight answer into one saliency score per short clip of the video.

    QVHighlights scores clips of two seconds. A clip gets the mean of the scores that the answer
    gives its sampled frames, 0 when it names none of them; a clip in which no frame was sampled
    gets the score of the sampled frame nearest to its middle.

    Parameters
    ----------
    answer
        A `numpro.prompting.answers.HighlightAnswer`; an unparsed one gives zeros.
    clip, labels, unit
        As in `to_seconds`.
    clip_seconds
        Length of one scored clip.

    Returns
    -------
    numpy.ndarray
        Scores ``[duration // clip_seconds]``, at least one.

    Examples
    --------
    >>> from types import SimpleNamespace as Made
    >>> clip = Made(seconds=[0.0, 1.0, 2.0, 3.0], duration=8.0)
    >>> answer = Made(labels=(1, 2, 3), scores=(4.0, 2.0, 3.0), unit="frame")
    >>> highlight_scores(answer, clip).tolist()
    [4.0, 2.5, 3.0, 3.0]
    """
    unit = _unit_of(answer, unit)
    times, n = _times(clip.seconds), max(int(clip.duration // clip_seconds), 1)
    drawn = {"frame": labels, "second": times, "percent": 100 * times / clip.duration}[unit]
    drawn = np.arange(len(times)) if drawn is None else np.asarray(drawn, float)
    named = _nearest(answer.labels, drawn)
    clip_of = np.minimum((times // clip_seconds).astype(int), n - 1)
    # a clip without a sampled frame takes the frame nearest to its middle
    empty = np.setdiff1d(np.arange(n), clip_of)
    clips = np.append(clip_of, empty)
    frames = np.append(np.arange(len(times)), _nearest((empty + 0.5) * clip_seconds, times))
    by_frame = [np.bincount(named, weights, len(times)) for weights in (answer.scores, None)]
    total, count = (np.bincount(clips, values[frames], n) for values in by_frame)
    return total / np.maximum(count, 1)
