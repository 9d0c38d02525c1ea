"""Execute one notebook with papermill and leave a copy that is fit to be committed."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from .paths import relative, root


class NotebookError(RuntimeError):
    """A notebook did not finish; the message names the notebook and the cell."""


def execute(
    path: Path, output: Path, values: Mapping[str, object], title: str | None = None
) -> None:
    """Execute the notebook `path` with `values` as parameters into `output`.

    The kernel works in the notebook's folder, as in Jupyter. The copy carries no times, no
    machine paths and stable cell ids.

    Parameters
    ----------
    path, output : Path
        The notebook and its executed copy.
    values : Mapping
        Parameters to inject.
    title : str, optional
        Head of the progress line on stderr; None shows nothing.

    Raises
    ------
    NotebookError
        When a cell fails or does not run (``sys.exit()`` in a cell ends a kernel with success;
        it is a failure here), or the kernel dies.
    """
    import nbformat

    source = nbformat.read(path, as_version=4)
    cells = sum(cell.cell_type == "code" for cell in source.cells) + bool(values)
    with _bar(title, cells) as bar:
        failure = _papermill(nbformat.from_dict(source), path.parent, output, values, bar.update)
    executed = nbformat.read(output, as_version=4)
    where = _unfinished(executed)
    nbformat.write(_normalise(executed, source), output)
    if failure or where:
        failure = failure or "the cell did not finish"
        raise NotebookError(f"{path.stem}: {where or 'a cell'}: {failure}; see {relative(output)}")


def _bar(title: str | None, cells: int):
    from tqdm import tqdm

    return tqdm(
        total=cells,
        desc=title,
        unit="cell",
        file=sys.stderr,
        disable=title is None,
        mininterval=0.1 if sys.stderr.isatty() else 15,
        bar_format="{desc}: cell {n_fmt}/{total_fmt}, {elapsed}",
    )


def _papermill(notebook, folder: Path, output: Path, values: Mapping, tick) -> str | None:
    """Let papermill execute; return what went wrong, if papermill noticed."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            notebook,
            # papermill formats paths: braces in a folder's name would be taken for fields
            str(output).replace("{", "{{").replace("}", "}}"),
            parameters=dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=folder,
            on_cell_executed=lambda **_: tick(),
            # otherwise each kernel warns about its own transport and about being stopped
            extra_arguments=["--log-level=CRITICAL"],
        )
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
            first = next((line for line in cell.source.splitlines() if line.strip()), "")
            return f"code cell {number} ({first.strip()[:60]})"
    return None


def _normalise(executed, source):
    """Take out what differs between two equal runs or tells about the machine."""
    widgets = executed.metadata.get("widgets")
    executed.metadata = source.metadata
    if widgets:
        executed.metadata["widgets"] = widgets
    for cell in executed.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = [_without_paths(output) for output in cell.outputs]
    return executed


def _without_paths(value):
    """Replace machine paths in the text of an output; pictures are left alone."""
    if isinstance(value, str):
        for folder, name in ((str(root()), "."), (sys.prefix, "<python>")):
            value = value.replace(folder + "/", "" if name == "." else name + "/")
            value = value.replace(folder, name)
        return re.sub(r"/\S*/ipykernel_\d+/\d+\.py", "<cell>", value)
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not key.startswith("image/"):
                value[key] = _without_paths(value[key])
    return value
