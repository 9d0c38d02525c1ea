"""The two committed runs: plain names of files, and scores that follow from the stored answers."""

import json
import re
from pathlib import Path

import pytest

from numpro.metrics import moment_retrieval
from numpro.numbers import NumberStyle
from numpro.studies import first_spans

ROOT = Path(__file__).resolve().parents[2]
RUNS = [ROOT / "papermill_runs" / name for name in ("flipbook", "flipbook_full")]
PLAIN = {"style": NumberStyle().as_dict(), "control": None, "end": "halfway", "seed": 0}


def stored_answers(run):
    """Yield the configuration and the rows of each file of moments that were asked plainly."""
    for path in sorted(run.glob("predictions/*moment_retrieval*.jsonl")):
        config = json.loads(Path(f"{path}.config.json").read_text(encoding="utf-8"))
        # what is not there cannot be scored: notebook 06 counts what is claimed
        if PLAIN.items() <= config.items() and not config["dataset"][0].endswith("_absent"):
            lines = path.read_text(encoding="utf-8").splitlines()
            yield config, [json.loads(line) for line in lines]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_files_have_plain_names(run):
    names = [path.name for path in run.rglob("*")]
    assert names and [name for name in names if not re.fullmatch(r"[\w.-]+", name)] == []


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_stored_scores_are_those_of_the_stored_answers_to_the_last_digit(run):
    scores = json.loads((run / "results.json").read_text(encoding="utf-8"))["scores"]
    wanted = [s for s in scores if s["task"] == "moment_retrieval" and s["model"]]
    keys = ("n", "unparsed", "mIoU", "R@0.3", "R@0.5", "R@0.7")
    found = []
    for config, rows in stored_answers(run):
        names, truth = [row["video"] for row in rows], [row["truth"] for row in rows]
        again = moment_retrieval(first_spans(rows), truth, names)
        where = config["dataset"][0], config["time_encoding"], bool(config["adapter"])
        found.append((where, json.loads(json.dumps({key: again[key] for key in keys}))))
    assert len(wanted) >= 8
    for score in wanted:
        where = f"{score['dataset']}/{score['split']}", score["time_encoding"]
        where += (score["method"] == "fine-tuned",)
        assert (where, {key: score[key] for key in keys}) in found, where
