"""What the windows of a film have answered, kept in a file until the film has its rows."""

import json
from collections import UserDict
from pathlib import Path

from numpro.inference.prediction_files import RowsFile


class WindowAnswers(UserDict):
    """What each window answered, by its first frame; what is set is in the file at once.

    Parameters
    ----------
    path
        The file; it serves one film after another.
    key
        What the answers depend on: what was kept under another one does not count.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()  # a kill may cut the last line
        rows = [row for row in map(json.loads, whole) if row["key"] == key]
        super().__init__()
        self.data = {row["start"]: row["answers"] for row in rows}

    def __setitem__(self, start: int, answers: list[dict]) -> None:
        super().__setitem__(start, answers)
        with RowsFile(self.path) as file:
            file.add({"key": self.key, "start": start, "answers": answers})
