"""What of a dataset is there: counts of queries and videos, and of those that can be read."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from numpro.datasets import DATASETS, VideoQueries, load_dataset


def check_dataset(
    name: str, data_root: str | Path | None = None, splits: Sequence[str] = ()
) -> dict:
    """Count per split how many videos are present and readable.

    Parameters
    ----------
    name, data_root
        As in `numpro.datasets.load_dataset`.
    splits
        Only these; by default all that have annotations.

    Returns
    -------
    dict
        ``dataset``; ``splits``, rows with ``split, queries, videos, present, readable``; and
        ``unreadable``, rows with ``split, video, reason``.

    Raises
    ------
    ValueError
        For an unknown name or split, or malformed annotations.
    FileNotFoundError
        When no split, or one asked for, has annotations.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}; got {name!r}")
    every = import_module(f"numpro.datasets.{DATASETS[name]}").SPLITS
    rows, unreadable, missing = [], [], []
    for split in splits or every:
        try:
            videos = load_dataset(name, split, data_root)
        except FileNotFoundError as error:
            if splits:
                raise
            missing.append(error)
            continue
        present = [video for video in videos if video.path.is_file()]
        faults = [fault for video in present if (fault := _unreadable(video))]
        queries = sum(len(video.queries) for video in videos)
        row = {"split": split, "queries": queries, "videos": len(videos), "present": len(present)}
        rows.append(row | {"readable": len(present) - len(faults)})
        unreadable += faults
    if not rows:
        raise missing[0]
    return {"dataset": name, "splits": rows, "unreadable": unreadable}


def _unreadable(video: VideoQueries) -> dict | None:
    from numpro.video import VideoError, probe

    try:
        probe(video.path)
    except VideoError as error:
        return {"split": video.split, "video": video.video, "reason": error.reason}
    return None
