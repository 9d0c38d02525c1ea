"""A prediction run keeps its rows, its order and its reasons, whatever breaks it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from asking import predict

from numpro import NumberStyle, read_clip
from numpro.inference.prediction_files import read_rows
from numpro.metrics import (
    baselines,
    evaluate_highlight_predictions,
    evaluate_moment_predictions,
    moment_retrieval,
)
from numpro.models import VideoModel, load_model
from numpro.numbers import disturb
from numpro.spans import seconds_to_labels
from numpro.video import SamplingError


class Watching(VideoModel):
    """A model that knows the truth of its films, and counts how often it is asked."""

    name, adapter, notes = "watching", None, {}

    def __init__(self, videos, breaks_at=None, says=None):
        # the same words may be asked of two films: at 1 fps their lengths tell them apart
        self.truth = {(q.text, round(v.duration)): q.spans[0] for v in videos for q in v.queries}
        self.queries, self.videos, self.breaks_at, self.says = [], 0, breaks_at, says

    def respond(self, frames, prompts, max_new_tokens):
        self.videos += 1
        if self.videos == self.breaks_at:
            raise KeyboardInterrupt
        responses = []
        for prompt in prompts:
            ends = ("?", ".")
            fits = [k for k in self.truth if any(f" {k[0]}{x}" in prompt.text for x in ends)]
            key = min(fits, key=lambda k: abs(k[1] - len(frames)))
            self.queries.append(key[0])
            seconds = np.arange(len(frames), dtype=float)
            labels = seconds_to_labels(self.truth[key], seconds, "inner")
            responses.append(self.says or "From Frame {} to Frame {}.".format(*labels))
        return responses


def qids(rows):
    return [row["qid"] for row in rows]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run" / "predictions.jsonl"


@pytest.fixture
def wanted(films):
    return [q.qid for v in films for q in v.queries]


def test_rows_of_a_real_model_over_real_films(films, longva, out, wanted):
    rows = predict(films, longva, out, progress=False)
    assert qids(rows) == wanted
    assert rows == [json.loads(line) for line in out.read_text().splitlines()] == read_rows(out)
    queries = [(v, q) for v in films for q in v.queries]
    for row, (video, query) in zip(rows, queries, strict=True):
        assert (row["video"], row["query"], row["duration"]) == (
            video.video,
            query.text,
            video.duration,
        )
        assert row["truth"] == [list(span) for span in query.spans]
        assert (row["dataset"], row["split"], row["task"]) == (
            "flipbook",
            "test",
            "moment_retrieval",
        )
        assert row["response"]
        assert bool(row["reason"]) == (row["pred"] == [])
    clip = read_clip(films[0].path, fps=1.0, size=(336, 336))
    answers = longva.answer(clip, [q.text for q in films[0].queries])
    assert [a.text for a in answers] == [r["response"] for r in rows if r["video"] == "test_0000"]
    config = json.loads(out.with_name("predictions.jsonl.config.json").read_text())
    assert (config["model"], config["fps"], config["size"]) == (longva.name, 1.0, [336, 336])


def test_spans_become_seconds_of_the_sampled_frames(films, out):
    for row in predict(films, Watching(films), out.with_name("a"), end="instant", progress=False):
        ((a, b),), ((start, end),) = row["spans"], row["pred"]
        assert (start, end) == (a, b), "at 1 fps frame n is second n"
    rows = predict(films, Watching(films), out, progress=False)
    for row in rows:
        ((a, b),), ((start, end),) = row["spans"], row["pred"]
        assert start == max(0, a - 0.5) and b < end <= b + 0.5, "half a step, of these films"
        assert row["reason"] is None and row["unit"] == "frame"
    scores = evaluate_moment_predictions(out)
    truth = [q.spans for v in films for q in v.queries]
    ceiling = moment_retrieval(baselines.frame_grid(films, 1.0), truth)["mIoU"][0]
    assert scores["n"] == len(rows) and scores["mIoU"] == pytest.approx(ceiling)
    assert ceiling > 85
    with pytest.raises(ValueError, match="end must be one of instant, .*; got 'on'"):
        predict(films, Watching(films), out.with_name("d"), end="on")
    for row in predict(films, Watching(films), out.with_name("b"), end="inclusive", progress=False):
        assert row["pred"][0][1] == min(row["spans"][0][1] + 1, row["duration"])
    half = predict(
        films, Watching(films, says="From 1 to 2."), out.with_name("c"), fps=0.5, progress=False
    )
    assert {tuple(r["pred"][0]) for r in half} == {(1.0, 5.0)}, "looked up, not counted"


def test_answers_under_shuffled_numbers_are_read_by_number_and_by_place(films, out):
    model = Watching(films, says="From 1 to 2.")
    for row in predict(films, model, out, end="instant", control="shuffled", progress=False):
        assert row["pred_by_place"] == [[1.0, 2.0]], "had it counted frames"
        clip = read_clip(row_path(films, row), fps=1.0)
        _, numbers = disturb(clip, "shuffled", row["video"])
        assert row["pred"] == [sorted(float(numbers.index(n)) for n in (1, 2))]
    plain = predict(films, model, out.with_name("b"), progress=False)
    assert all("pred_by_place" not in row for row in plain)


def row_path(films, row):
    return next(film.path for film in films if film.video == row["video"])


def test_answers_in_seconds_are_taken_as_seconds(films, out):
    model = Watching(films, says="From 1.5 to 3.")
    how = {"time_encoding": "text-seconds", "progress": False}
    rows = predict(films, model, out, end="instant", **how)
    assert {tuple(r["pred"][0]) for r in rows} == {(1.5, 3.0)}
    rows = predict(films, model, out.with_name("b"), **how)
    assert {tuple(r["pred"][0]) for r in rows} == {(1.0, 3.5)}, "half a step, as with numbers"


def test_highlights_have_one_score_per_clip(films, out, tmp_path):
    response = (
        "The highlight frames are in the 2, 3, 4 frames. Their saliency scores are 4.0, 3.0, 1.0"
    )
    model = Watching(films, says=response)
    rows = predict(films, model, out, task="highlight_detection", progress=False)
    for row in rows:
        assert row["labels"] == [2, 3, 4] and row["scores"] == [4.0, 3.0, 1.0]
        assert row["pred_saliency_scores"][:4] == [0, 3.5, 1, 0]
        assert len(row["pred_saliency_scores"]) == row["duration"] // 2
    truth = films[0].path.with_name("annotations.jsonl").read_text().splitlines()
    some = tmp_path / "truth.jsonl"
    some.write_text("\n".join(truth[: len(rows)]))
    scores = evaluate_highlight_predictions(out, some)
    assert (scores["n"], scores["unparsed"]) == (len(rows), 0)


def test_a_broken_run_is_taken_up_and_nothing_is_asked_twice(films, out, wanted):
    broken = Watching(films, breaks_at=2)
    with pytest.raises(KeyboardInterrupt):
        predict(films, broken, out, progress=False)
    first = [q.qid for q in films[0].queries]
    assert qids(read_rows(out)) == first
    again = Watching(films)
    rows = predict(films, again, out, progress=False)
    assert qids(rows) == qids(read_rows(out)) == wanted
    assert again.queries == [q.text for q in films[1].queries]
    nothing = Watching(films)
    assert predict(films, nothing, out, progress=False) == rows
    assert nothing.videos == 0


@pytest.mark.parametrize("cut", [1, 40], ids=["only the line's end is missing", "half a row"])
def test_a_last_line_that_a_kill_cut_is_asked_again(films, out, wanted, cut):
    rows = predict(films, Watching(films), out, progress=False)
    whole = out.read_bytes()
    out.write_bytes(whole[:-cut])
    assert qids(read_rows(out)) == (wanted if cut == 1 else wanted[:-1])
    again = Watching(films)
    assert predict(films, again, out, progress=False) == rows
    assert out.read_bytes() == whole
    assert len(again.queries) == (0 if cut == 1 else 1)


def test_a_malformed_line_in_the_middle_is_named(films, out):
    predict(films, Watching(films), out, progress=False)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join([lines[0], '{"no": "row"}\n', *lines[1:]]))
    with pytest.raises(
        ValueError, match=r"predictions.jsonl line 2 is not a prediction row: 'qid'"
    ):
        predict(films, Watching(films), out, progress=False)


def test_a_video_that_cannot_be_read_is_recorded_and_tried_again(films, out, wanted, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no film")
    videos = [replace(films[0], path=broken), replace(films[1], path=tmp_path / "gone.mp4")]
    rows = predict(videos, Watching(films), out, progress=False)
    assert qids(rows) == wanted
    assert {r["reason"] for r in rows if r["video"] == "test_0001"} == {
        f"video: {tmp_path / 'gone.mp4'}: no such file"
    }
    assert all("not a readable video" in r["reason"] for r in rows if r["video"] == "test_0000")
    assert all(r["pred"] == [] and r["response"] == "" for r in rows)
    scores = evaluate_moment_predictions(out)
    assert (scores["n"], scores["unparsed"]) == (len(rows), len(rows)), "counted, not left out"

    mended = Watching(films)
    rows = predict([films[0], videos[1]], mended, out, progress=False)
    assert mended.queries == [q.text for q in films[0].queries], "only what failed is tried again"
    assert [r["reason"] is None for r in rows] == [r["video"] == "test_0000" for r in rows]
    assert qids(read_rows(out)) == wanted
    assert len(out.read_text().splitlines()) == len(wanted), "one row a query"
    evaluate_moment_predictions(out)


def test_an_unreadable_video_counts_as_unparsed_highlights(films, out, tmp_path):
    videos = [films[0], replace(films[1], path=tmp_path / "gone.mp4")]
    response = "The highlight frames are in the 2 frames. Their saliency scores are 4.0"
    predict(videos, Watching(films, says=response), out, task="highlight_detection", progress=False)
    truth = films[0].path.with_name("annotations.jsonl").read_text().splitlines()
    some = tmp_path / "truth.jsonl"
    some.write_text("\n".join(truth[: sum(len(v.queries) for v in films)]))
    scores = evaluate_highlight_predictions(out, some)
    assert scores["unparsed"] == len(films[1].queries)


def test_an_answer_that_cannot_be_parsed_is_kept_with_its_reason(films, out):
    model = Watching(films, says="I do not know.")
    rows = predict(films, model, out, progress=False)
    assert all(r["reason"] and r["response"] == "I do not know." and r["pred"] == [] for r in rows)
    again = Watching(films)
    assert predict(films, again, out, progress=False) == rows
    assert not again.queries, "the same model says the same thing again"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"fps": 2.0}, "fps: 1.0 there, 2.0 now"),
        ({"time_encoding": "none"}, "time_encoding: 'overlay-index' there, 'none' now"),
        ({"style": NumberStyle(color=(0, 255, 0))}, "style: .*'red'.*there.*0, 255, 0"),
        ({"size": None}, r"size: \[336, 336\] there, None now"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_rows_of_two_configurations_are_never_mixed(films, out, other, message):
    predict(films[:1], Watching(films), out, progress=False)
    before = out.read_bytes()
    with pytest.raises(ValueError, match=f"rows of another configuration .*{message}"):
        predict(films, Watching(films), out, progress=False, **other)
    assert out.read_bytes() == before


def test_rows_without_their_configuration_are_not_taken_up(films, out):
    predict(films[:1], Watching(films), out, progress=False)
    out.with_name(out.name + ".config.json").unlink()
    with pytest.raises(ValueError, match="rows of an unknown configuration"):
        predict(films, Watching(films), out, progress=False)


def test_the_same_configuration_is_known_again(films, out, wanted):
    style = NumberStyle("top_left", 30, (10, 20, 30))
    predict(films[:1], Watching(films), out, style=style, progress=False)
    rows = predict(films, Watching(films), out, style=style, progress=False)
    assert qids(rows) == wanted, "a limit may be raised later"
    assert qids(predict(films[:1], Watching(films), out, style=style, progress=False)) == [
        q.qid for q in films[0].queries
    ]
    assert qids(read_rows(out)) == wanted, "and rows beyond a lower one are kept"


def test_frames_are_bounded(films, out):
    class Counting(Watching):
        def respond(self, frames, prompts, max_new_tokens):
            self.shape = frames.shape
            return super().respond(frames, prompts, max_new_tokens)

    model = Counting(films)
    predict(films[:1], model, out, max_frames=4, size=(64, 48), progress=False)
    assert model.shape == (4, 48, 64, 3)


class Failing(Watching):
    """A model that cannot be asked about films of these lengths."""

    def __init__(self, videos, fails):
        super().__init__(videos)
        self.fails = fails

    def respond(self, frames, prompts, max_new_tokens):
        if len(frames) in self.fails:
            raise RuntimeError("a bug")
        return super().respond(frames, prompts, max_new_tokens)


def test_an_error_about_every_film_is_raised(films, out):
    everything = Failing(films, range(1000))
    with pytest.raises(RuntimeError, match="a bug"):
        predict(films, everything, out, progress=False)
    assert read_rows(out) == []
    one, prompts = films[0].queries[0], []
    many = [replace(films[0], video=str(n), queries=(replace(one, qid=str(n)),)) for n in range(9)]
    everything.answer = lambda *_, **__: prompts.append(1) or 1 / 0
    with pytest.raises(ZeroDivisionError):
        predict(many, everything, out, progress=False)
    assert read_rows(out) == [] and len(prompts) == 3, "not all are tried"
    missing = replace(films[1], path=out)
    with pytest.raises(RuntimeError, match="a bug"):  # what cannot be read could not be asked about
        predict(
            [missing, films[0]], Failing(films, range(1000)), out.with_name("b"), progress=False
        )
    assert {row["video"] for row in read_rows(out.with_name("b"))} == {missing.video}


def test_a_film_whose_error_comes_back_keeps_its_rows(films, out, wanted):
    failing = Failing(films, [round(films[1].duration)])
    with pytest.warns(UserWarning, match="a bug"):
        predict(films, failing, out, progress=False)
    with pytest.warns(UserWarning, match="a bug"):  # it is the only one left, and not all
        assert qids(predict(films, failing, out, progress=False)) == wanted
    assert qids(read_rows(out)) == wanted


@pytest.mark.parametrize("count", [0, 1])
def test_sampling_that_no_film_can_have_ends_the_run(films, out, wanted, count):
    how = {"progress": False, "workers": count}
    with pytest.raises(SamplingError, match=r"cannot be read as asked: fps 1e\+09 takes more"):
        predict(films, Watching(films), out, fps=1e9, **how)
    rows = read_rows(out)
    assert qids(rows) == wanted and all("fps 1e+09" in row["reason"] for row in rows)
    missing = replace(films[1], path=out.with_name("none"))  # which is that film's fault
    mixed = out.with_name("mixed")
    rows = predict([films[0], missing], Watching(films), mixed, fps=1e9, **how)
    assert {row["reason"].partition(":")[0] for row in rows} == {"video"}


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_about_one_film_is_its_reason_and_stops_no_other(films, out, wanted, place):
    odd = films[place]
    length, other = (int(np.ceil(film.duration)) for film in (odd, films[1 - place]))
    assert other != length
    with pytest.warns(UserWarning, match=f"{odd.video}: error: RuntimeError: a bug"):
        rows = predict(films, Failing(films, [length]), out, progress=False)
    assert qids(rows) == wanted
    for row in rows:
        assert (row["reason"] == "error: RuntimeError: a bug") == (row["video"] == odd.video)
        assert bool(row["pred"]) != (row["video"] == odd.video)
    again = Watching(films)
    whole = predict(films, again, out, progress=False)
    assert again.videos == 1 and all(row["reason"] is None for row in whole)


def test_a_film_of_an_unknown_codec_stops_no_other(films, out, tmp_path):
    path = tmp_path / "odd.mp4"
    path.write_bytes(films[0].path.read_bytes().replace(b"avc1", b"zzzz"))
    odd = replace(films[0], path=path)
    for count in (0, 1):
        here = out.with_name(str(count))
        rows = predict([odd, films[1]], Watching(films), here, progress=False, workers=count)
        reasons = {row["video"]: row["reason"] for row in rows}
        assert reasons[films[1].video] is None
        assert "video: " in reasons[odd.video] and "not known to FFmpeg" in reasons[odd.video]


def test_the_clock_is_part_of_the_configuration(films, out):
    rows = predict(films[:1], Watching(films), out, progress=False)
    path = out.with_name(out.name + ".config.json")
    config = json.loads(path.read_text())
    assert (config["origin"], config["reader"]) == ("beginning", "pyav")
    with pytest.raises(ValueError, match="origin: 'beginning' there, 'first-picture' now"):
        predict(films[:1], Watching(films), out, progress=False, origin="first-picture")
    del config["origin"], config["reader"]  # as a file from before the clock could be chosen
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="origin: 'first-picture' there, 'beginning' now"):
        predict(films[:1], Watching(films), out, progress=False)
    again = Watching(films)
    same = predict(films[:1], again, out, progress=False, origin="first-picture")
    assert same == rows and not again.videos


def test_the_bound_of_memory_is_a_parameter(films, out):
    with pytest.raises(SamplingError, match="too large for the memory"):
        predict(films, Watching(films), out, progress=False, max_memory=1e6)
    reasons = [row["reason"] for row in read_rows(out)]
    assert reasons and all("video: " in r and "too large for the memory" in r for r in reasons)


# --- ranked moments ---
def test_ranked_rows_of_a_real_model(films, out):
    longva, films = load_model("flipbook/longva"), films[:1]
    rows = predict(films, longva, out, end="instant", read="ranked", top=3)
    assert qids(rows) == [q.qid for q in films[0].queries] and rows == read_rows(out)
    plain = predict(films, longva, out.with_name("greedy.jsonl"), end="instant")
    for row, other in zip(rows, plain, strict=True):
        assert row["greedy"] == other["pred"] and row["response"] == other["response"]
        windows = row["pred_relevant_windows"]
        assert [w[:2] for w in windows] == row["pred"] and 1 <= len(windows) <= 3
        scores = [w[2] for w in windows]
        assert scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1
        assert row["reason"] is row["ranked_reason"] is None and 0 <= row["left_out"] < 1
    wider = predict(films, longva, out.with_name("wider.jsonl"), read="ranked", top=3)
    for row, other in zip(wider, rows, strict=True):  # half a step on, both ways to answer
        (start, end), (begins, ends) = row["greedy"][0], other["greedy"][0]
        assert start == max(0, begins - 0.5) and ends < end <= ends + 0.5
        assert all(a == 0 or a % 1 == 0.5 for a, _ in row["pred"]) and row["pred"] != other["pred"]
    clip = read_clip(films[0].path, fps=1.0, size=(336, 336))
    (ranked, *_) = longva.moments(clip, [q.text for q in films[0].queries], top=3)
    best = ranked.moments[0]
    first = rows[0]["pred_relevant_windows"][0]
    assert first == [best.start, best.end, pytest.approx(best.expected_iou, abs=1e-3)]
    scores = evaluate_moment_predictions(out)
    assert scores["best5_mIoU"] >= scores["mIoU"] and "against_greedy" in scores["trust"]
    config = json.loads(out.with_name("predictions.jsonl.config.json").read_text())
    assert (config["read"], config["top"]) == ("ranked", 3)


def test_ranked_rows_are_taken_up_and_never_mixed_with_greedy_ones(films, out, wanted):
    class Ranking(Watching):
        """A model without probabilities: one moment, and why."""

    broken = Ranking(films, breaks_at=2)
    with pytest.raises(KeyboardInterrupt):
        predict(films, broken, out, read="ranked", workers=0)
    done = len(read_rows(out))
    model = Ranking(films)
    rows = predict(films, model, out, read="ranked")
    assert qids(rows) == wanted and len(model.queries) == len(wanted) - done < len(wanted)
    for row in rows:
        assert row["pred"] == row["greedy"] and row["ranked_reason"], "one moment, and the reason"
        assert row["pred_relevant_windows"] == [[*row["pred"][0], 0.0]], "no confidence"
    for how, says in (({}, "read: 'ranked' there, 'greedy' now"),
                      ({"read": "ranked", "top": 2}, "top: 5 there, 2 now")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            predict(films, model, out, **how)
    greedy = out.with_name("greedy.jsonl")
    predict(films, model, greedy)
    path = greedy.with_name("greedy.jsonl.config.json")
    config = json.loads(path.read_text())
    del config["read"], config["top"]  # a file of before there was a choice
    path.write_text(json.dumps(config))
    assert qids(predict(films, model, greedy)) == wanted
    with pytest.raises(ValueError, match="read: 'greedy' there, 'ranked' now"):
        predict(films, model, greedy, read="ranked")


def test_a_film_that_cannot_be_read_has_no_ranked_moments(films, out, tmp_path):
    broken = replace(films[0], path=tmp_path / "gone.mp4")
    row = predict([broken, films[1]], Watching(films), out, read="ranked")[0]
    assert row["reason"].startswith("video: ") and row["pred"] == row["greedy"] == []
    assert row["pred_relevant_windows"] == []
    scores = evaluate_moment_predictions(out)
    assert scores["unparsed"] == len(films[0].queries) and "R5@0.5" in scores


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"read": "best"}, "read must be one of greedy, ranked; got 'best'"),
        ({"read": "ranked", "top": 0}, "top must be 1 or more; got 0"),
        ({"windows": (6, 3)}, r"windows go with ranked moments; got windows=\(6, 3\)"),
        ({"read": "ranked", "task": "highlight_detection"}, "must be one of moment_retrieval"),
    ],
)
def test_what_cannot_be_ranked_is_refused_before_anything_is_asked(films, out, how, says):
    model = Watching(films)
    with pytest.raises(ValueError, match=says):
        predict(films, model, out, **how)
    assert model.videos == 0 and not out.exists()
