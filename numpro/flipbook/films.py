"""Writing the films of a split as mp4 files, once, with their annotations: the true moments."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from numpro.flipbook.world import SPLITS, WORLD_VERSION, Event, Film, draw_frame, make_film
from numpro.paths import flipbook_dir, write_whole
from numpro.progress import progress_bar
from numpro.provenance import count_cores
from numpro.spans import one_of
from numpro.video import Request, VideoError, run_many, write_video

ANNOTATIONS, ABSENT = "annotations.jsonl", "absent.jsonl"


def films_dir(split: str, data_root: str | os.PathLike | None = None) -> Path:
    """Return the folder of a split's films (default: ``data/flipbook/films/<split>``).

    Raises
    ------
    ValueError
        For a split that is not there.
    """
    one_of("split", split, SPLITS)
    base = Path(data_root) if data_root else flipbook_dir("films")
    return base / f"v{WORLD_VERSION}" / split


def write_film(folder: Path, split: str, index: int) -> Path:
    """Draw and encode one film; a file that is there is kept (writing is atomic)."""
    film = make_film(split, index)
    path = folder / f"{film.name}.mp4"
    if not path.is_file():
        times = film.frame_times()
        frames = (draw_frame(film, t) for t in times)
        write_video(path, frames, seconds=times, duration=film.duration)
    return path


def make_films(
    split: str,
    data_root: str | os.PathLike | None = None,
    limit: int | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Write a split's films and their annotations (QVHighlights rows); return the folder.

    ``annotations.jsonl`` has the queries, ``absent.jsonl`` those about what a film does not show.
    Films that are there are kept, so a broken run goes on where it stopped; the annotations
    are written last.

    Parameters
    ----------
    split
        One of `numpro.flipbook.world.SPLITS`.
    data_root
        Where films lie instead of ``data/flipbook/films``.
    limit
        Only the first films (the annotations still cover the whole split).
    workers
        Processes (default: the cores this process may use).
    progress
        Show a bar on stderr; default: when it is a terminal.
    """
    from filelock import FileLock

    folder = films_dir(split, data_root)
    folder.mkdir(parents=True, exist_ok=True)
    count = SPLITS[split].films if limit is None else min(limit, SPLITS[split].films)
    # a second process waits here, and then finds the films written
    with FileLock(folder / ".lock"):
        missing = [i for i in range(count) if not (folder / f"{split}_{i:04d}.mp4").is_file()]
        _write_films(folder, split, missing, workers, progress)
        _write_annotations(folder, split)
    return folder


def _write_films(
    folder: Path, split: str, missing: list[int], workers: int | None, progress: bool | None
) -> None:
    """Write the missing films; a handful here, more of them in worker processes."""
    workers = count_cores() if workers is None else workers
    requests = [Request(folder, {"split": split, "index": i}) for i in missing]
    drawn = run_many(write_film, requests, workers if len(missing) > 2 else 0)
    for _, found in progress_bar(drawn, f"drawing {split}", len(missing), "film", progress):
        if isinstance(found, VideoError):
            raise RuntimeError(f"drawing {split} films into {folder} failed: {found}")


def _write_annotations(folder: Path, split: str) -> None:
    films = [make_film(split, index) for index in range(SPLITS[split].films)]
    rows = {ANNOTATIONS: [row for film in films for row in annotation_rows(film)]}
    rows[ABSENT] = [absent_row(film) for film in films]
    for name, found in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in found)
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)


def saliency(
    film: Film, events: Sequence[Event], clip_seconds: float = 2.0
) -> tuple[list, list]:  # fmt: skip
    """Grade a query's 2-s clips by how large and how long it shows, as QVHighlights does.

    Parameters
    ----------
    film
    events
        Of one query.
    clip_seconds
        How long a clip is.

    Returns
    -------
    clip_ids : list of int
        Clips that are filled for half a second or more.
    scores : list of [int, int, int]
        Three annotators' grades, 0 (very bad) to 4 (very good).
    """
    count = int(film.duration // clip_seconds)  # a rest at the end is no clip
    times = np.arange(0, film.duration, 0.05)
    widths = np.max([event.width(times) for event in events], axis=0)
    shown = np.array([widths[(times // clip_seconds) == c].mean() for c in range(count)])
    overlap = [
        max(min(e.end, (c + 1) * clip_seconds) - max(e.start, c * clip_seconds) for e in events)
        for c in range(count)
    ]
    rng = np.random.default_rng([*film.seed, 5, int(1000 * events[0].start)])
    clip_ids = [c for c in range(count) if overlap[c] >= 0.5]
    grade = 4.2 * (shown / shown.max()) ** 2
    scores = [
        [int(g) for g in np.clip(np.round(grade[c] + rng.normal(0, 0.4, 3)), 0, 4)]
        for c in clip_ids
    ]
    return clip_ids, scores


def annotation_rows(film: Film) -> list[dict]:
    """Return one QVHighlights row per query of a film."""
    rows = []
    for number, (query, events) in enumerate(film.queries.items()):
        clip_ids, scores = saliency(film, events)
        rows.append(
            {
                "qid": f"{film.name}_{number}",
                "query": query,
                "vid": film.name,
                "duration": film.duration,
                "relevant_windows": sorted([event.start, event.end] for event in events),
                "relevant_clip_ids": clip_ids,
                "saliency_scores": scores,
            }
        )
    return rows


def absent_row(film: Film) -> dict:
    """Return the row about what is not in a film: no windows."""
    row = {"qid": f"{film.name}_absent", "query": film.absent, "vid": film.name}
    return row | {"duration": film.duration, "relevant_windows": []}
