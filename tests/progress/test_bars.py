"""A bar in each place where a loop may run."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from projects import write_notebook

from numpro.progress import in_live_notebook, progress_bar

LOOP = """\
import time
from numpro.progress import bars, progress_bar
bars._SECONDS = 0.1
for _ in progress_bar(range(6), "asking", unit="query"):
    time.sleep(0.1)
"""


@pytest.fixture
def book(tmp_path):
    return write_notebook(tmp_path / "a.ipynb", LOOP)


def execute(book, **environment):
    """Run the notebook by papermill; return its log and the outputs of the loop."""
    command = [sys.executable, "-m", "papermill", str(book), str(book.with_name("copy.ipynb"))]
    command += ["--no-progress-bar", "-k", "python3"]
    kept = os.environ.items()  # without pytest's own name a kernel watches its standard error
    env = {name: value for name, value in kept if not name.startswith(("TQDM", "PYTEST"))}
    env = env | environment
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    copy = nbformat.read(book.with_name("copy.ipynb"), as_version=4)
    return done.stderr, copy.cells[-1].outputs


@pytest.mark.slow
def test_lines_in_the_log_of_papermill_and_nothing_in_the_notebook(book):
    log, outputs = execute(book)
    assert outputs == []
    states = re.findall(r"asking: +\d+%\|.*\| (\d)/6 \[.*query", log)
    assert 2 <= len(states) < 8 and states == sorted(states) and states[-1] == "6"


@pytest.mark.slow
def test_widgets_in_a_notebook_that_is_open(book):
    log, outputs = execute(book, JPY_SESSION_NAME="a.ipynb")
    (bar,) = outputs
    assert "application/vnd.jupyter.widget-view+json" in bar.data and "asking" not in log


def test_on_a_terminal_only_or_where_it_was_chosen(capsys):
    assert not in_live_notebook()
    assert list(progress_bar([1, 2], "quiet")) == [1, 2]
    assert capsys.readouterr().err == ""
    with progress_bar(title="loud", total=4, unit="film", progress=True, initial=1) as bar:
        bar.update(3)
    assert re.search(r"loud: 100%.*4/4 .*film", capsys.readouterr().err)
    assert json.dumps(list(progress_bar(iter([3]), progress=False))) == "[3]"


@pytest.mark.slow
def test_a_kernel_that_does_not_watch_standard_error(book):
    log, outputs = execute(book, PYTEST_CURRENT_TEST="x")
    assert outputs == [] and "6/6" in log


@pytest.mark.slow
def test_nothing_in_the_comparison_of_nbval(book):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--nbval", "--nbval-current-env", "--rootdir", str(book.parent), str(book)]
    done = subprocess.run(command, cwd=book.parent, capture_output=True, text=True)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
