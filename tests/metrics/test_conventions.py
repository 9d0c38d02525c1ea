"""Every project's rules, held against what the projects' own scorers gave for the same answers."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import REFERENCE, jsonl, reference

from numpro import metrics
from numpro.metrics.conventions import CONVENTIONS, READERS, Convention, differences
from numpro.metrics.span_sets import Spans, ious_of_sums, merge, outward, set_areas, shared_seconds
from numpro.prompting.answers import NO_SPAN

METRICS = ("mIoU", "R@0.3", "R@0.5", "R@0.7")


def evaluate(path, *arguments, **options):
    scores = metrics.evaluate_moment_predictions(path, *arguments, **options)
    json.dumps(scores, allow_nan=False)
    return scores


def by_name(scores):
    return {row["convention"]: row for row in scores["conventions"]}


# --- one answer under every reader ---
# What each project's own code reads in a text and scores against the truth [4, 10] in a film of
# 30 s, as it was run: None is unread. NumPro's labels are two seconds apart.
PROJECTS = ("lmms-eval-charades", "timelens", "vtimellm", "timechat", "time-r1", "unitime",
            "published", "numpro")  # fmt: skip
ROSETTA = {
    "The event happens in 4.0 - 10.0 seconds.": (1, 1, None, 1, None, 1, None, 1),
    "From 4 to 10 seconds": (1, 1, None, None, 1, 1, 0.13, 1),
    "From 4.0 seconds to 10.0 seconds": (None, 1, None, None, None, 1, None, 1),
    "10.0 - 4.0 seconds": (1, 0, None, 1, None, 0, None, 1),
    "The event happens in 7.0 - 7.0 seconds": (0, 0, None, 0, None, 0, None, 0),
    "00:04 - 00:10": (1, 1, None, 0, None, 0.43, None, 1),
    "It starts at 4 seconds and ends at 10 seconds": (None, 1, None, None, None, 1, None, 1),
    "between 4 and 10": (None, 1, None, None, 1, 1, None, 1),
    "0 - 3 seconds and 4 - 10 seconds": (0, 0, None, 0, None, 0.67, None, 0),
    "It happens in 4 - 45 seconds": (0.15, 0.15, None, 0.15, None, 0.15, None, 0.23),
    "from 13% to 33%": (None, 0, None, None, None, 0, None, 0.97),
    "from 4 seconds onwards": (None, None, None, None, None, None, None, 0.23),
    "From frame 4 to frame 10": (None, 1, None, None, None, 1, 0.13, 1),
    "from 04 to 10": (1, 1, 0, None, 1, 1, 0.13, 1),
    "<think>1 to 2</think><answer>4.0 - 10.0</answer>": (0, 1, None, 1, 0, 0.86, None, 1),
    "<think>2.0 to 3.0 seconds</think><answer>4.00 to 10.00</answer>":
        (0, 0, 0, None, 1, 0.86, None, 1),
    '{"start": 4.0, "end": 10.0}': (None, 1, None, None, None, 1, None, 1),
    "I cannot find it in the video.": (None,) * 8,
}  # fmt: skip


@pytest.mark.parametrize("project", [*PROJECTS, "lmms-eval-timelens"])
def test_one_answer_under_every_reader(tmp_path, project):
    column = PROJECTS.index("timelens" if project == "lmms-eval-timelens" else project)
    step = 2 if project == "published" else 1
    for text, row in ROSETTA.items():
        answer = {"id": 1, "response": text, "truth": [[4, 10]], "duration": 30}
        path = jsonl(tmp_path / "a.jsonl", [answer])
        scores = evaluate(path, convention=project, label_seconds=step)
        assert scores["unparsed"] == (row[column] is None), text
        assert scores["mIoU"] == pytest.approx(100 * (row[column] or 0), abs=0.5001), text


def test_spans_of_a_text_as_others_read_it():
    read = {name: READERS[name] for name in READERS}
    assert read["timechat"]("00:04 - 00:10").spans == ((4.0, 0.0),)
    assert read["unitime"]("00:04 - 00:10").spans == ((0.0, 4.0), (0.0, 10.0))
    assert read["vtimellm"]("from 05 to 100").spans == ((5, 10),)
    assert read["lmms-charades"]("00:03 - 00:07").spans == ((3.0, 7.0),)
    assert read["lmms-charades"]("3.2s-7.0s").spans == ((3.2, 7.0),)
    assert read["lmms-charades"]("It is at 9.\nOr at 12.").spans == ((9.0, 12.0),)
    # a sentence without start, end or happen counts where no sentence has one of them
    assert read["lmms-charades"]("At 9 - 12?\nIt starts: 3 - 4").spans == ((3.0, 4.0),)
    assert read["lmms-charades"]("It starts at 3.\nIt ends at 7.").spans == ((3.0, 7.0),)
    assert read["timechat"]("It starts at 3.\nNow 5.\nIt ends at 7.").spans == ((3.0, 7.0),)
    assert read["timechat"]("At 3.\nUntil 7.").spans == ()
    assert read["timelens"]("01:02:03.5 to 1:02").spans == ((3723.5, 62.0),)
    assert read["time-r1"]("1 to 2, 3.5 and 4").spans == ((3.5, 4.0),)
    assert read["unitime"]("4, 10 and 12").spans == ((4.0, 10.0),)
    assert read["timelens"](f"{'9' * 400} - 3").spans == ()  # no finite number


PUBLISHED = {  # text: what NumPro's scorer, its inference script and VTimeLLM's read
    "From Frame 3 to Frame 7": ((3, 7), None, None),
    "from 3 to 7": ((3, 7), (3, 7), None),
    "FROM frame3 TO\n7": ((3, 7), None, None),
    "Not from 1 to 2 but from 3 to 7": ((1, 2), (1, 2), None),
    "from 03 to 07.": ((3, 7), (3, 7), (3, 7)),
    "between 10 and 25": (None, None, (10, 25)),
    "from 110 to 125": ((110, 125), (110, 125), (10, 12)),
    "from 7 to 3": ((7, 3), (7, 3), None),
    "from 3.5 to 7.5": (None, None, None),
    "From Frame x to Frame y": (None, None, None),
    "<think>from 10 to 12</think> from 30 to 45": ((10, 12),) * 3,
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_the_published_patterns_read_what_their_scorers_read(text):
    names = ("published", "published-strict", "vtimellm")
    for name, span in zip(names, PUBLISHED[text], strict=True):
        answer = READERS[name](text)
        unit = "percent" if name == "vtimellm" else "frame"
        assert answer.spans == ((span,) if span else ())
        assert (answer.unit, answer.reason) == (unit, None if span else NO_SPAN)


@pytest.mark.parametrize("reader", READERS)
def test_readers_are_bounded_and_never_fail(reader):
    long = ["9" * 200_000, "9 " * 100_000, "9" + " " * 200_000, "to-" * 70_000, "1:" * 100_000,
            "starts 4..5 - 6", "4.. - ..", "\ud800 4 - 5", ""]  # fmt: skip
    start = time.process_time()
    for text in long:
        answer = READERS[reader](text)
        assert bool(answer.spans) != bool(answer.reason), text[:20]
    assert time.process_time() - start < 5
    if reader in ("published", "published-strict", "vtimellm"):  # as their scorers, all of it
        far = " " * 30_000 + "from 13 to 14"
        assert READERS[reader](far).spans == ((13, 14),)
    if reader in ("time-r1", "unitime", "timechat", "timelens", "lmms-charades"):
        assert READERS[reader](" " * 30_000 + "3 to 4, 3 - 4").spans == ()


# --- windows ---
WINDOWS = {  # of the window [4, 10] in a film whose length is not known
    "past the end": ([[4, 45]], 6 / 41),
    "reversed": ([[10, 4]], 0.0),
    "no length": ([[7, 7]], 0.0),
}


@pytest.mark.parametrize("project", ["moment-detr", "lighthouse", "videomind"])
@pytest.mark.parametrize("case", WINDOWS)
def test_windows_as_scorers_of_windows_take_them(tmp_path, project, case):
    windows, iou = WINDOWS[case]
    row = {"qid": 1, "pred_relevant_windows": windows, "relevant_windows": [[4, 10]]}
    scores = evaluate(jsonl(tmp_path / "a.jsonl", [row]), convention=project)
    assert scores["mIoU"] == pytest.approx(100 * iou)


def test_windows_in_numpros_rule_are_put_in_order_and_clipped_and_that_is_counted(tmp_path):
    rows = [{"qid": 1, "pred": [[10, 4]], "truth": [[4, 10]]},
            {"qid": 2, "pred": [[4, 45]], "truth": [[4, 10]], "duration": 30},
            {"qid": 3, "pred": [[7, 7]], "truth": [[7, 7]]}]  # fmt: skip
    scores = evaluate(jsonl(tmp_path / "a.jsonl", rows))
    assert scores["mIoU"] == pytest.approx(100 * (1 + 6 / 26 + 1) / 3)
    assert (scores["reversed"], scores["unclipped"], scores["unparsed"]) == (1, 2, 0)
    detr = evaluate(tmp_path / "a.jsonl", convention="moment-detr")
    assert detr["mIoU"] == pytest.approx(100 * 6 / 41 / 3) and detr["unclipped"] == 0


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_same_instant_ends_no_scorer(tmp_path, name):
    rows = [{"qid": 1, "pred": [[7, 7]], "truth": [[7, 7]], "duration": 9},
            {"qid": 2, "pred": [], "truth": [[7, 7], [1, 2]], "duration": 9}]  # fmt: skip
    scores = evaluate(jsonl(tmp_path / "a.jsonl", rows), convention=name)
    full = name in ("numpro", "published", "published-strict", "vue-tr-v2")
    assert scores["n"] == 2 and scores["unparsed"] == 1
    assert full or scores["mIoU"] == 0.0, "what is 0 / 0 there is 0 here"


def test_which_truth_of_several_counts(tmp_path):
    row = {"qid": 1, "pred": [[4, 8]], "truth": [[0, 2], [4, 8]], "duration": 9}
    row |= {"pred": [[4, 8], [0, 1]]}
    found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", [row]), convention="all"))
    scores = {name: round(row["mIoU"], 2) for name, row in found.items()}
    best, first, sets = 100.0, 0.0, round(100 * 5 / 6, 2)
    assert scores == {
        "numpro": best, "numpro-sets": sets, "published": first, "published-strict": first,
        "lmms-eval-charades": first, "lmms-eval-timelens": first, "timelens": first,
        "timechat": first, "vtimellm": first, "time-r1": first, "unitime": sets,
        "videomind": best, "moment-detr": best, "lighthouse": best, "vue-tr-v2": sets,
    }  # fmt: skip
    single = evaluate(tmp_path / "a.jsonl")
    assert (single["mIoU"], round(single["set_mIoU"], 2)) == (best, sets)
    assert single["intervals"]["set_mIoU"] == pytest.approx([sets, sets], abs=0.01)
    assert "set_mIoU" not in evaluate(jsonl(tmp_path / "a.jsonl", [row | {"truth": [[4, 8]]}]))


def test_true_spans_that_overlap(tmp_path):
    row = {"qid": 1, "pred": [[0, 7]], "truth": [[0, 4], [2, 6]]}
    found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", [row]), convention="all"))
    scores = {name: found[name]["mIoU"] for name in ("numpro-sets", "vue-tr-v2", "unitime")}
    # 6 of 7 seconds; the others count [2, 4] twice: 8 of 7, of which a set gets 1
    assert scores == pytest.approx({"numpro-sets": 600 / 7, "vue-tr-v2": 100, "unitime": 800 / 7})
    assert found["unitime"]["above_1"] == 1 and "above_1" not in found["vue-tr-v2"]


def test_a_threshold_that_is_reached_counts_where_it_does_there(tmp_path):
    row = {"qid": 1, "pred": [[0, 5]], "truth": [[0, 10]], "duration": 10}  # IoU 0.5
    found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", [row]), convention="all"))
    strict = {name for name, row in found.items() if row["R@0.5"] == 0}
    assert strict == {"unitime", "vue-tr-v2"}
    assert found["numpro"]["changed"] == 0 and found["unitime"]["changed"] == 1
    assert found["vtimellm"]["changed"] == 0


# --- all of them ---
def test_of_windows_and_a_text_each_rule_takes_what_its_project_would(tmp_path):
    row = {"qid": 1, "pred": [[4, 10]], "response": "From 0 to 2.", "truth": [[4, 10]]}
    path = jsonl(tmp_path / "a.jsonl", [row])
    found = by_name(evaluate(path, convention="all", label_seconds=1))
    by_windows = {name for name, row in found.items() if row.get("mIoU") == 100}
    assert by_windows == {"numpro", "numpro-sets", "videomind", "moment-detr", "lighthouse",
                          "vue-tr-v2"}  # fmt: skip
    row = {"qid": 1, "pred": [], "response": None, "reason": "server: 500", "truth": [[4, 10]]}
    scores = evaluate(jsonl(path, [row]), convention="timelens")
    assert (scores["unparsed"], scores["reasons"]) == (1, {"server": 1})


def test_all_says_what_cannot_be_had_and_why(tmp_path):
    row = {"qid": 1, "response": "from 04 to 10", "truth": [[4, 10]]}
    found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", [row]), convention="all"))
    assert "needs label_seconds" in found["numpro"]["needs"]
    assert "needs a duration" in found["vtimellm"]["needs"]
    assert found["timelens"]["mIoU"] == 100.0 and "changed" not in found["timelens"]
    cells = metrics.convention_cells([*found.values()])
    assert cells[0] == ["convention", *METRICS, "unparsed", "changed"]
    assert ["numpro", *"------"] in cells and ["timelens", *["100.00"] * 4, "0", "-"] in cells
    found = by_name(evaluate(tmp_path / "a.jsonl", convention="all", label_seconds=1))
    assert found["timechat"]["unparsed"] == found["timechat"]["changed"] == 1


def test_the_words_of_the_table():
    words = {name: differences(name) for name in CONVENTIONS}
    assert "IoU > t, not >=" in words["unitime"] and "can pass 1" in words["unitime"]
    assert "rounded to 2 decimals" in words["vtimellm"] and "divides by zero" in words["vtimellm"]
    assert "rounded outwards to whole seconds" in words["vue-tr-v2"]
    assert "the first true span" in words["timelens"] and "true span" not in words["moment-detr"]
    assert "clipped to the film" in words["lighthouse"] and "any wording" in words["numpro"]
    assert all(rule.source and rule.reader in READERS for rule in CONVENTIONS.values())


def test_a_project_of_your_own_is_one_entry(tmp_path, monkeypatch):
    rule = Convention("me", reader="time-r1", truth="best", above=True)
    monkeypatch.setitem(CONVENTIONS, "mine", rule)
    row = {"qid": 1, "response": "4 to 10", "truth": [[0, 1], [4, 10]]}
    path = jsonl(tmp_path / "a.jsonl", [row])
    assert evaluate(path, convention="mine")["mIoU"] == 100.0
    assert by_name(evaluate(path, convention="all"))["mine"]["differs"] == (
        "reads the last 'a to b' or 'a and b'; an end before its start scores 0; answers are not"
        " clipped; IoU > t, not >=; a span of no length scores 0"
    )


# --- sets of spans ---
WHOLE = st.tuples(st.integers(0, 12), st.integers(-2, 6)).map(lambda s: (s[0] / 2, sum(s) / 2))
SETS = st.lists(st.tuples(st.lists(WHOLE, max_size=5), st.lists(WHOLE, min_size=1, max_size=4)),
                min_size=1, max_size=4)  # fmt: skip


def spans(lists):
    ends = [end for one in lists for end in one]
    return Spans(np.array(ends, float).reshape(-1, 2), np.array([len(one) for one in lists], int))


def halves(ends):
    """Return the half seconds that spans cover."""
    return {t for a, b in ends for t in range(int(2 * a), int(2 * b))}


@settings(max_examples=100)
@given(SETS)
def test_merged_spans_cover_what_the_spans_cover(rows):
    for side in zip(*rows, strict=True):
        merged = merge(spans(side))
        found = np.split(merged.ends, merged.starts_at[1:])
        for one, ends in zip(side, found, strict=True):
            assert halves(ends.tolist()) == halves(one)
            assert (ends[1:, 0] > ends[:-1, 1]).all()  # apart, and in order


@settings(max_examples=100)
@given(SETS)
def test_set_ious_count_half_seconds(rows):
    predicted, true = map(merge, map(spans, zip(*rows, strict=True)))
    pairs = [(halves(a), halves(b)) for a, b in rows]
    assert (2 * shared_seconds(predicted, true)).tolist() == [len(a & b) for a, b in pairs]
    ious = [len(a & b) / max(len(a | b), 1) for a, b in pairs]
    assert ious_of_sums(predicted, true).tolist() == pytest.approx(ious)


def test_sets_by_hand():
    predicted, true = spans([[(0.2, 3.5), (3.9, 6.0)], [], [(5, 6)]]), spans(
        [[(0, 3), (5, 8)], [(1, 2)], [(0, 1)]])  # fmt: skip
    rounded = outward(predicted)
    assert rounded.ends.tolist() == [[0, 4], [3, 6], [5, 6]]
    assert merge(rounded).ends.tolist() == [[0, 6], [5, 6]]
    ious = ious_of_sums(merge(rounded), true)
    assert ious.tolist() == pytest.approx([4 / 8, 0, 0])
    # IoU above t: 0.5 is above 50 of 101 levels; of three queries two have an answer
    areas = set_areas(rounded, true, ious)
    assert areas["IoU_AUC"] == pytest.approx(100 * (50 - 0.5) / 100 / 3)
    # 4 of 7 seconds, not merged, reach 58 levels, and nothing reaches the level 0
    assert areas["precision_AUC"] == pytest.approx(50 * (58 - 0.5 + 1 - 0.5) / 100)
    # 4 of 6 seconds reach 67 levels
    assert areas["recall_AUC"] == pytest.approx(100 * (67 - 0.5 + 2 * 0.5) / 100 / 3)
    assert true.take(np.array([2, 0])).ends.tolist() == [[0, 1], [0, 3], [5, 8]]


# --- the field's own files ---
def vue_rows(name):
    folder = REFERENCE / "vue_tr"
    true = json.loads((folder / "VUE-TRv2_ground_truth.json").read_text())
    true = {row["query_id"]: row for row in true}
    for row in json.loads((folder / f"results_{name}.json").read_text()):
        about = true[row["query_id"]]
        ours = {"qid": row["query_id"], "video": about["video_id"], "duration": about["duration"]}
        yield about["duration_category"], ours | {"pred": row["answer"], "truth": about["gt"]}


@reference
@pytest.mark.parametrize("name", ["GPT-5", "Vidi2.5"])
def test_sets_score_as_the_official_scorer_of_vue_tr(tmp_path, name):
    published = json.loads((REFERENCE / "vue_tr" / "scores.json").read_text())[name]
    rows, found = [*vue_rows(name)], {}
    for category in ("", *dict.fromkeys(category for category, _ in rows)):
        path = jsonl(tmp_path / "a.jsonl", [r for c, r in rows if category in ("", c)])
        scores = evaluate(path, convention="vue-tr-v2")
        found |= {f"{'set_mIoU' if k == 'mIoU' else k} {category}".strip(): v
                  for k, v in scores.items()}  # fmt: skip
    assert {key: found[key] for key in published} == pytest.approx(published, rel=0, abs=1e-6)


CHARADES = {  # TimeChat's spans: mIoU, R@0.3, R@0.5, R@0.7
    ("text", "timechat"): (32.96, 52.18, 32.58, 13.06),
    ("text", "timelens"): (32.96, 52.18, 32.58, 13.06),
    ("text", "lmms-eval-charades"): (32.96, 52.18, 32.58, 13.06),
    ("text", "lmms-eval-timelens"): (32.96, 52.18, 32.58, 13.06),
    ("text", "moment-detr"): (32.96, 52.18, 32.58, 13.06),
    ("text", "unitime"): (32.96, 52.07, 31.72, 12.63),
    ("text", "vtimellm"): (32.96, 52.58, 32.72, 13.20),
    ("text", "videomind"): (32.99, 52.20, 32.55, 13.04),
    ("lighthouse", "moment-detr"): (33.12, 52.23, 32.66, 13.36),
    ("lighthouse", "timechat"): (33.12, 52.23, 32.66, 13.36),
    ("text", "lighthouse"): (33.12, 52.23, 32.66, 13.36),  # its truth ends with the film
    ("lighthouse", "videomind"): (33.37, 52.34, 33.06, 13.95),
    ("lighthouse", "numpro"): (33.37, 52.34, 33.15, 13.92),
}


@pytest.fixture(scope="module")
def charades(tmp_path_factory):
    """Return files with the truth of Charades-STA's test: as published, and lighthouse's."""
    folder, made = REFERENCE / "charades_sta", tmp_path_factory.mktemp("charades")
    rows = (folder / "lighthouse_charades_test_release.jsonl").read_text().splitlines()
    lengths = {row["vid"]: row["duration"] for row in map(json.loads, rows)}
    table = "".join(f"{video},{length}\n" for video, length in lengths.items())
    (made / "Charades_v1_test.csv").write_text(f"id,length\n{table}")
    text = made / "charades_sta_test.txt"
    text.write_text((folder / "charades_sta_test.txt").read_text())
    return {"text": text, "lighthouse": folder / "lighthouse_charades_test_release.jsonl"}


def worded(path, wording):
    """Write TimeChat's spans as texts of this wording."""
    rows = json.loads((REFERENCE / "charades_sta" / "timechat_spans.json").read_text())
    made = ({"qid": q, "vid": r["vid"], "query": r["query"],
             "response": wording.format(*r["timestamp"][0])} for q, r in rows.items())  # fmt: skip
    return jsonl(path, made)


@reference
@pytest.mark.parametrize("form", ["windows", "texts"])
def test_the_same_spans_score_as_under_each_projects_scorer(tmp_path, charades, form):
    predicted = REFERENCE / "charades_sta" / "timechat_spans.json"
    if form == "texts":
        predicted = worded(tmp_path / "said.jsonl", "It happens in {} - {} seconds")
    for truth in ("text", "lighthouse"):
        found = by_name(evaluate(predicted, charades[truth], convention="all", label_seconds=1))
        for (file, name), values in CHARADES.items():
            if file == truth and (form == "windows" or name != "vtimellm"):
                got = tuple(found[name][metric] for metric in METRICS)
                assert got == pytest.approx(values, abs=0.0051), (file, name)


@reference
def test_another_sentence_of_the_same_spans_is_read_by_one_task_and_not_by_the_other(
    tmp_path, charades
):
    predicted = worded(tmp_path / "said.jsonl", "From {} seconds to {} seconds.")
    found = by_name(evaluate(predicted, charades["text"], convention="all", label_seconds=1))
    assert [found["lmms-eval-charades"][m] for m in METRICS] == [0, 0, 0, 0]
    assert found["lmms-eval-charades"]["unparsed"] == 3720
    assert found["lmms-eval-timelens"]["mIoU"] == pytest.approx(32.96, abs=0.005)


DETECTIONS = ("moment-detr", "lighthouse", "videomind")


@reference
def test_more_windows_raise_unitimes_iou_and_lower_its_recall(tmp_path):
    folder = REFERENCE / "qvhighlights"
    rows = [*map(json.loads, (folder / "sample_val_preds.jsonl").read_text().splitlines())]
    true = folder / "highlight_val_release.jsonl"
    for most, miou, recall in ((1, 46.60, 48.19), (3, 54.10, 44.52), (10, 55.07, 30.77)):
        cut = [r | {"pred_relevant_windows": r["pred_relevant_windows"][:most]} for r in rows]
        found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", cut), true, convention="all"))
        scores = found["unitime"]["mIoU"], found["unitime"]["R@0.5"]
        assert scores == pytest.approx((miou, recall), abs=0.0051)
        same = [found[name]["R@0.5"] for name in DETECTIONS]
        assert same == pytest.approx([53.94] * 3, abs=0.005)
    kept = {name: row["mAP"] for name, row in found.items() if "mAP" in row}
    assert kept == pytest.approx(dict.fromkeys((*DETECTIONS, "numpro"), 32.20), abs=0.005)
    cells = metrics.convention_cells([*found.values()])
    assert cells[0][5:] == ["mAP", "unparsed", "changed"]
    assert {row[0]: row[5] for row in cells}["unitime"] == "-"
    upside_down = [r | {"pred_relevant_windows": r["pred_relevant_windows"][::-1]} for r in rows]
    found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", upside_down), true, convention="all"))
    assert found["moment-detr"]["mAP"] == pytest.approx(32.20, abs=0.05), "by their scores"
    found = by_name(evaluate(jsonl(tmp_path / "a.jsonl", rows), true, convention="all"))
    assert found["unitime"]["largest"] == pytest.approx(4.09, abs=0.005)
