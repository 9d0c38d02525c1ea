"""Rows of annotation and prediction files; what is malformed is named with its file and row.

A file is read row by row and no row without a limit, so that an endless line costs nothing.
"""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from numpro.spans import Span

_LONGEST = 16 * 2**20  # bytes of one line; a longer one is no annotation and no prediction
_LARGEST = 2**29  # bytes of a .json file
_CHUNK = 2**20  # characters of it that are read at once
_MARK, _COLON = (re.compile(rf"[ \t\n\r]*([{marks}])[ \t\n\r]*") for marks in (r"\[\]{},", ":"))
_CLOCK = re.compile(r"\s*(?:(\d+):)?(\d+):([0-5]?\d(?:\.\d*)?)\s*")
_FAULTS = dict.fromkeys((UnicodeDecodeError, RecursionError), "cannot be read: ")
_FAULTS |= {json.JSONDecodeError: "not JSON: ", csv.Error: "not CSV: "}


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Turn what goes wrong inside into a `ValueError` that begins with `where`."""
    try:
        yield
    except (ValueError, RecursionError, csv.Error) as error:
        raise ValueError(f"{where}: {_FAULTS.get(type(error), '')}{error}") from error


def row_name(key: int | str) -> str:
    """Return how a row is called in messages: by its number from 1, or by its key."""
    return f"row {key}" if isinstance(key, int) else f"row {key!r:.80}"


# --- fields ---


def need(row: Any, *keys: str) -> list[Any]:
    """Return these values of a row that must be an object and have them all."""
    if not isinstance(row, dict):
        raise ValueError(f"must be an object; got {type(row).__name__}")
    if missing := [key for key in keys if key not in row]:
        raise ValueError(f"has no {', '.join(missing)}")
    return [row[key] for key in keys]


def fields(row: Any, **kinds: Callable[[Any, str], Any]) -> list[Any]:
    """Return these values of a row, each as the function of its kind (`text`, ...) gives it."""
    return [kinds[name](value, name) for name, value in zip(kinds, need(row, *kinds), strict=True)]


def _is_finite(value: Any) -> bool:
    """Tell whether a value is a number; true is none, nor is a whole number without end."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and abs(value) <= sys.float_info.max


def number(value: Any, name: str, what: str = "a finite number") -> float:
    """Return a finite number from a row; anything else is a `ValueError`."""
    if not _is_finite(value):
        raise ValueError(f"{name} must be {what}; got {value!r:.80}")
    return float(value)


def seconds(value: Any, name: str) -> float:
    """Return a number of seconds, which a text file holds as text, also as 0:02 or 1:02:03.5."""
    if isinstance(value, str) and (clock := _CLOCK.fullmatch(value)):
        hours, minutes, rest = map(float, clock.groups("0"))
        return 3600 * hours + 60 * minutes + rest
    with suppress(ValueError):  # `number` says what was there instead
        value = float(value) if isinstance(value, str) else value
    return number(value, name, "a number of seconds")


def positive(value: Any, name: str) -> float:
    """Return a number above 0."""
    if (found := seconds(value, name)) <= 0:
        raise ValueError(f"{name} must be above 0; got {value!r}")
    return found


def text(value: Any, name: str, empty: bool = False) -> str:
    """Return a text from a row without the white space at its ends; `empty` lets it be empty."""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise ValueError(f"{name} must be text; got {value!r:.80}")
    value.encode()  # half a surrogate pair is no text
    return value.strip()


def items(value: Any, name: str) -> list:
    """Return a list from a row."""
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list; got {value!r:.80}")
    return value


def spans(value: Any, name: str) -> tuple[Span, ...]:
    """Return spans from ``[[start, end], ...]``, as they are: in any order, of any length."""
    return tuple(Span(*map(float, window)) for window in windows_of(value, name, 2))


def moments(value: Any, name: str) -> tuple[Span, ...]:
    """Return spans from ``[start, end]`` or from a list of such pairs."""
    several = not isinstance(value, list) or not value or isinstance(value[0], list)
    return spans(value if several else [value], name)


def windows_of(value: Any, name: str, *widths: int) -> list[list[float]]:
    """Return a list of windows as it is: pairs, or with a score (3), all of one width."""
    form = "[start, end] in seconds" if 2 in widths else "[start, end, score]"
    for window in items(value, name):
        shaped = isinstance(window, list | tuple) and len(window) in widths
        if not shaped or len(window) != len(value[0]) or not all(map(_is_finite, window)):
            raise ValueError(f"{name} must hold {form}, finite numbers; got {window!r:.80}")
    return value


# --- files ---


def text_rows(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the filled lines of a UTF-8 file with their numbers (from 1)."""
    with path.open("rb") as file:
        for n, line in enumerate(iter(lambda: file.readline(_LONGEST + 1), b""), 1):
            with naming(row_name(n)):
                if len(line) > _LONGEST:
                    raise ValueError(f"longer than {_LONGEST} bytes")
                # the byte order mark that spreadsheets write is no part of the text
                line = line.decode("utf-8-sig" if n == 1 else "utf-8")
            if line.strip():
                yield n, line


def csv_rows(path: Path, separator: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file below its header, as dicts, numbered from 2."""
    lines, n = (line for _, line in text_rows(path)), 1
    reader = csv.DictReader(lines, strict=True, delimiter=separator)
    try:
        for n, row in enumerate(reader, 2):
            if None in row:
                raise ValueError(f"{row_name(n)}: has more values than the header has names")
            yield n, row
    except csv.Error as error:
        raise ValueError(f"{row_name(n + 1)}: not CSV: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of a JSON text, which may give a key twice, and then means two things."""
    if len(found := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r:.80} is there twice")
    return found


def _elements(file: TextIO, keyed: bool) -> Iterator[tuple[int | str, Any]]:
    """Yield the rows of one JSON list or object as they are read, until it is none; tell if it is.

    So a large file is never in memory as a whole.
    """
    decode, text, at, keys = json.JSONDecoder(object_pairs_hook=_unique).raw_decode, "", 0, set()
    before, last = ("{", "}") if keyed else ("[", "]")
    while True:
        try:
            mark, key = _MARK.match(text, at), len(keys) + 1
            if mark[1] != before:
                return bool(keys) and mark[1] == last and not (text[mark.end() :] + file.read())
            stop = mark.end()
            if keyed:
                key, stop = decode(text, stop)
                stop = _COLON.match(text, stop).end()
            row, stop = decode(text, stop)
            _MARK.match(text, stop)[1]  # a number may go on, too
        except (json.JSONDecodeError, TypeError, AttributeError):  # it goes on behind `text`
            if not (more := file.read(max(_CHUNK, len(text)))):
                return False
            text, at = text[at:] + more, 0
            continue
        if key in keys:
            raise ValueError(f"key {key!r:.80} is there twice")
        keys.add(key)
        before, at = ",", stop
        yield key, row


def json_rows(path: Path, keyed: bool = False) -> Iterator[tuple[int | str, Any]]:
    """Yield rows with their number (from 1), or with `keyed` their key.

    A ``.json`` file is one list of rows, or with `keyed` one object of them; any other file
    has one row a line.
    """
    if not keyed and path.suffix.lower() != ".json":
        for n, line in text_rows(path):
            with naming(row_name(n)):
                row = json.loads(line, object_pairs_hook=_unique)
            yield n, row
        return
    if (size := path.stat().st_size) > _LARGEST:
        raise ValueError(f"must be at most {_LARGEST} bytes; got {size}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        if (yield from _elements(file, keyed)):
            return
    rows = json.loads(path.read_bytes().decode("utf-8-sig"))  # says what is wrong, and where
    wanted = "object of rows by video" if keyed else "list of rows"
    raise ValueError(f"must be a non-empty {wanted}; got {type(rows).__name__}")
