"""What of a dataset is there: counts of queries and videos, and of those that can be read."""

from collections.abc import Sequence
from pathlib import Path

from numpro.datasets import load_dataset, loader


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
    from numpro.video import VideoError, probe

    rows, unreadable, missing = [], [], []
    for split in splits or loader(name).SPLITS:
        try:
            videos = load_dataset(name, split, data_root)
        except FileNotFoundError as error:
            missing.append(error)
            continue
        present = [video for video in videos if video.path.is_file()]
        found = len(unreadable)
        for video in present:
            try:
                probe(video.path)
            except VideoError as error:
                unreadable.append({"split": split, "video": video.video, "reason": error.reason})
        queries = sum(len(video.queries) for video in videos)
        row = {"split": split, "queries": queries, "videos": len(videos), "present": len(present)}
        rows.append(row | {"readable": len(present) - len(unreadable) + found})
    if missing and (splits or not rows):
        raise missing[0]
    return {"dataset": name, "splits": rows, "unreadable": unreadable}
