"""Every recipe is prepared, not run: its parameters, names and commands are such as can be run."""

import re
import shlex
from pathlib import Path

import click
import papermill
import pytest

from numpro.cli import main
from numpro.datasets import DATASETS, loader
from numpro.parameters import read_recipe
from numpro.prompting.prompts import TASKS, TIME_ENCODINGS
from numpro.workbook.runs import find_notebooks

FOLDER = Path(__file__).resolve().parents[2] / "papermill_runs" / "recipes"
EMBEDDED = ("encodings", "flipbook_full", "quick", "reward")  # of the embedded world, or of any
REAL = [f for f in sorted(FOLDER.glob("*.yaml")) if f.stem not in EMBEDDED]
SETS = ("charades_sta", "activitynet", "qvhighlights")
MODELS = {
    "qwen2_vl_7b": "Qwen/Qwen2-VL-7B-Instruct",
    "qwen2_5_vl_7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3_vl_8b": "Qwen/Qwen3-VL-8B-Instruct",
    "longva_numpro_ft": "lmms-lab/LongVA-7B-DPO",
    "served": "openai:Qwen/Qwen2.5-VL-72B-Instruct",
}


def ids(path):
    return path.stem


def commands(path):
    """The commands in a recipe's comments, as words."""
    lines = re.findall(r"^# +(?:First: )?(numpro .+?)(?:  \(.*)?$", path.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def prediction_sets(path):
    """The options of each `numpro predict` in a recipe's comments, accepted by the command."""
    return [
        main.commands["predict"].make_context("predict", words[2:]).params
        for words in commands(path)
        if words[:2] == ["numpro", "predict"]
    ]


def test_there_is_one_for_every_dataset_and_model():
    assert {path.stem for path in REAL} == {f"{d}_{m}" for d in SETS for m in MODELS}


@pytest.mark.parametrize("path", REAL, ids=ids)
def test_names_and_rates_are_ones_that_can_be_run(path):
    recipe = read_recipe(path)
    known = loader(recipe["dataset"])
    assert recipe["dataset"] in DATASETS and recipe["dataset"].split("-")[0] in path.stem
    assert {*recipe["splits"], "train"} <= set(known.files)
    assert len(recipe["splits"]) == len(recipe["n_videos"])
    (model,) = [name for stem, name in MODELS.items() if path.stem.endswith(f"_{stem}")]
    assert recipe["model"] == model
    assert re.fullmatch(r"(openai:)?[\w-]+/[\w.-]+", model)
    assert recipe["fps"] in (0.5, 1.0) and ("longva" not in path.stem or recipe["fps"] == 0.5)
    tuned = "checkpoints/longva_7b_dpo_NumPro_FT" if "longva" in path.stem else "none"
    assert recipe["adapters"] == tuned
    assert bool(recipe["n_highlight_videos"]) == (recipe["dataset"] == "qvhighlights")


@pytest.mark.parametrize("path", REAL, ids=ids)
def test_the_commands_ask_what_the_parameters_say(path):
    recipe, predictions = read_recipe(path), prediction_sets(path)
    tasks = TASKS if recipe["dataset"] == "qvhighlights" else TASKS[:1]
    assert [options["task"] for options in predictions] == list(tasks)
    for options in predictions:
        for name in ("model", "dataset", "data_root"):
            assert options[name] == recipe[name], name
        assert [options["split"]] == recipe["splits"]
        assert options["fps"] == (recipe["fps"] if options["task"] == TASKS[0] else 0.5)
        assert options["time_encoding"] in TIME_ENCODINGS
        assert bool(options["adapter"]) == ("longva" in path.stem)
    scored = [words for words in commands(path) if words[:2] == ["numpro", "evaluate"]]
    for words, options in zip(scored, predictions, strict=True):
        command = main.commands["evaluate"].commands[words[2]]
        given = command.make_context(words[2], words[3:]).params
        assert given["predictions"] == options["out"]
        assert words[2] == options["task"].replace("_", "-")
    checked = [words for words in commands(path) if words[:2] == ["numpro", "check-data"]]
    (words,) = checked
    given = main.commands["check-data"].make_context("check-data", words[2:]).params
    assert (given["dataset"], given["data_root"]) == (recipe["dataset"], recipe["data_root"])
    (words,) = [words for words in commands(path) if words[:2] == ["numpro", "run"]]
    given = main.commands["run"].make_context("run", words[2:]).params
    assert given["recipe"] == path.relative_to(FOLDER.parents[1]).as_posix()
    last = ("05", "06", "07")
    assert given["only"] == (("01", *last) if "served" in path.stem else ("01", "04", *last))


@pytest.mark.parametrize("path", REAL, ids=ids)
def test_papermill_prepares_the_notebooks_named(path, tmp_path):
    numbers = re.findall(r"--only (\d\d)", path.read_text())
    recipe = read_recipe(path)
    for book in find_notebooks(FOLDER.parents[1] / "notebooks"):
        if book.stem[:2] in numbers:
            made = papermill.execute_notebook(
                book, tmp_path / book.name, recipe, prepare_only=True, progress_bar=False
            )
            (cell,) = [c for c in made.cells if "injected-parameters" in c.metadata["tags"]]
            given = {}
            exec(cell.source, given)
            assert {name: given[name] for name in recipe} == recipe


def test_no_option_stands_that_the_command_would_refuse():
    with pytest.raises(click.UsageError):  # so that the checks above can fail
        main.commands["predict"].make_context("predict", ["--no-such-option", "1", "--out", "x"])


def test_the_recipe_of_all_encodings_names_commands_that_can_be_run():
    runs = [words for words in commands(FOLDER / "encodings.yaml") if words[1] == "run"]
    (options,) = [main.commands["run"].make_context("run", words[2:]).params for words in runs]
    recipe, known = read_recipe(FOLDER / "encodings.yaml"), dict(options["pairs"])
    assert options["only"] == ("07",) and known["dataset"] in DATASETS
    assert recipe["encodings"] == ["all"] and recipe["n_control_videos"] == 0
    compared = [words for words in commands(FOLDER / "encodings.yaml") if words[1] == "compare"]
    assert len(compared) == 2
    for words in compared:
        main.commands["compare"].make_context("compare", words[2:])
