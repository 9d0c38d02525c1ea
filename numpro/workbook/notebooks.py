"""Execute one notebook with papermill and leave a copy that is fit to be committed."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir

from numpro.paths import relative, root


class NotebookError(RuntimeError):
    """A notebook did not finish; the message names the notebook and the cell."""


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
        Head of the progress line on stderr.

    Raises
    ------
    NotebookError
        When a cell fails or does not run (``sys.exit()`` in a cell ends a kernel with success;
        it is a failure here), or the kernel dies.
    """
    import nbformat
    from tqdm import tqdm

    source = nbformat.read(path, as_version=4)
    cells = sum(cell.cell_type == "code" for cell in source.cells) + bool(values)
    every = 0.1 if sys.stderr.isatty() else 15
    form = "{desc}: cell {n_fmt}/{total_fmt}, {elapsed}"
    with tqdm(total=cells, desc=title, file=sys.stderr, mininterval=every, bar_format=form) as bar:
        failure = _papermill(nbformat.from_dict(source), path.parent, output, values, bar.update)
    executed = nbformat.read(output, as_version=4)
    where = _unfinished(executed)
    output.write_text(_normalise(executed, source), encoding="utf-8")
    if failure or where:
        told = failure or "the cell did not finish"
        raise NotebookError(f"{path.stem}: {where or 'a cell'}: {told}; see {relative(output)}")


def _papermill(notebook, folder: Path, output: Path, values: Mapping, tick) -> str | None:
    """Let papermill execute; return what went wrong, if papermill noticed."""
    # threads that spin while they wait cost ten times the seconds on cores others work on too
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    options = {"kernel_name": "python3", "language": "python", "cwd": folder, "progress_bar": False}
    # otherwise each kernel warns about its own transport and about being stopped
    options |= {"on_cell_executed": lambda **_: tick(), "extra_arguments": ["--log-level=CRITICAL"]}
    try:
        papermill.execute_notebook(notebook, str(output), dict(values), **options)
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}".strip()
    except DeadKernelError:
        return "the kernel died (out of memory?)"
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
