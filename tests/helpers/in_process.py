"""`numpro run`, but that notebooks run in this process: all else is as on the command line."""

import json
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner
from walking import ROOT, walk

from numpro.cli import main


def link_project(folder: Path) -> None:
    """Give an empty project the notebooks, recipes, stored runs and models of this one."""
    for name in ("notebooks", "data", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("recipes", "flipbook", "flipbook_full"):
        (folder / "papermill_runs" / name).symlink_to(ROOT / "papermill_runs" / name)


def run_recipe(project: Path, recipe: Path, only: list[str], changed: dict) -> dict:
    """Run a recipe's notebooks with some parameters changed; return its ``results.json``."""

    def execute(path: Path, output: Path, values: dict, title: str) -> None:
        walk(path.stem[:2], values)
        output.write_bytes(path.read_bytes())

    link_project(project)
    words = ["run", str(recipe), "--run", "test", "--json", "--jobs", "1"]
    words += [word for number in only for word in ("--only", number)]
    for name, value in changed.items():
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
    with patch("numpro.workbook.runs.execute", execute):
        done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
