"""Every encoding can be read back: what it shows of two frames, answered, becomes their seconds."""

import re
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from numpro.datasets import Query
from numpro.datasets.instructions import InstructionConfig, Shown, answer_text
from numpro.prompting import ENCODINGS, TIME_ENCODINGS, asked_unit, build_prompt, parse_moment
from numpro.prompting.encodings import DRAWN, EXPORTED, NUMBERED, VALUES, value_of
from numpro.spans import Span, to_seconds

FIVE = ("none", "overlay-index", "overlay-seconds", "text-index", "text-seconds")
# how far an answer may be from the truth, in seconds or in parts of the video
NEAR = {"number": 0, "seconds": 0.051, "clock": 0.51, "hundredths": 0}


@st.composite
def films(draw):
    """Uneven times of 1 to 40 frames, the length of the film, and two of the frames."""
    steps = draw(st.lists(st.integers(4, 20_000), min_size=1, max_size=40))
    times = [sum(steps[:n]) / 100 for n in range(len(steps))]
    length = times[-1] + draw(st.integers(1, 500)) / 100
    first, last = sorted(draw(st.tuples(*[st.integers(0, len(times) - 1)] * 2)))
    return times, length, first, last


def shown_values(name, prompt, numbers):
    """Return what stands on or before each frame, without the words around it."""
    how = ENCODINGS[name]
    marks = prompt.frame_labels or prompt.frame_texts
    if not marks or how.shows or how.every > 1:  # what is not shown is counted
        return [str(number) for number in numbers]
    before, after = (how.drawn or how.written).split("{}")
    return [mark.removeprefix(before).removesuffix(after) for mark in marks]


@pytest.mark.parametrize("name", [n for n in TIME_ENCODINGS if n != "native"])
@given(film=films())
@example(film=([0.0, 59.996, 3600.5], 7200.0, 1, 2))  # a minute's end, and over an hour
@example(film=([0.0], 0.5, 0, 0))
def test_what_is_shown_is_read_back(name, film):
    times, length, first, last = film
    clip = SimpleNamespace(seconds=times, duration=length)
    prompt = build_prompt("a dog", times, time_encoding=name, duration=length)
    values = shown_values(name, prompt, range(len(times)))
    place = value_of(name).place
    answer = f"From {place.format(values[first])} to {place.format(values[last])}."
    (span,) = to_seconds(parse_moment(answer), clip, unit=asked_unit(name))
    near = NEAR[ENCODINGS[name].value] + (0.0151 * length if name == "hundredths" else 0)
    assert span == pytest.approx((times[first], times[last]), abs=near)


@pytest.mark.parametrize("name", TIME_ENCODINGS)
@given(film=films())
def test_what_is_taught_is_read_back(name, film):
    times, length, first, last = film
    clip, truth = Shown(times, length), Span(times[first], times[last])
    query = Query("1", "a dog", (truth,))
    answer = answer_text(query, clip, "moment_retrieval", InstructionConfig(time_encoding=name))
    (span,) = to_seconds(parse_moment(answer), clip, unit=asked_unit(name))
    near = NEAR[ENCODINGS[name].value] + (0.0151 * length if name == "hundredths" else 0)
    assert span == pytest.approx(truth, abs=near)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_have_the_form_that_answers_are_held_to(value):
    """To the end of a video, over a minute's end and an hour; a bar's are drawn, not said."""
    times = [0.0, 7.0, 59.996, 119.7, 3600.5, 7199.0]
    texts = value.write_all(range(6), times, 7200.0)
    if value.text.startswith("▁"):
        assert texts == ["▁0.0%", "▁0.1%", "▁0.8%", "▁1.7%", "▁50.0%", "▁99.0%"]
        return
    assert all(re.fullmatch(value.label, text) for text in texts), texts
    assert all(int(text[-2:]) < 60 for text in texts if ":" in text)


@pytest.mark.parametrize("name", TIME_ENCODINGS)
def test_frames_look_different_where_something_is_shown(name):
    times = [0.0, 0.02, 0.04, 0.3]
    prompt = build_prompt("a dog", times, time_encoding=name, duration=0.4)
    for marks in (prompt.frame_labels, prompt.frame_texts):
        marks = [mark for mark in marks or () if mark]
        assert len(set(marks)) == len(marks) and len(marks) in (0, 4 // ENCODINGS[name].every or 1)


def test_the_table_is_whole():
    assert TIME_ENCODINGS[:5] == FIVE and len(TIME_ENCODINGS) == 13
    assert {how.value for how in ENCODINGS.values()} <= VALUES.keys()
    assert [n for n in TIME_ENCODINGS if n not in EXPORTED] == [
        "text-index", "text-seconds", "text-clock", "overlay+text-index"
    ]  # fmt: skip
    assert DRAWN == (
        "overlay-index", "overlay-seconds", "overlay-clock", "overlay-sparse", "hundredths", "bar"
    )  # fmt: skip
    assert NUMBERED == (
        "overlay-index", "text-index", "overlay-sparse", "overlay+text-index", "overlay+native"
    )  # fmt: skip
