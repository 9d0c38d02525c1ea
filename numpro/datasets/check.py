"""Check which files of a dataset are there, and which of its videos cannot be used and why."""

from collections.abc import Sequence
from pathlib import Path

from numpro.datasets import VideoQueries, downloads, load_dataset, loader, sources
from numpro.paths import find, relative
from numpro.progress import progress_bar
from numpro.video import VideoError, VideoInfo, probe
from numpro.video.workers import Request, run_many

FAULTS = ("missing", "unreadable", "too_short", "other_duration", "damaged", "late_picture",
          "odd_spans")  # fmt: skip
TOLERANCE = 1.0  # seconds that a file may be longer or shorter than its annotation
LATE = 0.5  # seconds after which a first picture is late


def other_duration(video: VideoQueries, seconds: float) -> str | None:
    """Return how a video's length differs from its annotation; None where it does not."""
    if video.duration is None or abs(seconds - video.duration) <= TOLERANCE:
        return None
    return f"the film is {seconds:.2f} s long, annotated are {video.duration:.2f} s"


def odd_spans(video: VideoQueries, duration: float | None) -> str | None:
    """Return which true spans of a video are reversed, negative or go on past its end, in seconds.

    They stay as annotated: a reversed one overlaps nothing, the others can be reached in part.
    """
    found = []
    for query in video.queries:
        for start, end in query.spans:
            odd = ["reversed"] * (end < start) + ["negative"] * (min(start, end) < 0)
            odd += ["past the end"] * (duration is not None and max(start, end) > duration)
            if odd:
                found.append(f"query {query.qid}: {start:g} to {end:g} is {' and '.join(odd)}")
    return "; ".join(found[:3] + [f"{len(found) - 3} more"] * (len(found) > 3)) or None


def video_faults(video: VideoQueries, info: VideoInfo | VideoError) -> dict[str, str]:
    """Return what is wrong with a video's file, with the reason; empty when nothing is.

    ``missing``: no such file. ``unreadable``: no video, or it took too long to look at, or ended
    the process that did. ``too_short``: a true span starts when the film is over, or there are
    fewer than two frames. ``other_duration``: longer or shorter than annotated by more than a
    second. ``damaged``: frames are missing inside. ``late_picture``: its first picture comes more
    than half a second after the film's beginning, half a sample at the usual rate. ``odd_spans``:
    a true span is reversed, negative, or ends after the film.
    """
    known = not isinstance(info, VideoError)
    odd = odd_spans(video, info.duration if known else video.duration)
    found = {"odd_spans": odd} if odd else {}
    if not video.path.exists():
        return found | {"missing": relative(video.path)}
    if not known:
        return found | {"unreadable": info.reason}
    length = f"the film is {info.duration:.2f} s long"
    latest = max((span.start for query in video.queries for span in query.spans), default=0.0)
    if info.frames < 2 or latest >= info.duration:
        found["too_short"] = f"{length}, has {info.frames} frames; a span starts at {latest:.2f} s"
    if differs := other_duration(video, info.duration):
        found["other_duration"] = differs
    if info.gaps:
        found["damaged"] = next(note for note in info.warnings if "missing inside" in note)
    if info.begins > LATE:
        found["late_picture"] = f"its first picture comes at {info.begins:.2f} s"
    return found


def check_dataset(
    name: str, data_root: str | Path | None = None, splits: Sequence[str] = (),
    limit: float = 60.0, workers: int | None = None,
) -> dict:  # fmt: skip
    """Count per split the videos that are annotated, present, readable and as annotated.

    Parameters
    ----------
    name, data_root
        As in `numpro.datasets.load_dataset`.
    splits
        Only these; by default all that have annotations (of those that share a file, one).
    limit
        Seconds after which a file that is still being looked at counts as unreadable.
    workers
        Processes that look (`numpro.video.workers.default_workers`); 0 looks here, without a limit.

    Returns
    -------
    dict
        ``dataset``; ``splits``, rows with ``split, queries, videos, present, readable`` and the
        counts of the other `FAULTS` (see `video_faults`), and
        ``published``, the counts that the whole split has (None: not stated); the splits
        ``without_annotations`` and the files ``wanted`` for them; for each fault the list of
        rows ``split, video, reason``; and the ``source``.

    Raises
    ------
    ValueError
        For an unknown name or split, or malformed annotations.
    FileNotFoundError
        When a split that was asked for has no annotations, or there is no data root.
    """
    source = sources().get(name, {})
    rows, faults, absent, looked_at = [], {fault: [] for fault in FAULTS}, {}, set()
    for split in splits or loader(name).files:
        try:
            path = loader(name).find(split, data_root, None)
        except FileNotFoundError as error:
            absent[split] = error
            continue
        if path in looked_at and not splits:
            continue  # one file for all splits
        looked_at.add(path)
        videos = load_dataset(name, split, data_root)
        counts = dict.fromkeys(FAULTS, 0)
        looked = run_many(probe, [Request(video.path) for video in videos], workers, limit)
        bar = progress_bar(looked, f"checking {split}", len(videos), "video")
        for video, (_, info) in zip(videos, bar, strict=True):
            for fault, reason in video_faults(video, info).items():
                counts[fault] += 1
                faults[fault].append({"split": split, "video": video.video, "reason": reason})
        queries, present = sum(len(v.queries) for v in videos), len(videos) - counts.pop("missing")
        row = {"split": split, "queries": queries, "videos": len(videos), "present": present}
        row |= {"readable": present - counts.pop("unreadable"), **counts}
        rows.append(row | {"published": source.get("published", {}).get(split)})
    if absent and (splits or not rows and not find(data_root).is_dir()):
        raise next(iter(absent.values()))
    found = {"dataset": name, "splits": rows, "without_annotations": list(absent)}
    found["wanted"] = [str(error).partition("; to download")[0] for error in absent.values()]
    return found | faults | {"source": source}


def report_lines(found: dict, most: int = 10) -> list[str]:
    """Return what `check_dataset` found as lines for people, `most` videos of each fault."""
    import pandas as pd

    lines, fetch = [], downloads(found["dataset"])
    if found["splits"]:
        table = pd.DataFrame(found["splits"])
        published = table.pop("published")
        counts = ["{videos}/{queries}".format(**p) if p else "not stated" for p in published]
        table["published videos/queries"] = counts
        lines = table.to_string(index=False).splitlines()
    else:  # nothing is there: the videos, which are large, first
        fetch.sort(key=lambda line: not line.startswith("videos"))
        lines += found["wanted"]
    if absent := found["without_annotations"]:
        lines.append(f"no annotations for: {', '.join(absent)}")
    for fault in FAULTS:
        rows = found[fault]
        lines += [f"{fault}: {row['split']} {row['video']}: {row['reason']}" for row in rows[:most]]
        if len(rows) > most:
            lines.append(f"{fault}: {len(rows) - most} more; --json lists them all")
    return lines + [f"to download: {line}" for line in fetch]
