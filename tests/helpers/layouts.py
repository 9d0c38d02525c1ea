"""Data sets in their own layouts with real films, a few rows each, for runs of whole notebooks.

Each has what real data has: rates such as 23.976, spans at .1 and .5 s, ends past the film's end,
one film that is missing and one that is no film.
"""

import json
from pathlib import Path

import numpy as np

from numpro.video import write_video

RATES = {"AAAAA": 24000 / 1001, "BBBBB": 12.5, "CCCCC": 30000 / 1001}  # films that can be read
TESTED = {**RATES, "GONE1": 0, "BAD01": 0}
SECONDS = 11.3
SPANS = [(0.0, 4.5), (2.5, 7.1), (5.1, 13.0)]  # the last ends past the film
QUERIES = ["person opens the door.", "a dog runs to the left", "person sits down."]
SPLITS = {
    "charades-sta": "test", "activitynet-captions": "val_2", "didemo": "test",
    "qvhighlights": "val", "timelens-bench": "charades", "folder": "test",
}  # fmt: skip


def _film(path: Path, rate: float) -> None:
    """Write a film of a dark slope with a light square that moves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(SECONDS * rate)
    frames = np.zeros((count, 48, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None]
    for n, frame in enumerate(frames):
        frame[10:30, (x := n * 44 // count) : x + 20] += 90
    write_video(path, frames, fps=rate)


def _films(folder: Path, name: str = "{}.mp4", rates: dict = TESTED) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for video in rates:
        path = folder / name.format(video)
        if video == "BAD01":
            path.write_bytes(b"this is no film" * 50)
        elif video in RATES:
            _film(path, RATES[video])


def _rows(train: bool) -> list[tuple[str, str, float, float]]:
    """Return video, query, start and end of each query; another film of each to learn from."""
    names = [f"T{name[1:]}" if train else name for name in (RATES if train else TESTED)]
    return [(v, q, *s) for v in names for q, s in zip(QUERIES, SPANS, strict=True)]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _lines(rows: list) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def charades(root: Path, train: bool) -> None:
    """Text lines, Charades' own CSV of lengths, and ``Charades_v1_480``."""
    part, rows = "train" if train else "test", _rows(train)
    text = "".join(f"{v} {a} {b}##{q}\n" for v, q, a, b in rows)
    _write(root / f"charades_sta_{part}.txt", text)
    videos = dict.fromkeys(row[0] for row in rows)
    lengths = "".join(f"{v},P,{SECONDS}\n" for v in videos)
    _write(root / f"Charades_v1_{part}.csv", f"id,subject,length\n{lengths}")


def by_video(root: Path, train: bool, name: str, spans: str, queries: str, prefix: str) -> None:
    """Write one object of videos, as ActivityNet Captions and TimeLens-Bench have it."""
    found: dict = {}
    for v, q, a, b in _rows(train):
        row = found.setdefault(f"{prefix}{v}", {"duration": SECONDS, spans: [], queries: []})
        row[spans].append([a, b])
        row[queries].append(q)
    _write(root / name, json.dumps(found))


def didemo(root: Path, train: bool) -> None:
    """Pairs of segments by four annotators; the file states no lengths."""
    pairs = [[[0, 0], [0, 0], [0, 1]], [[1, 1], [0, 1], [1, 1]], [[2, 2], [2, 2], [1, 2]]]
    rows = [
        {"annotation_id": n, "description": q, "video": f"{v}.mp4", "num_segments": 3,
         "times": [*pairs[n % 3], pairs[n % 3][0]], "dl_link": ""}
        for n, (v, q, *_) in enumerate(_rows(train))
    ]  # fmt: skip
    _write(root / f"{'train' if train else 'test'}_data.json", json.dumps(rows))


def qvhighlights(root: Path, train: bool) -> None:
    """Two windows a query, and the grades of three annotators."""
    rows = [
        {"qid": n + 100 * train, "query": q, "vid": v, "duration": 12,
         "relevant_windows": [[0, 4], [6, 10]] if n % 2 else [[2, 8]],
         "relevant_clip_ids": [1, 2, 3], "saliency_scores": [[4, 3, 4], [2, 2, 1], [4, 4, 4]]}
        for n, (v, q, *_) in enumerate(_rows(train))
    ]  # fmt: skip
    _write(root / f"highlight_{'train' if train else 'val'}_release.jsonl", _lines(rows))


def folder(root: Path) -> None:
    """One table for everything, with clock times, and a film that is named in no column twice."""
    clock = {0.0: "0:00", 4.5: "0:04.5", 13.0: "00:00:13"}
    rows = [f"{v},{q},{clock.get(a, a)},{clock.get(b, b)}" for v, q, a, b in _rows(train=False)]
    _write(root / "queries.csv", "\n".join(["video,query,start,end", *rows]) + "\n")


def make(dataset: str, root: Path, train: bool = True) -> Path:
    """Write a data set's files and films; `train`: also what is learned from, where it has it."""
    for learned in (False, True) if train else (False,):
        if dataset == "charades-sta":
            charades(root, learned)
        elif dataset == "activitynet-captions":
            name = "train.json" if learned else "val_2.json"
            by_video(root, learned, name, "timestamps", "sentences", "v_")
        elif dataset == "timelens-bench" and not learned:
            by_video(root, learned, "charades-timelens.json", "spans", "queries", "")
        elif dataset in ("didemo", "qvhighlights"):
            {"didemo": didemo, "qvhighlights": qvhighlights}[dataset](root, learned)
        elif dataset == "folder" and not learned:
            folder(root)
    films = {"charades-sta": "Charades_v1_480", "folder": ".", "timelens-bench": "videos/charades"}
    name = "v_{}.mp4" if dataset == "activitynet-captions" else "{}.mp4"
    place = root / films.get(dataset, "videos")
    _films(place, name)
    if train and dataset not in ("folder", "timelens-bench"):
        for video in RATES:  # the same pictures, under other names
            source = place / name.format(video)
            (place / name.format(f"T{video[1:]}")).write_bytes(source.read_bytes())
    return root
