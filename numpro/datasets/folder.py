"""A folder of one's own videos with a table of queries.

``queries.csv`` or ``queries.jsonl`` (or by split: ``train.csv`` and so on; or any such file given
as the data root) has one query a row::

    video,query,start,end
    holiday.mp4,the dog jumps into the water,12.5,15
    holiday.mp4,the boat leaves,,

``video`` is a file beside the table or in ``videos/``, with or without its suffix. ``start`` and
``end`` are seconds, or clock times such as ``1:02:03.5``; without them the query has no truth, and
can be asked but not scored. In JSON ``spans`` may give several: ``[[12.5, 15.0], [40.0, 42.0]]``.
Without a column ``qid`` it is the number of the row, and without ``duration`` that of the file is
taken.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import csv_rows, fields, json_rows, positive, seconds, spans, text
from numpro.spans import Span


def _rows(path: Path) -> Iterator[tuple[int | str, Any]]:
    return csv_rows(path) if path.suffix.lower() == ".csv" else json_rows(path)


class Folder(Loader):
    """One's own videos and queries."""

    rows = staticmethod(_rows)

    def read(self, key: int, row: dict) -> list[Row]:
        """Read one query; an empty cell is one that is not there."""
        video, query = fields(row, video=text, query=text)
        row = {name: value for name, value in row.items() if value not in ("", None)}
        found = spans(row["spans"], "spans") if "spans" in row else ()
        if "start" in row or "end" in row:
            found += (Span(*fields(row, start=seconds, end=seconds)),)
        length = positive(row["duration"], "duration") if "duration" in row else None
        return [Row(video, length, Query(str(row.get("qid", key)), query, found))]
