"""Prediction files, one's own and others': what they score, and how malformed ones are named."""

import json
import math

import numpy as np
import pytest
from scoring import REFERENCE, benchmark, jsonl, reference

from numpro import metrics
from numpro.prompting import answers
from numpro.spans import Span

VALUES = ("R@0.3", "R@0.5", "R@0.7", "mIoU")
MOMENTS = [
    {"qid": 1, "video": "a", "pred": [[0, 4]], "truth": [[0, 5]]},
    {"qid": 2, "video": "a", "pred": [], "reason": "no span found", "truth": [[1, 2]]},
]
HIGHLIGHTS = [
    {"qid": "1", "pred_saliency_scores": [0.0, 3.0, 2.0]},
    {"qid": "2", "pred_saliency_scores": None, "reason": "video: b.mp4: no such file"},
]
TRUTHS = [
    {"qid": q, "duration": 6, "relevant_clip_ids": [1], "saliency_scores": [[4, 4, 4]]}
    for q in (1, 2)
]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def score(path, *arguments, **options):
    scores = metrics.evaluate_moment_predictions(path, *arguments, **options)
    json.dumps(scores, allow_nan=False)
    return scores


# --- moments ---
def test_why_answers_are_unparsed_is_counted_by_kind(tmp_path):
    # as `predict` has it for films that are not there, and as a raw response is read
    reasons = ["video: /films/a.mp4: no such file", "video: /films/b.mp4: no such file", None]
    silent = MOMENTS[1] | {"response": ""}
    rows = [silent | {"qid": i, "reason": reason} for i, reason in enumerate(reasons)]
    raw = {"qid": 9, "response": "It is not present.", "duration": 9, "truth": [[1, 2]]}
    path = jsonl(tmp_path / "predictions.jsonl", [*rows, raw])
    scores = score(path, label_seconds=1)
    assert (scores["n"], scores["unparsed"]) == (4, 4)
    assert scores["reasons"] == {"video": 2, answers.NOT_PRESENT: 1}
    assert score(path, convention="published", label_seconds=1)["reasons"] == {
        "video": 2,
        answers.NO_SPAN: 2,
    }


def test_own_rows_against_their_truth_and_against_annotations(tmp_path):
    path = jsonl(tmp_path / "predictions.jsonl", MOMENTS)
    scores = score(path)
    assert {k: scores[k] for k in ("n", "unparsed", "mIoU", "R@0.7", "reversed_truth")} == {
        "n": 2, "unparsed": 1, "mIoU": 40.0, "R@0.7": 50.0, "reversed_truth": 0,
    }  # fmt: skip
    assert scores["intervals"]["mIoU"] == [40.0, 40.0] and "beside" not in scores
    assert scores["reasons"] == {"no span found": 1}
    times = [{"id": 2, "start_time": 1, "end_time": 2}, {"id": 1, "start_time": 0, "end_time": 5}]
    assert score(path, write(tmp_path / "annotations.json", times)) == scores


RESPONSES = {
    "exact": "From Frame 1 to Frame 4.",
    "upper": "FROM 1 TO 4",
    "lower": "from 1 to 4",
    "late": "from 3 to 30",
    "reversed": "from 4 to 1",
    "dashes": "frames 1-4",
    "none": "no idea",
    "percent": "From 10 to 40",
}
# seconds are twice the labels, the truth is [2, 8] of a video of 20 s
EXPECTED = {
    "published": {"exact": 100, "upper": 100, "lower": 100, "late": 200 / 58, "percent": 0},
    "published-strict": {"lower": 100, "late": 200 / 58},
    "numpro": {"exact": 100, "upper": 100, "lower": 100, "late": 200 / 18, "reversed": 100,
                "dashes": 100, "percent": 0},
    # [0.1, 0.4], of which "from 10 to 40" says all; rounded to two decimals
    "vtimellm": {"percent": 100},
}  # fmt: skip


@pytest.mark.parametrize("convention", EXPECTED)
def test_conventions(tmp_path, convention):
    for name, response in RESPONSES.items():
        row = {"id": name, "response": response, "gt_start": 2, "gt_end": 8, "duration": 20}
        scores = score(
            write(tmp_path / "results.json", [row]), convention=convention, label_seconds=2
        )
        assert scores["mIoU"] == pytest.approx(EXPECTED[convention].get(name, 0)), name
        assert scores["convention"] == convention


def test_the_published_patterns_are_conventions_and_the_old_name_of_ours_still_works(tmp_path):
    assert {"published", "published-strict", "vtimellm"} < metrics.CONVENTIONS.keys()
    path = jsonl(tmp_path / "predictions.jsonl", MOMENTS)
    assert (
        score(path, convention="default") == score(path) and score(path)["convention"] == "numpro"
    )


def test_vtimellm_rounds_before_it_counts(tmp_path):
    row = {"id": 1, "response": "10 to 40", "gt_start": 10, "gt_end": 69.9, "duration": 100}
    path = write(tmp_path / "results.json", [row])
    scores = score(path, convention="vtimellm")  # 30 / 59.9 is 0.5008
    assert (scores["mIoU"], scores["R@0.5"]) == (50.0, 100.0)
    write(path, [row | {"gt_end": 70.4}])  # 30 / 60.4 is 0.4967, and counts
    assert score(path, convention="vtimellm")["R@0.5"] == 100.0
    write(path, [{k: v for k, v in row.items() if k != "duration"}])
    with pytest.raises(
        ValueError, match=r"results.json: row 1: needs a duration to be read in sec"
    ):
        score(path, convention="vtimellm")


def test_units_of_raw_responses(tmp_path):
    def values(response, **more):
        row = {"id": 1, "response": response, "gt_start": 2, "gt_end": 8, "duration": 20} | more
        return score(write(tmp_path / "results.json", [row]), label_seconds=2)["mIoU"]

    assert values("2.0 s to 8.0 s") == values("10% to 40%") == 100.0
    assert values("from frame 1 onwards") == pytest.approx(600 / 18)
    # of two ends with two units the last one's holds: 2 s to 8 s, and not 4 s to 16 s
    assert values("from frame 2 to 8 seconds") == 100.0
    assert values("from second 1 to frame 4") == 100.0
    with pytest.raises(ValueError, match="row 1: needs a duration"):
        values("from frame 1 onwards", duration=None)
    with pytest.raises(ValueError, match="row 1: needs label_seconds"):
        score(tmp_path / "results.json")


GROUPED = {"a": {"duration": 20.0, "timestamps": [[2, 8], [0, 20]],
                 "sentences": ["A dog runs. ", "it sleeps"]}}  # fmt: skip
TIMED = {"0": {"timestamp": [[2, 8]], "query": "a dog runs", "vid": "a.mp4"},
         "1": {"timestamp": [], "query": "it sleeps.", "vid": "a.mp4"}}  # fmt: skip
DETR = [
    {"qid": 7, "vid": "a", "query": "it sleeps", "pred_relevant_windows": []},
    {"qid": 3, "vid": "a", "query": "a dog runs", "pred_relevant_windows": [[2, 8, 0.1]]},
]


@pytest.mark.parametrize("predicted", [TIMED, DETR], ids=["timechat", "moment_detr"])
@pytest.mark.parametrize("true", ["grouped", "charades", "rows"])
def test_formats_of_others(tmp_path, predicted, true):
    if predicted is TIMED:
        path = write(tmp_path / "predicted.json", predicted)
    else:
        path = jsonl(tmp_path / "predicted.jsonl", predicted)
    lines = "a 2.0 8.0##a dog runs.\na 0.0 20.0##it sleeps.\n"
    named = {"video": "a", "duration": 20}
    rows = [
        named | {"id": 0, "query": "it sleeps", "start_time": 0, "end_time": 20},
        named | {"id": 1, "query": "a dog runs", "start_time": 2, "end_time": 8},
    ]
    truth = {"grouped": ("true.json", GROUPED), "charades": ("true.txt", lines),
             "rows": ("rows.json", rows)}[true]  # fmt: skip
    scores = score(path, write(tmp_path / truth[0], truth[1]))
    assert (scores["n"], scores["unparsed"], scores["mIoU"]) == (2, 1, 50.0)
    if true != "charades":
        assert scores["beside"]["whole-video"]["mIoU"] == pytest.approx((30 + 100) / 2)


def test_a_named_dataset(tmp_path):
    row = {"annotation_id": 5, "description": "a dog", "video": "v.avi", "num_segments": 6}
    write(tmp_path / "didemo.json", [row | {"times": [[1, 1], [1, 1], [1, 1], [1, 1]]}])
    predicted = jsonl(tmp_path / "predicted.jsonl", [{"qid": 5, "pred": [[5, 10]]}])
    assert score(predicted, tmp_path / "didemo.json", dataset="didemo")["mIoU"] == 100.0
    write(tmp_path / "val_2.json", {"v_a": GROUPED["a"]})  # a dataset without a split "test"
    rows = [{"qid": f"v_a_{i}", "pred": [[2, 8]]} for i in (0, 1)]
    predicted = jsonl(tmp_path / "predicted.jsonl", rows)
    assert score(predicted, tmp_path / "val_2.json", dataset="activitynet-captions")["mIoU"] == 65.0


def test_equal_numbers_of_other_queries_are_not_mixed_up(tmp_path):
    rows = [{"qid": i, "vid": v, "query": "q", "pred": [[0, e]]} for i, v, e in
            [(0, "a", 1), (1, "b", 2)]]  # fmt: skip
    true = [{"qid": i, "vid": v, "query": "q", "relevant_windows": [[0, e]]} for i, v, e in
            [(0, "b", 2), (1, "a", 1)]]  # fmt: skip
    predicted, truth = (
        jsonl(tmp_path / "predicted.jsonl", rows),
        jsonl(tmp_path / "true.jsonl", true),
    )
    assert score(predicted, truth)["mIoU"] == 100.0
    jsonl(truth, [row | {"query": ""} for row in true])
    with pytest.raises(
        ValueError, match=r"predicted.jsonl, row 1: qid '0' is of video 'a', .* 'b'"
    ):
        score(predicted, truth)


def test_equal_queries_of_one_video_are_told_apart_by_qid(tmp_path):
    rows = [{"qid": i, "vid": "a", "query": "q", "pred": [[i, 9]]} for i in (0, 1)]
    true = [{"qid": i, "vid": "a", "query": "q", "relevant_windows": [[i, 9]]} for i in (1, 0)]
    predicted, truth = (
        jsonl(tmp_path / "predicted.jsonl", rows),
        jsonl(tmp_path / "true.jsonl", true),
    )
    assert score(predicted, truth)["mIoU"] == 100.0


def test_floors_and_the_ceiling(tmp_path):
    rows = [{"qid": 1, "vid": "a", "duration": 10, "pred": [[0, 5]], "truth": [[0, 5]]}]
    predicted = jsonl(tmp_path / "predicted.jsonl", rows)
    train = [{"qid": 9, "vid": "t", "duration": 20, "relevant_windows": [[0, 8]]}]
    train += [{"qid": 10, "vid": "u", "relevant_windows": [[0, 2]]}]  # of a film that is not there
    scores = score(predicted, train=jsonl(tmp_path / "train.jsonl", train), label_seconds=2)
    assert scores["train"] == {"n": 1, "of": 2}
    assert {name: row["mIoU"] for name, row in scores["beside"].items()} == {
        "whole-video": 50.0,
        "best-fixed-window": 80.0,
        "random-moment": 80.0,
        "frame-grid": 80.0,  # 5 s lies between labels 2 and 3 and becomes the even one
    }
    jsonl(tmp_path / "train.jsonl", train[1:])
    with pytest.raises(ValueError, match="train.jsonl: floors need durations; 1 of 1 queries"):
        score(predicted, train=tmp_path / "train.jsonl")
    jsonl(predicted, [rows[0] | {"duration": None}])
    with pytest.raises(ValueError, match="predicted.jsonl: floors need durations; 1 of 1 queries"):
        score(predicted, train=tmp_path / "train.jsonl")


def test_durations_may_come_from_the_predictions(tmp_path):
    row = {"qid": 0, "video": "a.mp4", "query": "a dog", "duration": 20, "pred": [[2, 8]]}
    predicted, true = (
        jsonl(tmp_path / "predicted.jsonl", [row]),
        write(tmp_path / "true.txt", "a 2 8##a dog"),
    )
    assert score(predicted, true)["beside"]["whole-video"]["mIoU"] == pytest.approx(30.0)


def test_reversed_truth_is_counted(tmp_path):
    rows = [MOMENTS[0], MOMENTS[0] | {"qid": 3, "truth": [[5, 0]]}]
    scores = score(jsonl(tmp_path / "predicted.jsonl", rows))
    assert (scores["mIoU"], scores["reversed_truth"]) == (40.0, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("{", "row 1: not JSON", id="not-json"),
        pytest.param("\n[1]\n", "row 2: must be an object; got list", id="not-an-object"),
        pytest.param('{"pred": []}', "row 1: has no qid", id="no-qid"),
        pytest.param('{"qid": null, "pred": []}', "row 1: has no qid", id="null-qid"),
        pytest.param('{"qid": 1}', "row 1: has no pred or .* or response", id="no-pred"),
        pytest.param('{"qid": 1, "response": 5}', "row 1: response must be text", id="response"),
        pytest.param('{"qid": 1, "pred": []}', "row 1: has no truth", id="no-truth"),
        pytest.param('{"qid": 1, "pred": [], "truth": []}', "row 1: truth is empty", id="blind"),
        pytest.param('{"qid": 1, "pred": 3, "truth": [[0, 1]]}', "pred must be a list", id="pred"),
        pytest.param('{"qid": 1, "pred": [[NaN, 1]]}', "row 1: .* finite numbers", id="nan"),
        pytest.param('{"qid": 1, "pred": [[0, 1e999]]}', "row 1: .* finite numbers", id="inf"),
        pytest.param('{"qid": 1, "pred": [["0", "1"]]}', "row 1: .*start, end", id="texts"),
        pytest.param(f'{{"qid": 1, "pred": [[0, {"9" * 400}]]}}', "start, end", id="endless"),
        pytest.param('{"qid": 1, "pred": [[1]]}', "row 1: .*start, end", id="one-end"),
        pytest.param('{"qid": 1, "pred": [[1, 2], [3]]}', "row 1: .*start, end", id="ragged"),
        pytest.param('{"qid": 1, "pred": [], "duration": 0}', "duration must be", id="duration"),
        pytest.param(f"{json.dumps(MOMENTS[0])}\n" * 2, "row 2: qid '1' is there", id="twice"),
        pytest.param("[" * 100_000, "row 1: ", id="nested"),
        pytest.param(b"\xff\xfe", "cannot be read", id="not-text"),
    ],
)
def test_malformed_predictions_are_named(tmp_path, text, says):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"predictions.jsonl.*{says}") as caught:
        score(path)
    assert len(str(caught.value)) < 400


def test_an_endless_line_is_refused_unread(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match="predictions.jsonl: row 1: longer than"):
        score(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("p.json", "[]", "p.json: must be a non-empty list", id="no-rows"),
        pytest.param("p.json", '{"0": [1]}', "p.json: row '0': must be an object", id="keyed"),
        pytest.param(
            "p.json", TIMED, "p.json: row '0': has no truth, relevant_windows, or", id="no-truth"
        ),
        pytest.param("p.json", '{"0": {}}', "p.json: row '0': has no pred", id="keyed-empty"),
        pytest.param("t.txt", "a 1 2##x\nnonsense", "t.txt: row 2: must be VIDEO", id="charades"),
        pytest.param("t.json", {"a": {"duration": 1}}, "t.json: row 'a': has no", id="grouped"),
    ],
)
def test_malformed_files_of_others_are_named(tmp_path, name, content, says):
    path, predicted = write(tmp_path / name, content), jsonl(tmp_path / "predicted.jsonl", MOMENTS)
    with pytest.raises(ValueError, match=says):
        score(*((path,) if name == "p.json" else (predicted, path)))


def test_files_must_hold_the_same_queries(tmp_path):
    path = jsonl(tmp_path / "predictions.jsonl", MOMENTS[:1])
    true = jsonl(tmp_path / "true.jsonl", [{"qid": q, "relevant_windows": [[0, 5]]} for q in "12"])
    with pytest.raises(ValueError, match="1 of 2 queries, first qid '2'"):
        score(path, true)
    near = "one of numpro, .*, all; got 'time-lens': did you mean timelens"
    for options, says in [({"convention": "x"}, "convention must be one of numpro, .*; got 'x'$"),
                          ({"convention": "time-lens"}, near),
                          ({"label_seconds": 0.0}, "label_seconds must be above 0")]:  # fmt: skip
        with pytest.raises(ValueError, match=says):
            score(path, **options)


def test_rows_of_another_data_set_are_told_apart(tmp_path):
    path = jsonl(tmp_path / "predictions.jsonl", MOMENTS)
    true = jsonl(tmp_path / "true.jsonl", [{"qid": "v_1", "relevant_windows": [[0, 5]]}])
    with pytest.raises(ValueError, match="of another data set than .*: first qid '1' here, 'v_1'"):
        score(path, true)


def test_two_answers_for_one_query_are_refused(tmp_path):
    rows = [{"qid": i, "vid": "a", "query": "q", "pred": [[0, i]]} for i in (1, 2)]
    path, true = (
        jsonl(tmp_path / "predictions.jsonl", rows),
        jsonl(tmp_path / "true.jsonl", [rows[0] | {"relevant_windows": [[0, 1]]}]),
    )
    with pytest.raises(ValueError, match=r"true.jsonl: has no row for 1 of 2 queries, first .*'2'"):
        score(path, true)
    with pytest.raises(ValueError, match="row 2: qid '1' is there twice"):
        score(jsonl(path, [rows[0], rows[0]]), true)


def test_floors_of_one_file_need_no_record_of_each_query(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics.baselines, "records", None)
    rows = [{"qid": 1, "duration": 10, "pred": [[0, 5]], "truth": [[0, 5], [5, 8]]}]
    beside = score(jsonl(tmp_path / "predictions.jsonl", rows))["beside"]["whole-video"]
    assert (beside["mIoU"], beside["set_mIoU"]) == (50.0, pytest.approx(80.0))


# --- QVHighlights ---
def test_highlight_files(tmp_path):
    predicted = jsonl(tmp_path / "predicted.jsonl", HIGHLIGHTS)
    scores = metrics.evaluate_highlight_predictions(
        predicted, jsonl(tmp_path / "true.jsonl", TRUTHS)
    )
    assert (scores["n"], scores["unparsed"], scores["reasons"]) == (2, 1, {"video": 1})
    assert scores["HL-min-VeryGood"] == {"HL-mAP": 66.67, "HL-Hit1": 50.0}
    assert scores["brief"]["HL-min-Fair-Hit1"] == 50.0
    assert "full" not in scores and scores["intervals"]["HL-min-Fair-Hit1"] == [0.0, 100.0]


def test_highlights_stand_beside_what_needs_no_video_and_what_windows_can_give(tmp_path):
    def beside(*windows):
        rows = [
            row | ({"relevant_windows": [w]} if w else {})
            for row, w in zip(TRUTHS, windows, strict=True)
        ]
        true = jsonl(tmp_path / "true.jsonl", rows)
        scores = metrics.evaluate_highlight_predictions(predicted, true, beside=True)["beside"]
        assert all(len(row) == 6 for row in scores.values())
        return {
            name: (row["HL-min-VeryGood-mAP"], row["HL-min-Fair-Hit1"])
            for name, row in scores.items()
        }

    # three clips, the one in the middle is a highlight for all
    predicted = jsonl(tmp_path / "predicted.jsonl", HIGHLIGHTS)
    blind = {"unparsed": (33.33, 0.0), "centre-prior": (100.0, 100.0)}
    assert beside([2, 4], [0, 6]) == blind | {"perfect-windows": (66.67, 50.0)}
    assert beside([2, 4], None) == blind


@pytest.mark.parametrize(
    ("predicted", "true", "says"),
    [
        pytest.param(
            [{"qid": 1}], TRUTHS, "predicted.*row 1: has no pred_relevant", id="no-scores"
        ),
        pytest.param(
            [HIGHLIGHTS[0], {"qid": 2}],
            TRUTHS,
            "predicted.*row 2: has no pred_saliency",
            id="one-without",
        ),
        pytest.param(
            [{"qid": 1, "pred_saliency_scores": [math.nan]}], TRUTHS, "row 1: .*finite", id="nan"
        ),
        pytest.param(
            [{"qid": 1, "pred_saliency_scores": [[1]]}], TRUTHS, "one number a clip", id="shape"
        ),
        pytest.param(
            [{"qid": 1, "pred_relevant_windows": [[0, 1]]}], TRUTHS, "start, end, score", id="bare"
        ),
        pytest.param(
            [{"qid": 1, "pred_relevant_windows": [[1, 0, 1]]}], TRUTHS, "before it", id="reversed"
        ),
        pytest.param(
            [{"qid": 1, "pred": [[0, 1]]}],
            TRUTHS,
            "true.*row 1: has no relevant_w",
            id="no-windows",
        ),
        pytest.param(
            HIGHLIGHTS[:1], TRUTHS, "predicted.*1 of 2 queries, first qid '2'", id="missing"
        ),
        pytest.param(HIGHLIGHTS, TRUTHS[:1], "true.*1 of 2 queries, first qid '2'", id="unknown"),
        pytest.param(
            HIGHLIGHTS, [TRUTHS[0] | {"duration": 2}], "true.*row 1: .*inside the", id="clip"
        ),
        pytest.param(
            HIGHLIGHTS, [TRUTHS[0] | {"relevant_clip_ids": [1e300]}], "inside the", id="far-clip"
        ),
        pytest.param(HIGHLIGHTS, [TRUTHS[0] | {"duration": 1}], "no 2-s clip", id="short"),
        pytest.param(
            HIGHLIGHTS,
            [TRUTHS[0] | {"relevant_clip_ids": [0.5]}],
            "must be whole",
            id="half-a-clip",
        ),
        pytest.param(
            HIGHLIGHTS, [TRUTHS[0] | {"saliency_scores": [[1]]}], "three scores", id="annotators"
        ),
        pytest.param(HIGHLIGHTS, [{"qid": 1}], "row 1: has no relevant_clip_ids", id="keys"),
    ],
)
def test_malformed_highlight_files_are_named(tmp_path, predicted, true, says):
    paths = jsonl(tmp_path / "predicted.jsonl", predicted), jsonl(tmp_path / "true.jsonl", true)
    with pytest.raises(ValueError, match=says):
        metrics.evaluate_highlight_predictions(*paths)


def test_predictions_are_written_for_the_official_script(tmp_path):
    moments = [{"qid": "1", "query": "q", "video": "v", "duration": 9.0, "pred": [[0, 4], [2, 6]]},
               {"qid": "x", "query": "q", "video": "v", "duration": 9.0, "pred": []}]  # fmt: skip
    path = metrics.write_moment_detr(moments, tmp_path / "moments.jsonl")
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert written == [
        {"qid": 1, "query": "q", "vid": "v", "pred_relevant_windows": [[0, 4, 1], [2, 6, 0.5]]},
        {"qid": "x", "query": "q", "vid": "v", "pred_relevant_windows": [[0.0, 0.0, 0.0]]},
    ]
    made = [moments[0] | {"pred": [(np.float64(0), 4), Span(2, 6)]}, moments[1]]  # in Python
    assert metrics.write_moment_detr(made, tmp_path / "made.jsonl").read_text() == path.read_text()
    true = [{"qid": q, "vid": "v", "relevant_windows": [[2, 6]]} for q in (1, "x")]
    truth = jsonl(tmp_path / "true.jsonl", true)
    scores = metrics.evaluate_highlight_predictions(path, truth)
    ours = metrics.evaluate_highlight_predictions(jsonl(tmp_path / "ours.jsonl", moments), truth)
    assert scores["full"] == ours["full"] and ours["unparsed"] == 1
    assert scores["full"]["MR-mAP"]["0.95"] == 25.0  # the second of two windows
    clips = [{"qid": "1", "query": "q", "vid": "v", "duration": 9, "pred_saliency_scores": None}]
    path = metrics.write_moment_detr(clips, tmp_path / "clips.jsonl")
    assert json.loads(path.read_text())["pred_saliency_scores"] == [0.0] * 4


# --- the field's own files ---
def figures(scores, path=()):
    for name, value in scores.items():
        yield from (
            figures(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)]
        )


@reference
def test_qvhighlights_as_the_official_scorer():
    folder = REFERENCE / "qvhighlights"
    predicted, true = folder / "sample_val_preds.jsonl", folder / "highlight_val_release.jsonl"
    scores = metrics.evaluate_highlight_predictions(predicted, true)
    official = json.loads((folder / "sample_val_preds_metrics_raw.json").read_text())
    assert (scores["n"], scores["unparsed"]) == (1550, 0)
    published = dict(figures(official))
    assert len(published) == 104 and published.items() <= dict(figures(scores)).items()


@reference
def test_floors_and_the_ceiling_of_charades_beside_timechats_scores(tmp_path):
    folder = REFERENCE / "charades_sta"
    for split in ("test", "train"):
        rows = (folder / f"lighthouse_charades_{split}_release.jsonl").read_text().splitlines()
        lengths = {row["vid"]: row["duration"] for row in map(json.loads, rows)}
        table = "".join(f"{video},{length}\n" for video, length in lengths.items())
        write(tmp_path / f"Charades_v1_{split}.csv", f"id,length\n{table}")
        lines = (folder / f"charades_sta_{split}.txt").read_text()
        write(tmp_path / f"charades_sta_{split}.txt", lines)
    true, train = (tmp_path / f"charades_sta_{split}.txt" for split in ("test", "train"))
    scores = score(folder / "timechat_spans.json", true, train=train, label_seconds=2)
    beside = scores["beside"]
    assert round(beside["whole-video"]["mIoU"], 1) == 27.0
    assert round(beside["best-fixed-window"]["mIoU"], 1) == 30.5
    assert round(beside["frame-grid"]["R@0.7"], 1) == 92.3
    assert scores["train"] == {"n": 12405, "of": 12408}  # the table lacks three films


@reference
def test_timechat_predictions_score_as_published():
    folder = REFERENCE / "charades_sta"
    scores = score(folder / "timechat_spans.json", folder / "charades_sta_test.txt")
    published = (folder / "timechat_scores.txt").read_text().splitlines()[1:]
    for line in published:
        name, _, value = line.removeprefix("IOU ").partition(": ")
        assert scores[f"R@{name}"] == pytest.approx(float(value), abs=1e-9)
    assert scores["n"] == 3720 and scores["mIoU"] == pytest.approx(32.961, abs=5e-4)


def test_the_benchmark_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(tmp_path.parent))
    monkeypatch.setitem(__import__("sys").modules, "plain_scorer", benchmark("plain_scorer"))
    module, out = benchmark("scorer"), tmp_path / "scorer.json"
    predicted, true = module.made_up(tmp_path, queries=6, clips=40)
    monkeypatch.setattr("sys.argv", ["scorer", str(predicted), str(true), "--out", str(out),
                                     "--resamples", "20"])  # fmt: skip
    module.main()
    report = json.loads(out.read_text())
    assert len(report["rows"]) == 2 and all(row["ratio"] > 1 for row in report["rows"][1:])
    assert "ratio" in capsys.readouterr().out and set(report) == {"machine", "versions", "rows"}


def test_the_benchmark_of_conventions_runs(tmp_path, monkeypatch, capsys):
    module, out = benchmark("conventions"), tmp_path / "conventions.json"
    files = module.made_up(tmp_path, "few", queries=6, windows=2, videos=3)
    arguments = ["conventions", *map(str, files), "--rows", "20", "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*arguments, "--before", str(module.ROOT)])
    module.main()
    large, every = json.loads(out.read_text())["rows"]
    assert large["peak_mb"] < 300 and large["numpro_s"] > 0
    # a million rows in 1 GB and 40 s: so much for each of many
    many = module.time_large(tmp_path, 40_000)
    assert many["peak_mb"] - large["peak_mb"] < 40_000 * 900 / 1e6
    assert many["numpro_s"] - large["numpro_s"] < 40_000 * 80e-6  # beside other work
    assert every["ratio"] == every["all_s"] / every["before_s"] and every["default_s"] > 0
    assert "ratio" in capsys.readouterr().out
