"""One notebook: what it needs, and its execution with papermill into a copy fit to be committed."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import gettempdir

from numpro.parameters import read_parameters
from numpro.paths import relative, root
from numpro.progress import Lines


class NotebookError(RuntimeError):
    """A notebook did not finish; the message names the cell."""


def load(path: Path) -> dict:
    """Return the notebook at `path`, as `nbformat` gives it."""
    import nbformat

    return nbformat.read(path, as_version=4)


def read_needs(
    books: Sequence[Path], values: Mapping[str, object] | None = None
) -> dict[str, set[str]]:
    """Return for each notebook the names of those that must finish before it starts.

    A notebook names them in its metadata by how they begin, each with the parameters that make
    it needed: ``"numpro": {"needs": {"03": {"adapters": "run"}, "04": {}}}`` needs 04 always, and
    03 where its parameter ``adapters`` is ``run``. One that names nothing needs all before it.

    Parameters
    ----------
    books : sequence of Path
        The notebooks, in order.
    values : Mapping, optional
        Parameters of the run; a notebook's defaults hold for those that are not in it.

    Raises
    ------
    ValueError
        When there is no such notebook before it, or it has no such parameter.
    """
    needs: dict[str, set[str]] = {}
    for path in books:
        notebook = load(path)
        declared = read_parameters(notebook, path.stem)
        effective = {name: parameter.default for name, parameter in declared.items()}
        effective |= values or {}
        needed: set[str] = set()
        stated = notebook.metadata.get("numpro", {}).get("needs", dict.fromkeys(needs, {}))
        for start, condition in stated.items():
            names = {name for name in needs if name.startswith(start)}
            if not names:
                raise ValueError(f"{path.stem} needs {start!r}, which is no notebook before it")
            if unknown := condition.keys() - declared.keys():
                reason = f"its metadata names {min(unknown)!r}, which is no parameter of it"
                raise ValueError(f"{path.stem} needs {start!r}: {reason}")
            if all(effective[name] == value for name, value in condition.items()):
                needed |= names
        needs[path.stem] = needed
    return needs


def check_needs(books: Mapping[Path, Mapping]) -> None:
    """Run the cells tagged ``check`` of notebooks, here: they look at data and models only.

    So a gap shows before hours of a model's work. What they print goes to stderr.

    Parameters
    ----------
    books
        Notebooks with their parameters, defaults too.

    Raises
    ------
    ValueError
        With what each notebook misses, and where to get it.
    """
    faults: dict[str, str] = {}
    for path, values in books.items():
        cells = (cell for cell in load(path).cells if "check" in cell.metadata.get("tags", []))
        try:
            with redirect_stdout(sys.stderr):
                exec("\n".join(cell.source for cell in cells), dict(values))
        except (ValueError, OSError, ImportError) as error:
            faults.setdefault(str(error), path.stem)
    if faults:
        raise ValueError("; ".join(f"{name}: {fault}" for fault, name in faults.items()))


def execute(path: Path, output: Path, values: Mapping[str, object], title: str) -> None:
    """Execute the notebook `path` with `values` as parameters into `output`.

    The kernel works in the notebook's folder, as in Jupyter. The copy carries no times, no
    machine paths and stable cell ids.

    Parameters
    ----------
    path, output : Path
        The notebook and its executed copy.
    values : Mapping
        Parameters to inject.
    title : str
        Beginning of the progress line on stderr.

    Raises
    ------
    NotebookError
        When a cell fails or does not run (``sys.exit()`` in a cell ends a kernel with success;
        it is a failure here), or the kernel dies.
    """
    from tqdm import tqdm

    source = load(path)
    cells = sum(cell.cell_type == "code" for cell in source.cells) + bool(values)
    shown = {} if sys.stderr.isatty() else {"file": Lines(), "mininterval": 15, "position": 0}
    form = "{desc}: cell {n_fmt}/{total_fmt}, {elapsed}"
    with tqdm(total=cells, desc=title, bar_format=form, **shown) as bar:
        failure = _papermill(load(path), path.parent, output, values, bar.update)
    executed = load(output)
    where = _unfinished(executed)
    output.write_text(_normalise(executed, source), encoding="utf-8")
    if failure or where:
        reason = failure or "the cell did not finish"
        raise NotebookError(f"{where or 'a cell'}: {reason}; see {relative(output)}")


def _papermill(notebook, folder: Path, output: Path, values: Mapping, tick) -> str | None:
    """Let papermill execute; return what went wrong, if papermill noticed."""
    # threads that spin while they wait cost ten times the seconds on cores others work on too
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import papermill
    from papermill.exceptions import PapermillExecutionError

    options = {"kernel_name": "python3", "language": "python", "cwd": folder, "progress_bar": False}
    # otherwise each kernel warns about its own transport and about being stopped
    options |= {"on_cell_executed": lambda **_: tick(), "extra_arguments": ["--log-level=CRITICAL"]}
    options |= {"kernel_manager_class": "numpro.workbook.kernels.Kernel"}
    try:
        papermill.execute_notebook(notebook, str(output), dict(values), **options)
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}".strip()
    except RuntimeError as error:
        return f"the kernel died or did not start (out of memory?): {error}"
    return None


def _unfinished(notebook) -> str | None:
    """Name the first code cell that has an error or was not run."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed or (cell.execution_count is None and cell.source.strip()):
            return f"code cell {number} ({cell.source.strip().splitlines()[0][:60]})"
    return None


def _normalise(executed, source) -> str:
    """Return the copy as text, without what differs between equal runs or names the machine."""
    import nbformat

    # the state of controls: the page shows nothing without it
    widgets = {key: value for key, value in executed.metadata.items() if key == "widgets"}
    executed.metadata = source.metadata | widgets
    for cell in executed.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"
        for key in ("papermill", "execution", *([] if tags else ["tags"])):
            cell.metadata.pop(key, None)
    text = nbformat.writes(executed) + "\n"
    for path, name in ((f"{root()}/", ""), (str(root()), "."), (sys.prefix, "<python>")):
        text = text.replace(path, name)
    return re.sub(rf"{re.escape(gettempdir())}/ipykernel_\d+/\d+\.py", "<cell>", text)
