"""Rows of prediction files and of their truth, whatever the format."""

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpro.datasets.rows import items, json_rows, naming, need, row_name
from numpro.metrics.span_sets import Spans
from numpro.spans import UNITS

_LARGEST = sys.float_info.max


def is_object(path: Path) -> bool:
    """Tell whether a file is one JSON object, of rows by their key."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def read_file(path: Path, read: Callable[[Any, dict], Any]) -> dict[str, Any]:
    """Read every row of a file by its ``qid`` or ``id``, or by its key in the file."""
    found, keyed = {}, is_object(path)
    with naming(path):
        for name, row in json_rows(path, keyed):
            with naming(row_name(name)):
                need(row)
                key = "id" if row.get("qid") is None else "qid"
                qid = name if keyed else row.get(key)
                if qid is None:
                    raise ValueError("has no qid or id")
                if str(qid) in found:
                    raise ValueError(f"{key} {str(qid)!r} is there twice")
                found[str(qid)] = read(name, row)
        if not found:
            raise ValueError("is empty")
    return found


def array_of(value: Any, key: str, what: str, *widths: int) -> np.ndarray:
    """Return a list of numbers as an array ``[N]``, or ``[N, width]`` of one of the widths."""
    value = items(value, key)
    try:
        array = np.array(value) if value else np.zeros((0, *widths[:1]))
    except (ValueError, OverflowError):  # rows of unequal length; a number without end
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.shape[1:] not in ([(w,) for w in widths] or [()]):
        raise ValueError(f"{key} must hold {what}; got {value!r:.80}")
    if not np.isfinite(array).all():
        raise ValueError(f"{key} must hold finite numbers; got {value!r:.80}")
    return array.astype(float)


def windows_of(value: Any, key: str, ordered: bool = True) -> np.ndarray:
    """Return windows ``[K, 2 or 3]``; with `ordered` none may end before it starts."""
    windows = array_of(value, key, "[start, end] in seconds", 2, 3)
    if ordered and (late := windows[windows[:, 0] > windows[:, 1]]).size:
        raise ValueError(f"{key} has a window that ends before it starts: {late[0, :2].tolist()}")
    return windows


def window_list(value: Any, key: str) -> list:
    """Return windows as the list that they are in a row, once they are known to be windows."""
    width = len(value[0]) if isinstance(value, list) and value and type(value[0]) is list else 0
    plain = width in (2, 3) and all(type(w) is list and len(w) == width for w in value)
    if plain and all(type(t) in (float, int) and abs(t) <= _LARGEST for w in value for t in w):
        return value
    return windows_of(value, key, ordered=False).tolist()  # or says what is wrong


class Found:
    """The spans that are found in the rows of a file, in flat columns that take little memory."""

    def __init__(self):
        self.ends, self.counts, self.units = array("d"), array("q"), array("b")
        self.reasons = Counter()  # the kinds of reasons why there are none

    def add(self, spans: Sequence, unit: str = "second", reason: str | None = None) -> None:
        """Add the spans of the next row, an open end being None, or the reason for having none."""
        for start, end, *_ in spans:
            self.ends.append(start)
            self.ends.append(np.inf if end is None else end)
        self.counts.append(len(spans))
        self.units.append(UNITS.index(unit))
        if not spans and reason:
            self.reasons.update(count_kinds([reason]))

    def spans(self) -> Spans:
        """Return the spans as written."""
        return Spans(np.array(self.ends).reshape(-1, 2), np.array(self.counts, int))

    def in_seconds(self, durations: np.ndarray, step: float | None, names: Sequence) -> Spans:
        """Return the spans in seconds; `step` is the seconds of one frame label.

        Raises
        ------
        ValueError
            When a row needs `step` or a duration and there is none, with the row's name.
        """
        spans, units = self.spans(), np.array(self.units)
        rows = spans.queries
        wholes = np.broadcast_arrays(step or np.nan, 1.0, durations / 100)  # of UNITS
        ends = spans.ends * np.choose(units, wholes)[rows, None]
        ends[:, 1] = np.where(np.isinf(spans.ends[:, 1]), durations[rows], ends[:, 1])
        if (lacks := rows[np.isnan(ends).any(axis=1)]).size:
            needed = "a duration" if step or units[lacks[0]] else "label_seconds"
            raise ValueError(f"{row_name(names[lacks[0]])}: needs {needed} to be read in seconds")
        return spans._replace(ends=ends)


def count_kinds(reasons: Iterable[str | None]) -> dict[str, int]:
    """Count the kinds of reasons of unparsed answers, the most frequent first.

    Of "video: a.mp4: no such file" the kind is "video"; an answer may have no reason.
    """
    return dict(Counter(str(r).partition(":")[0] for r in reasons if r).most_common())


def check_same_queries(predicted: dict, true: dict, path: Path, true_path: Path) -> None:
    """Refuse predictions that leave out queries or bring others."""
    if not predicted.keys() & true.keys():
        first = f"first qid {next(iter(predicted))!r} here, {next(iter(true))!r} there"
        raise ValueError(
            f"{path}: has none of the {len(true)} queries of {true_path}, {first}: are these rows"
            " of another data set?"
        )
    for there, others, file in ((true, predicted, path), (predicted, true, true_path)):
        if missing := [qid for qid in there if qid not in others]:
            count = f"{len(missing)} of {len(there)} queries"
            raise ValueError(f"{file}: has no row for {count}, first qid {missing[0]!r}")
