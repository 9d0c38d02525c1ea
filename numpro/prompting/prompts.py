"""The questions a model is asked, in the published wording; and its true answers in words.

`MOMENT`, `HIGHLIGHTS` and their sentence on numbers are as published. The unit "seconds" in the two
questions, where seconds are asked for, is our own: one question for all ways of giving the time
(`numpro.prompting.encodings`), so that they can be compared. What others published instead goes in
as a template (`MOMENT_TIMELENS`, or a file: `read_template`). What is published stands in
``prompts.yaml``.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from numpro.paths import parse_yaml, yaml_beside
from numpro.prompting import encodings

# these can be imported from here, too, as in 0.1
from numpro.prompting.encodings import NUMBERS, TIME_ENCODINGS, asked_unit  # noqa: F401
from numpro.spans import one_of

TASKS = ("moment_retrieval", "highlight_detection")

_PUBLISHED = yaml_beside(__file__)
MOMENT, MOMENT_2024 = _PUBLISHED["moment"], _PUBLISHED["moment_2024"]
MOMENT_TIMELENS = _PUBLISHED["moment_timelens"]
HIGHLIGHTS, HIGHLIGHTS_FT = _PUBLISHED["highlights"], _PUBLISHED["highlights_ft"]
_ANSWER = _PUBLISHED["answer"]
EXAMPLE_LABELS, EXAMPLE_SCORES = map(tuple, _PUBLISHED["example"].values())
# What a template may hold, each in braces:
#   query     what is looked for; {} is the same
#   numbers   the sentence that says what the numbers are, which then stands here only
#   whole     nothing; with it the template is the whole prompt, without that sentence
#   n         how many frames there are
#   first     the lowest frame number
#   last      the highest frame number
#   duration  length of the video in seconds
#   color     colour of the numbers drawn
FIELDS = ("query", "numbers", "whole", "n", "first", "last", "duration", "color")

# What models call a frame in an answer (`numpro/prompting/words.yaml` has more, in more languages).
_WORD = 'WORD: "Frame" | "Panel" | "Page" | "Card" | "Sheet" | "Scene" | "Image"'


@dataclass(frozen=True)
class Prompt:
    """What goes to the model beside the frames.

    Attributes
    ----------
    text
        The question.
    frame_labels
        The text to draw on each frame; None draws nothing.
    frame_texts
        The text to put before each frame; None puts nothing.
    seconds
        The true time of each frame, for models whose input carries times of its own.
    form
        The form that the question asks for, as a Lark grammar (`answer_form`), for a model whose
        answers are held to it.
    example
        An answer in that form, whose words are drafted for those that are held to it.
    """

    text: str
    frame_labels: tuple[str, ...] | None = None
    frame_texts: tuple[str, ...] | None = None
    seconds: tuple[float, ...] | None = None
    form: str | None = None
    example: str = ""


def _question(task: str, time_encoding: str, template: str | None) -> str:
    """Return the whole question with its fields open."""
    body = template or (MOMENT if task == "moment_retrieval" else HIGHLIGHTS)
    value, numbers = encodings.value_of(time_encoding), encodings.ENCODINGS[time_encoding].sentence
    if template is None:
        body = body.replace("'From Frame x to Frame y'", value.form)
        body = re.sub(r"\b(which|highlight|89) frames", rf"\1 {value.noun}s", body)
        example = ", ".join(value.write(v, 0) for v in EXAMPLE_LABELS)
        body = body.replace(", ".join(map(str, EXAMPLE_LABELS)), example)
    if "{numbers}" in body or "{whole}" in body:
        return body.replace("{numbers}", numbers).replace("{whole}", "").strip()
    # the published moment question follows the sentence on numbers without a space
    glued = task == "moment_retrieval" and time_encoding == "overlay-index"
    return (numbers + ("" if glued else " ") + body.strip()).strip()


def _check_template(template: str, named: str = "template") -> None:
    if not re.search(r"\{(query)?\}", template):
        raise ValueError(f"{named} must have {{query}} in it; got {template!r}")


def read_template(path: str | os.PathLike, task: str = "moment_retrieval") -> str:
    """Read a question of your own from a file, to be given as `template`.

    Parameters
    ----------
    path
        A text file with the question; or YAML (.yaml, .yml) with one for each task::

            moment_retrieval: "When does {query} happen? Answer: from x to y."
            highlight_detection: "{whole}Which of the {n} frames show {query}? ..."

        The fields in braces are those of `FIELDS`. Other braces, as in JSON, stay.
    task
        One of `TASKS`.

    Raises
    ------
    ValueError
        For no question for the task, a question without ``{query}`` or with an unknown field,
        or a file that is no text or no such YAML.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mine.yaml")
    ...     _ = file.write_text("moment_retrieval: When is {query}?")
    ...     read_template(file)
    'When is {query}?'
    """
    one_of("task", task, TASKS)
    text = Path(path).read_text(encoding="utf-8")
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        given = parse_yaml(text, path)
        if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
            raise ValueError(f"{path} must map tasks ({', '.join(TASKS)}) to questions")
        for name in given:
            one_of(f"a question in {path}", name, TASKS)
        if task not in given:
            raise ValueError(f"{path} has no question for {task}; it has {', '.join(given)}")
        text = given[task]
    _check_template(text, str(path))
    if unknown := sorted(set(re.findall(r"\{(\w+)\}", text)) - set(FIELDS)):
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise ValueError(f"{path} has unknown fields {', '.join(unknown)}; known are {known}")
    return text.strip()


def build_prompt(
    query: str, seconds: Sequence[float], task: str = "moment_retrieval",
    time_encoding: str = "overlay-index", duration: float | None = None,
    labels: Sequence[int] | None = None, template: str | None = None, color: str = "red",
) -> Prompt:  # fmt: skip
    """Build the question for one query about one sampled video.

    Parameters
    ----------
    query
        The words to look for, put into the question as they are.
    seconds
        True times of the T sampled frames.
    task, time_encoding
        One of `TASKS` and of `TIME_ENCODINGS`.
    duration
        Length of the video in seconds, stated where nothing is drawn or written.
    labels
        Whole numbers to use for the frames instead of 0..T-1 (not for times in seconds).
    template
        Another question with ``{query}`` in it (``{}`` is the same), put after the sentence
        that says what the numbers are: `MOMENT_2024`, `HIGHLIGHTS_FT`, `MOMENT_TIMELENS` or
        your own words, with the fields of `FIELDS`.
    color
        The colour word of the numbers drawn, as in the `NumberStyle` used.

    Raises
    ------
    ValueError
        For an unknown task or encoding, no frames, labels that do not fit, a template without a
        place for the query, or no `duration` where it is stated or shown.

    Examples
    --------
    >>> prompt = build_prompt("a red star", [0.0, 1.0, 2.0])
    >>> prompt.text  # doctest: +NORMALIZE_WHITESPACE
    "The red numbers on each frame represent the frame number.During which frames can we see
     a red star? Answer in the format: 'From Frame x to Frame y'."
    >>> prompt.frame_labels
    ('0', '1', '2')
    >>> print(build_prompt("a star", [0.0, 1.0], time_encoding="none", duration=2.5).text)
    ... # doctest: +NORMALIZE_WHITESPACE
    The video is given as 2 frames, numbered from 0 to 1, and lasts 2.5 seconds. During which
    frames can we see a star? Answer in the format: 'From Frame x to Frame y'.
    """
    one_of("task", task, TASKS)
    how = encodings.ENCODINGS[one_of("time_encoding", time_encoding, encodings.ENCODINGS)]
    shown = how.shown.of
    if not len(seconds):
        raise ValueError("seconds must hold the time of at least one frame; got none")
    if template is not None:
        _check_template(template)
    if duration is None and ("{duration}" in (template or "") or shown == "percent"):
        what = repr(time_encoding) if shown == "percent" else "the template"
        raise ValueError(f"{what} states the {{duration}}; give the duration of the video")
    if labels is not None and shown != "number":
        raise ValueError(f"labels are frame numbers; {time_encoding!r} gives times instead")
    if labels is not None and len(labels) != len(seconds):
        raise ValueError(f"one label per frame is needed: {len(labels)} for {len(seconds)} frames")
    numbers = list(range(how.first, how.first + len(seconds)) if labels is None else labels)
    length = "" if duration is None else f"{duration:.1f}"
    fields = {"query": query.strip(), "": query.strip(), "color": color, "duration": length}
    fields |= {"n": len(numbers), "first": min(numbers), "last": max(numbers)}
    fields["lasting"] = f", and lasts {length} seconds" if length else ""
    # in one pass, so that braces in a query stay as they are
    question = _question(task, time_encoding, template)
    text = re.sub(r"\{(\w*)\}", lambda m: str(fields.get(m[1], m[0])), question)
    marks = encodings.frame_marks(time_encoding, numbers, seconds, duration)
    form = answer_form(task, time_encoding), _example(task, time_encoding)
    return Prompt(text, *marks, tuple(map(float, seconds)), *form)


def _example(task: str, time_encoding: str) -> str:
    """Return an answer in the form that is asked for."""
    if task == "moment_retrieval":
        return format_moment(0, 1, time_encoding)
    return format_highlights([0, 1], [1.0, 1.0], time_encoding)


def answer_form(task: str, time_encoding: str, most: int = 20) -> str:
    r"""Return the form that is asked for, as a Lark grammar for constrained decoding.

    A moment has two labels (or times), and a model keeps its own word for a frame. Highlights
    have as many scores as frames. Any number of up to four digits fits: the grammar holds the
    form, not what is true.

    Parameters
    ----------
    task, time_encoding
        One of `TASKS` and of `TIME_ENCODINGS`.
    most
        How many frames highlights may name.

    Examples
    --------
    >>> print(answer_form("moment_retrieval", "overlay-index"))
    start: "From " end " to " end "."? | "Between " end (" and " | " to ") end "."?
    end: (WORD " ")? LABEL
    WORD: "Frame" | "Panel" | "Page" | "Card" | "Sheet" | "Scene" | "Image"
    LABEL: /[0-9]{1,4}/
    """
    value = encodings.value_of(time_encoding)
    label = f"LABEL: /{value.label}/"
    if task == "moment_retrieval":
        start = 'start: "From " end " to " end "."? | "Between " end (" and " | " to ") end "."?'
        words = [_WORD] * ("WORD" in value.end)  # of a frame a model keeps its own word
        return "\n".join([start, f"end: {value.end}", *words, label])
    sentence = _ANSWER.replace("{unit}", value.noun)
    before, between, _ = re.split(r"\{labels\}|\{scores\}", sentence)
    lines = [f'start: "{before}" list1', label, r"SCORE: /[0-5](\.[0-9])?/"]
    for n in range(1, most + 1):
        further = f' | LABEL ", " list{n + 1} ", " SCORE' if n < most else ""
        lines.append(f'list{n}: LABEL "{between}" SCORE{further}')
    return "\n".join(lines)


def render_prompt(prompt: Prompt, frames: int) -> str:
    """Write a prompt as one text, with ``<frame>`` for each frame: what a run keeps of it.

    What is drawn on a frame stands in its ``<frame>``; what is written before it stands there. A
    chat template puts its own words around this.

    Parameters
    ----------
    prompt
        From `build_prompt`.
    frames
        How many there are.

    Examples
    --------
    >>> asked = "During which frames can we see {query}?"
    >>> print(render_prompt(build_prompt("a cat", [0.0, 2.0], template="{whole}" + asked), 2))
    <frame 0><frame 1>
    During which frames can we see a cat?
    >>> print(render_prompt(Prompt("When?", None, ("Frame 0: ", "Frame 1: ")), 2))
    Frame 0: <frame>Frame 1: <frame>
    When?
    """
    drawn = prompt.frame_labels or ("",) * frames
    written = prompt.frame_texts or ("",) * frames
    if not len(drawn) == len(written) == frames:
        there = len(prompt.frame_labels or prompt.frame_texts)
        raise ValueError(f"the prompt is for {there} frames; got {frames}")
    shown = (f"{text}<{f'frame {d}'.strip()}>" for text, d in zip(written, drawn, strict=True))
    return "".join(shown) + "\n" + prompt.text


def format_moment(
    a: float, b: float, time_encoding: str = "overlay-index", words: bool = True
) -> str:
    """Return the answer text for a true moment, for instruction data.

    Parameters
    ----------
    a, b
        First and last value that is asked for: a label, a second, a hundredth of the video.
    time_encoding
        One of `TIME_ENCODINGS`.
    words
        True answers in the format today's question asks for; False is the paper's own
        fine-tuning answer, "From x to y." (Sec. 4.1).

    Examples
    --------
    >>> format_moment(3, 7), format_moment(3, 7, words=False)
    ('From Frame 3 to Frame 7.', 'From 3 to 7.')
    >>> format_moment(3, 7.25, "text-seconds"), format_moment(3, 67.25, "overlay-clock")
    ('From 3.0 seconds to 7.2 seconds.', 'From 00:03 to 01:07.')
    """
    value = encodings.value_of(time_encoding)
    form = value.place if words else "{}"
    first, last = (form.format(value.write(number)) for number in (a, b))
    return f"From {first} to {last}."


def format_highlights(
    labels: Sequence[float], scores: Sequence[float], time_encoding: str = "overlay-index"
) -> str:
    """Return the answer text for true highlights, in the published format.

    Examples
    --------
    >>> format_highlights([3, 4], [1.0, 2.5])
    'The highlight frames are in the 3, 4 frames. Their saliency scores are 1.0, 2.5'
    """
    if len(labels) != len(scores):
        raise ValueError(f"one score per label is needed: {len(labels)} and {len(scores)}")
    value = encodings.value_of(time_encoding)
    named = ", ".join(map(value.write, labels))
    graded = ", ".join(f"{score:.1f}" for score in scores)
    return _ANSWER.format(unit=value.noun, labels=named, scores=graded)
