"""Writing the films of a split as mp4 files, once, with their annotations."""

import json
import os
from pathlib import Path

from numpro.flipbook import world
from numpro.flipbook.world import SPLITS, WORLD_VERSION, make_film
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
        frames = (world.draw_frame(film, t) for t in times)
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
    rows = {ANNOTATIONS: [row for film in films for row in world.annotation_rows(film)]}
    rows[ABSENT] = [world.absent_row(film) for film in films]
    for name, found in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in found)
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
