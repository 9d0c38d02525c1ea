"""The NumPro repository's test JSON, one list of queries.

Each row has ``id``, ``video`` (with or without suffix), ``query``, ``start_time``, ``end_time``
and ``duration`` in seconds: the keys its evaluation scripts read::

    [{"id": 0, "video": "3MSZA", "query": "person turn a light on.",
      "start_time": 24.3, "end_time": 30.4, "duration": 30.96}]

The data root holds ``test.json`` (or ``annotations.json``), ``train.json``, ``val.json`` and
``videos/``.
"""

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import fields, positive, seconds, text
from numpro.spans import Span

_KINDS = dict(video=text, query=text, start_time=seconds, end_time=seconds, duration=positive)


class NumproJson(Loader):
    """The test JSON of the NumPro repository."""

    def read(self, key: int, row: dict) -> list[Row]:
        """Read one query."""
        video, query, start, end, length = fields(row, **_KINDS)
        if (qid := row.get("qid", row.get("id"))) is None:
            raise ValueError("has no id")
        return [Row(video, length, Query(str(qid), query, (Span(start, end),)))]
