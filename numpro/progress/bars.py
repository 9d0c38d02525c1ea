"""One bar for all loops (`tqdm`), which knows where it is shown."""

import os
import sys
from collections.abc import Iterable

_LIVE = ("JPY_SESSION_NAME", "VSCODE_PID")  # of kernels that a page with controls has started
_SECONDS = 15  # between two lines of a log


class Lines:
    """The file of a bar where standard error is no terminal: each of its states is a line.

    A kernel keeps the standard error that it began with beside the one that becomes a cell's
    output (`fileno`). What is written there is in papermill's log, and in no notebook.
    """

    def write(self, text: str) -> None:
        """Write a state of the bar."""
        if (text := text.strip()) and _in_kernel():
            os.write(_first_stderr(), f"{text}\n".encode())
        elif text:
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        """Write what waits."""
        sys.stderr.flush()


def _first_stderr() -> int:
    try:
        return sys.stderr.fileno()
    except OSError:  # a kernel that does not watch it has it as it was
        return 2


def _in_kernel() -> bool:
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return hasattr(shell, "kernel")


def in_live_notebook() -> bool:
    """Tell whether this runs in a notebook that someone looks at, and not under papermill."""
    return _in_kernel() and any(name in os.environ for name in _LIVE)


def progress_bar(
    items: Iterable | None = None, title: str = "", total: int | None = None, unit: str = "item",
    progress: bool | None = None, initial: int = 0,
) -> "tqdm":  # noqa: F821  # fmt: skip
    """Return a bar: widgets in a notebook, a line on a terminal, now and then a line in a log.

    Parameters
    ----------
    items : iterable, optional
        What to go through; without it the caller moves the bar (``update``).
    title, unit
        What is done, and one of what.
    total : int, optional
        How many there are, where `items` does not know.
    progress : bool, optional
        Show it; by default in notebooks, under papermill, and where standard error is a terminal.
    initial : int
        How many were done before.
    """
    shown = {"desc": title, "total": total, "unit": unit, "initial": initial}
    shown["disable"] = None if progress is None and not _in_kernel() else progress is False
    if in_live_notebook():
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    if _in_kernel() and not in_live_notebook():  # no line for what is quicker
        shown |= {"file": Lines(), "mininterval": _SECONDS, "delay": _SECONDS, "ncols": 100}
    return tqdm(items, **shown)
