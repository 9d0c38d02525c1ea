"""Scores: by hand on made-up data, and as the field's own scorers give them."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import json_normalize
from pandas.testing import assert_frame_equal
from scoring import REFERENCE, benchmark, reference

from numpro import metrics
from numpro.datasets import Query, Saliency, VideoQueries
from numpro.metrics import baselines, highlight_detection, moment_retrieval
from numpro.metrics.official import official_scores
from numpro.spans import Span

plain_scorer = benchmark("plain_scorer")


def made(*spans, video="a", duration=10.0, saliency=None):
    queries = tuple(Query(f"{video}{i}", "a dog", s, saliency) for i, s in enumerate(spans))
    return VideoQueries(video, Path(f"{video}.mp4"), duration, queries, "made", "test")


# --- moments ---
def test_moment_retrieval_by_hand():
    predicted = [Span(0, 4), Span(0, 10), None, Span(5, 5)]
    true = [[(0, 5)], [(8, 9), (0, 6)], [(0, 1)], [(4, 6)]]
    scores = moment_retrieval(predicted, true, ["a", "a", "b", "b"])
    assert (scores["n"], scores["unparsed"]) == (4, 1)
    values = {k: v[0] for k, v in scores.items() if isinstance(v, list)}
    assert values == pytest.approx({"mIoU": 35.0, "R@0.3": 50.0, "R@0.5": 50.0, "R@0.7": 25.0})
    # two videos: the interval spans what either of them alone would give
    assert scores["mIoU"][1:] == pytest.approx([0.0, 70.0])


def test_several_true_spans_are_scored_as_a_set_beside_the_best_one():
    predicted, true = [[(0, 2), (1, 4), (6, 8)], []], [[(0, 4), (5, 8)], [(1, 2)]]
    scores = moment_retrieval([(0, 2), None], true, sets=predicted)
    assert scores["mIoU"][0] == 25.0
    assert scores["set_mIoU"][0] == pytest.approx(50 * 6 / 7)
    assert "set_mIoU" not in moment_retrieval([(0, 2)], [[(0, 4)]], sets=[[(0, 2)]])
    assert "set_mIoU" not in moment_retrieval([(0, 2), None], true)


def test_thresholds_and_seed():
    predicted, true = [Span(0, 5)] * 9, [[(0, t)] for t in range(1, 10)]
    scores = moment_retrieval(predicted, true, thresholds=(0.2, 1))
    assert scores["R@0.2"][0] == 100.0 and scores["R@1"][0] == pytest.approx(100 / 9)
    assert scores == moment_retrieval(predicted, true, thresholds=(0.2, 1))
    assert scores["mIoU"] != moment_retrieval(predicted, true, seed=1)["mIoU"]
    value, low, high = scores["mIoU"]
    assert low < value < high


@pytest.mark.parametrize(
    ("predicted", "true", "videos", "says"),
    [
        pytest.param([], [], None, "no queries", id="none"),
        pytest.param([None], [], None, "1 predictions for 0 queries", id="lengths"),
        pytest.param([None], [[]], None, "query 0 has no true span", id="no-truth"),
        pytest.param([(0, math.nan)], [[(0, 1)]], None, "finite", id="nan"),
        pytest.param([(0, 1)], [[(0, math.inf)]], None, "finite", id="inf"),
        pytest.param([None], [[(0, 1)]], ["a", "b"], "2 groups, 1 values", id="videos"),
    ],
)
def test_bad_moments(predicted, true, videos, says):
    with pytest.raises(ValueError, match=says):
        moment_retrieval(predicted, true, videos)


# --- intervals ---
def test_intervals_resample_videos_not_queries():
    values = np.repeat([0.0, 100.0] * 10, 50)[:, None]
    alone = metrics.bootstrap_interval(values)[0]
    together = metrics.bootstrap_interval(values, np.repeat(np.arange(20), 50).tolist())[0]
    assert np.ptp(together) > 3 * np.ptp(alone)
    # the standard error of a mean of 20 videos is 50 / sqrt(20)
    assert np.ptp(together) == pytest.approx(2 * 1.96 * 50 / np.sqrt(20), rel=0.15)


def test_an_interval_has_95_percent_of_the_resampled_means():
    values = np.random.default_rng(0).normal(size=2000)
    wide = 2 * 1.95996 * values.std() / np.sqrt(2000)
    for low, high in (
        metrics.bootstrap_interval(values[:, None], resamples=20_000)[0],
        metrics.paired_difference(values, 0 * values, resamples=20_000)[1:],
    ):
        assert high - low == pytest.approx(wide, rel=0.03)
    table = moment_retrieval([(0, 1)] * 500 + [None] * 500, [[(0, 1)]] * 1000)
    _, low, high = table["mIoU"]
    assert high - low == pytest.approx(2 * 1.95996 * 50 / np.sqrt(1000), rel=0.06)


def test_intervals_do_not_depend_on_how_many_resamples_are_drawn_at_once(monkeypatch):
    values = np.random.default_rng(0).random((300, 2))
    expected = metrics.bootstrap_interval(values, resamples=200)
    monkeypatch.setattr("numpro.metrics.bootstrap._CELLS", 1000)
    assert metrics.bootstrap_interval(values, resamples=200).tolist() == expected.tolist()


def test_what_is_not_counted_changes_no_interval():
    values = np.array([[1.0, 3.0], [2.0, np.nan], [4.0, 5.0]] * 20)
    both = metrics.bootstrap_interval(values, list("abc") * 20, resamples=200)
    assert both[0].tolist() == metrics.bootstrap_interval(
        values[:, :1], list("abc") * 20, resamples=200
    )[0].tolist()  # fmt: skip
    assert np.isnan(both[1]).all()  # some resample draws b alone
    assert metrics.bootstrap_interval([[1.0, np.nan], [1.0, 3.0]] * 20)[1].tolist() == [3.0, 3.0]


def test_intervals_of_a_large_dataset_take_seconds():
    rng = np.random.default_rng(0)
    values, videos = rng.random((17031, 4)), rng.integers(4885, size=17031).tolist()
    start = time.process_time()
    low, high = metrics.bootstrap_interval(values, videos, resamples=10_000)[0]
    assert time.process_time() - start < 3 and 0.49 < low < high < 0.51


def test_paired_difference():
    rng = np.random.default_rng(0)
    b = rng.uniform(0, 100, 500)
    difference, low, high = metrics.paired_difference(b + 1 + rng.normal(0, 1, 500), b)
    assert low < difference < high and high - low < 0.3
    # two videos, one of which has all the difference
    halves = metrics.paired_difference([1.0] * 50 + [0.0] * 50, [0.0] * 100, [0] * 50 + [1] * 50)
    assert halves == [0.5, 0.0, 1.0]
    with pytest.raises(ValueError, match="same queries"):
        metrics.paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="resamples must be at least 1; got 0"):
        metrics.bootstrap_interval([[1.0]], resamples=0)


# --- highlights ---
CLIPS = st.integers(1, 12)


@settings(max_examples=60)
@given(st.data())
def test_highlights_follow_the_official_rule(data):
    clips = data.draw(CLIPS)
    predicted = data.draw(st.lists(st.integers(0, 4), min_size=clips, max_size=clips))
    rated = data.draw(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=clips, max_size=clips))
    truth = Saliency(tuple(range(clips)), tuple(rated))
    scores = highlight_detection([predicted], [truth], [2.0 * clips], resamples=1)
    for level, least in {"Fair": 2, "Good": 3, "VeryGood": 4}.items():
        positive = np.array(rated) >= least
        expected = np.mean(
            [plain_scorer.clip_ap(predicted, positive[:, k].tolist()) for k in range(3)]
        )
        assert scores[f"mAP@{level}"][0] == pytest.approx(100 * expected)
        assert scores[f"HIT@1@{level}"][0] == 100.0 * positive[int(np.argmax(predicted))].any()


def test_highlights_by_hand():
    truth = [Saliency((1, 2), ((4, 4, 0), (4, 2, 0)))] * 4
    predicted = [[0.0, 3.0, 2.0], [1.0, 0.0], None, [0.0, 0.0, 0.0, 9.0]]
    scores = highlight_detection(predicted, truth, [6.0, 6.0, 6.0, 7.9], ["a", "b", "c", "c"])
    assert (scores["n"], scores["unparsed"]) == (4, 1)
    # first: AP 1, 1, 0; the others rank all clips alike, or clip 0 first: 2/3, 1/3 or 2/3, 1/3, 0
    assert scores["mAP"][0] == pytest.approx(100 * np.mean([2 / 3, 1 / 3, 1 / 3, 1 / 3]))
    # a first clip past the end of the video is a miss
    assert scores["HIT@1"][0] == 25.0 and scores["mAP@VeryGood"] == scores["mAP"]
    empty = highlight_detection([[1.0]], [Saliency((), ())], [4.0])
    assert empty["mAP"] == empty["HIT@1"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("predicted", "truth", "duration", "says"),
    [
        pytest.param([math.nan], Saliency((), ()), 4.0, "finite", id="nan"),
        pytest.param([], Saliency((), ()), 4.0, "non-empty", id="empty"),
        pytest.param([1.0], Saliency((2,), ((1, 1, 1),)), 4.0, "clips must be 0 to 1", id="clip"),
        pytest.param([1.0], Saliency((1,), ((1, 1),)), 4.0, "three scores", id="annotators"),
        pytest.param([1.0], Saliency((), ()), 1.0, "no 2-s clip", id="short"),
    ],
)
def test_bad_highlights(predicted, truth, duration, says):
    with pytest.raises(ValueError, match=says):
        highlight_detection([predicted], [truth], [duration])
    with pytest.raises(ValueError, match="2 predictions, 1 truths and 1 durations"):
        highlight_detection([predicted, predicted], [truth], [duration])


# --- floors and ceilings ---
TRAIN = [made(((0.0, 4.0),), ((0.0, 5.0),)), made(((0.0, 8.0), (15.0, 16.0)), duration=20.0)]
TEST = [made(((1.0, 4.9),), ((2.0, 3.0),)), made(((0.0, 2.0),), video="b", duration=20.0)]


def test_floors_have_one_answer_a_query():
    assert baselines.whole_video(TEST) == [(0, 10), (0, 10), (0, 20)]
    window = baselines.best_fixed_window(TRAIN)
    assert window == (0.0, 0.4)
    assert baselines.best_fixed_window([made(((6.0, 10.0),))]) == (0.6, 1.0)
    # a query counts once, with the span of its own that fits best
    spans = [made(((0.0, 5.0), *[(5.0, 10.0)] * 3), ((0.0, 5.0),))]
    assert baselines.best_fixed_window(spans) == (0.0, 0.5)
    assert baselines.fixed_window(TEST, window) == [(0, 4), (0, 4), (0, 8)]
    drawn = baselines.random_moment(TEST, TRAIN)
    assert drawn == baselines.random_moment(TEST, TRAIN, seed=0) and len(drawn) == 3
    fractions = {(0.0, 0.4), (0.0, 0.5), (0.75, 0.8)}
    assert {(s / d, e / d) for (s, e), d in zip(drawn, (10, 10, 20), strict=True)} <= fractions
    for function in (baselines.best_fixed_window, lambda t: baselines.random_moment(TEST, t)):
        with pytest.raises(ValueError, match="train has no query"):
            function([])


def lengthened(videos, fps):
    """Return films that go on past their true spans, as figures count whose labels do."""
    ends = [max(t for query in v.queries for span in query.spans for t in span) for v in videos]
    return [replace(v, duration=max(v.duration, (math.ceil(end * fps) + 2) / fps))
            for v, end in zip(videos, ends, strict=True)]  # fmt: skip


def test_frame_grid():
    assert baselines.frame_grid(TEST, 0.5) == [(2, 4), (2, 4), (0, 2)]
    assert baselines.frame_grid(TEST, 0.5, "floor", "inclusive") == [(0, 6), (2, 4), (0, 4)]
    two = [made(((0.4, 1.6), (3.0, 5.0)))]
    assert baselines.frame_grid(two) == [(3, 5)]
    assert baselines.frame_grid(two, every=True) == [[(3, 5), (0, 2)]]
    # 0.28 * 25 is a little more than 7, and still there are 7 frames
    assert baselines.frame_grid([made(((0.08, 0.28),), duration=0.28)], 25) == [(0.08, 0.24)]
    ends = [made(((9.0, 11.0),))]
    assert baselines.frame_grid(ends) == [(9, 9)]
    assert baselines.frame_grid(ends, end="inclusive") == [(9, 10)]
    short = [made(((8.0, 9.5),), duration=9.5)]
    assert baselines.frame_grid(short, end="inclusive", rounding="floor") == [(8, 9.5)]
    assert baselines.frame_grid(lengthened(ends, 1.0)) == [(9, 11)]
    with pytest.raises(ValueError, match="fps must be above 0; got 0"):
        baselines.frame_grid(ends, fps=0)


def test_centre_prior():
    scores = baselines.centre_prior([made(((0, 1),), duration=7.0)])
    assert [predicted.tolist() for predicted in scores] == [[-1.0, 0.0, -1.0]]


def test_perfect_windows():
    # a window that only touches a clip is not in it
    films = [made(((2.0, 4.0),), ((0.5, 1.0), (5.5, 7.9)), duration=9.0)]
    predicted = [scores.tolist() for scores in baselines.perfect_windows(films)]
    assert predicted == [[0, 1, 0, 0], [1, 0, 1, 1]]
    assert baselines.unparsed(films) == [None, None]


# --- the official scorer's windows ---
WINDOW = st.tuples(st.integers(0, 20), st.integers(1, 12)).map(lambda w: (w[0] / 2, sum(w) / 2))
SCORED = st.tuples(WINDOW, st.sampled_from([0.1, 0.5, 0.5, 0.9])).map(lambda w: (*w[0], w[1]))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(SCORED, max_size=12), st.lists(WINDOW, min_size=1, max_size=5)),
                min_size=1, max_size=4))  # fmt: skip
def test_windows_follow_the_official_rule(rows):
    predicted = [np.array(windows).reshape(-1, 3) for windows, _ in rows]
    scores = official_scores((predicted, [np.array(true) for _, true in rows]), None, None, 1)
    plain = plain_scorer.moment_scores(rows)
    got = json_normalize({name: scores[name] for name in plain}).astype(float)
    # both sum in another order: a mean that ends in a 5 may be rounded to either side
    assert_frame_equal(got, json_normalize(plain).astype(float), rtol=0, atol=0.0101)


def test_windows_by_hand():
    # the second window by score fits only what the first has taken; of 12 windows 10 count
    predicted = (
        [(0, 10, 0.9), (1, 10, 0.5), (40, 60, 0.1)] + [(70, 80, 0.01)] * 7 + [(100, 140, 0.99)]
    )
    true = [(0, 10), (40, 60), (100, 140)]
    scores = official_scores(([np.array(predicted)], [np.array(true)]), None, None, 1)
    assert scores["full"]["MR-mAP"]["0.5"] == pytest.approx(100 * (1 + 2 / 3) / 3, abs=0.005)
    assert scores["full"]["MR-R1"]["0.95"] == 100.0 and scores["long"]["MR-mAP"]["0.5"] == 0.0
    assert scores["short"]["MR-mAP"]["average"] == 100.0
    # of two true windows that fit alike the last one is taken, which leaves the first
    tied = [np.array([(1, 5, 0.9), (0, 4, 0.5)])], [np.array([(0, 4), (2, 6)])]
    assert official_scores(tied, None, None, 1)["full"]["MR-mAP"]["0.6"] == 100.0
    lone = official_scores(([np.zeros((0, 3))], [np.array([(0.0, 20.0)])]), None, None, 1)
    assert lone["brief"]["MR-full-mAP"] == 0.0 and lone["short"]["MR-R1"]["0.5"] is None
    assert lone["intervals"]["MR-short-mAP"] is None
    json.dumps(lone, allow_nan=False)


# --- breakdown and paper ---
def test_breakdown():
    films = [made(((0.0, 2.0),), ((6.0, 10.0),)), made(((9.0, 10.0),), video="b", duration=20.0)]
    rows = metrics.breakdown(films, [Span(0, 2), None, Span(9, 11)])
    found = {(r["by"], r["above"], r["to"]): (r["n"], r["unparsed"], r["mIoU"][0]) for r in rows}
    assert found == {
        ("span length (s)", 0, 1): (1, 0, 50.0),
        ("span length (s)", 1, 2): (1, 0, 100.0),
        ("span length (s)", 2, 4): (1, 1, 0.0),
        ("position of its middle", 0, 1 / 3): (1, 0, 100.0),
        ("position of its middle", 1 / 3, 2 / 3): (1, 0, 50.0),
        ("position of its middle", 2 / 3, 1): (1, 1, 0.0),
        ("video length (s)", 8, 16): (2, 1, 50.0),
        ("video length (s)", 16, 32): (1, 0, 50.0),
        ("events in the video", 0, 1): (1, 0, 50.0),
        ("events in the video", 1, 2): (2, 1, 50.0),
    }
    with pytest.raises(ValueError, match="1 predictions for 3 queries"):
        metrics.breakdown(films, [None])
    with pytest.raises(ValueError, match="duration of 1 videos is not known, first 'a'"):
        metrics.breakdown([made(((0.0, 2.0),), duration=None)], [None])


def test_paper_rows():
    rows = metrics.PAPER_ROWS
    assert len({(r["method"], r["model"], r["dataset"]) for r in rows}) == len(rows)
    tuned = [r for r in rows if r["method"] == "NumPro-FT"]
    assert [r.get("mIoU", r.get("mAP")) for r in tuned] == [41.4, 38.8, 25.0]
    swapped = {r["dataset"] for r in rows if r["misprint"] and "swapped" in r["note"]}
    assert swapped == {"charades-sta", "activitynet-captions"}
    for row in rows + metrics.PAPER_STUDIES:
        assert row["source"].startswith("arXiv 2411.10332, Table")
        assert row["note"] or not row["misprint"]
        assert row["task"] == "moment_retrieval" or row["mAP"] > 0
    places = [r for r in metrics.PAPER_STUDIES if r["source"].endswith("Table 3")]
    assert len(places) == 11 and max(places, key=lambda r: r["mIoU"])["method"].endswith("left")


def test_beside_paper():
    row = {"dataset": "flipbook", "split": "test", "task": "moment_retrieval", "model": "tiny"}
    row |= {"method": "fine-tuned", "time_encoding": "overlay-index", "mIoU": [50.0, 40.0, 60.0]}
    floor = row | {"method": "whole-video", "time_encoding": None}
    beside = metrics.beside_paper([row, floor])
    assert [(r["arm"], r["metric"], r["paper"]) for r in beside] == [
        ("NumPro-FT", "mIoU", 41.4),
        ("NumPro-FT", "mIoU", 38.8),
    ]
    assert beside[0]["difference"] == pytest.approx(8.6)
    assert beside[0]["differs"] == (
        "model tiny for LongVA-7B-DPO, dataset flipbook for charades-sta"
    )


# --- the field's own files ---
def load_lines(*parts):
    text = REFERENCE.joinpath(*parts).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def grouped(rows):
    videos = {}
    for row in rows:
        saliency = None
        if "saliency_scores" in row:
            scores = tuple(map(tuple, row["saliency_scores"]))
            saliency = Saliency(tuple(row["relevant_clip_ids"]), scores)
        spans = tuple(Span(*window) for window in row["relevant_windows"])
        query = Query(str(row["qid"]), row["query"], spans, saliency)
        videos.setdefault((row["vid"], row["duration"]), []).append(query)
    return [
        VideoQueries(name, Path(name), duration, tuple(queries), "reference", "test")
        for (name, duration), queries in videos.items()
    ]


@pytest.fixture(scope="module")
def charades():
    """Charades-STA test with the moments of the official file, which run past some ends."""
    rows = load_lines("charades_sta", "lighthouse_charades_test_release.jsonl")
    official = REFERENCE / "charades_sta" / "charades_sta_test.txt"
    for row, line in zip(rows, official.read_text().splitlines(), strict=True):
        _, start, end = line.partition("##")[0].split()
        row["relevant_windows"] = [[float(start), float(end)]]
    return grouped(rows)


def values(predicted, videos):
    truth = [query.spans for video in videos for query in video.queries]
    scores = moment_retrieval(predicted, truth, resamples=1)
    return [round(scores[name][0], 1) for name in ("R@0.3", "R@0.5", "R@0.7", "mIoU")]


@reference
def test_charades_floors_and_ceilings(charades):
    assert values(baselines.whole_video(charades), charades) == [34.3, 0.4, 0.0, 27.0]
    train = grouped(load_lines("charades_sta", "lighthouse_charades_train_release.jsonl"))
    window = baselines.best_fixed_window(train)
    assert window == (0.0, 0.45)
    assert values(baselines.fixed_window(charades, window), charades)[-1] == 30.5
    drawn = values(baselines.random_moment(charades, train), charades)
    assert drawn[-1] == pytest.approx(19.2, abs=1)
    for rounding, past_end, recall in [
        ("half_even", False, 92.3),
        ("half_even", True, 98.4),
        ("floor", True, 77.0),
    ]:
        films = lengthened(charades, 0.5) if past_end else charades
        grid = baselines.frame_grid(films, 0.5, rounding)
        assert values(grid, charades)[2] == recall


@reference
def test_timechat_spans_score_as_published(charades):
    spans = json.loads((REFERENCE / "charades_sta" / "timechat_spans.json").read_text())
    predicted = [Span(*row["timestamp"][0]) if row["timestamp"] else None for row in spans.values()]
    lines = (REFERENCE / "charades_sta" / "charades_sta_test.txt").read_text().splitlines()
    truth = [[tuple(map(float, line.partition("##")[0].split()[1:]))] for line in lines]
    scores = moment_retrieval(predicted, truth, resamples=1)
    published = (REFERENCE / "charades_sta" / "timechat_scores.txt").read_text()
    for line in published.splitlines()[1:]:
        name, _, value = line.removeprefix("IOU ").partition(": ")
        assert scores[f"R@{name}"][0] == pytest.approx(float(value), abs=1e-9)
    assert scores["mIoU"][0] == pytest.approx(32.961, abs=5e-4)


@reference
def test_activitynet_whole_video():
    rows = json.loads((REFERENCE / "activitynet" / "val_2.json").read_text())
    videos = [
        made(*[(Span(*t),) for t in row["timestamps"]], video=name, duration=row["duration"])
        for name, row in rows.items()
    ]
    assert values(baselines.whole_video(videos), videos) == [48.0, 21.2, 12.4, 34.6]


@reference
def test_qvhighlights_floors():
    videos = grouped(load_lines("qvhighlights", "highlight_val_release.jsonl"))
    truth = [query.saliency for video in videos for query in video.queries]
    durations = [video.duration for video in videos for _ in video.queries]
    for predicted, expected in [
        (baselines.unparsed(videos), [24.78, 21.10, 19.45, 19.74, 11.04, 14.97]),
        (baselines.centre_prior(videos), [38.07, 28.39, 31.10, 26.77, 18.45, 21.81]),
        (baselines.perfect_windows(videos), [88.34, 97.94, 68.71, 87.74, 37.66, 63.48]),
    ]:
        scores = highlight_detection(predicted, truth, durations, resamples=1)
        names = [f"{m}@{level}" for level in ("Fair", "Good", "VeryGood") for m in ("mAP", "HIT@1")]
        assert [round(scores[name][0], 2) for name in names] == expected


@pytest.mark.parametrize(
    ("name", "dataset", "beside"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "charades-sta", [("Qwen2-VL-7B", "charades-sta test", "")]),
        ("models/llava-onevision-qwen2-7b-ov-hf", "activitynet-captions",
         [("LLaVA-OneVision-7B", "activitynet-captions val_2", "split test for val_2")]),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "charades-sta",
         [("LongVA-7B-DPO", "charades-sta test",
           "model Qwen/Qwen2.5-VL-7B-Instruct for LongVA-7B-DPO")]),
        ("lmms-lab/LongVA-7B-DPO", "didemo",
         [("LongVA-7B-DPO", "charades-sta test", "dataset didemo for charades-sta"),
          ("LongVA-7B-DPO", "activitynet-captions val_2",
           "dataset didemo for activitynet-captions, split test for val_2")]),
    ],
)  # fmt: skip
def test_beside_paper_is_the_row_of_the_same_model_and_data_set(name, dataset, beside):
    row = {"dataset": dataset, "split": "test", "task": "moment_retrieval", "model": name}
    row |= {"method": "base", "time_encoding": "overlay-index", "mIoU": [50.0, 40.0, 60.0]}
    found = metrics.beside_paper([row])
    assert [(r["model"], r["where"], r["differs"]) for r in found] == beside
