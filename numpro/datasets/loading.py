"""What all loaders share: find the annotations, group their rows by video, find the videos."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, NamedTuple

from numpro.datasets.records import Query, VideoQueries
from numpro.datasets.rows import csv_rows, json_rows, naming, need, row_name, seconds
from numpro.datasets.sources import downloads
from numpro.paths import find, places
from numpro.spans import one_of

# of several files of one name the first of these counts
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".wmv", ".3gp",
                  ".3g2", ".mts", ".flv")  # fmt: skip


class Row(NamedTuple):
    """A video and one of its queries, from a row of annotations; `query` is None for none."""

    video: str
    duration: float | None  # seconds; None where the row does not state them
    query: Query | None
    source: str = ""  # a folder that the video's file may lie in, inside the videos' folder


class VideoFiles:
    """The video files of some folders; each folder is listed once.

    A name from an annotation is data: it may hold dots, spaces, a leading dash or a folder,
    but never leads out of the folders.

    Examples
    --------
    >>> VideoFiles([Path("videos")]).find("-3MS.v2").as_posix()
    'videos/-3MS.v2.mp4'
    >>> VideoFiles([Path("videos")]).find("../secret")
    Traceback (most recent call last):
    ValueError: a video's name must stay inside its folder; got '../secret'
    """

    def __init__(self, folders: Iterable[Path]):
        self.folders = tuple(folders)
        self._files = cache(_file_names)

    def find(self, *names: str) -> Path:
        """Return the first file of these names, as they are or with a suffix of a video.

        When there is none, return the path that the first name would have.

        Raises
        ------
        ValueError
            When a name is empty, absolute, or leads out of the folder.
        """
        # texts, not paths: this runs for every name of a dataset
        files = [(os.path.dirname(name), _possible_names(name)) for name in names]
        for folder in self.folders:
            for inner, named in files:
                listed = self._files(os.path.join(folder, inner))
                if listed and (file := next((file for file in named if file in listed), None)):
                    return folder / inner / file
        inner, named = files[0]
        return self.folders[0] / inner / named[0]


def _file_names(folder: str) -> set[str]:
    """Return the names of the files in a folder; none for a folder that is not there."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except PermissionError:
        raise  # its videos may be there
    except OSError:
        return set()


def _possible_names(name: str) -> list[str]:
    """Return what the file of a video of this name may be called."""
    name.encode()  # half a surrogate pair is no name
    path = PureWindowsPath(name)  # takes both kinds of slashes apart
    if not name.strip() or "\0" in name or path.anchor or ".." in path.parts or not path.parts:
        raise ValueError(f"a video's name must stay inside its folder; got {name!r:.80}")
    last = os.path.basename(name)
    named = [last] if last.lower().endswith(VIDEO_SUFFIXES) else []
    return named + [last + suffix for suffix in VIDEO_SUFFIXES]


def measured(path: Path, limit: float = 60.0) -> float | None:
    """Return the seconds of a video file; None where it is missing, broken or hangs.

    It is looked at in a thread, which is left alone after `limit` seconds: a process for each of
    thousands of whole files would cost more than all of them.
    """
    from pebble.concurrent import thread

    from numpro.video import VideoError, probe

    if not path.is_file():
        return None
    try:
        return thread(probe)(path).result(limit).duration
    except (VideoError, TimeoutError):
        return None  # numpro.datasets.check and whoever reads the video say why


class Loader:
    """How the annotations of a dataset are read; a subclass says what its rows mean.

    What ``formats.yaml`` says of a dataset becomes attributes of its loader.

    Attributes
    ----------
    files
        For each split the names that its annotation file may have, in the data root or in its
        folder ``annotations``; the first that is there counts.
    folders
        Where the videos may lie in the data root.
    lengths
        CSV files with the durations of videos and their columns of names and seconds, for rows
        that state none; the first that is there counts. (``{split}`` is the split, also in
        `folders`.)
    rows
        What takes a file apart into rows with their numbers or keys.
    end
        What a label that a model names means in seconds: one of `numpro.spans.ENDS`.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]]
    folders: ClassVar[tuple[str, ...]] = ("videos", ".")
    lengths: ClassVar[Mapping[str, tuple[str, str]]] = {"durations.csv": ("video", "duration")}
    rows: ClassVar[Callable[[Path], Iterator[tuple[int | str, Any]]]] = staticmethod(json_rows)
    end: ClassVar[str] = "instant"  # as published

    def __init__(self, name: str, **described: Any):
        self.name = name
        vars(self).update(described)

    def read(self, key: int | str, row: Any) -> Iterable[Row]:
        """Return the videos and queries of one row; a malformed one is a `ValueError`.

        A video that may have no query comes first by itself.
        """
        raise NotImplementedError

    def names(self, video: str) -> tuple[str, ...]:
        """Return the names that a video's file may have."""
        return (video,)

    def duration(self, video: str, stated: float | None, path: Path) -> float | None:
        """Return the seconds of a video: as stated in its rows, in a CSV file, or as measured."""
        return stated or self._lengths.get(video) or measured(path)

    def fit(self, query: Query, duration: float | None) -> Query:
        """Return a query as it is for a video of this duration."""
        return query

    def find(self, split: str, data_root: str | Path | None, limit: int | None) -> Path:
        """Return the annotation file of a split and remember its root."""
        one_of(f"split of {self.name}", split, self.files)
        wanted = " or ".join(self.files[split])
        if data_root is None:
            raise ValueError(f"{self.name} needs data_root: a folder with {wanted}, or the file")
        self.root, self.split = find(data_root), split
        if self.root.is_file():
            path, self.root = self.root, self.root.parent
        elif (path := self._there(self.files[split])) is None:
            message = f"{self.name}, split {split}: no {wanted} in {self.root}{places(data_root)}"
            raise FileNotFoundError("; to download: ".join([message, *downloads(self.name)[:1]]))
        return path

    def load(self, split: str, root: str | Path | None, limit: int | None) -> list[VideoQueries]:
        """Load a split: its queries grouped by video, in the order of the file.

        Rows that give one video two durations make two records.
        """
        path = self.find(split, root, limit)
        with naming(path):
            groups = self._group(path)
        made = []
        for (video, stated, _), (file, queries) in list(groups.items())[:limit]:
            length = self.duration(video, stated, file)
            fitted = tuple(self.fit(query, length) for query in queries)
            made.append(VideoQueries(video, file, length, fitted, self.name, split))
        return made

    def _group(self, path: Path) -> dict[tuple, tuple[Path, list[Query]]]:
        """Return for each video of a file where it lies and its queries."""
        files = VideoFiles(self.root / folder.format(split=self.split) for folder in self.folders)
        groups, qids = {}, set()
        for key, content in self.rows(path):
            with naming(row_name(key)):
                for row in self.read(key, content):
                    video = row.video, row.duration, row.source
                    if video not in groups:
                        names = self.names(row.video)
                        names = (*(f"{row.source}/{name}" for name in names if row.source), *names)
                        groups[video] = files.find(*names), []
                    if row.query is None:
                        continue
                    if row.query.qid in qids:
                        raise ValueError(f"qid {row.query.qid!r:.80} is there twice")
                    qids.add(row.query.qid)
                    groups[video][1].append(row.query)
        if not groups:
            raise ValueError("is empty")
        return groups

    def _there(self, names: Iterable[str]) -> Path | None:
        """Return the first of these files that is in the data root or its annotations."""
        paths = [self.root / folder / name for folder in ("", "annotations") for name in names]
        return next((path for path in paths if path.is_file()), None)

    @cached_property
    def _lengths(self) -> dict[str, float]:
        """The durations in seconds from the CSV file, if there is one."""
        found = {}
        for name, (video, length) in self.lengths.items():
            if found or not (path := self._there([name.format(split=self.split)])):
                continue
            with naming(path):
                for n, row in csv_rows(path):
                    with naming(row_name(n)):
                        known, lasts = need(row, video, length)
                        found[known] = seconds(lasts, length)
        return found
