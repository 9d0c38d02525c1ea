"""Datasets: one record type for all of them, one file for each of them.

Truth is kept as annotated: nothing is dropped, clipped or put in order here.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from importlib import import_module
from pathlib import Path, PureWindowsPath
from types import ModuleType

from numpro.spans import Span, one_of

# Name -> module in this package with SPLITS and load(split, data_root, limit).
DATASETS = {"flipbook": "flipbook", "numpro-json": "numpro_json"}
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm")


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
    """A query about one video, with its true spans in seconds and its saliency, if any."""

    qid: str
    text: str
    spans: tuple[Span, ...]
    saliency: Saliency | None = None


@dataclass(frozen=True)
class VideoQueries:
    """One video and all its queries; `path` need not exist."""

    video: str
    path: Path
    duration: float
    queries: tuple[Query, ...]
    dataset: str
    split: str


def loader(name: str) -> ModuleType:
    """Return the module that loads a dataset, with its ``SPLITS`` and ``load``."""
    one_of("dataset", name, DATASETS)
    return import_module(f"numpro.datasets.{DATASETS[name]}")


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
        Folder of the dataset (not needed for what is embedded).
    limit
        At most this many videos, from the start; None is all.

    Raises
    ------
    ValueError
        For an unknown name or split, a limit below 1, or malformed annotations.
    FileNotFoundError
        When the annotations are not there.
    """
    module = loader(name)
    one_of(f"split of {name}", split, module.SPLITS)
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 video, or None for all; got {limit!r}")
    return module.load(split, data_root, limit)


def video_path(folder: Path, name: str, suffixes: Sequence[str] = VIDEO_SUFFIXES) -> Path:
    """Find a video by the name an annotation gives it, inside its folder only.

    A name is data: it may hold dots, spaces or a leading dash, but never leads out of the
    folder. Returned is the first file found with the name as it is or with one of the
    suffixes; when there is none, the path it would have.

    Raises
    ------
    ValueError
        When the name is empty, absolute, or leads out of the folder.

    Examples
    --------
    >>> video_path(Path("videos"), "-3MS.v2").as_posix()
    'videos/-3MS.v2.mp4'
    >>> video_path(Path("videos"), "../secret")
    Traceback (most recent call last):
    ValueError: a video's name must stay inside its folder; got '../secret'
    """
    path = PureWindowsPath(name)  # takes both kinds of slashes apart
    if not name.strip() or "\0" in name or path.anchor or ".." in path.parts or not path.parts:
        raise ValueError(f"a video's name must stay inside its folder; got {name!r}")
    named = [folder / name] if name.lower().endswith(tuple(suffixes)) else []
    paths = [*named, *(folder / f"{name}{suffix}" for suffix in suffixes)]
    return next((path for path in paths if path.is_file()), paths[0])


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
