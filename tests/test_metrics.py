"""Scores: by hand on made-up data, and as the field's own scorers give them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpro import metrics
from numpro.datasets import Query, Saliency, VideoQueries
from numpro.metrics import baselines, highlight_detection, moment_retrieval
from numpro.spans import Span

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the field's annotation files (../shared/reference) are absent"
)


def made(*spans, video="a", duration=10.0, saliency=None):
    queries = tuple(Query(f"{video}{i}", "a dog", s, saliency) for i, s in enumerate(spans))
    return VideoQueries(video, Path(f"{video}.mp4"), duration, queries, "made", "test")


def jsonl(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --- moments ---
def test_moment_retrieval_by_hand():
    said = [Span(0, 4), Span(0, 10), None, Span(5, 5)]
    true = [[(0, 5)], [(8, 9), (0, 6)], [(0, 1)], [(4, 6)]]
    scores = moment_retrieval(said, true, ["a", "a", "b", "b"])
    assert (scores["n"], scores["unparsed"]) == (4, 1)
    values = {k: v[0] for k, v in scores.items() if isinstance(v, list)}
    assert values == pytest.approx({"mIoU": 35.0, "R@0.3": 50.0, "R@0.5": 50.0, "R@0.7": 25.0})
    # two videos: the interval spans what either of them alone would give
    assert scores["mIoU"][1:] == pytest.approx([0.0, 70.0])


def test_thresholds_and_seed():
    said, true = [Span(0, 5)] * 9, [[(0, t)] for t in range(1, 10)]
    scores = moment_retrieval(said, true, thresholds=(0.2, 1))
    assert scores["R@0.2"][0] == 100.0 and scores["R@1"][0] == pytest.approx(100 / 9)
    assert scores == moment_retrieval(said, true, thresholds=(0.2, 1))
    assert scores["mIoU"] != moment_retrieval(said, true, seed=1)["mIoU"]
    value, low, high = scores["mIoU"]
    assert low < value < high


@pytest.mark.parametrize(
    ("said", "true", "videos", "says"),
    [
        pytest.param([], [], None, "no queries", id="none"),
        pytest.param([None], [], None, "1 predictions for 0 queries", id="lengths"),
        pytest.param([None], [[]], None, "query 0 has no true span", id="no-truth"),
        pytest.param([(0, math.nan)], [[(0, 1)]], None, "finite", id="nan"),
        pytest.param([(0, 1)], [[(0, math.inf)]], None, "finite", id="inf"),
        pytest.param([None], [[(0, 1)]], ["a", "b"], "2 groups, 1 values", id="videos"),
    ],
)
def test_bad_moments(said, true, videos, says):
    with pytest.raises(ValueError, match=says):
        moment_retrieval(said, true, videos)


# --- intervals ---
def test_intervals_resample_videos_not_queries():
    values = np.repeat([0.0, 100.0] * 10, 50)[:, None]
    alone = metrics.bootstrap_interval(values)[0]
    together = metrics.bootstrap_interval(values, np.repeat(np.arange(20), 50).tolist())[0]
    assert np.ptp(together) > 3 * np.ptp(alone)
    # the standard error of a mean of 20 videos is 50 / sqrt(20)
    assert np.ptp(together) == pytest.approx(2 * 1.96 * 50 / np.sqrt(20), rel=0.15)


def test_paired_difference():
    rng = np.random.default_rng(0)
    b = rng.uniform(0, 100, 500)
    difference, low, high = metrics.paired_difference(b + 1 + rng.normal(0, 1, 500), b)
    assert low < difference < high and high - low < 0.3
    with pytest.raises(ValueError, match="same queries"):
        metrics.paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="resamples must be at least 1; got 0"):
        metrics.bootstrap_interval([[1.0]], resamples=0)


# --- highlights ---
def official_ap(positive, predicted):
    """One query, one annotator: the official scorer's rule written out plainly."""
    if len(set(positive)) == 1:
        return float(positive[0])
    points = []
    for threshold in sorted(set(predicted)):
        chosen = [p for p, s in zip(positive, predicted, strict=True) if s >= threshold]
        points.append((sum(chosen) / sum(positive), sum(chosen) / len(chosen)))
    points.append((0.0, 1.0))
    best, precisions = 0.0, []
    for (recall, precision), (next_recall, _) in zip(points, points[1:], strict=False):
        best = max(best, precision)
        if next_recall != recall:
            precisions.append(best)
    return float(np.mean(precisions))


CLIPS = st.integers(1, 12)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_highlights_follow_the_official_rule(data):
    clips = data.draw(CLIPS)
    said = data.draw(st.lists(st.integers(0, 4), min_size=clips, max_size=clips))
    rated = data.draw(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=clips, max_size=clips))
    truth = Saliency(tuple(range(clips)), tuple(rated))
    scores = highlight_detection([said], [truth], [2.0 * clips], resamples=1)
    for level, least in {"Fair": 2, "Good": 3, "VeryGood": 4}.items():
        positive = np.array(rated) >= least
        expected = np.mean([official_ap(positive[:, k].tolist(), said) for k in range(3)])
        assert scores[f"mAP@{level}"][0] == pytest.approx(100 * expected)
        assert scores[f"HIT@1@{level}"][0] == 100.0 * positive[int(np.argmax(said))].any()


def test_highlights_by_hand():
    truth = [Saliency((1, 2), ((4, 4, 0), (4, 2, 0)))] * 4
    said = [[0.0, 3.0, 2.0], [1.0, 0.0], None, [0.0, 0.0, 0.0, 9.0]]
    scores = highlight_detection(said, truth, [6.0, 6.0, 6.0, 7.9], ["a", "b", "c", "c"])
    assert (scores["n"], scores["unparsed"]) == (4, 1)
    # first: AP 1, 1, 0; the others rank all clips alike, or clip 0 first: 2/3, 1/3 or 2/3, 1/3, 0
    assert scores["mAP"][0] == pytest.approx(100 * np.mean([2 / 3, 1 / 3, 1 / 3, 1 / 3]))
    # a first clip past the end of the video is a miss
    assert scores["HIT@1"][0] == 25.0 and scores["mAP@VeryGood"] == scores["mAP"]
    empty = highlight_detection([[1.0]], [Saliency((), ())], [4.0])
    assert empty["mAP"] == empty["HIT@1"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("said", "truth", "duration", "says"),
    [
        pytest.param([math.nan], Saliency((), ()), 4.0, "finite", id="nan"),
        pytest.param([], Saliency((), ()), 4.0, "non-empty", id="empty"),
        pytest.param([1.0], Saliency((2,), ((1, 1, 1),)), 4.0, "clips must be 0 to 1", id="clip"),
        pytest.param([1.0], Saliency((1,), ((1, 1),)), 4.0, "three scores", id="annotators"),
        pytest.param([1.0], Saliency((), ()), 1.0, "no 2-s clip", id="short"),
    ],
)
def test_bad_highlights(said, truth, duration, says):
    with pytest.raises(ValueError, match=says):
        highlight_detection([said], [truth], [duration])
    with pytest.raises(ValueError, match="2 predictions, 1 truths and 1 durations"):
        highlight_detection([said, said], [truth], [duration])


# --- floors and ceilings ---
TRAIN = [made(((0.0, 4.0),), ((0.0, 5.0),)), made(((0.0, 8.0), (15.0, 16.0)), duration=20.0)]
TEST = [made(((1.0, 4.9),), ((2.0, 3.0),)), made(((0.0, 2.0),), video="b", duration=20.0)]


def test_floors_have_one_answer_a_query():
    assert baselines.whole_video(TEST) == [(0, 10), (0, 10), (0, 20)]
    window = baselines.best_fixed_window(TRAIN)
    assert window == (0.0, 0.4)
    assert baselines.fixed_window(TEST, window) == [(0, 4), (0, 4), (0, 8)]
    drawn = baselines.random_moment(TEST, TRAIN)
    assert drawn == baselines.random_moment(TEST, TRAIN, seed=0) and len(drawn) == 3
    fractions = {(0.0, 0.4), (0.0, 0.5), (0.75, 0.8)}
    assert {(s / d, e / d) for (s, e), d in zip(drawn, (10, 10, 20), strict=True)} <= fractions
    for function in (baselines.best_fixed_window, lambda t: baselines.random_moment(TEST, t)):
        with pytest.raises(ValueError, match="train has no query"):
            function([])


def test_frame_grid():
    assert baselines.frame_grid(TEST, 0.5) == [(2, 4), (2, 4), (0, 2)]
    assert baselines.frame_grid(TEST, 0.5, "floor", "inclusive") == [(0, 6), (2, 4), (0, 4)]
    ends = [made(((9.0, 11.0),))]
    assert baselines.frame_grid(ends) == [(9, 9)]
    assert baselines.frame_grid(ends, end="inclusive") == [(9, 10)]
    assert baselines.frame_grid(ends, past_end=True) == [(9, 11)]
    with pytest.raises(ValueError, match="fps must be above 0; got 0"):
        baselines.frame_grid(ends, fps=0)


def test_centre_prior():
    scores = baselines.centre_prior([made(((0, 1),), duration=7.0)])
    assert [s.argmax() for s in scores] == [1] and len(scores[0]) == 3


# --- files ---
MOMENTS = [
    {"qid": 1, "video": "a", "pred": [[0, 4]], "truth": [[0, 5]]},
    {"qid": 2, "video": "a", "pred": [], "reason": "no span found", "truth": [[1, 2]]},
]
HIGHLIGHTS = [
    {"qid": "1", "pred_saliency_scores": [0.0, 3.0, 2.0]},
    {"qid": "2", "pred_saliency_scores": None},
]
TRUTHS = [
    {"qid": q, "duration": 6, "relevant_clip_ids": [1], "saliency_scores": [[4, 4, 4]]}
    for q in (1, 2)
]


def test_moment_files(tmp_path):
    path = jsonl(tmp_path / "predictions.jsonl", MOMENTS)
    scores = metrics.evaluate_moment_predictions(path)
    assert {k: scores[k] for k in ("n", "unparsed", "mIoU", "R@0.7")} == {
        "n": 2,
        "unparsed": 1,
        "mIoU": 40.0,
        "R@0.7": 50.0,
    }
    assert scores["intervals"]["mIoU"] == [40.0, 40.0]
    times = [{"id": 2, "start_time": 1, "end_time": 2}, {"id": 1, "start_time": 0, "end_time": 5}]
    listed = tmp_path / "annotations.json"
    listed.write_text(json.dumps(times))
    assert metrics.evaluate_moment_predictions(path, listed) == scores


def test_highlight_files(tmp_path):
    said = jsonl(tmp_path / "said.jsonl", HIGHLIGHTS)
    scores = metrics.evaluate_highlight_predictions(said, jsonl(tmp_path / "true.jsonl", TRUTHS))
    assert (scores["n"], scores["unparsed"]) == (2, 1)
    assert scores["HL-min-VeryGood"] == {"HL-mAP": 66.67, "HL-Hit1": 50.0}
    assert scores["brief"]["HL-min-Fair-Hit1"] == 50.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("{", "row 1: not JSON", id="not-json"),
        pytest.param("\n[1]\n", "row 2: must be an object; got list", id="not-an-object"),
        pytest.param('{"pred": []}', "row 1: has no qid", id="no-qid"),
        pytest.param('{"qid": 1}', "row 1: has no pred", id="no-pred"),
        pytest.param('{"qid": 1, "pred": []}', "has no truth", id="no-truth"),
        pytest.param('{"qid": 1, "pred": 3, "truth": [[0, 1]]}', "pred must be a list", id="pred"),
        pytest.param(
            '{"qid": 1, "pred": [[NaN, 1]], "truth": [[0, 1]]}', "finite number; got nan", id="nan"
        ),
        pytest.param(
            '{"qid": 1, "pred": [[2, 1]], "truth": [[0, 1]]}', "before it starts", id="reversed"
        ),
        pytest.param('{"qid": 1, "pred": [[1]], "truth": [[0, 1]]}', "start, end", id="one-end"),
        pytest.param(f"{json.dumps(MOMENTS[0])}\n" * 2, "row 2: qid '1' is there", id="twice"),
        pytest.param("[" * 100_000, "row 1: ", id="nested"),
        pytest.param(b"\xff\xfe", "cannot be read", id="not-text"),
    ],
)
def test_malformed_predictions_are_named(tmp_path, text, says):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"predictions.jsonl.*{says}"):
        metrics.evaluate_moment_predictions(path)


def test_an_endless_row_is_refused(tmp_path, monkeypatch):
    from numpro.datasets import rows

    monkeypatch.setattr(rows, "_LONGEST", 100)
    path = jsonl(tmp_path / "predictions.jsonl", [{"qid": 1, "response": "x" * 200}])
    with pytest.raises(ValueError, match="row 1: longer than 100 characters"):
        metrics.evaluate_moment_predictions(path)


@pytest.mark.parametrize(
    ("said", "true", "says"),
    [
        pytest.param([{"qid": 1}], TRUTHS, "said.*row 1: has no pred_saliency", id="no-scores"),
        pytest.param([{"qid": 1, "pred_saliency_scores": [math.nan]}], TRUTHS, "got nan", id="nan"),
        pytest.param(HIGHLIGHTS[:1], TRUTHS, "said.*1 of 2 queries, first qid '2'", id="missing"),
        pytest.param(HIGHLIGHTS, TRUTHS[:1], "true.*1 of 2 queries, first qid '2'", id="unknown"),
        pytest.param(
            HIGHLIGHTS, [TRUTHS[0] | {"duration": 2}], "true.*row 1: .*inside the", id="clip"
        ),
        pytest.param(
            HIGHLIGHTS, [TRUTHS[0] | {"saliency_scores": [[1]]}], "three scores", id="annotators"
        ),
        pytest.param(HIGHLIGHTS, [{"qid": 1}], "relevant_clip_ids must be a list", id="keys"),
    ],
)
def test_malformed_highlight_files_are_named(tmp_path, said, true, says):
    paths = jsonl(tmp_path / "said.jsonl", said), jsonl(tmp_path / "true.jsonl", true)
    with pytest.raises(ValueError, match=says):
        metrics.evaluate_highlight_predictions(*paths)


def test_files_must_hold_the_same_queries(tmp_path):
    path = jsonl(tmp_path / "predictions.jsonl", MOMENTS[:1])
    true = jsonl(tmp_path / "true.jsonl", [{"qid": q, "relevant_windows": [[0, 5]]} for q in "12"])
    with pytest.raises(ValueError, match="1 of 2 queries, first qid '2'"):
        metrics.evaluate_moment_predictions(path, true)


def test_paper_rows():
    rows = metrics.PAPER_ROWS
    assert len({(r["method"], r["model"], r["dataset"]) for r in rows}) == len(rows)
    tuned = [r for r in rows if r["method"] == "NumPro-FT"]
    assert [r.get("mIoU", r.get("mAP")) for r in tuned] == [41.4, 38.8, 25.0]
    swapped = {r["dataset"] for r in rows if r["note"] and "swaps" in r["note"]}
    assert swapped == {"charades-sta", "activitynet-captions"}
    assert all(r["source"].startswith("arXiv 2411.10332, Table") for r in rows)


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
        grid = baselines.frame_grid(charades, 0.5, rounding, past_end=past_end)
        assert values(grid, charades)[2] == recall


@reference
def test_timechat_spans_score_as_published(charades):
    spans = json.loads((REFERENCE / "charades_sta" / "timechat_spans.json").read_text())
    said = [Span(*row["timestamp"][0]) if row["timestamp"] else None for row in spans.values()]
    lines = (REFERENCE / "charades_sta" / "charades_sta_test.txt").read_text().splitlines()
    truth = [[tuple(map(float, line.partition("##")[0].split()[1:]))] for line in lines]
    scores = moment_retrieval(said, truth, resamples=1)
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
def test_qvhighlights_as_the_official_scorer():
    folder = REFERENCE / "qvhighlights"
    said, true = folder / "sample_val_preds.jsonl", folder / "highlight_val_release.jsonl"
    scores = metrics.evaluate_highlight_predictions(said, true)
    official = json.loads((folder / "sample_val_preds_metrics_raw.json").read_text())
    assert (scores["n"], scores["unparsed"]) == (1550, 0)
    for level in ("Fair", "Good", "VeryGood"):
        assert scores[f"HL-min-{level}"] == official[f"HL-min-{level}"]
    assert scores["brief"].items() <= official["brief"].items()


@reference
def test_qvhighlights_floors():
    videos = grouped(load_lines("qvhighlights", "highlight_val_release.jsonl"))
    truth = [query.saliency for video in videos for query in video.queries]
    durations = [video.duration for video in videos for _ in video.queries]
    for said, expected in [
        ([None] * len(truth), [24.78, 21.10, 19.45, 19.74, 11.04, 14.97]),
        (baselines.centre_prior(videos), [38.07, 28.39, 31.10, 26.77, 18.45, 21.81]),
    ]:
        scores = highlight_detection(said, truth, durations, resamples=1)
        names = [f"{m}@{level}" for level in ("Fair", "Good", "VeryGood") for m in ("mAP", "HIT@1")]
        assert [round(scores[name][0], 2) for name in names] == expected
