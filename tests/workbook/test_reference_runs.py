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


def rounded(values):
    """All numbers of stored scores and notes, as prose writes them."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        return set().union(*map(rounded, values))
    return {f"{values:.1f}"} if isinstance(values, float) else set()


def test_prose_about_the_longer_run_has_its_figures_and_readme_has_none():
    results = json.loads((RUNS[1] / "results.json").read_text(encoding="utf-8"))
    assert results["run"] == "flipbook_full"
    notes = results["notes"]
    wanted = ("05_seeds", "05_controls", "05_follows", "05_windows", "05_learning_curve")
    known = rounded(results["scores"]) | rounded([notes[name] for name in wanted])
    plain = {(r["split"], r["method"], r["time_encoding"]): r["mIoU"][0] for r in results["scores"]
             if r["task"] == "moment_retrieval"}  # fmt: skip
    base, floor = ("test", "base", "overlay-index"), ("test", "best-fixed-window", None)
    offset = next(r["mIoU"][0] for r in notes["05_controls"]
                  if (r["split"], r["method"]) == ("offset", "fine-tuned"))  # fmt: skip
    seeds = zip(*(notes["05_seeds"][f"test_long {e}"] for e in ("overlay-index", "none")),
                strict=True)  # fmt: skip
    derived = [plain[base] - plain[floor], plain["test", "fine-tuned", "overlay-index"] - offset]
    derived += [a - b for a, b in seeds]
    checks = [
        [row["val_mIoU"] for row in log if row["val_mIoU"] is not None]
        for name, log in notes["03_losses"]["logs"].items()
        if "videos" not in name
    ]
    known |= rounded([*derived, *(abs(one[-1] - one[-2]) for one in checks)])
    text = (RUNS[1].parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    prose = text.partition("## What the longer run shows")[2].partition("## Ranked moments")[0]
    figures = re.findall(r"(?<![\d.])\d+\.\d(?!\d)", prose)
    assert len(figures) > 40 and [one for one in figures if one not in known] == []
    readme = (RUNS[1].parents[1] / "README.md").read_text(encoding="utf-8")
    by_hand = re.sub(r"<!-- generated.*?<!-- end", "", readme, flags=re.DOTALL)
    assert re.findall(r"\d\d\.\d(?!\d)(?! GB)", by_hand) == [], "figures belong into made tables"
