"""Writing the films of a split as mp4 files, once, with their annotations."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from numpro.flipbook.world import SPLITS, WORLD_VERSION, annotation_rows, draw_frame, make_film
from numpro.paths import flipbook_dir, write_whole
from numpro.video import write_video

ANNOTATIONS = "annotations.jsonl"


def films_dir(split: str, data_root: str | os.PathLike | None = None) -> Path:
    """Return the folder of a split's films (default: ``data/flipbook/films/<split>``).

    Raises
    ------
    ValueError
        For a split that is not there.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
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
    """Write a split's films and ``annotations.jsonl`` (QVHighlights rows); return the folder.

    Films that are there are kept, so a broken run is taken up where it stopped; the
    annotations are written last.

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
    from tqdm import tqdm

    folder = films_dir(split, data_root)
    folder.mkdir(parents=True, exist_ok=True)
    count = SPLITS[split].films if limit is None else min(limit, SPLITS[split].films)
    # who comes second waits, and then finds the films there
    with FileLock(folder / ".lock"):
        missing = [i for i in range(count) if not (folder / f"{split}_{i:04d}.mp4").is_file()]
        bar = tqdm(
            total=len(missing),
            desc=f"drawing {split}",
            unit="film",
            disable=None if progress is None else not progress,
        )
        with bar:
            if len(missing) < 3:
                for index in missing:
                    write_film(folder, split, index)
                    bar.update()
            else:
                _draw_in_processes(folder, split, missing, workers or cpu_count(), bar)
        _write_annotations(folder, split)
    return folder


def cpu_count() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _draw_in_processes(folder: Path, split: str, missing: list[int], workers: int, bar) -> None:
    # plain subprocesses: a pool would run the caller's own script again in each of its workers
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with ExitStack() as stack:  # waits for all of them and closes their pipes
        running = []
        for worker in range(min(workers, len(missing))):
            numbers = [str(i) for i in missing[worker::workers]]
            command = [sys.executable, "-m", "numpro.flipbook.films", str(folder), split, *numbers]
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": path},
            )
            running.append(stack.enter_context(process))
        with ThreadPoolExecutor(len(running)) as threads:
            list(threads.map(lambda worker: [bar.update() for _ in worker.stdout], running))
        for worker in running:
            told = worker.stderr.read().strip()
            if worker.wait():
                raise RuntimeError(f"drawing {split} films into {folder} failed: {told[-500:]}")


def _write_annotations(folder: Path, split: str) -> None:
    lines = [
        json.dumps(row)
        for index in range(SPLITS[split].films)
        for row in annotation_rows(make_film(split, index))
    ]
    text = "\n".join(lines) + "\n"
    path = folder / ANNOTATIONS
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


if __name__ == "__main__":
    _folder, _split, *_numbers = sys.argv[1:]
    for _number in _numbers:
        print(write_film(Path(_folder), _split, int(_number)).name, flush=True)
