"""Files of predictions as other projects write them, row by row as numpro's own.

A row is matched by its id, else by video and query, never by its place: where it has no id, video,
query and truth make one, so that two answers to one query are found out.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from numpro.datasets.messages import query_of
from numpro.datasets.rows import csv_rows, items, json_rows, naming, need, row_name
from numpro.paths import yaml_beside

_KNOWN = yaml_beside(__file__)
_NAMES = _KNOWN["names"]
_OTHERS = {"messages", "doc", "span", "timestamps"}  # keys of rows that are rewritten


def closest_form(row: dict) -> str:
    """Say which keys a row has, and which format comes closest to them."""
    forms = _KNOWN["forms"].items()
    form, keys = max(forms, key=lambda item: len(row.keys() & {*item[1]}) / len(item[1]))
    lacks = ", ".join(key for key in keys if key not in row)
    keys = ", ".join(map(str, [*row][:12]))
    return f"it has the keys {keys}; {form} comes closest, which also has {lacks}"


def plain_rows(path: Path, keyed: bool) -> Iterator[tuple[int | str, Any]]:
    """Yield the rows of a file with their numbers or keys, those of other projects rewritten.

    Parameters
    ----------
    path
        JSON Lines, a ``.json`` file, or a table in ``.tsv`` or ``.csv``.
    keyed
        Whether it is one JSON object of rows by their key.
    """
    if separator := {".tsv": "\t", ".csv": ","}.get(path.suffix.lower()):
        rows: Iterable = csv_rows(path, separator)
    elif path.suffix.lower() == ".xlsx":
        raise ValueError("is a spreadsheet: save it as .tsv or .csv")
    else:
        rows = json_rows(path, keyed)
    for name, row in rows:
        parts = [(name, row)]
        if isinstance(row, dict) and ">>>" in next(iter(row), ""):
            parts = row.items()  # TimeLens writes such a line for each query
        for key, part in parts:
            if (found := _plain(key, part, keyed)) is not None:
                yield (key if keyed else name), found


def _plain(key: int | str, row: Any, keyed: bool) -> Any:
    """Return a row as numpro's are; None for one that predicts no moment."""
    named = isinstance(key, str) and key.count(">>>") == 2
    if named:
        about = dict(zip(("video", "query", "truth"), key.split(">>>"), strict=True))
        row = about | (row if isinstance(row, dict) else {"response": row})
    if not isinstance(row, dict) or (not named and _is_plain(row, keyed)):
        return row
    qid = key if named else row.get("id") if row.get("qid") is None else row["qid"]
    if isinstance(row.get("doc"), dict):
        row = {k: v for k, v in row.items() if k in _NAMES["response"]} | row["doc"]
    with naming(row_name(key)):
        if "messages" in row:
            turns = items(row["messages"], "messages")
            for turn in turns:
                need(turn)
            asks = [need(turn, "content")[0] for turn in turns if turn.get("role") == "user"]
            row = row | {"query": query_of(str(asks[-1]))} if asks else row
        if {"video_id", "task", "answer"} <= row.keys():  # VTimeLLM's log
            if row["task"] != "grounding":
                return None
            qid = f"{row['video_id']}_{need(row.get('info') or {}, 'sentence_id')[0]}"
    values = ((ours, _value(ours, row, names)) for ours, names in _NAMES.items())
    found = {ours: value for ours, value in values if value is not None}
    if "pred" in row:
        found.setdefault("pred", [])  # null: unparsed
    if not found.keys() & {"pred", "response"}:
        return row  # whoever reads it says what is missing
    about = [str(found.get(name, "")) for name in ("video", "query", "truth")]
    return found | ({"qid": qid or ">>>".join(about)} if qid or all(about[:2]) else {})


def _is_plain(row: dict, keyed: bool) -> bool:
    """Tell whether a row is as numpro's are, or as those that are read without rewriting."""
    pred = row.get("pred") or []
    flat = isinstance(pred, list) and pred and not isinstance(pred[0], list)
    return not flat and _OTHERS.isdisjoint(row) and (keyed or "qid" in row or "id" in row)


def _value(ours: str, row: dict, names: Iterable[str]) -> Any:
    """Return what a row has under the first of these names, in numpro's form."""
    value = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    if ours in ("pred", "truth"):
        return _windows(value)
    while isinstance(value, list):
        value = value[0] if value else None
    if ours == "video":
        value = value.get("path") if isinstance(value, dict) else value
        return value if value is None else PurePosixPath(str(value)).name
    if ours == "duration" and isinstance(value, str):  # of a table
        with suppress(ValueError):
            return float(value)
    return value


def _windows(value: Any) -> Any:
    """Return windows as a list of pairs; a pair without ends is none."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value.replace("(", "[").replace(")", "]"))
    if not isinstance(value, list):
        return value
    pairs = value if value and isinstance(value[0], list) else [value] if value else []
    return [pair for pair in pairs if not isinstance(pair, list) or None not in pair]
