"""What the first cell of a notebook does: its parameters are checked, its run is opened."""

import ast
import hashlib
import re
import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

from filelock import FileLock, Timeout

from numpro.parameters import Parameter, check_parameters, read_parameters
from numpro.workbook.runs import Run, find_notebooks, known_parameters

_INJECTED = "# Parameters\n"  # how papermill begins the cell that it puts below the parameters
_LOCKS: dict[str, FileLock] = {}  # until the kernel ends


def open_run(names: dict) -> Run:
    """Check the parameters of the notebook that calls this, and open the run they name.

    `numpro run` has checked them before; papermill alone takes any name and guesses types.

    Parameters
    ----------
    names : dict
        ``globals()`` of the notebook. A parameter that came as text, such as ``"[2, 1]"`` by
        ``papermill -p``, becomes what the parameters cell declares.

    Raises
    ------
    ValueError
        For a parameter that no notebook declares, or a value of another type.

    Warns
    -----
    UserWarning
        When another kernel has the same notebook and run open.
    """
    cells = names.get("In", [])
    declared = [cell for cell in cells if re.search(r"^run_dir: str = ", cell, re.MULTILINE)]
    if declared:  # not where the notebook was made a script
        cell = {"metadata": {"tags": ["parameters"]}, "source": declared[-1]}
        known = read_parameters({"cells": [cell]})
        given = [cell for cell in cells if cell.startswith(_INJECTED)][-1:]
        lines = [line for cell in given for line in ast.parse(cell).body]
        values = {line.targets[0].id: names[line.targets[0].id] for line in lines}
        # a recipe may name what only other notebooks have; all are read only where that is so
        some = {} if values.keys() <= known.keys() else known_parameters(find_notebooks())
        every = some | known
        values = {name: _typed(every.get(name), value) for name, value in values.items()}
        check_parameters(values, every)
        names.update(values)
    run = Run(names["run_dir"])
    if declared:  # else it is not known which notebook this is
        _lock(run, hashlib.sha256(" ".join(sorted(known)).encode()).hexdigest()[:8])
    return run


def _typed(parameter: Parameter | None, value: object) -> object:
    """Return the value that a text from a command line stands for; another one as it is."""
    if parameter and isinstance(value, str) and not parameter.accepts(value):
        return parameter.parse(value)
    return float(value) if parameter and parameter.type == "float" and type(value) is int else value


def _lock(run: Run, notebook: str) -> None:
    """Warn when another kernel runs the same notebook into the same folder."""
    path = str(run.path(f".{notebook}.lock"))
    lock = _LOCKS.setdefault(path, FileLock(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        clash = f"another kernel has this notebook open and writes into {run.folder}, too"
        way = "give run_dir another folder in one of them, or shut one down"
        warnings.warn(f"{clash}: each replaces what the other wrote; {way}", stacklevel=3)


def load_benchmark(name: str) -> SimpleNamespace:
    """Return what a script of the folder ``benchmarks``, beside the package, defines."""
    return load_script(f"benchmarks/{name}.py")


def load_script(name: str) -> SimpleNamespace:
    """Return what a script of the project, beside the package, defines."""
    return SimpleNamespace(**run_path(str(Path(__file__).parents[2] / name)))
