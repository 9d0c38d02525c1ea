"""Questions: the published wording to the letter, and fair wording where nothing is drawn."""

import numpy as np
import pytest

from numpro import Clip
from numpro.prompting.answers import parse_highlights, parse_moment
from numpro.prompting.encodings import value_of
from numpro.prompting.prompts import (
    FIELDS,
    HIGHLIGHTS_FT,
    MOMENT_2024,
    MOMENT_TIMELENS,
    TASKS,
    TIME_ENCODINGS,
    asked_unit,
    build_prompt,
    format_highlights,
    format_moment,
    read_template,
    render_prompt,
)
from numpro.spans import highlight_scores, to_seconds

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
        pytest.param("overlay-clock", ("00:00", "00:02", "00:04"), None, id="overlay-clock"),
        pytest.param("text-clock", None, ("00:00 ", "00:02 ", "00:04 "), id="text-clock"),
        pytest.param("overlay-sparse", ("0", "", ""), None, id="overlay-sparse"),
        pytest.param(
            "overlay+text-index", ("0", "1", "2"), ("Frame 0: ", "Frame 1: ", "Frame 2: "),
            id="overlay+text-index",
        ),
        pytest.param("hundredths", ("00", "33", "67"), None, id="hundredths"),
        pytest.param("bar", ("▁0.0%", "▁33.3%", "▁66.7%"), None, id="bar"),
        pytest.param("native", None, None, id="native"),
        pytest.param("overlay+native", ("0", "1", "2"), None, id="overlay+native"),
    ],
)  # fmt: skip
def test_marks(time_encoding, drawn, written):
    for task in TASKS:
        prompt = build_prompt("a dog", SECONDS, task, time_encoding, duration=6.0)
        assert (prompt.frame_labels, prompt.frame_texts) == (drawn, written)
        assert f" {value_of(time_encoding).noun}s" in prompt.text
        assert ("red numbers" in prompt.text) == (drawn is not None and time_encoding != "bar")


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
        pytest.param({"template": "{} of {duration} s"}, "give the duration", id="duration"),
        pytest.param(
            {"labels": [1, 2, 3], "time_encoding": "text-seconds"}, "gives times", id="labels-times"
        ),
        pytest.param({"time_encoding": "bar"}, "'bar' states the {duration}", id="length of a bar"),
    ],
)
def test_bad_requests(change, says):
    with pytest.raises(ValueError, match=says):
        build_prompt(**{"query": "a dog", "seconds": SECONDS, **change})


@pytest.mark.parametrize("time_encoding", TIME_ENCODINGS)
def test_answers_are_read_back_and_echoes_are_failures(time_encoding):
    unit = {"percent": "frame"}.get(asked_unit(time_encoding), asked_unit(time_encoding))
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
    answer = format_moment(1, 2, time_encoding)
    assert parse_moment(f"{moment} {answer}").spans == ((1, 2),)
    answer = format_highlights([1, 2], [2.5, 4.0], time_encoding)
    assert parse_highlights(f"{highlight} {answer}").labels == (1, 2)


def test_every_label_needs_a_score():
    with pytest.raises(ValueError, match="2 and 1"):
        format_highlights([1, 2], [3.0])


def test_what_timelens_published_is_a_whole_prompt_and_its_answer_is_read():
    prompt = build_prompt("a dog", SECONDS, time_encoding="text-seconds", template=MOMENT_TIMELENS)
    assert prompt.text == (
        "You are given a video with multiple frames. The numbers before each video frame indicate "
        "its sampling timestamp (in seconds). Please find the visual event described by the "
        "sentence 'a dog', determining its starting and ending times. The format should be: 'The "
        "event happens in <start time> - <end time> seconds'."
    )
    answer = parse_moment("The event happens in 2.0 - 4.0 seconds.")
    assert (answer.spans, answer.unit) == (((2, 4),), "second")
    assert parse_moment(prompt.text).reason


@pytest.mark.parametrize("time_encoding", TIME_ENCODINGS)
def test_an_answer_in_the_unit_asked_for_is_looked_up_in_the_seconds_of_the_frames(time_encoding):
    # a part of a film, at uneven times: no arithmetic on labels gives these
    clip = Clip(np.zeros((4, 8, 8, 3), np.uint8), np.array([10.0, 12.5, 13.0, 20.5]),
                np.arange(4), {"duration": 30.0})  # fmt: skip
    unit = asked_unit(time_encoding)
    shown = {"frame": (1, 3), "second": (12.5, 20.5), "percent": (100 * 12.5 / 30, 100 * 20.5 / 30)}
    first, last = (value_of(time_encoding).write(value) for value in shown[unit])
    for text in (format_moment(*shown[unit], time_encoding), f"{first} to {last}"):
        (span,) = to_seconds(parse_moment(text), clip, unit=unit)
        assert span == pytest.approx((12.5, 20.5), abs=0.5 if "clock" in time_encoding else 0.15)
        assert unit != "frame" or span == (12.5, 20.5)
    answer = parse_highlights(format_highlights(shown[unit], [2.0, 4.0], time_encoding))
    scores = highlight_scores(answer, clip, unit=unit)
    assert scores.tolist() == [0] * 6 + [2, 0] + [4] * 7, "clips of 2 s, by the nearest frame"


@pytest.mark.parametrize(
    ("time_encoding", "video"),
    [
        ("none", "<frame><frame><frame>"),
        ("overlay-index", "<frame 0><frame 1><frame 2>"),
        ("overlay-seconds", "<frame 0.0s><frame 2.0s><frame 4.0s>"),
        ("text-index", "Frame 0: <frame>Frame 1: <frame>Frame 2: <frame>"),
        ("text-seconds", "timestamp: 0.0 seconds <frame>timestamp: 2.0 seconds <frame>"
                         "timestamp: 4.0 seconds <frame>"),
        ("overlay-sparse", "<frame 0><frame><frame>"),
        ("overlay+text-index", "Frame 0: <frame 0>Frame 1: <frame 1>Frame 2: <frame 2>"),
        ("bar", "<frame ▁0.0%><frame ▁33.3%><frame ▁66.7%>"),
    ],
)  # fmt: skip
def test_a_prompt_is_written_out_whole(time_encoding, video):
    prompt = build_prompt("a dog", SECONDS, time_encoding=time_encoding, duration=6.0)
    assert render_prompt(prompt, 3) == f"{video}\n{prompt.text}"
    if time_encoding != "none":
        with pytest.raises(ValueError, match="for 3 frames; got 2"):
            render_prompt(prompt, 2)


@pytest.mark.parametrize(
    ("template", "question"),
    [
        ("When is {query}?", "The red numbers on each frame represent the frame number.When is x?"),
        ("{whole} {n}: {query}?", "3: x?"),
        ("{query}? {numbers}", "x? The red numbers on each frame represent the frame number."),
        ('{whole}{} in {first}-{last} of {duration} s: {"a": 1}', 'x in 0-2 of 6.0 s: {"a": 1}'),
        ("{whole}{color} {query}", "red x"),
    ],
)
def test_a_template_from_a_file_is_asked(tmp_path, template, question):
    file = tmp_path / "question.txt"
    file.write_text(template + "\n")
    assert read_template(file) == template
    assert build_prompt("x", SECONDS, template=read_template(file), duration=6.0).text == question
    for name in FIELDS:
        file.write_text(f"{{query}} {{{name}}}")
        question = build_prompt("x", SECONDS, template=read_template(file), duration=6.0).text
        assert "{" not in question, "every field named is filled in"


def test_a_yaml_template_has_a_question_for_each_task(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("moment_retrieval: When is {query}?\nhighlight_detection: |\n  Where: {}?\n")
    assert [read_template(file, task) for task in TASKS] == ["When is {query}?", "Where: {}?"]
    with pytest.raises(ValueError, match="task must be one of"):
        read_template(file, "captioning")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "When?", r"a\.txt must have {query} in it; got 'When\?'"),
        ("a.txt", "{query} by {start}", "unknown fields start; known are {query}, {numbers}"),
        ("a.yml", "moment: '{query}'", "a question in .*a.yml must be one of moment_retrieval"),
        ("a.yml", "highlight_detection: '{query}'", "no question for moment_retrieval; it has"),
        ("a.yml", "moment_retrieval: [1]", "must map tasks"),
        ("a.yml", "- '{query}'", "must map tasks"),
        ("a.yml", "a: 'b", "a.yml is not YAML"),
        ("a.yml", "a: " + "[" * 9000, "a.yml is not YAML: maximum recursion"),
    ],
)
def test_a_template_file_that_cannot_be_asked_is_refused(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=says):
        read_template(tmp_path / name)
