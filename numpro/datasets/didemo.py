"""DiDeMo (Hendricks et al. 2017): moments in Flickr films, by several annotators.

``train_data.json``, ``val_data.json`` and ``test_data.json`` (``data/`` of
LisaAnne/LocalizingMoments, whose README describes them) are lists of::

    {"annotation_id": 1, "description": "someone kicks the bug towards some rocks.",
     "video": "26292851@N04_4253489686_265c3c8051.m4v", "num_segments": 6,
     "times": [[4, 4], [4, 4], [0, 0], [4, 4]], "dl_link": "..."}

A film is cut into segments of 5 seconds; the pair (a, b) is second 5a to 5(b + 1), or to the end
of the film where that comes first. Annotators saw the first 30 seconds of longer films.

**The one span of a query** is the pair that most annotators gave; of pairs that equally many gave,
the one with the highest mean IoU with all annotations; of those, the first one. (In the test set
one pair has more than half of the annotations in 3,005 of 4,021 queries; in 312 the first step
leaves several pairs.)

The file states no durations. They are those of the video files; without a file the duration is
5 s times ``num_segments``, the most that was annotated.

A film may be called as the annotation says, with or without its suffix, with another one after
it (as the authors' download script does), or by its YFCC100M hash when the authors'
``yfcc100m_hash.txt`` lies in the data root (lines ``FLICKR_ID<tab>HASH``).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import fields, items, naming, need, text, text_rows
from numpro.spans import Span, temporal_iou

SEGMENT = 5.0  # seconds


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10_000  # true and false are no counts


def one_span(times: Sequence[Sequence[int]]) -> Span:
    """Return the one span for the pairs that several annotators gave (the rule is above).

    Examples
    --------
    >>> one_span([[4, 4], [4, 4], [0, 0], [4, 4]])
    Span(start=20.0, end=25.0)
    >>> one_span([[0, 0], [2, 3], [3, 3], [5, 5]])
    Span(start=10.0, end=20.0)
    """
    given = [Span(SEGMENT * a, SEGMENT * (b + 1)) for a, b in times]
    count = Counter(given)
    return max(given, key=lambda span: (count[span], float(temporal_iou(span, given).mean())))


class Didemo(Loader):
    """DiDeMo as published, one span a query."""

    def read(self, key: int, row: dict) -> list[Row]:
        """Read one query."""
        qid, segments = need(row, "annotation_id", "num_segments")
        query, video, times = fields(row, description=text, video=text, times=items)
        if not times:
            raise ValueError("times must not be empty")
        for pair in times:
            two = isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair))
            if not two or pair[0] > pair[1]:
                raise ValueError(f"times must hold [first, last] segments; got {pair!r:.80}")
        if not _is_count(segments) or not segments:
            raise ValueError(f"num_segments must be a whole number above 0; got {segments!r:.80}")
        return [Row(video, SEGMENT * segments, Query(str(qid), query, (one_span(times),)))]

    def names(self, video: str) -> tuple[str, ...]:
        """Return the name with and without suffix, and the hash."""
        flickr = video.split("_")[1] if "_" in video else ""
        known = (self._hashes[flickr],) if flickr in self._hashes else ()
        return video, video.rpartition(".")[0] or video, *known

    def fit(self, query: Query, duration: float) -> Query:
        """End the last segment with the film; a span that is not on the film at all stays."""
        ((start, end),) = query.spans
        last = min(end, duration) if start < duration else end
        return replace(query, spans=(Span(start, last),))

    def duration(self, video: str, stated: float | None, path: Path) -> float | None:
        """Return the seconds of the film, or of its segments where there is no film."""
        return super().duration(video, None, path) or stated

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """The YFCC100M hashes by Flickr id."""
        path = self._there(["yfcc100m_hash.txt"])
        if path is None:
            return {}
        with naming(path):
            return dict(line.strip().split("\t", 1) for _, line in text_rows(path))
