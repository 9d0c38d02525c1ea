"""Whole notebooks on data sets in their own layouts, and what a run refuses before it starts."""

import json
from functools import cache
from pathlib import Path

import layouts
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_model
from walking import walk

from numpro.cli import main
from numpro.parameters import read_recipe
from numpro.spans import seconds_to_labels
from numpro.workbook.runs import Run, run_workbook

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "papermill_runs" / "recipes"
RATES = dict(zip(layouts.SPLITS, (0.5, 1.0, 2.0) * 2, strict=True))
STEMS = {"charades-sta": "charades_sta", "activitynet-captions": "activitynet"}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A function that makes a data set on first use."""
    return cache(lambda name: layouts.make(name, tmp_path_factory.mktemp(name)))


def values_for(dataset, root, run_dir):
    """The recipe of a data set (others have that of Charades-STA), only paths and model changed."""
    stem = STEMS.get(dataset, "qvhighlights" if dataset == "qvhighlights" else "charades_sta")
    values = read_recipe(RECIPES / f"{stem}_qwen2_5_vl_7b.yaml")
    values |= {"dataset": dataset, "data_root": str(root), "splits": [layouts.SPLITS[dataset]]}
    values |= {"model": str(tiny_model("qwen2_5_vl")), "run_dir": str(run_dir)}
    return values | {"fps": RATES[dataset], "max_new_tokens": 6, "n_control_videos": 2}


@pytest.mark.parametrize("dataset", layouts.SPLITS)
def test_a_layout_is_prepared_and_measured_at_another_rate(dataset, places, tmp_path):
    values = values_for(dataset, places(dataset), tmp_path / "run")
    first = walk("01", values)
    assert "2 of 5 videos are missing or cannot be read" in first["printed"]
    last = walk("05", values)
    rows = [r for r in last["scores"] if r["task"] == "moment_retrieval"]
    methods = {row["method"] for row in rows}
    fitted = {"best-fixed-window", "random-moment"}
    assert {"base", "whole-video", "frame-grid"} <= methods
    assert {row["n"] for row in rows} == {15} and {row["dataset"] for row in rows} == {dataset}
    base = next(row for row in rows if row["method"] == "base")
    assert base["unparsed"] >= 6  # of the two films that cannot be read, counted
    compared = walk("07", values)
    assert {"base"} == {row["method"] for row in compared["listed"]}
    assert walk("06", values)["rows"]
    notes = Run(tmp_path / "run").notes
    why = {"folder": "all 5 videos of train are among those", "timelens-bench": "got 'train'"}
    assert why.get(dataset, "") in notes["05_floors"]["left out"]
    assert (fitted <= methods) == (dataset not in why) and bool(fitted & methods) == (
        fitted <= methods
    )
    # nothing of the embedded world
    assert notes["05_encodings"] == notes["05_learning_curve"] == []
    assert f"nothing to show: no stored run of {values['model']}" in compared["printed"]
    assert "flipbook" not in json.dumps([notes["05_ways"], last["scores"], last["beside"]])
    in_paper = {
        "charades-sta": "charades-sta test",
        "activitynet-captions": "activitynet-captions val_2",
    }
    if dataset in in_paper:
        assert {row["where"] for row in last["beside"]} == {in_paper[dataset]}


@pytest.mark.parametrize("dataset", layouts.SPLITS)
def test_moments_are_found_and_shown(dataset, places, tmp_path):
    found = walk("04", values_for(dataset, places(dataset), tmp_path))
    shown = {row["video"] for row in found["bad"]}
    assert shown and all(found["films"][video].path.is_file() for video in shown)
    assert shown.isdisjoint({"GONE1", "BAD01"})


@pytest.mark.parametrize("dataset", layouts.SPLITS)
def test_a_real_model_is_fine_tuned_on_a_real_layout(dataset, places, tmp_path):
    values = values_for(dataset, places(dataset), tmp_path)
    split = layouts.SPLITS[dataset] if dataset == "timelens-bench" else "train"  # it has no train
    found = walk("03", values | {"train_splits": [split], "steps": 2, "n_described": 1})
    assert found["here"] == [] and "nothing to show: no stored adapter" in found["printed"]
    assert {row["pictures"] for row in Run(tmp_path).notes["03_descriptions"]} == {"flipbook"}


def test_the_recipes_of_a_data_set_differ_in_model_adapters_and_rate_only():
    for stem in ("charades_sta", "activitynet", "qvhighlights"):
        recipes = [read_recipe(path) for path in RECIPES.glob(f"{stem}_*.yaml")]
        kept = [
            {k: v for k, v in r.items() if k not in ("model", "adapters", "fps")} for r in recipes
        ]
        assert len(kept) == 5 and all(recipe == kept[0] for recipe in kept)


def test_numpro_run_takes_the_recipe_from_where_one_stands(places, monkeypatch, tmp_path):
    """The command that README gives, with kernels; the data root counts from the working folder."""
    values = values_for("charades-sta", places("charades-sta"), tmp_path)
    name = f"test-{tmp_path.name}"
    monkeypatch.chdir(Path(values["data_root"]).parent)
    monkeypatch.setenv("NUMPRO_ROOT", str(ROOT))
    words = ["run", str(RECIPES / "charades_sta_qwen2_5_vl_7b.yaml"), "--run", name]
    words += ["--only", "01", "--only", "04", "--only", "05", "-p", "max_new_tokens", "6"]
    words += ["-p", "data_root", Path(values["data_root"]).name, "-p", "model", values["model"]]
    try:
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 0, done.output
        made = json.loads(done.stdout)
        assert made["parameters"]["data_root"] == values["data_root"]
        assert [book["status"] for book in made["notebooks"]] == ["complete"] * 3
        assert {row["dataset"] for row in made["scores"]} == {"charades-sta"}
    finally:
        import shutil

        shutil.rmtree(ROOT / "papermill_runs" / name, ignore_errors=True)


class TestRefusedBeforeAnythingRuns:
    @pytest.fixture
    def refused(self, places, tmp_path, monkeypatch):
        """What a run of notebooks says; it must not have begun."""
        monkeypatch.setenv("NUMPRO_ROOT", str(ROOT))

        def run(*only, dataset="charades-sta", root=None, **changes):
            values = values_for(dataset, root or places(dataset), "") | changes
            values = {k: v for k, v in values.items() if k != "run_dir"}
            name = f"refused-{tmp_path.name}"
            with pytest.raises((ValueError, OSError)) as error:
                run_workbook(None, values, name, only=only)
            assert not (ROOT / "papermill_runs" / name).exists()
            return str(error.value)

        return run

    def test_a_list_of_another_length(self, refused):
        says = refused("05", splits=["test", "train"], n_videos=[3])
        assert "n_videos needs one number a split: 1 for 2 (test, train)" in says

    def test_a_number_out_of_range(self, refused):
        assert "parameter fps must be above 0; got 0" in refused("01", fps=0.0)
        assert "parameter n_videos must be at least 0; got [-1]" in refused("04", n_videos=[-1])

    def test_videos_and_annotations_that_are_not_there(self, refused, tmp_path):
        says = refused("04", "05", root=tmp_path)
        assert "04_find_the_moment: charades-sta, split test: no charades_sta_test.txt" in says
        assert "to download: charades_sta_train.txt" in says
        layouts.charades(tmp_path, train=False)
        assert "none of 5 videos of test is there" in refused("04", root=tmp_path)

    def test_nothing_to_learn_from(self, refused, tmp_path):
        root = layouts.make("charades-sta", tmp_path / "data", train=False)
        assert "split train: no charades_sta_train.txt" in refused("03", root=root)

    def test_scoring_what_was_learned_from(self, refused):
        says = refused("05", dataset="folder", adapters="run")
        assert "adapters = run would score films that were learned from" in says

    def test_an_adapter_of_another_model(self, refused):
        says = refused("04", adapters="flipbook")
        assert "adapter 'flipbook/ft' belongs to 'flipbook/longva'" in says
        assert "no model at '/nowhere/model'" in refused("04", model="/nowhere/model")

    def test_a_full_disk(self, refused, monkeypatch):
        from types import SimpleNamespace

        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3e8))
        assert "0.30 GB are free on the disk; a run needs 1" in refused("01")


def test_floors_without_train_annotations_say_where_lengths_come_from(tmp_path):
    from numpro.studies import fit_parts, load_parts, score_floors

    root = str(layouts.make("charades-sta", tmp_path, train=False))
    scored = load_parts("charades-sta", root, ["test"], [0])
    none, why = fit_parts("charades-sta", root, ["train"], 0, scored)
    assert none == [] and "no charades_sta_train.txt" in why
    methods = [row["method"] for row in score_floors(scored["test"], none)]
    assert methods == ["whole-video", "frame-grid"]
    layouts.charades(tmp_path, train=True)
    (tmp_path / "Charades_v1_train.csv").unlink()
    none, why = fit_parts("charades-sta", root, ["train"], 0, scored)
    assert none == [] and "Charades_v1_train.csv" in why and "Charades.zip: https://" in why
    (tmp_path / "Charades_v1_test.csv").unlink()  # then a missing film has no length
    videos = {v.video: v for v in load_parts("charades-sta", root, ["test"], [0])["test"]}
    assert videos["GONE1"].duration == 13.0 and videos["AAAAA"].duration == pytest.approx(
        11.3, abs=0.1
    )


def test_floors_are_never_fitted_on_a_film_that_is_scored(places):
    from numpro.studies import fit_parts, load_parts

    root = str(places("folder"))
    scored = load_parts("folder", root, ["test", "test_long"], [2, 2])
    assert list(scored) == ["test"]
    train, why = fit_parts("folder", root, ["train"], 0, scored)
    assert not why and {v.video for v in train}.isdisjoint(v.video for v in scored["test"])


# --- cells that rebuild an idea agree with the package on every input ---------------------------


@cache
def rebuilt(number, cell):
    """The functions of a notebook's cell, by name."""
    import nbformat

    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    (found,) = [c for c in nbformat.read(path, as_version=4).cells if c["id"] == cell]
    source = found.source.partition("\n\n\ntrue = ")[0]
    names: dict = {}
    exec(source, names)
    return names


HALVES = st.integers(-40, 400).map(lambda n: n / 4)


@given(st.sampled_from([0.25, 0.5, 1, 2, 3, 4, 29.97]), st.integers(1, 60), HALVES, HALVES)
def test_nearest_labels_by_hand_are_the_packages_ties_included(fps, count, start, end):
    seconds = [n / fps for n in range(count)]
    by_hand = rebuilt("01", "01-10")["nearest_labels"]
    assert by_hand((start, end), seconds) == seconds_to_labels((start, end), seconds)


FEW = st.integers(0, 3)
WORDS = st.sampled_from(["to", "and", "or"])
SAID = st.builds("{} {} {}{}".format, FEW, WORDS, FEW, st.text("0 .to"))


@given(st.lists(st.tuples(SAID, FEW, FEW), min_size=1))
def test_time_r1_by_hand_is_the_packages(answers):
    import re

    import nbformat
    import numpy as np

    from numpro.metrics.conventions import CONVENTIONS, READERS, convention_scores
    from numpro.metrics.span_sets import Spans

    (path,) = (ROOT / "notebooks").glob("07_*.ipynb")
    (cell,) = [c for c in nbformat.read(path, as_version=4).cells if c["id"] == "rules-by-hand"]
    rows = [{"response": text, "truth": [[a, b]]} for text, a, b in answers]
    read = [READERS[CONVENTIONS["time-r1"].reader](text).spans for text, *_ in answers]
    counts = np.array([len(spans) for spans in read])
    ends = np.array([span for spans in read for span in spans], float).reshape(-1, 2)
    true = Spans(np.array([row["truth"][0] for row in rows], float), np.ones(len(rows), int))
    scores, _ = convention_scores("time-r1", Spans(ends, counts), true, np.full(len(rows), np.nan))
    arm = type("Arm", (), {"name": "base"})
    names = {"re": re, "arms": [arm], "answers": {"base": rows}}
    names |= {"by_package": {"base": {"time-r1": {"mIoU": 100 * scores["mIoU"].mean()}}}}
    exec(cell.source, names)  # ends with an assertion
