"""Questions: the published wording to the letter, and fair wording where nothing is drawn."""

import pytest

from numpro.answers import parse_highlights, parse_moment
from numpro.prompts import (
    HIGHLIGHTS_FT,
    MOMENT_2024,
    TASKS,
    TIME_ENCODINGS,
    asked_unit,
    build_prompt,
    format_highlights,
    format_moment,
)

SECONDS = [0.0, 2.0, 4.004]
MIDDLE = (
    "on a scale from 1 to 5. If the video content more related to the query, the saliency score "
    "should be higher. The output format should be like: 'The highlight frames are in the 80, 81, "
    "82, 83, 84, 85, 86, 87, 88, 89 frames. Their saliency scores are 1.3, 1.5, 2.6, 3.0, 2.9, "
    "4.0, 3.7, 3.2, 2.1, 2.3'."
)


@pytest.mark.parametrize(
    ("task", "template", "published"),
    [
        pytest.param(
            "moment_retrieval",
            None,
            "The red numbers on each frame represent the frame number.During which frames can we "
            "see a dog? Answer in the format: 'From Frame x to Frame y'.",
            id="moments",
        ),
        pytest.param(
            "moment_retrieval",
            MOMENT_2024,
            "The red numbers on each frame represent the frame number.During which frames can we "
            "see a dog? Answer in the format of 'from x to y'.",
            id="moments-2024",
        ),
        pytest.param(
            "highlight_detection",
            None,
            "The red numbers on each frame represent the frame number. Please find the highlight "
            "contents in the video described by the query a dog. Determine the highlight frames "
            f"and its saliency score {MIDDLE}",
            id="highlights",
        ),
        pytest.param(
            "highlight_detection",
            HIGHLIGHTS_FT,
            "The red numbers on each frame represent the frame number. Please find the highlight "
            "contents in the video described by a sentence query, determining the highlight frames "
            f"and its saliency score {MIDDLE} Now I will give you the sentence query: a dog. "
            "Please return the query-based highlight frames and salient scores.",
            id="highlights-ft",
        ),
    ],
)
def test_published_wording(task, template, published):
    prompt = build_prompt("a dog", SECONDS, task, template=template)
    assert prompt.text == published
    assert (prompt.frame_labels, prompt.frame_texts) == (("0", "1", "2"), None)


@pytest.mark.parametrize(
    ("time_encoding", "drawn", "written"),
    [
        pytest.param("none", None, None, id="none"),
        pytest.param("overlay-index", ("0", "1", "2"), None, id="overlay-index"),
        pytest.param("overlay-seconds", ("0.0s", "2.0s", "4.0s"), None, id="overlay-seconds"),
        pytest.param("text-index", None, ("Frame 0: ", "Frame 1: ", "Frame 2: "), id="text-index"),
        pytest.param(
            "text-seconds",
            None,
            tuple(f"timestamp: {t} seconds " for t in ("0.0", "2.0", "4.0")),
            id="text-seconds",
        ),
    ],
)
def test_marks(time_encoding, drawn, written):
    for task in TASKS:
        prompt = build_prompt("a dog", SECONDS, task, time_encoding, duration=6.0)
        assert (prompt.frame_labels, prompt.frame_texts) == (drawn, written)
        unit = asked_unit(time_encoding)
        assert {"frame": "frames", "second": "seconds"}[unit] in prompt.text
        assert ("red numbers" in prompt.text) == (drawn is not None)


def test_nothing_drawn_is_asked_fairly():
    prompt = build_prompt("a dog", SECONDS, time_encoding="none", duration=6.04)
    assert "3 frames, numbered from 0 to 2, and lasts 6.0 seconds" in prompt.text
    shifted = build_prompt("a dog", SECONDS, time_encoding="none", labels=[10, 11, 12])
    assert "3 frames, numbered from 10 to 12." in shifted.text


def test_colour_and_labels():
    prompt = build_prompt("a dog", SECONDS, labels=[7, 5, 6], color="blue")
    assert prompt.text.startswith("The blue numbers on each frame")
    assert prompt.frame_labels == ("7", "5", "6")


def test_close_times_stay_apart():
    prompt = build_prompt("a dog", [0.0, 0.04, 0.08], time_encoding="overlay-seconds")
    assert prompt.frame_labels == ("0.00s", "0.04s", "0.08s")


@pytest.mark.parametrize("query", ["{query} {last}", "a {brace", "100% \\1 'quoted'", "从3到7"])
def test_any_query_stays_as_it_is(query):
    assert f"can we see {query}?" in build_prompt(query, SECONDS).text
    assert build_prompt(query, SECONDS, template="{}!").text.endswith(f"{query}!")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"task": "captioning"}, "task must be one of moment_retrieval", id="task"),
        pytest.param({"time_encoding": "x"}, "none, overlay-index.*got 'x'", id="encoding"),
        pytest.param({"seconds": []}, "at least one frame", id="no-frames"),
        pytest.param({"template": "When?"}, "must have {query}", id="template"),
        pytest.param({"labels": [1]}, "1 for 3 frames", id="labels"),
        pytest.param(
            {"labels": [1, 2, 3], "time_encoding": "text-seconds"}, "gives times", id="labels-times"
        ),
    ],
)
def test_bad_requests(change, says):
    with pytest.raises(ValueError, match=says):
        build_prompt(**{"query": "a dog", "seconds": SECONDS, **change})


@pytest.mark.parametrize("time_encoding", TIME_ENCODINGS)
def test_answers_are_read_back_and_echoes_are_failures(time_encoding):
    unit = asked_unit(time_encoding)
    answer = parse_moment(format_moment(1, 2, time_encoding))
    assert (answer.spans, answer.unit) == (((1, 2),), unit)
    assert parse_moment(format_moment(1, 2, time_encoding, words=False)).spans == ((1, 2),)
    highlights = parse_highlights(format_highlights([1, 2], [2.5, 4.0], time_encoding))
    assert (highlights.labels, highlights.scores, highlights.unit) == ((1, 2), (2.5, 4.0), unit)

    moment, highlight = (
        build_prompt("3 to 5 dogs", SECONDS, task, time_encoding, duration=6.0).text
        for task in TASKS
    )
    assert parse_moment(moment).reason == "repeats the prompt's example"
    assert parse_highlights(highlight).reason == "repeats the prompt's example"
    said = format_moment(1, 2, time_encoding)
    assert parse_moment(f"{moment} {said}").spans == ((1, 2),)
    said = format_highlights([1, 2], [2.5, 4.0], time_encoding)
    assert parse_highlights(f"{highlight} {said}").labels == (1, 2)


def test_every_label_needs_a_score():
    with pytest.raises(ValueError, match="2 and 1"):
        format_highlights([1, 2], [3.0])
