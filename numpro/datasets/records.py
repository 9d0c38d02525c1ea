"""The records every dataset is loaded into: a video, its queries, their true spans."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from numpro.spans import Span


@dataclass(frozen=True)
class Saliency:
    """How well each 2-second clip fits a query, as QVHighlights gives it.

    Attributes
    ----------
    clip_ids
        The relevant clips; clip i is [2i, 2i + 2] seconds. All others count as 0.
    scores
        For each of them the scores of three annotators, 0 (very bad) to 4 (very good).
    """

    clip_ids: tuple[int, ...]
    scores: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Query:
    """A query about one video, with its true spans in seconds and its saliency, if any.

    No spans: the truth is not given (as in the test split of QVHighlights).
    """

    qid: str
    text: str
    spans: tuple[Span, ...]
    saliency: Saliency | None = None


@dataclass(frozen=True)
class VideoQueries:
    """One video and all its queries.

    `path` need not exist. `duration` is in seconds; None where the annotations do not state
    it and there is no file to measure.
    """

    video: str
    path: Path
    duration: float | None
    queries: tuple[Query, ...]
    dataset: str
    split: str


def fingerprint(videos: Sequence[VideoQueries]) -> str:
    """Return 16 hexadecimal digits that change whenever an annotation does.

    Where the videos lie does not count.

    Examples
    --------
    >>> fingerprint([])
    '4f53cda18c2baa0c'
    """
    rows = [[[v.dataset, v.split, v.video, v.duration], [*map(astuple, v.queries)]] for v in videos]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
