"""The NumPro repository's test JSON, one list of queries.

Each row has ``id``, ``video`` (with or without suffix), ``query``, ``start_time``,
``end_time`` and ``duration`` in seconds: the keys its evaluation scripts read. The data root
holds ``annotations.json`` (or ``test.json`` and so on by split) and ``videos/``; a path to a
``.json`` file is taken as the annotations, with the videos beside it.
"""

import json
import math
from pathlib import Path
from typing import Any

from numpro.datasets import Query, VideoQueries, video_path
from numpro.paths import resolve
from numpro.spans import Span

NAME = "numpro-json"
SPLITS = ("test", "train", "val")
_TEXTS, _NUMBERS = ("video", "query"), ("start_time", "end_time", "duration")


def _annotations(split: str, data_root: str | Path | None) -> Path:
    """Return the annotation file of a split."""
    if data_root is None:
        raise ValueError(f"{NAME} needs data_root: a folder with annotations.json, or a .json file")
    root = resolve(data_root)
    if root.suffix == ".json":
        return root
    named = root / f"{split}.json"
    return named if named.is_file() else root / "annotations.json"


def _row(row: Any) -> tuple[str, str, Span, float, str]:
    """Check one row; return its id, query, span, duration and video."""
    if not isinstance(row, dict):
        raise ValueError(f"must be an object; got {type(row).__name__}")
    if missing := [k for k in ("id", *_TEXTS, *_NUMBERS) if k not in row]:
        raise ValueError(f"has no {', '.join(missing)}")
    for key in _TEXTS:
        if not isinstance(row[key], str) or not row[key].strip():
            raise ValueError(f"{key} must be text; got {row[key]!r}")
    for key in _NUMBERS:
        value = row[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError(f"{key} must be a number of seconds; got {value!r}")
    if row["duration"] <= 0:
        raise ValueError(f"duration must be above 0; got {row['duration']!r}")
    span = Span(float(row["start_time"]), float(row["end_time"]))
    return str(row["id"]), row["query"], span, float(row["duration"]), row["video"]


def load(split: str, data_root: str | Path | None, limit: int | None) -> list[VideoQueries]:
    """Load the queries, grouped by video in the order of the file.

    Rows that give one video two durations make two records.

    Raises
    ------
    ValueError
        When the file is not such a list; the message names the file and the row (from 1).
    FileNotFoundError
        When there is no annotation file.
    """
    path = _annotations(split, data_root)
    if not path.is_file():
        raise FileNotFoundError(f"{NAME}: no annotation file at {path}")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: must be a non-empty list of rows")
    groups: dict[tuple[str, float], list[Query]] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        try:
            qid, text, span, duration, video = _row(row)
            video_path(path.parent, video)
            if qid in seen:
                raise ValueError(f"id {qid!r} is there twice")
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
        seen.add(qid)
        groups.setdefault((video, duration), []).append(Query(qid, text, (span,)))
    folder = path.parent / "videos"
    return [
        VideoQueries(video, video_path(folder, video), duration, tuple(queries), NAME, split)
        for (video, duration), queries in list(groups.items())[:limit]
    ]
