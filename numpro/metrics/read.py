"""Rows of prediction files beside their truth, whatever the format: in one file, or in two."""

import re
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpro.datasets import load_dataset, loader
from numpro.datasets.rows import naming, need, number, row_name, windows_of
from numpro.metrics.conventions import CONVENTIONS, READERS
from numpro.metrics.other_files import closest_form, plain_rows
from numpro.metrics.span_sets import Spans
from numpro.spans import UNITS

# where a row may have its windows, the best place first: ours, moment_detr's, TimeChat's; or text
_SCORED = "pred_relevant_windows"
_PREDICTED = ("pred", _SCORED, "timestamp")
_TRUE = ("truth", "relevant_windows")
# and a span in two values, as the NumPro repository's test JSON and its result files have it
_ENDS = (("start_time", "end_time"), ("gt_start", "gt_end"))
_VIDEO = re.compile(r"\.(?:mp4|mkv|webm|avi|mov|m4v)$", re.IGNORECASE)


def is_object(path: Path) -> bool:
    """Tell whether a file is one JSON object, of rows by their key."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def read_file(path: Path, read: Callable[[Any, dict], Any]) -> dict[str, Any]:
    """Read every row of a file by its ``qid`` or ``id``, or by its key in the file."""
    found, keyed = {}, is_object(path)
    with naming(path):
        for name, row in plain_rows(path, keyed):
            with naming(row_name(name)):
                need(row)
                key = "id" if row.get("qid") is None else "qid"
                qid = name if keyed else row.get(key)
                if qid is None:
                    with naming("has no qid or id"):  # what else it lacks says what it may be
                        read(name, row)
                    raise ValueError("has no qid or id")
                if str(qid) in found:
                    raise ValueError(f"{key} {str(qid)!r} is there twice")
                found[str(qid)] = read(name, row)
        if not found:
            raise ValueError("is empty")
    return found


class Found:
    """The spans that are found in the rows of a file, in flat columns that take little memory."""

    def __init__(self):
        self.ends, self.counts, self.units = array("d"), array("q"), array("b")
        self.scores = array("d")  # of each span; where it has none, 1, 1/2, 1/3, ...
        self.reasons = Counter()  # the kinds of reasons why there are none

    def add(self, spans: Sequence, unit: str = "second", reason: str | None = None) -> None:
        """Add the spans of the next row, an open end being None, or the reason for having none."""
        for place, (start, end, *score) in enumerate(spans, 1):
            self.ends.extend((start, np.inf if end is None else end))
            self.scores.append(score[0] if score else 1 / place)
        self.counts.append(len(spans))
        self.units.append(UNITS.index(unit))
        if not spans and reason:
            self.reasons.update(count_kinds([reason]))

    def spans(self) -> Spans:
        """Return the spans as written."""
        return Spans(np.array(self.ends).reshape(-1, 2), np.array(self.counts, int))

    def in_seconds(self, durations: np.ndarray, step: float | None, names: Sequence) -> Spans:
        """Return the spans in seconds; `step` is the seconds of one frame label.

        Raises
        ------
        ValueError
            When a row needs `step` or a duration and there is none, with the row's name.
        """
        spans, units = self.spans(), np.array(self.units)
        rows = spans.queries
        wholes = np.broadcast_arrays(step or np.nan, 1.0, durations / 100)  # of UNITS
        ends = spans.ends * np.choose(units, wholes)[rows, None]
        ends[:, 1] = np.where(np.isinf(spans.ends[:, 1]), durations[rows], ends[:, 1])
        if (lacks := rows[np.isnan(ends).any(axis=1)]).size:
            needed = "a duration" if step or units[lacks[0]] else "label_seconds"
            raise ValueError(f"{row_name(names[lacks[0]])}: needs {needed} to be read in seconds")
        return spans._replace(ends=ends)


def count_kinds(reasons: Iterable[str | None]) -> dict[str, int]:
    """Count the kinds of reasons of unparsed answers, the most frequent first.

    Of "video: a.mp4: no such file" the kind is "video"; an answer may have no reason.
    """
    return dict(Counter(str(r).partition(":")[0] for r in reasons if r).most_common())


def check_same_queries(predicted: dict, true: dict, path: Path, true_path: Path) -> None:
    """Refuse predictions that leave out queries or bring others."""
    if predicted.keys().isdisjoint(true):
        first = f"first qid {next(iter(predicted))!r} here, {next(iter(true))!r} there"
        lack = f"of another data set than {true_path}? No qid is in both"
        raise ValueError(f"{path}: {lack}: {first}")
    for there, others, file in ((true, predicted, path), (predicted, true, true_path)):
        if missing := [qid for qid in there if qid not in others]:
            count = f"{len(missing)} of {len(there)} queries"
            raise ValueError(f"{file}: has no row for {count}, first qid {missing[0]!r}")


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
        self.ranked: list[dict] = []  # the rows whose windows are scored
        self._keyed = keyed

    def add(self, name: Any, row: dict) -> int:
        """Add a row of a file and return its place."""
        if (duration := row.get("duration")) is not None and number(duration, "duration") <= 0:
            raise ValueError(f"duration must be above 0; got {duration!r}")
        for reader, found in self.found.items():
            found.add(*_predicted(row, reader))
        if self.true is not None:
            self.true.add(_true(row))
        video = str((row.get("vid") if row.get("video") is None else row["video"]) or "")
        if self.found and (windows := row.get(_SCORED)) is not None:
            windows = windows_of(windows, _SCORED, 2, 3)
            if all(len(window) == 3 for window in windows):
                greedy = row.get("greedy") and windows_of(row["greedy"], "greedy", 2, 3)
                self.ranked.append({_SCORED: windows, "greedy": greedy})
        self.names.append(name)
        self.videos.append(sys.intern(video))  # one text for a video's rows
        self.durations.append(np.nan if duration is None else duration)
        if self._keyed:
            query = " ".join(str(row.get("query") or "").casefold().split()).rstrip(".")
            about = hash((_VIDEO.sub("", video), query))  # the texts of a million rows are long
            self.texts.append(about if video and query else None)
        return len(self.names) - 1

    def keys(self, order: Callable) -> dict[tuple, int]:
        """Return the places by video and query, equal ones numbered; none if one lacks them."""
        counts, found = Counter(), {}
        for qid in order(self.places):
            counts[text := self.texts[self.places[qid]]] += 1
            found[text, counts[text]] = self.places[qid]
        return {} if counts[None] else found


def _true(row: dict) -> list:
    """Return the true spans of a row, as annotated: reversed ones too."""
    if ends := next((keys for keys in _ENDS if keys[0] in row), None):
        return [[number(row.get(k), k) for k in ends]]
    if (key := next((k for k in _TRUE if k in row), None)) is None:
        raise ValueError("has no truth, relevant_windows, or start_time and end_time")
    if not (spans := windows_of(row[key], key, 2, 3)):
        raise ValueError(f"{key} is empty")
    return spans


def _predicted(row: dict, reader: str) -> tuple[Sequence, str, str | None]:
    """Return the spans of an answer, their unit, and the reason a row gives for having none.

    A row's windows count, but for the readers of others' texts its text does, if it has one.
    """
    key, text = next((k for k in _PREDICTED if k in row), None), row.get("response")
    if key is None and "response" not in row:
        raise ValueError(f"has no {' or '.join(_PREDICTED)} or response; {closest_form(row)}")
    if text is None or (key and reader == "numpro"):
        windows = [] if row.get(key) is None else windows_of(row[key], key, 2, 3)
        windows = windows[:1] if "greedy" in row else windows  # ranked: the others are no set
        return windows, "second", row.get("reason")
    if not isinstance(text, str):
        raise ValueError(f"response must be text; got {text!r:.80}")
    answer = READERS[reader](text)
    return answer.spans, answer.unit or "frame", row.get("reason") or answer.reason


def read_truth(path: Path, dataset: str | None) -> Table:
    """Read annotations in the form of one of the datasets, or as rows with their truth."""
    form = "charades-sta" if path.suffix.lower() == ".txt" else is_object(path) and "grouped-json"
    table = Table()
    if not (dataset := dataset or form):
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
    if mine.keys().isdisjoint(theirs):  # ids may be of our making: the same queries have one name
        named = {text: qid for qid, text in zip(theirs, others, strict=False)}
        names = zip(mine, texts, strict=False)
        mine = {named.get(text, qid): mine[qid] for qid, text in names} or mine
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
    lengths, lengths_here = np.array(true.durations)[places], np.array(table.durations)
    # a row without a video stands for itself
    other = (video or true.videos[j] for video, j in zip(table.videos, places, strict=True))
    videos = [v or f"query {name}" for v, name in zip(other, table.names, strict=True)]
    durations = np.where(np.isnan(lengths), lengths_here, lengths)
    return Queries(path, true_path, table, videos, durations, true.true.spans().take(places))
