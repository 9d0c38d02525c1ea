"""The first cell of a notebook: papermill alone gives what `numpro run` gives."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from projects import write_notebook

from numpro.workbook import run_workbook
from numpro.workbook.runs import Run

PARAMETERS = """\
fps: float = 1.0  # frames a second
n_videos: list[int] = [3, 1]  # of each part
video: str = ""  # which one
adapter: str | None = None  # a fine-tuned one
run_dir: str = "papermill_runs/interactive"  # where results go
"""
OPEN = "from numpro.workbook import open_run\n\nrun = open_run(globals())"
NOTE = "_ = run.note('values', [fps, n_videos, video, adapter])\nprint(type(fps).__name__)"


@pytest.fixture
def book(project):
    return write_notebook(project / "notebooks" / "01_a.ipynb", OPEN, NOTE, parameters=PARAMETERS)


def papermill(book, folder, *options):
    """Run the command ``papermill`` in a folder; return its status, its output and the copy."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "papermill", str(book), "copy.ipynb", "-k", "python3"]
    command += ["--no-progress-bar", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ)
    return done.returncode, done.stderr, nbformat.read(folder / "copy.ipynb", as_version=4)


def outputs(copy):
    """Return what the last cell printed."""
    return [output["text"] for output in copy.cells[-1].outputs]


@pytest.mark.slow
def test_papermill_alone_gives_the_same_as_numpro_run(book, project, tmp_path):
    values = {"fps": 2, "n_videos": [0, 2], "video": "7", "adapter": "None"}
    expected = run_workbook(
        parameters=values | {"fps": 2.0, "adapter": None}, name="r", only=["01"]
    )
    recipe = {"n_videos": [0, 2], "adapter": None, "of_another": 3}
    (tmp_path / "p.yaml").write_text(json.dumps(recipe))
    other = PARAMETERS + "of_another: int = 1  # of this notebook alone\n"
    write_notebook(project / "notebooks" / "02_b.ipynb", OPEN, parameters=other)
    ways = {
        "p": ("-p", "n_videos", "[0, 2]", "-p", "fps", "2", "-r", "video", "7"),
        "y": ("-y", json.dumps({"n_videos": [0, 2], "fps": 2, "video": "7"})),
        "f": ("-f", str(tmp_path / "p.yaml"), "-p", "fps", "2", "-r", "video", "7"),
    }
    for way, options in ways.items():
        elsewhere = tmp_path / f"from {way}"
        status, log, copy = papermill(book, elsewhere, *options, "-p", "run_dir", f"runs/{way}")
        assert status == 0, log
        assert Run(f"runs/{way}").notes == Run(expected).notes == {"values": [2, [0, 2], "7", None]}
        assert outputs(copy) == ["float\n"]
        assert os.listdir(elsewhere) == ["copy.ipynb"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("-p", "fsp", "2"), "unknown parameter fsp; did you mean fps?", id="name"),
        pytest.param(("-p", "fps", "fast"), "fps must be float; got 'fast'", id="type"),
        pytest.param(("-p", "n_videos", "3"), "n_videos must be list[int]; got 3", id="no list"),
        pytest.param(("-p", "video", "7"), "video must be str; got 7", id="text as a number"),
    ],
)
def test_a_wrong_parameter_stops_in_the_first_cell(book, tmp_path, options, says):
    status, log, copy = papermill(book, tmp_path / "x", *options)
    assert (
        status != 0
        and f"ValueError: parameter {says}".replace("parameter unknown", "unknown") in log
    )
    assert [bool(cell.outputs) for cell in copy.cells[-2:]] == [True, False]


@pytest.mark.slow
def test_help_of_a_notebook_lists_its_parameters(book):
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(book)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "fps: float (default 1.0)" in shown and "frames a second" in shown


def test_a_value_edited_by_hand_is_checked_and_a_script_is_not(project):
    from numpro.workbook import open_run

    names = {"In": ["", PARAMETERS.replace("1.0", "'fast'"), OPEN], "run_dir": "runs/x"}
    with pytest.raises(ValueError, match="does not have the declared type.*fps"):
        open_run(names)
    assert open_run({"run_dir": "runs/script"}).folder == project / "runs" / "script"


def test_two_kernels_with_one_notebook_and_one_run_are_noticed(project, recwarn):
    from numpro.workbook import open_run

    names = {"In": ["", PARAMETERS], "run_dir": "runs/both"}
    unknown = {"run_dir": "runs/unknown"}  # a kernel without history, as nbval's: any notebook
    script = f"from numpro.workbook import open_run\nopen_run({names!r})\nopen_run({unknown})\n"
    script += "print('open', flush=True)\ninput()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=os.environ) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.warns(UserWarning, match="another kernel has this notebook open.*runs/both"):
            open_run(names)
        open_run(names | {"run_dir": "runs/mine"})
        open_run(unknown)
        open_run({"In": ["", PARAMETERS + "seed: int = 0\n"], "run_dir": "runs/both"})
        other.communicate("\n")
    open_run(names)
    open_run(names)  # the cell again
    assert not [w for w in recwarn if "another kernel" in str(w.message)]
