"""Predictions beside their truth: the rows of one file, or of two that are paired."""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpro.datasets import load_dataset, loader
from numpro.datasets.rows import naming, number, row_name
from numpro.metrics.conventions import CONVENTIONS, READERS
from numpro.metrics.read import Found, check_same_queries, is_object, read_file, window_list
from numpro.metrics.span_sets import Spans

# where a row may have its windows, the best place first: ours, moment_detr's, TimeChat's; or text
_PREDICTED = ("pred", "pred_relevant_windows", "timestamp")
_TRUE = ("truth", "relevant_windows")
# and a span in two values, as the NumPro repository's test JSON and its result files have it
_ENDS = (("start_time", "end_time"), ("gt_start", "gt_end"))
_VIDEO = re.compile(r"\.(?:mp4|mkv|webm|avi|mov|m4v)$", re.IGNORECASE)


class Table:
    """The rows of a file in columns: what each is about, and what it predicts or has as truth.

    Parameters
    ----------
    readers
        Those of `READERS` by which answers are read; none of annotations.
    true
        Whether the rows have their truth.
    keyed
        Whether they are to be paired with those of another file by video and query.
    """

    def __init__(self, readers: Iterable[str] = (), true: bool = True, keyed: bool = True):
        self.names, self.videos, self.texts, self.durations = [], [], [], array("d")
        self.found, self.true = {name: Found() for name in readers}, Found() if true else None
        self.places: dict[str, int] = {}
        self._videos, self._keyed = {}, keyed

    def add(self, name: Any, row: dict) -> int:
        """Add a row of a file and return its place."""
        for reader, found in self.found.items():
            found.add(*_predicted(row, reader))
        if self.true is not None:
            self.true.add(_true(row))
        if (duration := row.get("duration")) is not None and number(duration, "duration") <= 0:
            raise ValueError(f"duration must be above 0; got {duration!r}")
        video = str((row.get("vid") if row.get("video") is None else row["video"]) or "")
        self.names.append(name)
        self.videos.append(self._videos.setdefault(video, video))  # one text for a video's rows
        self.durations.append(np.nan if duration is None else duration)
        if self._keyed:
            query = " ".join(str(row.get("query") or "").casefold().split()).rstrip(".")
            text = f"{_VIDEO.sub('', video)}\n{query}".encode("utf-8", "replace")
            digest = blake2b(text, digest_size=16).digest()  # the texts of a million rows are long
            self.texts.append(digest if video and query else b"")
        return len(self.names) - 1

    def keys(self, order: Callable) -> dict[bytes, int]:
        """Return the places by video and query, equal ones numbered; none if one lacks them."""
        counts, found = Counter(), {}
        for qid in order(self.places):
            counts[text := self.texts[self.places[qid]]] += 1
            found[text + str(counts[text]).encode()] = self.places[qid]
        return {} if counts[b""] else found


def _true(row: dict) -> list:
    """Return the true spans of a row, as annotated: reversed ones too."""
    if ends := next((keys for keys in _ENDS if keys[0] in row), None):
        return [[number(row.get(k), k) for k in ends]]
    if (key := next((k for k in _TRUE if k in row), None)) is None:
        raise ValueError("has no truth, relevant_windows, or start_time and end_time")
    if not (spans := window_list(row[key], key)):
        raise ValueError(f"{key} is empty")
    return spans


def _predicted(row: dict, reader: str) -> tuple[Sequence, str, str | None]:
    """Return the spans of an answer, their unit, and the reason a row gives for having none.

    A row's windows count, but for the readers of others' texts its text does, if it has one.
    """
    key, text = next((k for k in _PREDICTED if k in row), None), row.get("response")
    if key is None and "response" not in row:
        raise ValueError(f"has no {' or '.join(_PREDICTED)} or response")
    if text is not None and (key is None or reader != "numpro"):
        if not isinstance(text, str):
            raise ValueError(f"response must be text; got {text!r:.80}")
        answer = READERS[reader](text)
        return answer.spans, answer.unit or "frame", row.get("reason") or answer.reason
    windows = row[key] if key else None
    return window_list(windows, key) if windows is not None else (), "second", row.get("reason")


def read_truth(path: Path, dataset: str | None) -> Table:
    """Read annotations in the form of one of the datasets, or as rows with their truth."""
    if not dataset and path.suffix.lower() == ".txt":
        dataset = "charades-sta"
    table = Table()
    if not (dataset := dataset or ("grouped-json" if is_object(path) else None)):
        table.places = read_file(path, table.add)
        return table
    splits = [*loader(dataset).files]
    split = next((name for name in splits if name in path.stem), splits[-1])
    for video in load_dataset(dataset, split, path):
        about = {"video": video.video, "duration": video.duration}
        for query in video.queries:
            spans = [list(span) for span in query.spans]
            with naming(path), naming(row_name(query.qid)):
                row = about | {"query": query.text, "truth": spans}
                table.places[query.qid] = table.add(query.qid, row)
    return table


def _paired(predicted: Table, true: Table, path: Path, true_path: Path) -> np.ndarray:
    """Return the places ``[N]`` of the truth, by video and query where all agree, else by qid."""
    mine, theirs = predicted.places, true.places
    order = sorted if mine.keys() == theirs.keys() else list  # places of equal ones then agree
    texts, others = predicted.keys(order), true.keys(order)
    if texts and texts.keys() == others.keys():
        return np.array([others[text] for text in sorted(texts, key=texts.get)])
    check_same_queries(mine, theirs, path, true_path)
    names = [_VIDEO.sub("", video) for video in true.videos]
    known = {*names} - {""}
    for qid, place in mine.items():  # files may call videos differently, but not mix them up
        video, other = _VIDEO.sub("", predicted.videos[place]), names[theirs[qid]]
        if video != other and video in known:
            mixed = f"is of video {video!r}, in {true_path} of {other!r}"
            raise ValueError(f"{path}, {row_name(predicted.names[place])}: qid {qid!r} {mixed}")
    return np.array([theirs[qid] for qid in mine])


class Queries(NamedTuple):
    """Queries whose answers stand beside their truth, in the order of the predictions."""

    path: Path
    true_path: Path
    table: Table  # of the predictions
    videos: list[str]
    durations: np.ndarray  # [N]; NaN where not known
    true: Spans

    def predicted(self, convention: str, step: float | None) -> Spans:
        """Return the spans in seconds that a convention reads."""
        found = self.table.found[CONVENTIONS[convention].reader]
        with naming(self.path):
            return found.in_seconds(self.durations, step, self.table.names)


def read_queries(path: Path, true_path: Path, dataset: str | None, readers: set) -> Queries:
    """Read predictions by these readers, and the truth, in the same rows or in another file."""
    table = true = Table(readers, path == true_path, path != true_path)
    table.places = read_file(path, table.add)
    places = np.arange(len(table.names))
    if path != true_path:
        true = read_truth(true_path, dataset)
        places = _paired(table, true, path, true_path)
    lengths, own = np.array(true.durations)[places], np.array(table.durations)
    # a row without a video stands for itself
    other = (video or true.videos[j] for video, j in zip(table.videos, places, strict=True))
    videos = [v or f"query {name}" for v, name in zip(other, table.names, strict=True)]
    durations, spans = np.where(np.isnan(lengths), own, lengths), true.true.spans().take(places)
    return Queries(path, true_path, table, videos, durations, spans)
