"""Files of predictions as other projects write them: what each scores, and how rows are matched."""

import json

import pytest
from scoring import jsonl

from numpro import metrics

# three queries of two films, all in one truth; two are found, the third answer is none
ANNOTATIONS = [
    {
        "qid": "q1",
        "vid": "a",
        "query": "A dog runs.",
        "duration": 30,
        "relevant_windows": [[4, 10]],
    },
    {"qid": "q2", "vid": "a", "query": "a cat", "duration": 30, "relevant_windows": [[1, 2]]},
    {"qid": "q3", "vid": "b", "query": "a cow", "duration": 20, "relevant_windows": [[5, 9]]},
]
GROUPED = {
    "a": {"duration": 30, "timestamps": [[4, 10], [1, 2]], "sentences": ["A dog runs.", "a cat"]},
    "b": {"duration": 20, "timestamps": [[5, 9]], "sentences": ["a cow"]},
}
TEXTS = ["The event happens in 4.0 - 10.0 seconds.", "1.0 to 2.0 seconds", "I cannot see it."]
SPANS = [[4.0, 10.0], [1.0, 2.0], None]
QUERIES = [(row["vid"], row["query"], row["relevant_windows"]) for row in ANNOTATIONS]


def rows(make):
    """One row for each query, in another order than the truth."""
    made = [make(*parts) for parts in zip(QUERIES, TEXTS, SPANS, strict=True)]
    return [made[2], made[0], made[1]]


def timelens(query, text, span):
    key = ">>>".join([query[0] + ".mp4", query[1], str(query[2])])
    return {key: {"timestamps": [span] if span else [], "answer": text}}


def lmms_object(query, text, _):
    return {f"{query[0]}.mp4>>>{query[1]}>>>{query[2][0]}": text}


def lmms_sample(query, text, _):
    doc = {"video": f"{query[0]}.mp4", "caption": query[1], "timestamp": query[2][0]}
    return {"doc_id": 0, "doc": doc, "resps": [[text]], "filtered_resps": [text], "target": ""}


def videomind(query, _, span):
    windows = [[*span, 0.9], [0, 1, 0.1]] if span else []
    return {"video_path": f"x/{query[0]}.mp4", "query": query[1], "span": query[2], "pred": windows}


def vtimellm(query, text, span):
    place = {"A dog runs.": 0, "a cat": 1, "a cow": 0}[query[1]]
    parts = [round(100 * t / (30 if query[0] == "a" else 20)) for t in span or ()]
    text = "From {:02d} to {:02d}.".format(*parts) if span else text
    about = {"video_id": query[0], "task": "grounding", "query_id": 0}
    return about | {"answer": text, "info": {"sentence_id": place, "iou": 0.5}}


def time_r1(query, _, span):
    return {"video": f"{query[0]}.mp4", "sentence": query[1], "gt": query[2][0],
            "pred": span or [None, None]}  # fmt: skip


def unitime(query, _, span):
    qid = next(row["qid"] for row in ANNOTATIONS if row["query"] == query[1])
    return {"qid": qid, "pred_relevant_windows": [span] if span else []}


def ms_swift(query, text, _):
    question = f"<video>During which frames can we see {query[1]}? Answer with seconds."
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
    return {
        "response": text,
        "labels": None,
        "messages": messages,
        "videos": [f"/x/{query[0]}.mp4"],
    }


def vlmevalkit(query, text, _):
    return {"index": 0, "video": query[0], "question": query[1], "gt": query[2], "duration": 30,
            "prediction": text}  # fmt: skip


def lines(made):
    return "".join(json.dumps(row) + "\n" for row in made)


def merged(made):
    return json.dumps({key: value for row in made for key, value in row.items()})


def table(made):
    cells = [[str(v) if k != "gt" else json.dumps(v) for k, v in row.items()] for row in made]
    quoted = (['"' + cell.replace('"', '""') + '"' for cell in row] for row in [[*made[0]], *cells])
    return "\n".join("\t".join(row) for row in quoted) + "\n"


FILES = {
    "timelens": ("p.jsonl", timelens, lines),
    "timelens-object": ("p.json", timelens, merged),
    "lmms-eval-object": ("p.json", lmms_object, merged),
    "lmms-eval-samples": ("p.jsonl", lmms_sample, lines),
    "videomind": ("p.json", videomind, json.dumps),
    "vtimellm": ("log.txt", vtimellm, lines),
    "time-r1": ("p.jsonl", time_r1, lines),
    "unitime": ("p.json", unitime, json.dumps),
    "ms-swift": ("p.jsonl", ms_swift, lines),
    "vlmevalkit": ("p.tsv", vlmevalkit, table),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_others_are_read_as_they_are(tmp_path, name):
    file, make, write = FILES[name]
    path = tmp_path / file
    path.write_text(write(rows(make)))
    if name == "vtimellm":  # it names sentences by their place in JSON grouped by video
        truth = tmp_path / "truth.json"
        truth.write_text(json.dumps(GROUPED))
        captions = {"video_id": "a", "task": "captioning", "query_id": 0, "answer": "..."}
        path.write_text(json.dumps(captions) + "\n" + path.read_text())
    else:
        truth = jsonl(tmp_path / "truth.jsonl", ANNOTATIONS)
    options = {"convention": "vtimellm"} if name == "vtimellm" else {}
    scores = metrics.evaluate_moment_predictions(path, truth, **options)
    assert (scores["n"], scores["unparsed"]) == (3, 1)
    assert scores["R@0.7"] == pytest.approx(200 / 3)
    if name not in ("vtimellm", "unitime", "ms-swift"):  # the truth stands in the rows, too
        scores = metrics.evaluate_moment_predictions(path)
        assert (scores["n"], scores["unparsed"]) == (3, 1)
        assert scores["mIoU"] == pytest.approx(200 / 3)


def test_a_prediction_of_null_is_unparsed(tmp_path):
    made = rows(time_r1)
    made[0]["pred"] = None
    scores = metrics.evaluate_moment_predictions(jsonl(tmp_path / "p.jsonl", made))
    assert (scores["n"], scores["unparsed"]) == (3, 1)


@pytest.mark.parametrize("name", ["timelens", "lmms-eval-samples", "videomind", "time-r1"])
def test_two_answers_to_one_query_are_found_out(tmp_path, name):
    file, make, write = FILES[name]
    made = rows(make)
    path = tmp_path / file
    path.write_text(write([*made, made[0]]))
    with pytest.raises(ValueError, match=r"'b(.mp4)?>>>a cow>>>.*' is there twice"):
        metrics.evaluate_moment_predictions(path)


def test_rows_of_another_data_set_are_not_matched_by_their_place(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines(rows(lmms_sample)))
    other = [row | {"qid": str(i), "vid": f"x{i}"} for i, row in enumerate(ANNOTATIONS)]
    with pytest.raises(ValueError, match="has no row for 3 of 3 queries|another data set"):
        metrics.evaluate_moment_predictions(path, jsonl(tmp_path / "truth.jsonl", other))


def test_a_run_that_is_not_finished_lacks_queries(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines(rows(lmms_sample)[:-1]))
    named = [row | {"qid": f"q{i}"} for i, row in enumerate(ANNOTATIONS)]
    with pytest.raises(ValueError, match="p.jsonl: has no row for 1 of 3 queries, first qid 'q1'"):
        metrics.evaluate_moment_predictions(path, jsonl(tmp_path / "truth.jsonl", named))


def test_an_unknown_format_is_named_with_what_comes_close(tmp_path):
    row = {"qid": 1, "doc": "a.mp4", "output": "4 to 10", "truth": [[1, 2]]}
    path = jsonl(tmp_path / "p.jsonl", [row])
    with pytest.raises(
        ValueError,
        match="row 1: has no pred.*it has the keys qid, doc, output, truth; lmms-eval comes "
        "closest, which also has filtered_resps",
    ):
        metrics.evaluate_moment_predictions(path)
    path = jsonl(tmp_path / "p.jsonl", [{"film": "a.mp4", "output": "4 to 10"}])
    with pytest.raises(ValueError, match=r"has no qid or id: has no pred.*it has the keys film, "):
        metrics.evaluate_moment_predictions(path, path.with_name("truth.jsonl"))


def test_a_spreadsheet_is_to_be_saved_as_a_table(tmp_path):
    path = tmp_path / "p.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="p.xlsx: is a spreadsheet: save it as .tsv or .csv"):
        metrics.evaluate_moment_predictions(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_ends_that_are_no_numbers_are_named(tmp_path, bad):
    made = rows(time_r1)
    made[1]["pred"] = [1.0, bad]
    path = tmp_path / "p.jsonl"
    path.write_text(lines(made))
    with pytest.raises(
        ValueError, match="row 2: pred must hold .start, end. in seconds, finite numbers"
    ):
        metrics.evaluate_moment_predictions(path)


MALFORMED = {
    "no list of turns": ({"messages": 5}, "messages must be a list; got 5"),
    "a turn is no object": ({"messages": ["When?"]}, "must be an object; got str"),
    "a question without words": ({"messages": [{"role": "user"}]}, "has no content"),
    "no place of a sentence": ({"video_id": "a", "task": "grounding", "answer": "", "info": {}},
                               "has no sentence_id"),
    "no facts": ({"video_id": "a", "task": "grounding", "answer": ""}, "has no sentence_id"),
    "greedy": ({"qid": 1, "pred_relevant_windows": [[1, 2, 0.5]], "truth": [[1, 2]],
                "greedy": [1, 2]}, "greedy must hold .start, end. in seconds, .*; got 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_in_files_of_others_is_named(tmp_path, case):
    row, says = MALFORMED[case]
    with pytest.raises(ValueError, match=f"p.jsonl: row 1: {says}"):
        metrics.evaluate_moment_predictions(jsonl(tmp_path / "p.jsonl", [row]))


def test_what_a_row_may_lack_is_not_missed(tmp_path):
    asks = [{"content": "Watch."}, {"role": "user", "content": "When does he sit down?"}]
    row = {"messages": asks, "pred": [[1, 2]], "truth": [[1, 2]], "video": "a", "duration": 9}
    assert metrics.evaluate_moment_predictions(jsonl(tmp_path / "a.jsonl", [row]))["mIoU"] == 100
    scored = {"qid": 1, "truth": [[1, 2]], "pred": [[1, 2]], "greedy": [[1, 2, 0.5]]}
    scored |= {"pred_relevant_windows": [[1, 2, 0.5]], "video": "a", "duration": 9}
    found = metrics.evaluate_moment_predictions(jsonl(tmp_path / "b.jsonl", [scored]))
    assert found["mIoU"] == 100
