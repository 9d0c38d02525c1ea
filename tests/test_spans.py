"""Spans: true overlap, and labels to seconds by look-up, never by arithmetic."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpro.prompting.answers import HighlightAnswer, MomentAnswer
from numpro.spans import (
    ENDS,
    ROUNDINGS,
    Span,
    highlight_scores,
    labels_to_seconds,
    seconds_to_labels,
    temporal_iou,
    to_seconds,
)

UNEVEN = [0.0, 0.4, 2.0, 2.1, 7.5]  # a variable frame rate
TIMES = st.floats(0, 100, allow_nan=False).map(lambda t: round(t, 2))


def film(seconds=UNEVEN, duration=9.0):
    return SimpleNamespace(seconds=np.array(seconds), duration=duration)


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        pytest.param((0, 4), (2, 6), 1 / 3, id="overlap"),
        pytest.param((0, 4), (1, 2), 1 / 4, id="inside"),
        pytest.param((0, 4), (4, 6), 0.0, id="touching"),
        pytest.param((0, 1), (5, 6), 0.0, id="apart"),
        pytest.param((3, 3), (3, 3), 1.0, id="same-instant"),
        pytest.param((3, 3), (0, 6), 0.0, id="instant-inside"),
        pytest.param((5, 1), (0, 6), 0.0, id="reversed"),
        pytest.param((5, 1), (5, 1), 0.0, id="both-reversed"),
        pytest.param((0, 10), (0, 7), 0.7, id="exactly-at-a-threshold"),
    ],
)
def test_iou(a, b, iou):
    assert temporal_iou(a, b) == pytest.approx(iou, abs=1e-12)
    assert temporal_iou(b, a) == temporal_iou(a, b)


@given(*[st.tuples(TIMES, TIMES).map(sorted)] * 2)
def test_iou_is_intersection_over_union(a, b):
    lengths = (a[1] - a[0]) + (b[1] - b[0])
    both = max(min(a[1], b[1]) - max(a[0], b[0]), 0)
    expected = both / (lengths - both) if both else float(a == b and a[0] == a[1])
    assert temporal_iou(a, b) == pytest.approx(expected)


def test_iou_broadcasts():
    table = temporal_iou(np.array([[0, 2], [2, 4]])[:, None], np.array([[0, 2], [0, 4]]))
    np.testing.assert_array_equal(table, [[1, 0.5], [0, 0.5]])
    with pytest.raises(ValueError, match=r"shape \[\.\.\., 2\]"):
        temporal_iou([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize(
    ("span", "labels", "end", "duration", "expected"),
    [
        pytest.param((1, 3), None, "instant", None, (0.4, 2.1), id="uneven-times"),
        pytest.param((1, 3), None, "inclusive", None, (0.4, 7.5), id="to-the-next-sample"),
        pytest.param((3, 1), None, "instant", None, (0.4, 2.1), id="reversed"),
        pytest.param((3, 3), None, "inclusive", None, (2.1, 7.5), id="one-frame"),
        pytest.param((2, 99), None, "instant", None, (2.0, 7.5), id="past-the-last"),
        pytest.param((2, 99), None, "inclusive", 9.0, (2.0, 9.0), id="to-the-end"),
        pytest.param((2, 4), None, "inclusive", None, (2.0, 8.5), id="one-median-step-more"),
        pytest.param((50, 60), None, "instant", None, (7.5, 7.5), id="outside"),
        pytest.param((1, 3), None, "halfway", None, (0.2, 4.8), id="half-a-step"),
        pytest.param((0, 4), None, "halfway", 9.0, (0.0, 8.25), id="half-a-step-at-the-ends"),
        pytest.param((4, 4), None, "halfway", None, (4.8, 8.0), id="half-a-median-step-more"),
        pytest.param((2, None), None, "halfway", 9.0, (1.2, 9.0), id="half-a-step-open"),
        pytest.param((2, None), None, "instant", 9.0, (2.0, 9.0), id="open"),
        pytest.param((2, None), None, "instant", 5.0, (2.0, 7.5), id="open-after-the-duration"),
        pytest.param((-3, 1), None, "instant", None, (0.0, 0.4), id="negative"),
        pytest.param((11, 13), range(10, 15), "instant", None, (0.4, 2.1), id="offset"),
        pytest.param((7, 9), [9, 5, 7, 1, 3], "instant", None, (0.0, 2.0), id="shuffled"),
        pytest.param((7, 9), [9, 5, 7, 1, 3], "inclusive", None, (0.0, 2.1), id="shuffled-incl"),
        pytest.param((11, 28), [0, 10, 20, 30, 40], "instant", None, (0.4, 2.1), id="nearest"),
    ],
)
def test_labels_to_seconds(span, labels, end, duration, expected):
    assert labels_to_seconds(span, UNEVEN, labels, end, duration) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(((0, 1), []), "non-empty", id="no-times"),
        pytest.param(((0, 1), [1.0, 0.0]), "must not decrease", id="unordered"),
        pytest.param(((0, 1), [0.0, 1.0], [5]), "1 labels, 2 times", id="labels"),
        pytest.param(((0, 1), [0.0], None, "after"), "halfway; got 'after'", id="end"),
    ],
)
def test_bad_times(arguments, says):
    with pytest.raises(ValueError, match=says):
        labels_to_seconds(*arguments)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        pytest.param("nearest", (1, 3), id="nearest"),
        pytest.param("half_even", (0, 2), id="half_even"),
        pytest.param("floor", (0, 2), id="floor"),
        pytest.param("outer", (0, 3), id="outer"),
        pytest.param("inner", (1, 2), id="inner"),
    ],
)
def test_rounding_of_ties(rounding, expected):
    assert seconds_to_labels((2.1, 3.9), [0.0, 2.0, 4.0, 6.0], "inner") == (1, 2), "none inside"
    assert seconds_to_labels((1.0, 5.0), [0.0, 2.0, 4.0, 6.0], rounding) == expected
    assert seconds_to_labels((-5, 500), [0.0, 2.0, 4.0, 6.0], rounding) == (0, 3)
    with pytest.raises(ValueError, match="rounding must be one of"):
        seconds_to_labels((0, 1), [0.0], "up")


@given(st.lists(TIMES, min_size=1, max_size=30, unique=True).map(sorted), st.data())
def test_labels_survive_the_way_to_seconds_and_back(times, data):
    a, b = sorted(data.draw(st.tuples(*[st.integers(0, len(times) - 1)] * 2)))
    for rounding in ROUNDINGS:
        assert seconds_to_labels(labels_to_seconds((a, b), times), times, rounding) == (a, b)
    for end in ENDS:
        span = labels_to_seconds((a, b), times, end=end, duration=200.0)
        assert 0 <= span.start <= span.end <= 200.0


@pytest.mark.parametrize(
    ("spans", "unit", "wanted", "expected"),
    [
        pytest.param(((1, 3),), "frame", "frame", [(0.4, 2.1)], id="frames"),
        pytest.param(((1, 3),), None, "frame", [(0.4, 2.1)], id="no-unit"),
        pytest.param(((1, 3),), None, "second", [(1, 3)], id="asked-for-seconds"),
        pytest.param(((1, 3),), "second", "frame", [(1, 3)], id="seconds"),
        pytest.param(((10, 50),), "percent", "frame", [(0.9, 4.5)], id="percent"),
        pytest.param(((-4, 99),), "second", "frame", [(0, 9)], id="clipped"),
        pytest.param(((3, None),), "second", "frame", [(3, 9)], id="open"),
        pytest.param(((3, None), (0, 1)), "frame", "frame", [(2.1, 9), (0, 0.4)], id="two"),
        pytest.param((), None, "frame", [], id="unparsed"),
    ],
)
def test_to_seconds(spans, unit, wanted, expected):
    found = to_seconds(MomentAnswer("", spans, unit), film(), unit=wanted)
    np.testing.assert_allclose(found, np.reshape(expected, (-1, 2)) if expected else ())
    assert all(isinstance(span, Span) for span in found)


def test_to_seconds_refuses_an_unknown_unit():
    with pytest.raises(ValueError, match="frame, second, percent; got 'hour'"):
        to_seconds(MomentAnswer("", ((1, 2),), "hour"), film())


def test_highlight_scores():
    clip = film([0.0, 1.0, 2.0, 3.0, 4.0], 5.0)
    answer = HighlightAnswer("", (0, 1, 2, 4), (2.0, 4.0, 5.0, 1.0), "frame")
    np.testing.assert_allclose(highlight_scores(answer, clip), [3.0, 3.0])
    offset = HighlightAnswer("", (12,), (5.0,), "frame")
    np.testing.assert_allclose(highlight_scores(offset, clip, range(10, 15)), [0.0, 5.0])
    at = HighlightAnswer("", (2.1,), (5.0,), None)
    np.testing.assert_allclose(highlight_scores(at, clip, unit="second"), [0.0, 5.0])
    np.testing.assert_allclose(highlight_scores(HighlightAnswer(""), clip), [0.0, 0.0])


def test_highlight_scores_of_sparse_frames():
    answer = HighlightAnswer("", (1,), (4.0,), "frame")
    scores = highlight_scores(answer, film([0.0, 4.0, 8.0], 12.0))
    np.testing.assert_allclose(scores, [0.0, 4.0, 4.0, 0.0, 0.0, 0.0])
