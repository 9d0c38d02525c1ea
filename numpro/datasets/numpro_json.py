"""The NumPro repository's test JSON, one list of queries.

Each row has ``id``, ``video`` (with or without suffix), ``query``, ``start_time``,
``end_time`` and ``duration`` in seconds: the keys its evaluation scripts read. The data root
holds ``annotations.json`` (or ``test.json`` and so on by split) and ``videos/``; a path to a
``.json`` file is taken as the annotations, with the videos beside it.
"""

from pathlib import Path

from numpro.datasets import Query, VideoQueries, video_path
from numpro.datasets.rows import number, read_rows
from numpro.paths import resolve
from numpro.spans import Span

NAME = "numpro-json"
SPLITS = ("test", "train", "val")
_TEXTS, _NUMBERS = ("video", "query"), ("start_time", "end_time", "duration")


def _row(row: dict, folder: Path) -> tuple[tuple[str, Path, float], str, Span]:
    """Check one row; return its video with path and duration, its query, and its span."""
    if missing := [k for k in (*_TEXTS, *_NUMBERS) if k not in row]:
        raise ValueError(f"has no {', '.join(missing)}")
    for key in _TEXTS:
        if not isinstance(row[key], str) or not row[key].strip():
            raise ValueError(f"{key} must be text; got {row[key]!r}")
    start, end, duration = (number(row[key], key, "a number of seconds") for key in _NUMBERS)
    if duration <= 0:
        raise ValueError(f"duration must be above 0; got {row['duration']!r}")
    where = video_path(folder, row["video"])
    return (row["video"], where, duration), row["query"], Span(start, end)


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
    if data_root is None:
        raise ValueError(f"{NAME} needs data_root: a folder with annotations.json, or a .json file")
    root = resolve(data_root)
    path = root if root.suffix == ".json" else root / f"{split}.json"
    path = path if path == root or path.is_file() else root / "annotations.json"
    if not path.is_file():
        raise FileNotFoundError(f"{NAME}: no annotation file at {path}")
    rows = read_rows(path, lambda row: _row(row, path.parent / "videos"))
    groups: dict[tuple[str, Path, float], list[Query]] = {}
    for qid, (video, text, span) in rows.items():
        groups.setdefault(video, []).append(Query(qid, text, (span,)))
    first = list(groups.items())[:limit]
    return [VideoQueries(*video, tuple(queries), NAME, split) for video, queries in first]
