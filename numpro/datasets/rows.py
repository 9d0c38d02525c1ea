"""Rows of annotation and prediction files; what is malformed is named with its file and row."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpro.paths import resolve

_LONGEST = 16 * 2**20  # characters of one row; a longer one is no annotation and no prediction
_FAULTS = dict.fromkeys((UnicodeDecodeError, RecursionError), "cannot be read: ")
_FAULTS[json.JSONDecodeError] = "not JSON: "


def number(value: Any, name: str, what: str = "a finite number") -> float:
    """Return a finite number from a row; anything else is a `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be {what}; got {value!r:.80}")
    return float(value)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the filled rows of a file as JSON texts, none of them endless."""
    with path.open(encoding="utf-8") as file:
        if path.suffix == ".json":
            rows = json.load(file)
            if not isinstance(rows, list) or not rows:
                raise ValueError("must be a non-empty list of rows")
            yield from ((n, json.dumps(row)) for n, row in enumerate(rows, 1))
        lines = iter(lambda: file.readline(_LONGEST + 1), "")
        yield from ((n, line) for n, line in enumerate(lines, 1) if line.strip())


def read_rows(path: str | Path, read: Callable[[dict], Any]) -> dict[str, Any]:
    """Read every row of a file, by its ``qid`` or ``id``.

    A ``.json`` file is one list of rows; any other has one row a line.

    Raises
    ------
    ValueError
        For anything malformed; the message names the file and the row (from 1).
    """
    path, found, where = resolve(path), {}, ""
    try:
        for n, line in _lines(path):
            where = f", row {n}"
            if len(line) > _LONGEST:
                raise ValueError(f"longer than {_LONGEST} characters")
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"must be an object; got {type(row).__name__}")
            key = "id" if row.get("qid") is None else "qid"
            if row.get(key) is None:
                raise ValueError("has no qid or id")
            if (qid := str(row[key])) in found:
                raise ValueError(f"{key} {qid!r} is there twice")
            found[qid], where = read(row), ""
        if not found:
            raise ValueError("is empty")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}{where}: {_FAULTS.get(type(error), '')}{error}") from error
    return found
