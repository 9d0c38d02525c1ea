"""Lookups tell who reads a frame's time from who guesses; shuffled numbers, what is followed."""

import re

import numpy as np
import pytest

from numpro import Clip
from numpro.models import VideoModel
from numpro.prompting import TIME_ENCODINGS
from numpro.studies import ask_lookups, lookup, number_or_place
from numpro.studies.lookup import COLORS, paint
from numpro.video import Sampling

SMALL = Sampling(fps=2.0, size=(64, 64))


class Reader(VideoModel):
    """Sees the colour of each frame, and the marks that the prompt gives, or only counts."""

    notes, name, native, native_unit = {}, "reader", (), None

    def __init__(self, off=0):
        self.off = off

    def native_marks(self, seconds):
        return list(self.native)[: len(seconds)]

    def respond(self, frames, prompts, max_new_tokens):
        means = frames[:, :32, :32].mean((1, 2))
        near = [min(COLORS, key=lambda c: abs(np.array(COLORS[c]) - m).sum()) for m in means]
        sure = [(frame == COLORS[c]).all() for c, frame in zip(near, frames[:, 0, 0], strict=True)]
        return [self.answer_one(prompt, near, sure) for prompt in prompts]

    def answer_one(self, prompt, near, sure):
        marks = prompt.frame_labels or prompt.frame_texts or ()
        shown = [re.sub(r"[^\d.:]", "", mark).strip(":.") for mark in marks]
        if not marks or not all(shown) or "▁" in "".join(marks):  # what is not shown is counted
            shown = [str(n) for n in range(len(near))]
        if found := re.search(r"Look at (?:Frame )?([\d.:]+)", prompt.text):
            return near[shown.index(found[1].strip(":"))]
        color = re.search(r"is it all (\w+)\?", prompt.text)[1]
        frame = next(n for n, c in enumerate(near) if c == color and sure[n])
        form = re.search(r"format: '([^']*)'", prompt.text)[1]
        return form.replace("x", shown[min(frame + self.off, len(shown) - 1)])


@pytest.fixture
def look_up(monkeypatch):
    """Ask a model that is made here as if it was loaded by its name."""

    def ask(model, films, encodings):
        monkeypatch.setattr(lookup, "load_kept", lambda *_: model)
        return {row["time_encoding"]: row for row in ask_lookups("x", films, encodings, SMALL)}

    return ask


@pytest.mark.parametrize("name", [n for n in TIME_ENCODINGS if "native" not in n])
def test_who_reads_the_time_finds_every_frame_and_who_counts_does_not(films, look_up, name):
    row = look_up(Reader(), films[:2], [name])[name]
    assert (row["n"], row["unparsed"]) == (8, 0)
    assert row["lookup"] == row["reverse"] == row["within one"] == [100.0] * 3
    near = look_up(Reader(off=1), films[:2], [name])[name]
    assert near["reverse"][0] < 50 < near["within one"][0] == 100 == near["lookup"][0]


@pytest.mark.parametrize(
    ("native", "unit", "form"),
    [
        (["1", "2", "3"], "frame", "Frame x"),
        (["0.5", "1.0"], "second", "x seconds"),
        (["00:00", "00:01"], "second", "x"),
    ],
    ids=["counted from one", "seconds", "a clock"],
)
def test_what_a_processor_writes_is_looked_up_in_its_own_numbers(native, unit, form):
    model, times = Reader(), np.array([0.0, 0.5, 1.0])
    model.native, model.native_unit = native, unit
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    frames[1] = COLORS["green"]
    clip = Clip(frames, times, np.arange(3), {"duration": 1.5})
    prompts = []
    model.respond = lambda frames, given, most: prompts.extend(given) or ["?"] * len(given)
    list(lookup._ask(model, clip, {"green": 1}, lookup.Question(time_encoding="native")))
    assert f"'{form}'" in prompts[1].text and prompts[0].text.startswith("Look at ")
    shown = {"Frame x": "Frame 2:", "x seconds": "0.5 seconds:", "x": "00:00"}[form]
    assert f"Look at {shown}" in prompts[0].text


def test_lookups_are_not_held_to_the_form_of_a_moment(films, monkeypatch):
    loaded = []
    monkeypatch.setattr(lookup, "load_kept", lambda *given: loaded.append(given) or Reader())
    how = {"constrained": True, "dtype": "float32"}
    ask_lookups("x", films[:1], ["bar"], SMALL, loading=how)
    assert loaded[0][3] == {"dtype": "float32"}


def test_what_a_model_cannot_have_is_left_out(films, look_up):
    with pytest.warns(UserWarning, match="native is left out: 'native' needs a model that writes"):
        assert list(look_up(Reader(), films[:1], ["native", "bar"])) == ["bar"]
    with pytest.raises(ValueError, match="time_encoding must be one of .*; got 'clock'"):
        look_up(Reader(), films[:1], ["clock"])
    broken = [film for film in films[:2]]
    broken[0] = type(films[0])(**(vars(films[0]) | {"path": films[0].path.with_name("none.mp4")}))
    with pytest.warns(UserWarning, match="a video is left out: .*none.mp4"):
        assert look_up(Reader(), broken, ["bar"])["bar"]["n"] == 4


def test_frames_are_painted_alike_each_time_and_the_clip_is_left_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    clip = Clip(frames.copy(), np.arange(9.0), np.arange(9), {"duration": 9.0})
    painted, chosen = paint(clip, "film")
    assert paint(clip, "film")[1] == chosen != paint(clip, "another")[1]
    assert (clip.frames == frames).all() and set(chosen) == set(COLORS)
    for color, frame in chosen.items():
        assert (painted.frames[frame] == COLORS[color]).all()
    others = [n for n in range(9) if n not in chosen.values()]
    assert (painted.frames[others] == frames[others]).all()
    short = Clip(frames[:2], np.arange(2.0), np.arange(2), {"duration": 2.0})
    assert len(paint(short)[1]) == 2


def test_answers_follow_the_number_the_place_or_neither():
    def row(pred, by_place, video="a"):
        return {"truth": [[0.0, 4.0]], "pred": pred, "pred_by_place": by_place, "video": video}

    at, off = [[0.0, 4.0]], [[8.0, 9.0]]
    found = number_or_place([row(at, off), row(off, at), row(off, off), row([], []), row(at, at)])
    assert (found["n"], found["unparsed"]) == (5, 1)
    assert found["number"][0] == found["place"][0] == 20.0
    old = {"truth": [[0.0, 4.0]], "pred": at, "video": "a"}  # of an earlier version
    assert number_or_place([row([[0.0, 9.0]], off), old])["n"] == 1
    assert number_or_place([row([[0.0, 9.0]], off)])["number"][0] == 0, "an IoU of 0.44 follows not"
