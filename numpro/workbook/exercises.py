"""Exercises in notebooks: answers that are checked, and copies of the notebooks for students."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from numpro.paths import resolve, write_whole
from numpro.workbook.notebooks import load
from numpro.workbook.runs import find_notebooks


class Check:
    """Tells a right answer to an exercise from a wrong one, and a wrong one what to look at.

    Parameters
    ----------
    is_right
        Called with the answer.
    hint
        Printed after a wrong answer.

    Examples
    --------
    >>> check = Check(lambda mine: abs(mine - 4) < 0.1, "count again")
    >>> check(...)
    not tried yet: replace the three dots above by your answer, and run both cells again
    >>> check(5) or check(4)
    not yet: count again
    right
    True
    """

    def __init__(self, is_right: Callable[[object], bool], hint: str):
        self.is_right, self.hint = is_right, hint

    def __call__(self, mine: object) -> bool | None:
        """Print whether the answer is right; return it (None for ``...``, not tried yet)."""
        if mine is ...:
            way = "replace the three dots above by your answer, and run both cells again"
            return print(f"not tried yet: {way}")
        right = False
        with suppress(TypeError, ValueError, LookupError, AttributeError):  # of another kind
            right = bool(self.is_right(mine))
        print("right" if right else f"not yet: {self.hint}")
        return right


def write_student_copies(folder: Path) -> list[Path]:
    """Write every notebook without its solutions into `folder`, which is made; return the files.

    Raises
    ------
    ValueError
        When a file of that name is there: it may hold someone's answers.
    """
    books, folder = find_notebooks(), Path(folder)
    if there := [book.name for book in books if (folder / book.name).exists()]:
        raise ValueError(f"{folder}: {there[0]} is there already; name another folder")
    import nbformat

    folder.mkdir(parents=True, exist_ok=True)
    for path in books:
        book = load(path)
        book.cells = [c for c in book.cells if "solution" not in c.metadata.get("tags", [])]
        for cell in book.cells:  # links count from the copy's own folder
            if cell.cell_type == "markdown":
                cell.source = cell.source.replace("](../", f"]({resolve('.').as_uri()}/")
        write_whole(folder / path.name, nbformat.writes(book))
    return [folder / path.name for path in books]
