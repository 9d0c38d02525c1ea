"""Datasets: one record type for all of them, one file for each of them.

Truth is kept as annotated: nothing is dropped, clipped or put in order here (the one rule there
is, for DiDeMo's several annotators, stands in its file). `DATASETS` names them all.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from numpro.spans import Span, one_of

if TYPE_CHECKING:
    from numpro.datasets.loading import Loader

# Name -> the module in this package and in it the `Loader`.
DATASETS = {
    "flipbook": "flipbook.Flipbook",
    "charades-sta": "charades_sta.CharadesSta",
    "activitynet-captions": "activitynet_captions.ActivitynetCaptions",
    "didemo": "didemo.Didemo",
    "qvhighlights": "qvhighlights.Qvhighlights",
    "timelens-bench": "timelens_bench.TimelensBench",
    "grouped-json": "grouped_json.GroupedJson",
    "numpro-json": "numpro_json.NumproJson",
    "numpro-instructions": "conversations.NumproInstructions",
    "vtimellm": "conversations.Vtimellm",
    "folder": "folder.Folder",
}


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


def loader(name: str) -> "Loader":
    """Return the loader of a dataset."""
    one_of("dataset", name, DATASETS)
    module, _, kind = DATASETS[name].partition(".")
    return getattr(import_module(f"numpro.datasets.{module}"), kind)(name)


def load_dataset(
    name: str, split: str, data_root: str | Path | None = None, limit: int | None = None
) -> list[VideoQueries]:
    """Load the annotations of one split.

    Parameters
    ----------
    name
        One of `DATASETS`.
    split
        One of the dataset's splits.
    data_root
        Folder of the dataset, or an annotation file in it (not needed for what is embedded).
    limit
        At most this many videos, from the start; None is all.

    Raises
    ------
    ValueError
        For an unknown name or split, a limit below 1, or malformed annotations; the message
        names the file and the row.
    FileNotFoundError
        When the annotations are not there; the message says where to get them.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 video, or None for all; got {limit!r}")
    return loader(name).load(split, data_root, limit)


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
