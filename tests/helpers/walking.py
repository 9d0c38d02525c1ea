"""A notebook's cells run one after another in this process, as a kernel would, only sooner."""

import warnings
from contextlib import chdir, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from unittest.mock import patch

import nbformat

from numpro.parameters import check_parameters, read_parameters

ROOT = Path(__file__).resolve().parents[2]


def _drawn(figure, dpi: float = 100) -> bytes:
    """Draw a figure as `numpro.plots.style.small_png` does, but small and with all its colours."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=20)
    return file.getvalue()


def walk(number: str, values: dict, cwd: Path = ROOT / "notebooks") -> dict:
    """Run the notebook whose name begins with `number` with these parameters; return its names.

    ``printed`` is what its cells print; an error says which cell it comes from.
    """
    import matplotlib.pyplot as plt

    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    book = nbformat.read(path, as_version=4)
    known = read_parameters(book, path.stem)
    given = {name: value for name, value in values.items() if name in known}
    check_parameters(given, known)
    names, printed = {"__name__": "__main__"}, StringIO()
    quick = patch("numpro.plots.style.small_png", _drawn)
    try:
        with chdir(cwd), redirect_stdout(printed), warnings.catch_warnings(), quick:
            warnings.simplefilter("ignore")
            for cell in (cell for cell in book.cells if cell.cell_type == "code"):
                try:
                    exec(compile(cell.source, f"{path.stem} {cell['id']}", "exec"), names)
                except Exception as error:
                    error.add_note(f"in cell {cell['id']} of {path.stem}")
                    raise
                if "parameters" in cell.metadata.get("tags", []):
                    names |= given
    finally:
        plt.close("all")
    return names | {"printed": printed.getvalue()}
