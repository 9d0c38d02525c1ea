"""Files of prediction rows: appended whole, taken up again, in shards and put together.

Beside the rows of ``predictions.jsonl`` lies ``predictions.jsonl.config.json``: what the answers
depend on, which must be the same for all rows of a file, and under ``about`` what is only told:
the first question as it was asked (of a local model also with the words of its chat template), the
annotations, and each session with its versions, machine, time and counts.
"""

import glob
import io
import json
import os
import warnings
from collections import UserDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from numpro.datasets import VideoQueries
from numpro.paths import write_whole


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Read prediction rows; a later row of a query replaces an earlier one.

    A last line that a kill cut in the middle is left out (its query is asked again).

    Raises
    ------
    ValueError
        For any other line that is not a row, with file and line number.
    """
    path, rows = Path(path), {}
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[row["qid"]] = row
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise ValueError(f"{path} line {number} is not a prediction row: {error}") from error
    return list(rows.values())


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write rows; a reader, or a kill, finds all of them or what was there before."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_whole(path, text)


def answered(row: dict) -> bool:
    """Tell whether a query was answered, readably or not; what failed is asked again."""
    return row["reason"] is None or bool(row["response"])


def add_row(file: io.FileIO, row: dict) -> None:
    """Append a row to a file opened with ``open("ab", buffering=0)``.

    It is there in full whatever happens next; on a full disk nothing of it, and what was there
    stays.
    """
    line, end = (json.dumps(row) + "\n").encode(), os.fstat(file.fileno()).st_size
    try:
        while line:
            line = line[file.write(line) :]
    except OSError as error:
        with suppress(OSError):  # half a line at the end is asked again, too
            file.truncate(end)
        advice = "the rows so far are kept: run it again when there is room"
        raise OSError(error.errno, f"{error.strerror}; {advice}", str(file.name)) from error


def windows_path(out: Path) -> Path:
    """Return where the answers of a film's windows lie until it has its rows."""
    return out.with_name(f"{out.name}.windows")


class WindowAnswers(UserDict):
    """What each window answered, by its first frame; what is set is in the file at once.

    Parameters
    ----------
    path
        The file; it serves one film after another.
    key
        What the answers depend on: what was kept under another one does not count.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()  # a kill may cut the last line
        rows = [row for row in map(json.loads, whole) if row["key"] == key]
        super().__init__()
        self.data = {row["start"]: row["answers"] for row in rows}

    def __setitem__(self, start: int, answers: list[dict]) -> None:
        super().__setitem__(start, answers)
        with self.path.open("ab", buffering=0) as file:
            add_row(file, {"key": self.key, "start": start, "answers": answers})


def locked(out: Path) -> FileLock:
    """Return the lock of a file of rows, for one process at a time; taking it makes the folder."""
    return FileLock(out.with_name(f".{out.name}.lock"))


# --- what the answers depend on ------------------------------------------------------------------


def config_path(out: Path) -> Path:
    """Return where the configuration of a file of rows is."""
    return out.with_name(out.name + ".config.json")


def read_config(out: Path) -> dict:
    """Read the configuration of a file of rows; {} without one."""
    path = config_path(out)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_config(out: Path, config: dict, about: dict) -> None:
    """Write the configuration of a file of rows, and what is only told."""
    write_whole(config_path(out), json.dumps(config | {"about": about}, indent=1) + "\n")


def check_config(out: Path, config: dict, asking: bool = True) -> dict:
    """Refuse to mix rows of two configurations; return what the file tells about itself.

    The state of the model (its floating type and so on) may differ where nothing is asked: a
    file can be read again on another machine.

    Raises
    ------
    ValueError
        When the file holds rows of another configuration, or of an unknown one.
    """
    before = read_config(out)
    if not out.is_file() or not out.stat().st_size:
        return {}
    if not before:
        raise ValueError(f"{out} holds rows of an unknown configuration: no {out.name}.config.json")
    given = {k: v for k, v in config.items() if asking or k != "state"}
    # the clock and the way to read answers until they could be chosen
    before = {"origin": "first-picture", "read": "greedy", "windows": None} | before
    # another setting that the file's writer did not know had no other value then
    differs = {k: (before.get(k, v), v) for k, v in sorted(given.items()) if before.get(k, v) != v}
    if differs:
        fields = "; ".join(f"{k}: {a!r} there, {b!r} now" for k, (a, b) in differs.items())
        raise ValueError(f"{out} holds rows of another configuration ({fields}); give another file")
    return before.get("about", {})


def check_questions(out: Path, rows: Iterable[dict], videos: Sequence[VideoQueries]) -> None:
    """Refuse rows whose query the annotations no longer have as it was.

    Raises
    ------
    ValueError
        With the first query that differs.
    """
    there = {row["qid"]: row for row in rows}
    for video, query in ((v, q) for v in videos for q in v.queries):
        row, truth = there.get(query.qid, {}), [list(span) for span in query.spans]
        now = {"video": video.video, "query": query.text, "duration": video.duration}
        for key, value in (now | {"truth": truth}).items():
            if row.get(key, value) != value:
                differs = f"{key} was {row[key]!r} and is {value!r} in the annotations"
                raise ValueError(f"{out}, qid {query.qid!r}: {differs}; give another file")


def begin_session(about: dict, started: str, provenance: dict) -> dict:
    """Add a session to what a file tells about itself; say when its versions are others.

    Versions are told and not refused: a run may go on on another machine. (The version of
    numpro itself is part of the configuration.)
    """
    if sessions := about.get("sessions", []):
        then, now = ({"commit": p["commit"], **p["versions"]} for p in (sessions[-1], provenance))
        other = [f"{k} {then.get(k)} there, {v} now" for k, v in now.items() if then.get(k) != v]
        if other:
            warnings.warn(f"taken up with other versions: {', '.join(other)}", stacklevel=5)
    return about | {"sessions": [*sessions, {"started": started, **provenance}]}


# --- shards --------------------------------------------------------------------------------------


def launched() -> tuple[tuple[int, int] | None, str]:
    """Return the shard and the device of this process under ``accelerate launch``.

    ``None, "auto"`` where one process runs. Who is who stands in the environment (as torchrun
    leaves it, too), so no process waits for another one.
    """
    rank, count = os.environ.get("RANK"), int(os.environ.get("WORLD_SIZE", 1))
    if rank is None or count < 2:
        return None, "auto"
    import torch

    use_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    gpu = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = gpu if torch.cuda.is_available() and not use_cpu else "cpu"
    return (int(rank) + 1, count), device


def shard_path(out: Path, shard: tuple[int, int]) -> Path:
    """Return where a shard's rows go: ``predictions.shard-1-of-4.jsonl``."""
    number, count = shard
    if not 1 <= number <= count:
        raise ValueError(f"shard must be i/n with 1 <= i <= n; got {number}/{count}")
    return out.with_name(f"{out.stem}.shard-{number}-of-{count}{out.suffix}")


def _shards(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f"{glob.escape(out.stem)}.shard-*-of-*{out.suffix}"))


def _collected(out: Path) -> dict[str, dict]:
    """Return the rows of a file and its shards by query; an answer counts before a failure."""
    rows: dict[str, dict] = {}
    for row in (row for path in (out, *_shards(out)) for row in read_rows(path)):
        if row["qid"] not in rows or not answered(rows[row["qid"]]):
            rows[row["qid"]] = row
    return rows


def missing_queries(videos: Sequence[VideoQueries], out: Path) -> list[str]:
    """Return the qids that neither a file nor its shards have a row for."""
    rows = _collected(out)
    return [q.qid for v in videos for q in v.queries if q.qid not in rows]


def merge_shards(videos: Sequence[VideoQueries], out: str | os.PathLike) -> list[dict]:
    """Put the rows of all shards into one file, in the order of the dataset.

    The shards' files stay; the merged file can be taken up again as any other, to ask again
    what failed.

    Parameters
    ----------
    videos
        The whole dataset, as it was asked.
    out
        As it was given for the shards; they lie beside it.

    Raises
    ------
    FileNotFoundError
        When no shards are there.
    ValueError
        When queries have no row yet, or rows are of different configurations or annotations.
    """
    out = Path(out)
    with locked(out):
        if not (paths := _shards(out)):
            wanted = shard_path(out, (1, 2)).name
            raise FileNotFoundError(f"no shards of {out} are there, such as {wanted}")
        config, sessions = read_config(paths[0]), []
        about = config.pop("about", {})
        for path in (out, *paths):
            more = check_config(path, config).get("sessions", [])
            sessions += [session for session in more if session not in sessions]
        rows = _collected(out)
        check_questions(out, rows.values(), videos)
        if left := missing_queries(videos, out):
            names = ", ".join(path.name for path in paths)
            count = f"{len(left)} of {sum(len(v.queries) for v in videos)} queries"
            lack = f"{count} have no row yet, first qid {left[0]!r}"
            raise ValueError(f"{names}: {lack}; run their shards to the end")
        write_config(out, config, about | {"sessions": sessions})
        merged = [rows.pop(q.qid) for v in videos for q in v.queries]
        write_rows(out, [*merged, *rows.values()])
    return merged
