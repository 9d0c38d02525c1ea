"""Which arms are compared, and what a run folder's adapters are worth."""

import shutil
from dataclasses import replace

import pytest

from numpro.metrics.tables import check_score_row
from numpro.models import kept, load_model
from numpro.prompting.prompts import TIME_ENCODINGS
from numpro.spans import Span
from numpro.studies import arms as study
from numpro.studies.arms import (
    ask_arms,
    choose_arms,
    encoding_arms,
    four_arms,
    learning_curve,
    score_arms,
    trained,
)
from numpro.workbook.runs import Run


@pytest.fixture
def tuned(longva, films, tmp_path):
    """A run folder as notebook 03 leaves it: two encodings, and one from a part of the films."""
    from numpro.training.finetuning import finetune

    run = Run(tmp_path / "run")
    quick = {"steps": 1, "batch_size": 1, "lora_rank": 2, "lora_alpha": 4}
    first = run.path("adapters", "text-index-seed0")
    finetune(longva, films[:1], first, progress=False, time_encoding="none", **quick)
    for name in ("none-seed0", "none-1videos-seed0"):
        shutil.copytree(first, run.path("adapters", name))
    return run.folder


def test_a_run_is_asked_for_every_adapter_it_has(tuned, longva_dir, films):
    arms = encoding_arms(tuned)
    assert [arm.time_encoding for arm in arms] == [*TIME_ENCODINGS, "none", "text-index"]
    assert [arm.method for arm in arms] == ["base"] * len(TIME_ENCODINGS) + ["fine-tuned"] * 2
    assert len({arm.name for arm in arms}) == len(TIME_ENCODINGS) + 2
    few = encoding_arms(tuned, encodings=["bar", "none"])
    assert [(arm.time_encoding, arm.method) for arm in few] == [
        ("bar", "base"), ("none", "base"), ("none", "fine-tuned")
    ]  # fmt: skip
    assert trained(tuned, "none", 1) == trained(tuned, "overlay-index") == ""
    assert [arm.name for arm in choose_arms("run", tuned)] == [
        "base",
        "base + numbers",
        "fine-tuned",
    ]
    with pytest.raises(ValueError, match="neither none-seed1 nor overlay-index-seed1"):
        choose_arms("run", tuned, seed=1)

    rows = learning_curve(tuned, films, films[:1], str(longva_dir))
    assert [row["queries"] for row in rows] == [
        len(films[0].queries),
        sum(len(v.queries) for v in films),
    ]
    assert all(row["n"] == len(films[0].queries) and row["adapter"] for row in rows)
    assert len(list(tuned.glob("predictions/*.jsonl"))) == 2  # and not one file for both


def test_an_adapters_folder_is_an_arm(tuned):
    arms = choose_arms(str(tuned / "adapters" / "none-seed0"), tuned)
    assert [arm.name for arm in arms] == ["base", "base + numbers", "fine-tuned + numbers"]
    with pytest.raises(ValueError, match="flipbook, run, none or a folder; got 'elsewhere'"):
        choose_arms("elsewhere", tuned)


def test_arms_are_asked_again_without_loading_their_model_again(
    tmp_path, longva_dir, films, monkeypatch
):
    loads = []
    monkeypatch.setattr(kept, "_kept", {})
    monkeypatch.setattr(
        study, "load_model", lambda *names, **how: loads.append(names) or load_model(*names, **how)
    )
    arms, run = four_arms("", ""), tmp_path / "run"
    rows = ask_arms(arms, str(longva_dir), films[:1], run)
    assert ask_arms(arms, str(longva_dir), films[:1], run) == rows
    assert list(rows) == ["base", "base + numbers"] and len(loads) == 1
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    ask_arms(arms, str(longva_dir), films[:1], run)
    assert kept._kept == {}, "a large model is let go of when all is asked"


def test_ranked_rows_are_scored_beside_their_greedy_answer(films):
    arm, rows = four_arms()[1], []
    for video in films:
        for query in video.queries:
            wrong, right = [90.0, 91.0], list(query.spans[0])
            row = {"qid": query.qid, "video": video.video, "truth": [right], "greedy": [right]}
            windows = [[*wrong, 0.8], [*right, 0.1]]
            rows.append(row | {"pred": [wrong, right], "pred_relevant_windows": windows})
    (scores,) = score_arms([arm], {arm.name: rows}, films, "flipbook/longva")
    check_score_row(scores)
    assert scores["greedy_mIoU"][0] == scores["best5_mIoU"][0] == scores["R5@0.7"][0] == 100
    assert scores["mIoU"][0] == scores["R@0.5"][0] == 0 and scores["moment_mAP"][0] == 50
    plain = [{k: v for k, v in r.items() if k in ("qid", "pred")} for r in rows]
    (scores,) = score_arms([arm], {arm.name: plain}, films, "flipbook/longva")
    assert "greedy_mIoU" not in scores and scores["mIoU"][0] == 0


def test_an_answer_that_fits_the_second_true_span_is_not_the_worst():
    row = {"reason": None, "truth": [[0.0, 4.0], [6.0, 9.0]]}
    second, missed = row | {"pred": [[6.0, 9.0]]}, row | {"pred": [[4.0, 5.0]]}
    assert study.worst([second, missed], 1) == [missed]


def test_the_ceiling_names_every_true_span(films):
    spans = (Span(0.6, 3.4), Span(5.6, 9.4))
    film = replace(films[0], queries=(replace(films[0].queries[0], spans=spans),))
    ceiling = study.score_floors([film], [])[-1]
    assert ceiling["method"] == "frame-grid" and ceiling["set_mIoU"][0] > 90
