"""pyproject, constraints, environment.yml, Makefile, changelog: they must say the same."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import numpro

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
DECLARED = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
]
PINS = {
    canonicalize_name(pin.name): pin
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for pin in [Requirement(line)]
}


@pytest.mark.parametrize("declared", DECLARED, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_bound(declared):
    pin = PINS[canonicalize_name(declared.name)]
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert declared.specifier.contains(exact.version)


def test_every_pin_is_exact_and_public():
    for pin in PINS.values():
        assert re.fullmatch(r"==\d+(\.\d+)*", str(pin.specifier)), pin


def test_the_conda_environment_agrees_with_pyproject():
    packages = [p for p in ENVIRONMENT["dependencies"] if isinstance(p, str)]
    python = next(p for p in packages if p.startswith("python "))
    bounds = SpecifierSet(python.removeprefix("python "))
    assert set(SpecifierSet(PROJECT["requires-python"])) <= set(bounds)
    assert "pip" in packages
    (pip,) = [p["pip"] for p in ENVIRONMENT["dependencies"] if isinstance(p, dict)]
    editable = next(line for line in pip if line.startswith("-e "))
    extras = set(Requirement(editable.replace("-e .", PROJECT["name"])).extras)
    assert extras and extras <= set(PROJECT["optional-dependencies"])
    assert "-c constraints.txt" in pip
    assert ENVIRONMENT["channels"][0] == "conda-forge"


def test_the_makefile_agrees_with_pyproject():
    makefile = (ROOT / "Makefile").read_text()
    minimum = re.search(r"^MINIMUM := (.+)$", makefile, re.MULTILINE)[1]
    assert PROJECT["requires-python"] == f">={minimum}"
    extra = re.search(r"-e '\.\[(\w+)\]'", makefile)[1]
    assert extra in PROJECT["optional-dependencies"]
    for target in ("workbook", "test", "lab", "lint"):
        assert re.search(rf"^{target}: .*##", makefile, re.MULTILINE), target


def test_make_refuses_an_old_python_in_one_line(tmp_path):
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\n[ $1 = --version ] && echo Python 3.9.1\nexit 1\n")
    old.chmod(0o755)
    command = ["make", "-C", str(ROOT), "lint", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and not (tmp_path / "venv").exists()
    assert "numpro needs Python 3.11 or newer; found: Python 3.9.1." in done.stderr


def test_the_version_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[?{re.escape(numpro.__version__)}\b", changelog, re.MULTILINE)


def test_the_licence_is_whole_and_named():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"
    for file in PROJECT["license-files"]:
        assert (ROOT / file).is_file(), file


def test_files_beside_the_code_are_packaged():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = shipped["tool"]["setuptools"]["package-data"]["numpro"]
    package = ROOT / "numpro"
    covered = {path for pattern in patterns for path in package.glob(pattern)}
    others = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert others and others <= covered


def test_ci_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text() and "make test" in script.read_text()
