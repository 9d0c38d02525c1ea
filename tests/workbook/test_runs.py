"""Runs of throw-away workbooks with real kernels, and the run folder."""

import json

import nbformat
import numpy as np
import pytest
from PIL import Image
from projects import PARAMETERS, write_notebook
from score_rows import make_row

from numpro.workbook import runs
from numpro.workbook.notebooks import NotebookError
from numpro.workbook.runs import Run, run_workbook

RUN = "from numpro.workbook.runs import Run\nrun = Run(run_dir)"
# leaves a mark outside the run each time it is executed
COUNT = "with open('../{}.count', 'a') as file:\n    _ = file.write('x')"


def count(project, name):
    file = project / f"{name}.count"
    return len(file.read_text()) if file.exists() else 0


@pytest.fixture
def workbook(project):
    """Three notebooks: scores, a picture and a note; one that needs a flag file; an appendix."""
    books = project / "notebooks"
    write_notebook(
        books / "A1_appendix.ipynb", COUNT.format("A1"), "print(fps)", parameters="fps: float = 3.0"
    )
    write_notebook(
        books / "02_second.ipynb",
        COUNT.format("02"),
        "from pathlib import Path\nassert not Path('../fail').exists(), 'told to fail'",
        "print('after')",
    )
    write_notebook(
        books / "01_first.ipynb",
        COUNT.format("01"),
        RUN,
        f"_ = run.add_scores([{make_row()}], source='01_first')",
        "from PIL import Image\n"
        "_ = run.save_figure(Image.new('RGB', (4, 4)), 'square', 'A square.', 'black')\n"
        "_ = run.note('losses', [1.0, 0.5])",
        "from pathlib import Path\nprint(Path.cwd() / 'x', run_dir, fps)",
    )
    return project


def source_of(folder, name, tag):
    book = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    return [c.source for c in book.cells if tag in c.metadata.get("tags", [])]


def test_a_default_run_tells_all_and_a_second_one_replaces_it(workbook, capsys):
    folder = run_workbook()
    assert folder == workbook / "papermill_runs" / "flipbook"
    results = json.loads((folder / "results.json").read_text())
    names = ["01_first", "02_second", "A1_appendix"]
    assert [book["name"] for book in results["notebooks"]] == names
    assert {book["status"] for book in results["notebooks"]} == {results["status"]} == {"complete"}
    assert results["seed"] == 7 and results["parameters"] == {} and results["recipe"] is None
    assert results["commit"] is None and results["dirty"] is None
    assert results["scores"] == [make_row()] and results["notes"] == {"losses": [1.0, 0.5]}
    assert set(results["versions"]) >= {"python", "numpro", "torch", "transformers", "numpy"}
    assert set(results["machine"]) == {"processor", "cores", "accelerators"}
    injected = source_of(folder, "01_first", "injected-parameters")
    assert injected == ['# Parameters\nrun_dir = "papermill_runs/flipbook"\n']
    assert source_of(folder, "A1_appendix", "injected-parameters") == []
    page = (folder / "report.html").read_text()
    assert "A square." in page and 'href="A1_appendix.ipynb"' in page
    progress = capsys.readouterr()
    assert "[2/3] 02_second: cell 5/5" in progress.err and progress.out == ""

    text = (folder / "01_first.ipynb").read_text()
    assert str(workbook) not in text and '"papermill"' not in text
    assert "notebooks/x papermill_runs/flipbook 1.0" in text
    (folder / "left_over.txt").write_text("from an earlier run")
    assert run_workbook() == folder
    assert (folder / "01_first.ipynb").read_text() == text
    assert not (folder / "left_over.txt").exists()


def test_a_broken_run_is_resumed_where_it_broke(workbook):
    (workbook / "fail").touch()
    recipe = workbook / "slow.yaml"
    recipe.write_text("fps: 0.5\n")
    with pytest.raises(NotebookError) as error:
        run_workbook(recipe, {"video": "other"})
    folder = next((workbook / "papermill_runs").iterdir())
    assert folder.name.startswith("slow-2")
    assert "02_second: code cell 4 (from pathlib import Path): " in str(error.value)
    assert "AssertionError: told to fail; see " in str(error.value)
    assert Run(folder).results()["status"] == "unfinished"
    assert not (folder / "report.html").exists()

    (workbook / "fail").unlink()
    assert run_workbook(name=folder.name, resume=True) == folder
    assert [count(workbook, name) for name in ("01", "02", "A1")] == [1, 2, 1]
    results = Run(folder).results()
    assert results["status"] == "complete" and results["recipe"] == "slow.yaml"
    assert results["parameters"] == {"fps": 0.5, "video": "other"}
    assert results["notebooks"][2]["parameters"] == {"fps": 0.5}
    assert results["scores"] == [make_row()]
    assert (folder / "report.html").exists()

    # a notebook that changed runs again, with all that follow it
    write_notebook(workbook / "notebooks" / "02_second.ipynb", COUNT.format("02"))
    run_workbook(name=folder.name, resume=True)
    assert [count(workbook, name) for name in ("01", "02", "A1")] == [1, 3, 2]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        pytest.param("import sys\nsys.exit(0)", "code cell 3 (import sys)", id="sys.exit(0)"),
        pytest.param("import os\nos._exit(1)", "the kernel died", id="dead kernel"),
    ],
)
def test_a_notebook_that_stops_early_is_a_failure(project, cell, says):
    write_notebook(project / "notebooks" / "01_stops.ipynb", cell, "print('never')")
    with pytest.raises(NotebookError) as error:
        run_workbook()
    assert says in str(error.value) and "papermill_runs/flipbook/01_stops.ipynb" in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        pytest.param({"fsp": 1.0}, "unknown parameter fsp; did you mean fps?", id="unknown"),
        pytest.param({"fps": "fast"}, "fps must be float; got 'fast'", id="mistyped"),
        pytest.param({"run_dir": "x"}, "unknown parameter run_dir", id="the run's own"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(workbook, parameters, says):
    with pytest.raises(ValueError) as error:
        run_workbook(parameters=parameters)
    assert says in str(error.value)
    recipe = workbook / "wrong.yaml"
    recipe.write_text(json.dumps(parameters))
    with pytest.raises(ValueError) as error:
        run_workbook(recipe)
    assert says in str(error.value)
    assert list((workbook / "papermill_runs").iterdir()) == []


def test_only_some_notebooks(workbook):
    folder = run_workbook(parameters={"limit": 1}, name="some", only=["01"])
    books = [book["name"] for book in Run(folder).results()["notebooks"]]
    assert books and all(name.startswith("01") for name in books)
    assert Run(folder).results()["status"] == "complete"
    with pytest.raises(ValueError, match="only must be beginnings of .*; got '77'"):
        run_workbook(name="none", only=["77"])


def test_names_of_runs(workbook):
    def refused(says, **arguments):
        with pytest.raises(ValueError, match=says):
            run_workbook(**arguments)

    runs_dir = workbook / "papermill_runs"
    (runs_dir / "mine").mkdir()
    (runs_dir / "flipbook").mkdir()
    (runs_dir / "flipbook" / "thesis.txt").touch()
    refused("mine is there already", name="mine")
    refused("flipbook is there already")
    refused("a name must be letters", name="../mine")
    refused("nothing to resume: no run other", name="other", resume=True)
    refused("nothing to resume: no run flipbook-", parameters={"fps": 2.0}, resume=True)
    assert (runs_dir / "flipbook" / "thesis.txt").exists()


def test_one_name_has_one_type(project):
    books = project / "notebooks"
    write_notebook(books / "01_a.ipynb", parameters="limit: int = 1")
    write_notebook(books / "02_b.ipynb", parameters="limit: float = 1.0")
    with pytest.raises(ValueError, match="02_b declares limit as float, an earlier .* int"):
        run_workbook()


def test_no_notebooks_are_named(project):
    with pytest.raises(FileNotFoundError, match="no notebooks in .*notebooks"):
        run_workbook()


class TestRun:
    def test_a_relative_folder_counts_from_the_root(self, project):
        run = Run("papermill_runs/one")
        assert run.folder == project / "papermill_runs" / "one"
        assert repr(run) == "Run('papermill_runs/one')"
        assert not run.folder.exists() and run.scores() == run.figures() == []
        assert run.path("deep", "er", "file.txt").parent.is_dir()

    def test_scores_are_replaced_by_source_and_kept_in_order(self, project):
        run = Run("papermill_runs/one")
        run.add_scores([make_row(n=2)], source="05_measure")
        run.add_scores([make_row(n=3)], source="04_find")
        run.add_scores([make_row(n=np.int64(9), mIoU=(np.float64(1), 0, 2))], source="05_measure")
        assert [row["n"] for row in run.scores()] == [3, 9]
        assert run.scores()[1]["mIoU"] == [1, 0, 2]
        with pytest.raises(ValueError, match="lacks"):
            run.add_scores([{"n": 1}], source="05_measure")
        assert len(run.scores()) == 2

    def test_figures_keep_the_order_of_saving(self, project):
        from matplotlib.figure import Figure

        run = Run("papermill_runs/one")
        run.save_figure(Image.new("RGB", (2, 2)), "z", "first")
        run.save_figure(Figure(figsize=(1, 1)), "a", "second", alt="nothing")
        with Image.open(run.folder / "figures" / "a.png") as picture:
            assert picture.mode == "P"  # 256 colours are small
        first = (run.folder / "figures" / "a.png").read_bytes()
        run.save_figure(Image.new("RGB", (3, 3)), "z", "first again")
        run.save_figure(Figure(figsize=(1, 1)), "a", "second", alt="nothing")
        found = [(f["name"], f["caption"], f["alt"]) for f in run.figures()]
        assert found == [("z", "first again", "first again"), ("a", "second", "nothing")]
        assert (run.folder / "figures" / "a.png").read_bytes() == first

    def test_notes_are_plain_json(self, project):
        run = Run("papermill_runs/one")
        run.note("style", {"size": np.float32(40), "losses": np.array([1.5, 2.5])})
        assert run.notes == {"style": {"size": 40.0, "losses": [1.5, 2.5]}}
        assert "[1.5, 2.5]" in (run.folder / "notes" / "style.json").read_text()
        with pytest.raises(ValueError):
            run.note("loss", float("nan"))
        with pytest.raises(TypeError, match="cannot store set"):
            run.note("loss", {1})
        assert list(run.notes) == ["style"]


def test_every_notebook_of_a_run_is_known_by_its_parameters(workbook):
    known = runs.known_parameters(runs.find_notebooks())
    assert set(known) == {line.split(":")[0] for line in PARAMETERS.splitlines()} - {"run_dir"}
