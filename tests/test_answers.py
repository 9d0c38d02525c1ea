"""Answers: what models say is read as said, and a failure is a value with a reason."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpro import answers
from numpro.answers import parse_highlights, parse_moment
from numpro.prompts import HIGHLIGHTS

F, S, P = "frame", "second", "percent"
ONE = ((3, 7),)

SAID = {
    # what the prompt asks for
    "asked": ("From Frame 3 to Frame 7", ONE, F),
    "asked-2024": ("from 3 to 7", ONE, None),
    "lower-case": ("from frame 3 to frame 7.", ONE, F),
    "other-nouns": ("From Page 3 to Panel 7", ONE, F),
    "seconds": ("From 3.0 seconds to 7.5 seconds.", ((3.0, 7.5),), S),
    # short forms
    "dash": ("frames 3-7", ONE, F),
    "bare": ("3 to 7", ONE, None),
    "letters": ("F3-F7", ONE, F),
    "short-seconds": ("3s-7s", ONE, S),
    "timechat": ("10.0 - 25.0 seconds", ((10.0, 25.0),), S),
    "comma": ("3, 7", ONE, None),
    "underscore": ("frame_3 to frame_7", ONE, F),
    "bold": ("**Frame 3** to **Frame 7**", ONE, F),
    "glued": ("from3to7", ONE, None),
    "dots": ("3...7", ONE, None),
    "arrow": ("3 → 7", ONE, None),
    "tilde": ("3~7", ONE, None),
    "en-dash": ("3–7", ONE, None),
    "full-width": ("From Frame ３ to Frame ７", ONE, F),
    "tagged-times": ("<3.0 seconds> to <7.0 seconds>", ONE, S),
    "ordinal": ("the 3rd to the 7th frame", ONE, F),
    "two-digit": ("from 03 and 07", ONE, None),
    "between": ("between frames 3 and 7", ONE, F),
    "and": ("frames 3 and 7", ONE, F),
    "total": ("Frame 3 to Frame 7 of 16", ONE, F),
    "decimals": ("From Frame 2.5 to Frame 7.25", ((2.5, 7.25),), F),
    "reversed": ("frame 7 to frame 3", ONE, F),
    "outside": ("From Frame 200 to Frame 300", ((200, 300),), F),
    # sentences
    "starts-ends": ("It starts at frame 3 and ends at frame 7.", ONE, F),
    "appears": ("The star appears at frame 3 and disappears at frame 7", ONE, F),
    "count": ("The video has 16 frames. It appears from frame 3 to frame 7.", ONE, F),
    "asked-first": ("It shows frames 0-15. See it from frame 3 to 7.", ((3, 7), (0, 15)), F),
    "both-units": ("From frame 3 to frame 7 (6.0s - 14.0s)", ONE, F),
    "people": ("2-3 people are seen from frame 3 to frame 7", ONE, F),
    "not-until": ("It does not appear before that, but from frame 3 to frame 7", ONE, F),
    # one frame
    "one": ("Frame 5", ((5, 5),), F),
    "only-a-number": ("5", ((5, 5),), None),
    "at-seconds": ("at 12.5 seconds", ((12.5, 12.5),), S),
    "ordinal-one": ("5th frame", ((5, 5),), F),
    # clocks
    "clock": ("00:03 - 00:07", ONE, S),
    "hours": ("01:02:03 to 01:02:10.5", ((3723.0, 3730.5),), S),
    "srt": ("00:00:03,000 --> 00:00:07,500", ((3.0, 7.5),), S),
    "clock-list": ("[00:03,00:07]", ONE, S),
    "minutes": ("1 min 5 s to 1 min 30 s", ((65, 90),), S),
    "minutes-glued": ("1m05s-1m30s", ((65, 90),), S),
    "one-clock": ("At 0:05", ((5, 5),), S),
    "hour-word": ("from 1 hour to 1 hour and 2 minutes", ((3600, 3720),), S),
    # percent
    "percent-sign": ("from 20% to 50%", ((20, 50),), P),
    "percent-word": ("From 20 to 50 percent", ((20, 50),), P),
    # languages
    "chinese": ("从第3帧到第7帧", ONE, F),
    "chinese-seconds": ("3秒到7秒", ONE, S),
    "chinese-between": ("在3秒和7秒之间", ONE, S),
    "japanese": ("フレーム3からフレーム7まで", ONE, F),
    "korean": ("3초부터 7초까지", ONE, S),
    "french": ("de la frame 3 à la frame 7", ONE, F),
    "german": ("von Frame 3 bis Frame 7", ONE, F),
    "german-comma": ("von 3,5 s bis 7,2 s", ((3.5, 7.2),), S),
    "spanish": ("del fotograma 3 al fotograma 7", ONE, F),
    "russian": ("с кадра 3 по кадр 7", ONE, F),
    "arabic-digits": ("from ٣ to ٧", ONE, None),
    # JSON
    "json": ('{"start": 3, "end": 7}', ONE, None),
    "json-reversed": ('{"end": 7, "start": 3}', ONE, None),
    "json-clock": ('{"start_time": "00:03", "end_time": "00:07"}', ONE, S),
    "json-fenced": ('```json\n{"start_frame": 3,\n "end_frame": 7}\n```', ONE, F),
    "json-several": (
        '[{"start_time": 3.0, "end_time": 7.5}, {"start_time": 10, "end_time": 12}]',
        ((3.0, 7.5), (10, 12)),
        S,
    ),
    "json-open": ('{"start": 3, "end": null}', ((3, None),), None),
    "json-frames": ('{"frames": [3, 4, 5, 6]}', ((3, 6),), F),
    "list": ("[3, 7]", ONE, None),
    "lists": ("[[3, 7], [10, 12]]", ((3, 7), (10, 12)), None),
    "list-confidence": ("[[3.0, 7.5, 0.98]]", ((3.0, 7.5),), None),
    # several
    "several": ("From frame 3 to 7 and from frame 10 to 12", ((3, 7), (10, 12)), F),
    "several-and-one": ("frames 3-7, 10-12 and 14", ((3, 7), (10, 12), (14, 14)), F),
    "numbered": ("1. From frame 3 to 7\n2. From frame 10 to 12", ((3, 7), (10, 12)), F),
    "repeated": ("From Frame 3 to Frame 7. From Frame 3 to Frame 7.", ONE, F),
    "frames-listed": ("frames 3, 4, 5, 9, 10", ((3, 5), (9, 10)), F),
    "frames-stride": ("frames 0, 2, 4, 6", ((0, 6),), F),
    "frames-named": ("Frame 3, Frame 4, Frame 5", ((3, 5),), F),
    # open ends
    "onwards": ("from frame 3 onwards", ((3, None),), F),
    "to-the-end": ("from frame 3 to the end of the video", ((3, None),), F),
    "until-the-end": ("From frame 3 until the end.", ((3, None),), F),
    "starting": ("starting from frame 3", ((3, None),), F),
    "cut-off": ("From Frame 3 to Frame", ((3, None),), F),
    "from-the-start": ("From the beginning to frame 7", ((0, 7),), F),
    "until": ("until frame 7", ((0, 7),), F),
    "throughout": ("The star is visible throughout the video.", ((0, None),), None),
    # where the answer stands
    "thinking": ("<think>maybe 1 to 2</think> From Frame 3 to Frame 7", ONE, F),
    "thinking-unopened": ("maybe 1 to 2</think>From Frame 3 to Frame 7", ONE, F),
    "answer-tag": ("Looks like 1 to 2. <answer>3 to 7</answer>", ONE, None),
    "answer-is": ("First 1 to 2... The answer is: frames 3 to 7", ONE, F),
    "boxed": ("\\boxed{3, 7}", ONE, None),
    "echo": (
        "During which frames can we see 1 to 2 dogs? Answer in the format: "
        "'From Frame x to Frame y'. From Frame 3 to Frame 7",
        ONE,
        F,
    ),
    "huge": ("3 to " + "9" * 400, ((3, float("9" * 300)),), None),
}
FAILED = {
    "empty": ("", answers.EMPTY),
    "blank": (" \n\t ", answers.EMPTY),
    "example": ("From Frame x to Frame y", answers.EXAMPLE),
    "example-2024": ("from x to y", answers.EXAMPLE),
    "absent": ("The red star is not present in the video.", answers.NOT_PRESENT),
    "absent-range": ("There is no red star in frames 0 to 15.", answers.NOT_PRESENT),
    "cannot": ("I cannot see a red star.", answers.NOT_PRESENT),
    "chinese-absent": ("视频中没有红色的星星", answers.NOT_PRESENT),
    "minus-one": ("[-1, -1]", answers.NOT_PRESENT),
    "json-null": ('{"start": null, "end": null}', answers.NOT_PRESENT),
    "thinking": ("<think>from frame 3 to frame 7", answers.UNFINISHED),
    "words": ("A red star spins.", answers.NO_SPAN),
    "a-count": ("I see 3 people.", answers.NO_SPAN),
    "a-length": ("The video is 10 seconds long.", answers.NO_SPAN),
    "a-name": ("video.mp4", answers.NO_SPAN),
}
PAPER = "The highlight frames are in the {} frames. Their saliency scores are {}"
EXAMPLE = HIGHLIGHTS.replace("{query}", "a star")
HIGHLIGHT = {
    "asked": (PAPER.format("3, 4, 5", "1.0, 2.5, 3.0"), (3, 4, 5), (1, 2.5, 3), F),
    "integers": (PAPER.format("3, 4", "1, 5"), (3, 4), (1, 5), F),
    "seconds": (
        "The highlight seconds are the 3.0, 4.5 seconds. Their saliency scores are 1.0, 2.5",
        (3, 4.5),
        (1, 2.5),
        S,
    ),
    "after-the-example": (f"{EXAMPLE} {PAPER.format('3, 4', '1.0, 2.5')}", (3, 4), (1, 2.5), F),
    "own-frames": (PAPER.format("40, 41", "1.3, 1.5"), (40, 41), (1.3, 1.5), F),
    "range": (PAPER.format("3-5", "1.0, 2.0, 3.0"), (3, 4, 5), (1, 2, 3), F),
    "one-score": ("frames 3 to 5, score 2.0", (3, 4, 5), (2, 2, 2), F),
    "and": (PAPER.format("3, 4, and 5", "1.0, 2.0, and 3.0"), (3, 4, 5), (1, 2, 3), F),
    "twice": (PAPER.format("3, 3, 4", "1.0, 2.0, 3.0"), (3, 4), (1, 3), F),
    "cut-off": (PAPER.format("3, 4, 5", "1.0, 2.5"), (3, 4), (1, 2.5), F),
    "out-of-five": (PAPER.format("3, 4", "4/5, 3.5/5"), (3, 4), (4, 3.5), F),
    "json": ('{"frames": [3, 4], "scores": [1, 2.5]}', (3, 4), (1, 2.5), F),
    "json-rows": ('[{"frame": 3, "score": 2.5}, {"frame": 4, "score": 3}]', (3, 4), (2.5, 3), F),
    "pairs": ("Frame 3: 2.5, Frame 4: 3.0", (3, 4), (2.5, 3), F),
    "pairs-in-brackets": ("Frame 3 (score 2.5), Frame 4 (score 3.0)", (3, 4), (2.5, 3), F),
    "json-keys": ('{"3": 2.5, "4": 3.0}', (3, 4), (2.5, 3), None),
    "seconds-lines": ("3s: 2.0\n4s: 3.0", (3, 4), (2, 3), S),
    "outside": (PAPER.format("200, 201", "9.0, 7.0"), (200, 201), (9, 7), F),
}
HIGHLIGHT_FAILED = {
    "empty": ("", answers.EMPTY),
    "example": (EXAMPLE, answers.EXAMPLE),
    "example-cut-off": (EXAMPLE[EXAMPLE.index("The highlight") : -16], answers.EXAMPLE),
    "no-scores": ("The highlight frames are in the 3, 4, 5", answers.NO_SCORES),
    "absent": ("There are no highlights.", answers.NOT_PRESENT),
    "thinking": ("<think>" + PAPER.format("3", "1.0"), answers.UNFINISHED),
}


@pytest.mark.parametrize("case", SAID)
def test_moment(case):
    text, spans, unit = SAID[case]
    answer = parse_moment(text)
    assert (answer.spans, answer.unit, answer.reason) == (spans, unit, None)
    assert answer.text == text


@pytest.mark.parametrize("case", FAILED)
def test_moment_failures_say_why(case):
    text, reason = FAILED[case]
    answer = parse_moment(text)
    assert (answer.spans, answer.unit, answer.reason) == ((), None, reason)


@pytest.mark.parametrize("case", HIGHLIGHT)
def test_highlights(case):
    text, labels, scores, unit = HIGHLIGHT[case]
    answer = parse_highlights(text)
    assert (answer.labels, answer.scores, answer.unit) == (labels, scores, unit)
    assert answer.reason is None


@pytest.mark.parametrize("case", HIGHLIGHT_FAILED)
def test_highlight_failures_say_why(case):
    text, reason = HIGHLIGHT_FAILED[case]
    answer = parse_highlights(text)
    assert (answer.labels, answer.scores, answer.reason) == ((), (), reason)


def test_a_240_frame_list_is_read_whole():
    frames, scores = range(240), [1 + i % 40 / 10 for i in range(240)]
    said = PAPER.format(", ".join(map(str, frames)), ", ".join(map(str, scores)))
    answer = parse_highlights(said)
    assert answer.labels == tuple(frames) and answer.scores == tuple(scores)
    listed = ", ".join(map(str, frames))
    assert parse_moment(f"The frames {listed}").spans == ((0, 239),)


WORDS = """0 1 7 12 3.5 0:07 1:02:03 99999999999999999999 ٣ ² ½ -1 frame Frame frames seconds s
% min h to from until and , . : ; - – ~ … [ ] ( ) { } " ' \\ 第 帧 到 から x y score scores
answer: <think> </think> <answer> end start not present null during which ? the"""
PIECES = st.sampled_from([*WORDS.split(), "\n"])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(PIECES, max_size=60).map(" ".join),
    st.lists(PIECES, max_size=60).map("".join),
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_text_raises_and_answers_keep_their_form(text):
    moment, highlights = parse_moment(text), parse_highlights(text)
    assert (moment.reason is None) == bool(moment.spans)
    assert (highlights.reason is None) == bool(highlights.labels)
    assert moment.unit in (None, F, S, P) and highlights.unit in (None, F, S)
    assert len(highlights.labels) == len(set(highlights.labels)) == len(highlights.scores)
    for a, b in moment.spans:
        assert math.isfinite(a) and (b is None or a <= b < math.inf)
    assert all(map(math.isfinite, (*highlights.labels, *highlights.scores)))


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.integers(0, 10_000)] * 2).map(sorted), st.sampled_from([2, 5]))
def test_what_is_asked_for_is_always_read(span, words):
    a, b = span
    text = ("From Frame {} to Frame {}", "from {} to {}.")[words == 2].format(a, b)
    assert parse_moment(text).spans == ((a, b),)


LONG = {
    "digits": "1",
    "numbers": "1 ",
    "commas": "1, ",
    "dashes": "1-",
    "frames": "frame ",
    "frame-numbers": "frame 1, ",
    "clocks": "0:00 to ",
    "minutes": "1 min ",
    "scores": "score 1,1 ",
    "brackets": "(",
    "spaces": " ",
    "thinking": "<think>",
    "echoes": "during which ",
    "starts": "from the start ",
    "denials": "1 not any ",
    "chinese": "第帧",
    "accents": "\u0301\u0323",
    "ends": "end 1 start 2 ",
}


@pytest.mark.parametrize("case", LONG)
def test_long_texts_take_milliseconds(case):
    text = (LONG[case] * 100_000)[:100_000]
    for parse in (parse_moment, parse_highlights):
        taken = []
        for _ in range(5):
            began = time.thread_time()
            parse(text)
            taken.append(time.thread_time() - began)
        # a few milliseconds; the room is for slow and busy machines
        assert min(taken) < 0.02


def test_an_answer_after_a_long_text_is_found():
    assert parse_moment("Let us look closely. " * 10_000 + "From Frame 3 to 7").spans == ONE
