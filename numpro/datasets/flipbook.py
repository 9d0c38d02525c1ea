"""The embedded flipbook films as a dataset; they are drawn when first asked for.

Rows have the QVHighlights format (one JSON object a line: ``qid, query, vid, duration,
relevant_windows, relevant_clip_ids, saliency_scores``), so that scorers for it read them too.
"""

import json
import os

from numpro.datasets import Query, Saliency, VideoQueries
from numpro.flipbook.films import ANNOTATIONS, make_films
from numpro.flipbook.world import SPLITS as _SPLITS
from numpro.spans import Span

SPLITS = tuple(_SPLITS)


def load(
    split: str, data_root: str | os.PathLike | None = None, limit: int | None = None
) -> list[VideoQueries]:
    """Load a split, drawing what is not there yet (under a minute for all, then cached).

    Parameters
    ----------
    split
        One of ``train``, ``val``, ``test``, ``test_long``.
    data_root
        Where the films lie (default ``data/flipbook/films``).
    limit
        Only the first videos.

    Raises
    ------
    ValueError
        For another split.
    """
    folder = make_films(split, data_root, limit)
    by_video: dict[str, list[dict]] = {}
    with open(folder / ANNOTATIONS, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            by_video.setdefault(row["vid"], []).append(row)
    return [
        VideoQueries(
            video=video,
            path=folder / f"{video}.mp4",
            duration=rows[0]["duration"],
            queries=tuple(_query(row) for row in rows),
            dataset="flipbook",
            split=split,
        )
        for video, rows in list(by_video.items())[:limit]
    ]


def _query(row: dict) -> Query:
    return Query(
        qid=row["qid"],
        text=row["query"],
        spans=tuple(Span(*window) for window in row["relevant_windows"]),
        saliency=Saliency(
            tuple(row["relevant_clip_ids"]), tuple(tuple(s) for s in row["saliency_scores"])
        ),
    )
