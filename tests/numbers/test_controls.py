"""Controls change the numbers or the frames as they say, alike for every model."""

import json

import numpy as np
import pytest
from asking import predict

from numpro import number_frames
from numpro.inference.prediction_files import read_rows
from numpro.models import VideoModel
from numpro.numbers.controls import CONTROLS, disturb

NAMES = [f"test_{n:04d}" for n in range(30)]


def drawn(clip, control, name="test_0000"):
    return disturb(clip, control, name)[1]


def test_without_a_control_nothing_is_disturbed(clip):
    same, labels = disturb(clip, None, "test_0000")
    assert same is clip and labels is None


def test_offset_numbers_rise_one_by_one_from_a_random_one(clip):
    starts = set()
    for name in NAMES:
        same, labels = disturb(clip, "offset", name)
        assert same is clip
        assert labels == list(range(labels[0], labels[0] + len(clip)))
        starts.add(labels[0])
    assert min(starts) >= 20, "far from the positions"
    assert max(starts) + 240 <= 999, "of three digits at most, in the longest video"
    assert len(starts) > 20


def test_shuffled_numbers_are_the_usual_ones_in_another_order(clip):
    orders = set()
    for name in NAMES:
        same, labels = disturb(clip, "shuffled", name)
        assert same is clip
        assert sorted(labels) == list(range(len(clip))) != labels
        assert all(type(label) is int for label in labels)
        orders.add(tuple(labels))
    assert len(orders) == len(NAMES)


def test_blank_frames_show_nothing_and_keep_their_times(clip):
    before = clip.frames.copy()
    grey, labels = disturb(clip, "blank", "test_0000")
    assert labels is None, "the usual numbers are drawn"
    assert (grey.frames.shape, grey.frames.dtype) == (clip.frames.shape, np.uint8)
    assert (grey.frames == grey.frames[0, 0, 0, 0]).all()
    assert 100 < grey.frames[0, 0, 0, 0] < 155, "red numbers can be read on it"
    np.testing.assert_array_equal(grey.seconds, clip.seconds)
    assert grey.duration == clip.duration
    np.testing.assert_array_equal(clip.frames, before)


def test_a_video_is_disturbed_alike_at_every_time_and_in_every_process(clip):
    for control in ("offset", "shuffled"):
        assert drawn(clip, control) == drawn(clip, control)
        assert drawn(clip, control) != drawn(clip, control, "test_0001")
    # as in the results that are published; not by hash(), which differs between processes
    assert drawn(clip, "offset")[0] == 151


def test_an_unknown_control_is_refused_with_those_there_are(clip):
    with pytest.raises(ValueError, match="control must be one of offset, shuffled, blank; got 'no"):
        disturb(clip, "noise")
    assert CONTROLS == ("offset", "shuffled", "blank")


# --- predictions under a control ----------------------------------------------------------------


class Reading(VideoModel):
    """Says the numbers it was given for frames 3 and 5, and keeps what it saw."""

    name, adapter, notes = "reading", None, {}
    text = "From Frame {} to Frame {}."

    def answer(self, clip, queries, *given, labels=None, **named):
        self.labels = labels or list(range(len(clip)))
        self.clip = clip
        return super().answer(clip, queries, *given, labels=labels, **named)

    def respond(self, frames, prompts, max_new_tokens):
        self.frames = frames
        return [self.text.format(self.labels[3], self.labels[5])] * len(prompts)


@pytest.mark.parametrize("control", [None, *CONTROLS])
def test_answers_are_taken_by_the_numbers_drawn(films, clip, tmp_path, control):
    model = Reading()
    how = {"control": control, "end": "instant", "progress": False}
    rows = predict(films[:1], model, tmp_path / "rows.jsonl", **how)
    shown, labels = disturb(clip, control, films[0].video)
    np.testing.assert_array_equal(model.frames, number_frames(shown.frames, labels=labels))
    assert all(row["spans"] == [[*sorted((model.labels[3], model.labels[5]))]] for row in rows)
    assert all(row["pred"] == [[clip.seconds[3], clip.seconds[5]]] for row in rows), "not counted"


def test_who_counts_positions_is_wrong_under_a_control(films, tmp_path):
    class Counting(Reading):
        text = "From Frame 3 to Frame 5."

    for control in ("offset", "shuffled"):
        out = tmp_path / f"{control}.jsonl"
        how = {"control": control, "end": "instant", "progress": False}
        for row in predict(films[:1], Counting(), out, **how):
            assert row["pred"] != [[3.0, 5.0]]


def test_highlights_are_taken_by_the_numbers_drawn(films, tmp_path):
    class Scoring(Reading):
        text = "The highlight frames are in the {}, {} frames. Their saliency scores are 4.0, 2.0"

    for control in ("offset", "shuffled"):
        rows = predict(
            films[:1],
            Scoring(),
            tmp_path / control,
            task="highlight_detection",
            control=control,
            progress=False,
        )
        assert all(row["pred_saliency_scores"][:4] == [0, 4, 2, 0] for row in rows)


def test_a_real_model_under_a_control_and_no_mixing(films, longva, tmp_path):
    out = tmp_path / "rows.jsonl"
    rows = predict(films[:1], longva, out, control="offset", progress=False)
    assert len(rows) == len(films[0].queries) and all(row["response"] for row in rows)
    config = json.loads((tmp_path / "rows.jsonl.config.json").read_text())
    assert config["control"] == "offset"
    before = out.read_bytes()
    for other, now in ((None, "None now"), ("shuffled", "'shuffled' now")):
        with pytest.raises(ValueError, match=f"control: 'offset' there, {now}"):
            predict(films[:1], longva, out, control=other, progress=False)
    assert out.read_bytes() == before
    assert predict(films[:1], longva, out, control="offset", progress=False) == rows


def test_an_unknown_control_leaves_no_rows(films, tmp_path):
    with pytest.raises(ValueError, match="control must be one of"):
        predict(films[:1], Reading(), tmp_path / "rows.jsonl", control="noise", progress=False)
    assert read_rows(tmp_path / "rows.jsonl") == []


def test_numbers_cannot_be_disturbed_where_times_are_asked(films, tmp_path):
    out = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="labels are frame numbers; 'text-seconds'"):
        predict(
            films[:1], Reading(), out, time_encoding="text-seconds", control="offset",
            progress=False,
        )  # fmt: skip
