"""JSON grouped by video, the form that papers after ActivityNet Captions use for many datasets.

One object of videos, each with its duration, its spans in seconds and as many sentences::

    {"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0, 4.14], [4.14, 33.36]],
                       "sentences": ["Two men ...", " One man ..."]}}

``timestamps`` and ``sentences`` (ActivityNet Captions, 2D-TAN, TFVTG, T2SGrid) may also be called
``spans`` and ``queries`` (TimeLens-Bench); other keys are passed over. In the place of a span
there may be a list of them: then the query has several. ``qid`` is the video and the place in
its list, from 0, as in ``v_uqiMw7tQ1Cc_1``.
"""

from collections.abc import Iterable
from functools import partial

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import fields, items, json_rows, positive, spans, text

_KEYS = {"timestamps": "sentences", "spans": "queries"}


class GroupedJson(Loader):
    """Any dataset in this form: ``train.json``, ``val.json`` or ``test.json``, and ``videos/``."""

    files = {split: (f"{split}.json",) for split in ("train", "val", "test")}
    rows = staticmethod(partial(json_rows, keyed=True))

    def read(self, key: str, row: dict) -> Iterable[Row]:
        """Read a video with its spans and sentences."""
        (length,) = fields(row, duration=positive)
        times = next((name for name in _KEYS if name in row), "timestamps")
        sentences = _KEYS[times]
        moments, queries = fields(row, **{times: items, sentences: items})
        if len(moments) != len(queries):
            raise ValueError(f"has {len(moments)} {times} and {len(queries)} {sentences}")
        if not queries:
            yield Row(key, length, None)
        for i, (moment, query) in enumerate(zip(moments, queries, strict=True)):
            several = isinstance(moment, list) and moment and isinstance(moment[0], list)
            found = spans(moment if several else [moment], times)
            # an empty sentence of a published file is a query all the same
            yield Row(key, length, Query(f"{key}_{i}", text(query, sentences, empty=True), found))
