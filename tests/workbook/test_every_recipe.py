"""Every recipe by `numpro run RECIPE`, with only paths, model and amounts changed."""

import re
from pathlib import Path

import layouts
import pytest
from in_process import run_recipe
from llava_checkpoints import write_adapter, write_checkpoint
from serving import running
from tiny_models import tiny_model

from numpro.parameters import read_recipe

RECIPES = sorted((Path(__file__).resolve().parents[2] / "papermill_runs/recipes").glob("*.yaml"))
REAL = [
    path for path in RECIPES if path.stem not in ("encodings", "flipbook_full", "quick", "reward")
]
# as small as shows every step of the full run: two seeds, a learning curve, windows
FEW = {
    "n_train": 4, "steps": 2, "seeds": [0, 1], "train_sizes": [2], "n_val": 1, "n_described": 1,
    "n_videos": [1, 1], "n_highlight_videos": 1, "n_control_videos": 1, "n_long_videos": 1,
    "encodings": ["overlay-index"], "windows": [16, 16],
}  # fmt: skip
KINDS = {"qwen2_vl_7b": "qwen2_vl", "qwen2_5_vl_7b": "qwen2_5_vl", "qwen3_vl_8b": "qwen3_vl"}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return {
        name: layouts.make(name, tmp_path_factory.mktemp(name))
        for name in ("charades-sta", "activitynet-captions", "qvhighlights")
    }


@pytest.fixture(scope="module")
def longva(tmp_path_factory):
    """A tiny LongVA and an adapter, both in the format of the released ones."""
    folder = tmp_path_factory.mktemp("released")
    return write_checkpoint(folder / "LongVA-7B-DPO"), write_adapter(folder / "numpro_ft")


@pytest.fixture(scope="module")
def server():
    with running() as made:
        yield made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_recipe_runs_as_its_comment_says(path, places, longva, server, monkeypatch, project):
    recipe = read_recipe(path)
    only = re.findall(r"--only (\d\d)", path.read_text())
    if "charades" not in path.stem:  # each model shows its attention on one data set
        only = [number for number in only if number != "04"]
    changed = {"data_root": str(places[recipe["dataset"]]), "n_videos": [1], "n_prepared": 2}
    changed |= {"max_new_tokens": 6, "n_control_videos": 1}
    kind = next((kind for end, kind in KINDS.items() if path.stem.endswith(end)), None)
    if kind:
        changed["model"] = str(tiny_model(kind))
    elif "longva" in path.stem:
        changed |= {"model": str(longva[0]), "adapters": str(longva[1])}
    else:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    results = run_recipe(project, path, only, changed)
    assert {book["name"][:2] for book in results["notebooks"]} == {*only}
    methods = {row["method"] for row in results["scores"]}
    assert {"base", "whole-video"} <= methods, methods


@pytest.mark.filterwarnings("ignore")
def test_the_recipe_of_all_encodings_runs_on_a_real_layout(places, project):
    changed = {"model": str(tiny_model("qwen2_5_vl")), "dataset": "charades-sta", "n_videos": [1]}
    changed |= {"data_root": str(places["charades-sta"]), "max_new_tokens": 6}
    path = next(path for path in RECIPES if path.stem == "encodings")
    results = run_recipe(project, path, ["07"], changed)
    ways = results["notes"]["05_ways"]
    encodings = {row["time_encoding"] for row in ways if row["method"] == "base"}
    assert len(encodings) > 4 and {row["dataset"] for row in ways} == {"charades-sta"}


@pytest.mark.filterwarnings("ignore")
def test_the_smallest_recipe_walks_the_method(project):
    path = next(path for path in RECIPES if path.stem == "quick")
    results = run_recipe(project, path, ["01", "02", "03", "05"], {})
    assert len(results["notebooks"]) == 4 and len(results["scores"]) > 15


@pytest.mark.filterwarnings("ignore")
def test_the_full_recipe_scores_what_it_has_trained(project):
    path = next(path for path in RECIPES if path.stem == "flipbook_full")
    results = run_recipe(project, path, ["03", "04", "05", "07"], FEW)
    notes = results["notes"]
    assert {row["method"] for row in results["scores"]} >= {"base", "fine-tuned", "frame-grid"}
    assert {len(scores) for scores in notes["05_seeds"].values()} == {2}
    assert [row["n"] for row in notes["05_windows"]] == [notes["05_windows"][0]["n"]] * 3
    assert notes["05_learning_curve"] and all("loaded_from" not in r for r in notes["05_encodings"])


@pytest.mark.filterwarnings("ignore")
def test_the_recipe_of_the_reward_is_evidence_in_full_size_only(project):
    path = next(path for path in RECIPES if path.stem == "reward")
    few = {"n_learned": 2, "n_chosen": 1, "n_tested": 1, "seconds_each": 0.3, "n_seeds": 2}
    results = run_recipe(project, path, ["A3"], few)
    made = results["notes"]["A3_reward"]
    assert not made["full"] and {*made["rates"]} == {"supervised", "iou", "expected_iou"}
