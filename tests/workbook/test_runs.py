"""Runs of throw-away workbooks with real kernels, and the run folder."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import nbformat
import numpy as np
import pytest
from PIL import Image
from projects import PARAMETERS, write_notebook
from score_rows import make_row

from numpro.provenance import provenance
from numpro.workbook import runs
from numpro.workbook.kernels import side_by_side
from numpro.workbook.notebooks import NotebookError, read_needs
from numpro.workbook.runs import DEFAULT_RUN, REFERENCE_RUNS, Run, find_notebooks, run_workbook

ROOT = Path(__file__).resolve().parents[2]

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
    assert folder == workbook / "papermill_runs" / "workbook"
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
    assert injected == ['# Parameters\nrun_dir = "papermill_runs/workbook"\n']
    assert source_of(folder, "A1_appendix", "injected-parameters") == []
    page = (folder / "report.html").read_text()
    assert "A square." in page and 'href="A1_appendix.ipynb"' in page
    progress = capsys.readouterr()
    assert "[2/3] 02_second: cell 5/5" in progress.err and progress.out == ""

    text = (folder / "01_first.ipynb").read_text()
    assert str(workbook) not in text and '"papermill"' not in text
    assert "notebooks/x papermill_runs/workbook 1.0" in text
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

    # a notebook that changed runs again, with all that follow it; its old pictures are gone
    for name in ("01_stays", "02_goes"):
        Run(folder).save_figure(Image.new("RGB", (2, 2)), name)
    write_notebook(workbook / "notebooks" / "02_second.ipynb", COUNT.format("02"))
    run_workbook(name=folder.name, resume=True)
    assert [count(workbook, name) for name in ("01", "02", "A1")] == [1, 3, 2]
    assert [figure["name"] for figure in Run(folder).figures()] == ["01_stays", "square"]


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
    assert str(error.value).startswith("01_stops: code cell") and says in str(error.value)
    assert "papermill_runs/workbook/01_stops.ipynb" in str(error.value)


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
    (runs_dir / "workbook").mkdir()
    (runs_dir / "workbook" / "thesis.txt").touch()
    refused("mine is there already", name="mine")
    refused("workbook is there already")
    refused("jobs must be at least 1; got 0", jobs=0)
    refused("a name must be letters", name="../mine")
    refused("nothing to resume: no run other", name="other", resume=True)
    refused("nothing to resume: no run workbook-", parameters={"fps": 2.0}, resume=True)
    assert (runs_dir / "workbook" / "thesis.txt").exists()


def test_a_run_that_is_not_there_is_answered_with_those_that_are(workbook):
    with pytest.raises(FileNotFoundError, match="no run papermill_runs/x; there are: none"):
        Run("papermill_runs/x").results()
    run_workbook(name="mine", only=["01"])
    with pytest.raises(FileNotFoundError, match="no run nothing; .* papermill_runs/mine$"):
        Run("nothing").results()


def test_one_name_has_one_type(project):
    books = project / "notebooks"
    write_notebook(books / "01_a.ipynb", parameters="limit: int = 1")
    write_notebook(books / "02_b.ipynb", parameters="limit: float = 1.0")
    with pytest.raises(ValueError, match="02_b declares limit as float, an earlier .* int"):
        run_workbook()


def test_no_notebooks_are_named(project):
    with pytest.raises(FileNotFoundError, match="no notebooks in .*notebooks"):
        run_workbook()


def test_only_a_maintainer_rewrites_the_runs_that_git_keeps(project):
    write_notebook(project / "notebooks" / "01_a.ipynb", parameters="seed: int = 7")
    recipe = project / "flipbook_full.yaml"
    recipe.write_text("seed: 1\n")
    for name, arguments in (("flipbook", {}), ("flipbook_full", {"recipe": recipe})):
        folder = run_workbook(reference=True, **arguments)
        assert folder == project / "papermill_runs" / name
        (folder / "left_over.txt").touch()
        assert run_workbook(**arguments).name not in REFERENCE_RUNS
        assert (folder / "left_over.txt").exists()
        run_workbook(reference=True, **arguments)
        assert not (folder / "left_over.txt").exists()
    assert Run("papermill_runs/flipbook_full").results()["seed"] == 1
    other = project / "slow.yaml"
    other.write_text("seed: 1\n")
    for arguments in (
        {"name": "a"},
        {"parameters": {"seed": 2}},
        {"only": ["01"]},
        {"recipe": other},
    ):
        with pytest.raises(ValueError, match="a reference run takes no options but the recipe"):
            run_workbook(reference=True, **arguments)


def test_git_ignores_every_run_but_those_two():
    names = [*REFERENCE_RUNS, DEFAULT_RUN, "interactive", "flipbook_full-20260101-000000"]
    files = [f"papermill_runs/{name}/results.json" for name in names]
    command = ["git", "-C", str(ROOT), "check-ignore", "--no-index", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode > 1:
        pytest.skip("no git repository")
    assert done.stdout.split() == files[2:]


# --- side by side ------------------------------------------------------------------------------

WAIT = """
from pathlib import Path
from time import monotonic, sleep
Path('../{}.here').touch()
end = monotonic() + {}
while monotonic() < end and not Path('../{}.here').exists():
    sleep(0.05)
assert Path('../{}.here').exists(), 'alone'
"""


def meeting(books, name, other, *cells, seconds=60, needs=()):
    """Write a notebook that finishes only when `other` is running at the same time."""
    cell = WAIT.format(name, seconds, other, other)
    return write_notebook(books / f"{name}.ipynb", cell, *cells, needs=dict.fromkeys(needs, {}))


def stamp(name):
    """Return the cell that writes down when a notebook runs."""
    return f"with open('../order', 'a') as file:\n    _ = file.write('{name} ')"


def test_notebooks_that_need_nothing_of_each_other_run_side_by_side(project, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS")
    before, moves, move = Path.cwd(), [], os.chdir
    monkeypatch.setattr(os, "chdir", lambda path: moves.append(Path(path)) or move(path))
    books = project / "notebooks"
    threads = "import os\nprint('threads', os.environ.get('OMP_NUM_THREADS'), os.getcwd())"
    meeting(books, "01_a", "02_b", threads)
    meeting(books, "02_b", "01_a", threads)
    folder = run_workbook(jobs=2)
    # papermill moves the whole process: another folder would be the other notebook's, too
    assert set(moves[:-1]) == {books} and moves[-1] == Path.cwd() == before
    assert "OMP_NUM_THREADS" not in os.environ
    share = max(1, runs.provenance()["machine"]["cores"] // 2)
    for name in ("01_a", "02_b"):
        assert f"threads {share} notebooks" in (folder / f"{name}.ipynb").read_text()
    results = Run(folder).results()
    longest = max(book["seconds"] for book in results["notebooks"])
    assert longest <= results["seconds"] + 0.1 < sum(b["seconds"] for b in results["notebooks"])
    lines = capsys.readouterr().err.splitlines()
    assert all(re.fullmatch(r"\[[12]/2\] 0[12]_[ab]: cell \d/4, \d\d:\d\d", line) for line in lines)
    assert {line.split(",")[0] for line in lines} >= {
        "[1/2] 01_a: cell 0/4",
        "[2/2] 02_b: cell 4/4",
    }

    for file in project.glob("*.here"):
        file.unlink()
    meeting(books, "01_a", "02_b", seconds=0.2)
    with pytest.raises(NotebookError, match=r"01_a: code cell 3 .* alone"):
        run_workbook(jobs=1)


def test_one_at_a_time_keeps_the_order_and_two_take_the_most_needed_first(project):
    books = project / "notebooks"
    needs = {"00_x": [], "01_y": [], "02_first": [], "03_then": ["02"], "04_last": ["02", "03"]}
    for name, needed in needs.items():
        write_notebook(books / f"{name}.ipynb", stamp(name), needs=dict.fromkeys(needed, {}))
    folder = run_workbook(jobs=1)
    assert (project / "order").read_text().split() == list(needs)
    (project / "order").unlink()
    run_workbook(jobs=2)
    order = (project / "order").read_text().split()
    chain = [name for name in order if name >= "02"]
    assert chain == list(needs)[2:] and "02_first" in order[:2]
    assert [book["name"] for book in Run(folder).results()["notebooks"]] == list(needs)


def test_the_longest_chain_begins_first():
    order = []
    needs = {"a": set(), "b": set(), "c": {"a"}, "d": set(), "e": set()}

    def task(name):
        order.append(name)
        sleep(0.1)

    tasks = {name: partial(task, name) for name in reversed(needs)}
    seconds = {"a": 2.0, "b": 9.0, "c": 4.0, "d": 5.0}  # e counts as one second
    assert all(error is None for *_, error in side_by_side(tasks, needs, 2, 2, seconds))
    assert set(order[:2]) == {"a", "b"} and set(order[2:4]) == {"c", "d"} and order[4] == "e"


def test_what_needs_nothing_of_a_failed_notebook_still_runs(project, capsys):
    books = project / "notebooks"
    write_notebook(books / "01_bad.ipynb", "1 / 0", "print('never')", needs={})
    write_notebook(books / "02_needs_it.ipynb", stamp("02"), needs={"01": {}})
    write_notebook(books / "03_good.ipynb", stamp("03"), needs={})
    write_notebook(books / "04_waits_for_all.ipynb", stamp("04"))
    with pytest.raises(NotebookError) as error:
        run_workbook(jobs=2)
    first, second, third = str(error.value).split("; 0")
    assert first.startswith("01_bad: code cell 3 (1 / 0): ZeroDivisionError: division by zero; see")
    assert second == "2_needs_it: not run, since it needs 01_bad"
    assert third == "4_waits_for_all: not run, since it needs 01_bad, 02_needs_it"
    assert "01_bad: code cell 3 (1 / 0): ZeroDivisionError" in capsys.readouterr().err
    assert (project / "order").read_text() == "03 "
    folder = project / "papermill_runs" / "workbook"
    states = {book["name"]: book["status"] for book in Run(folder).results()["notebooks"]}
    assert [name for name, state in states.items() if state == "complete"] == ["03_good"]
    assert Run(folder).results()["status"] == "unfinished" and len(states) == 4

    write_notebook(books / "01_bad.ipynb", stamp("01"), needs={})
    run_workbook(resume=True, jobs=2)
    assert (project / "order").read_text() == "03 01 02 04 "
    assert Run(folder).results()["status"] == "complete"
    # what needs a notebook that runs again does so, too, and nothing else
    write_notebook(books / "01_bad.ipynb", stamp("again"), needs={})
    run_workbook(resume=True, jobs=2, only=["01", "02", "03"])
    assert (project / "order").read_text() == "03 01 02 04 again 02 "


@pytest.mark.parametrize(
    ("accelerators", "arguments", "jobs"),
    [
        pytest.param([], {}, 2, id="the cores"),
        pytest.param(["A GPU"], {}, 1, id="one accelerator is shared by one notebook at a time"),
        pytest.param(["A GPU"], {"jobs": 2}, 2, id="if nothing else is asked for"),
        pytest.param([], {"jobs": 8}, 3, id="no more than there are notebooks"),
        pytest.param([], {"only": ["01"]}, 1, id="nor than there are to run"),
    ],
)
def test_how_many_run_at_the_same_time(workbook, monkeypatch, accelerators, arguments, jobs):
    machine = {"processor": "one", "cores": 2, "accelerators": accelerators}
    monkeypatch.setattr(runs, "provenance", lambda: provenance() | {"machine": machine})
    found = []

    def side_by_side(tasks, needs, jobs, cores, seconds):
        found.append((jobs, cores, Path.cwd()))
        yield from ()

    monkeypatch.setattr("numpro.workbook.kernels.side_by_side", side_by_side)
    run_workbook(**arguments)
    assert found == [(jobs, 2, workbook / "notebooks")]


def test_what_a_notebook_needs_comes_before_it(project):
    books = project / "notebooks"
    write_notebook(books / "01_a.ipynb", needs={"02": {}})
    write_notebook(books / "02_b.ipynb")
    with pytest.raises(ValueError, match="01_a needs '02', which is no notebook before it"):
        run_workbook()
    assert list((project / "papermill_runs").iterdir()) == []


def test_the_notebooks_say_what_they_need():
    needs = read_needs(find_notebooks(ROOT / "notebooks"))
    waiting = {name[:2]: {needed[:2] for needed in names} for name, names in needs.items() if names}
    assert waiting == {"05": {"04"}, "06": {"04"}, "07": {"04"}}
    needs = read_needs(find_notebooks(ROOT / "notebooks"), {"adapters": "run"})
    waiting = {name[:2]: {needed[:2] for needed in names} for name, names in needs.items() if names}
    last = {number: {"03", "04"} for number in ("05", "06", "07")}
    assert waiting == {"04": {"03"}} | last


def test_a_need_may_hang_on_a_parameter(project):
    books = project / "notebooks"
    declared = 'adapters: str = "kept"  # which\n' + PARAMETERS
    write_notebook(books / "01_bad.ipynb", "1 / 0", needs={})
    needs = {"01": {"adapters": "run"}}
    write_notebook(books / "02_b.ipynb", stamp("02"), parameters=declared, needs=needs)
    with pytest.raises(NotebookError, match="02_b: not run, since it needs 01_bad"):
        run_workbook(parameters={"adapters": "run"})
    assert not (project / "order").exists()
    with pytest.raises(NotebookError, match="01_bad: code cell"):
        run_workbook()
    assert (project / "order").read_text() == "02 "
    write_notebook(books / "02_b.ipynb", needs=needs)
    message = "02_b needs '01': its metadata names 'adapters', which is no parameter of it"
    with pytest.raises(ValueError, match=message):
        run_workbook()


def test_an_interrupt_ends_all_kernels(project):
    books = project / "notebooks"
    cell = "import os, time\nopen(f'../{os.getpid()}.pid', 'w').close()\ntime.sleep(600)"
    for name in ("01_a", "02_b"):
        write_notebook(books / f"{name}.ipynb", cell, needs={})
    command = [sys.executable, "-m", "numpro", "run", "--jobs", "2"]
    # a shell that runs the tests in the background has them ignore interrupts
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=-1, text=True, preexec_fn=heeds) as process:
        try:
            end = monotonic() + 60
            while len(files := list(project.glob("*.pid"))) < 2 and monotonic() < end:
                sleep(0.1)
            assert len(files) == 2
            process.send_signal(signal.SIGINT)
            _, messages = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode != 0 and messages.endswith("Aborted!\n")
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.stem), 0)
    results = Run("papermill_runs/workbook").results()
    assert (
        {book["status"] for book in results["notebooks"]} == {results["status"]} == {"unfinished"}
    )


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

    def test_figures_come_by_notebook_whichever_was_first(self, project):
        run = Run("papermill_runs/one")
        for name in ("A1_x", "05_z", "mine", "05_a", "00_x", "A1_a", "10_x"):
            run.save_figure(Image.new("RGB", (2, 2)), name)
        names = ["00_x", "05_z", "05_a", "10_x", "A1_x", "A1_a", "mine"]
        assert [figure["name"] for figure in run.figures()] == names
        assert [figure["order"] for figure in run.figures()] == [0, 0, 1, 0, 0, 1, 0]

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
        run.note("word", "plain")
        assert run.notes["word"] == "plain", "a text is JSON, too"


def test_every_notebook_of_a_run_is_known_by_its_parameters(workbook):
    known = runs.known_parameters(runs.find_notebooks())
    assert set(known) == {line.split(":")[0] for line in PARAMETERS.splitlines()} - {"run_dir"}
