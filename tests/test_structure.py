"""The house stays small and plain: rooms with front doors, bounds on size, standard names."""

import ast
import importlib
import re
import sys
import tomllib
import warnings
from pathlib import Path

import nbformat
import pytest
from code_lines import code_lines, source_names

import numpro

PACKAGE = Path(numpro.__file__).parent
ROOT = PACKAGE.parent
ROOMS = sorted(path.parent for path in PACKAGE.rglob("*/__init__.py"))
MOST_LINES = {"numpro": 11_395, "numpro/flipbook": 1700}
MOST_FLAT_FILES = 6
# Each stood for several things: options, prompts, responses, what is visible, a constraint ...
BANNED = {"told", "asked", "said", "seen", "held", "own", "leave", "look_on", "take_finished"}


def lines_of(paths):
    return sum(code_lines(path.read_text(encoding="utf-8")) for path in paths)


def test_the_package_stays_small():
    world = set(PACKAGE.glob("flipbook/**/*.py"))
    assert lines_of(set(PACKAGE.rglob("*.py")) - world) <= MOST_LINES["numpro"]
    assert lines_of(world) <= MOST_LINES["numpro/flipbook"]


def test_few_files_lie_outside_the_rooms():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_FLAT_FILES
    assert not list((ROOT / "tests").glob("test_*_room.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_a_room_says_what_it_does_and_opens_its_front_door(room):
    name = ".".join(room.relative_to(ROOT).parts)
    module = importlib.import_module(name)
    about = module.__doc__
    assert "In comes " in about or "In come " in about, "what comes in"
    assert "Out comes " in about or "Out come " in about, "what goes out"
    assert isinstance(module.__all__, list)
    for public in module.__all__:
        assert getattr(module, public) is not None


def test_the_contract_of_layers_knows_every_room_and_ignores_no_import():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = " ".join(contracts[0]["layers"])
    for path in [*PACKAGE.glob("*/__init__.py"), *PACKAGE.glob("flipbook/*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if name != "numpro.flipbook":  # its files are named singly
            assert re.search(rf"\b{re.escape(name)}\b", layers), name
    assert all("ignore_imports" not in contract for contract in contracts)
    assert "$(BIN)/lint-imports" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_tests_mirror_the_rooms():
    rooms = {room.relative_to(PACKAGE) for room in ROOMS}
    folders = {
        path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/*/**/test_*.py")
    }
    assert folders <= rooms and rooms - folders == set()


@pytest.mark.parametrize("place", ["numpro", "notebooks", "tests", "benchmarks", "docs"])
def test_names_are_standard_words(place):
    found = []
    for path in sorted((ROOT / place).rglob("*.py")):
        names = source_names(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(ROOT)}:{line} {name}" for line, name in names]
    for path in sorted((ROOT / place).glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "code":
                names = source_names(cell.source)
                found += [f"{path.name} cell {number} {name}" for _, name in names]
    assert [name for name in found if name.rpartition(" ")[2] in BANNED] == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_come_in_by_the_front_doors(path):
    doors = {"numpro", "numpro.spans", "numpro.paths"}
    doors |= {".".join(room.relative_to(ROOT).parts) for room in ROOMS}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("numpro"):
                    assert node.module in doors, cell.source


def test_old_names_of_moved_modules_still_work():
    for old, new in sorted(numpro._moved_modules().items()):
        sys.modules.pop(old, None)
        with pytest.warns(DeprecationWarning, match=rf"{old} has moved to {new}"):
            module = importlib.import_module(old)
        assert module is importlib.import_module(new) and module.__spec__.name == new
    with pytest.warns(DeprecationWarning, match="numpro.prompts has moved"):
        sys.modules.pop("numpro.prompts", None)
        delattr(numpro, "prompts")
        from numpro import prompts
    assert prompts.build_prompt is numpro.prompting.build_prompt
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModuleNotFoundError, match="numpro.nothing"):
            importlib.import_module("numpro.nothing")
