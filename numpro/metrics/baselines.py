"""Floors and ceilings: what is scored without reading the query, and by a perfect reader.

All predictions come in the flat order of the dataset: video by video, query by query.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np

from numpro.datasets import Query, VideoQueries, label_end
from numpro.metrics.highlight_detection import CLIP_SECONDS
from numpro.spans import Span, labels_to_seconds, seconds_to_labels, temporal_iou

Videos = Sequence[VideoQueries]


def records(queries: Iterable[tuple]) -> list[VideoQueries]:
    """Return a record for each query of a file: its video, the length of that, its true spans."""
    return [
        VideoQueries(v, Path(), length, (Query("", "", s),), "", "") for v, length, s in queries
    ]


def flat(videos: Videos) -> list[tuple[VideoQueries, Query]]:
    """Return every query with its video, whose length must be known."""
    if odd := [video.video for video in videos if not video.duration]:
        raise ValueError(f"the duration of {len(odd)} videos is not known, first {odd[0]!r}")
    return [(video, query) for video in videos for query in video.queries]


def _fractions(train: Videos) -> list[np.ndarray]:
    """Return the true spans ``[K, 2]`` of each training query as fractions of its video."""
    found = [np.array(query.spans) / video.duration for video, query in flat(train) if query.spans]
    if not found:
        raise ValueError("train has no query with a true span")
    return found


def _stretched(videos: Videos, windows: Iterable[Sequence[float]]) -> list[Span]:
    """Return one window, given in fractions of the video, for each query."""
    pairs = zip(flat(videos), windows, strict=False)
    return [Span(a * video.duration, b * video.duration) for (video, _), (a, b) in pairs]


def whole_video(videos: Videos) -> list[Span]:
    """Answer the whole video to every query."""
    return _stretched(videos, repeat((0.0, 1.0)))


def best_fixed_window(train: Videos, step: float = 0.05) -> tuple[float, float]:
    """Find the window, in fractions of the video, with the best mIoU on training queries.

    Parameters
    ----------
    train
        Videos to fit on; never the ones to be scored.
    step
        Grid of the fractions.

    Returns
    -------
    tuple of float
        Start and end as fractions of the duration.

    Examples
    --------
    >>> from pathlib import Path
    >>> query = Query("0", "a star", (Span(0.0, 4.0),))
    >>> best_fixed_window([VideoQueries("a", Path("a.mp4"), 10.0, (query,), "made", "train")])
    (0.0, 0.4)
    """
    fractions = _fractions(train)
    truth, starts = np.concatenate(fractions), np.cumsum([0, *map(len, fractions[:-1])])
    grid = np.round(np.arange(0, 1 + step / 2, step), 6).tolist()
    windows = [(a, b) for a in grid for b in grid if a < b]
    scores = [np.maximum.reduceat(temporal_iou(w, truth), starts).mean() for w in windows]
    return windows[int(np.argmax(scores))]


def fixed_window(videos: Videos, window: tuple[float, float]) -> list[Span]:
    """Answer the same window, in fractions of the video, to every query."""
    return _stretched(videos, repeat(window))


def random_moment(videos: Videos, train: Videos, seed: int = 0) -> list[Span]:
    """Answer a random training query's moment, stretched to the video's length."""
    moments = np.concatenate(_fractions(train))
    drawn = np.random.default_rng(seed).integers(len(moments), size=len(flat(videos)))
    return _stretched(videos, moments[drawn].tolist())


def frame_grid(
    videos: Videos, fps: float = 1.0, rounding: str | None = None,
    end: str | None = None, every: bool = False,
) -> list:  # fmt: skip
    """Answer the truth as well as sampled frames can say it: the ceiling of frame numbers.

    Frames are taken at 0, 1/fps, ... before the end of the video. Of several true spans the
    one that survives best is answered.

    Parameters
    ----------
    videos
        Videos with their truth.
    fps
        Frames a second.
    rounding, end
        As in `numpro.spans.seconds_to_labels` and `labels_to_seconds`. Default: the data set's
        way (`numpro.datasets.label_end`), and the frames that come nearest by it.
    every
        Answer a query's true spans all, the one that survives best first.
    """
    if not fps > 0:
        raise ValueError(f"fps must be above 0; got {fps!r}")
    answers, end = [], end or label_end(videos)
    rounding = rounding or ("inner" if end == "halfway" else "nearest")
    for video, query in flat(videos):
        # 1e-9: a frame at the very end of the video is not there
        frames = max(int(np.ceil(video.duration * fps - 1e-9)), 1)
        if not query.spans:
            raise ValueError(f"query {query.qid!r} of {video.video!r} has no true span")
        seconds = np.arange(frames) / fps
        labels = [seconds_to_labels(span, seconds, rounding) for span in query.spans]
        snapped = [labels_to_seconds(x, seconds, None, end, video.duration) for x in labels]
        ious = [temporal_iou(s, t) for s, t in zip(snapped, query.spans, strict=True)]
        best_first = [snapped[place] for place in np.argsort(-np.array(ious), kind="stable")]
        answers.append(best_first if every else best_first[0])
    return answers


def unparsed(videos: Videos) -> list[None]:
    """Answer nothing that could be read: the lowest score, for highlights above 0."""
    return [None for _ in flat(videos)]


def _clips(video: VideoQueries) -> np.ndarray:
    """Return the numbers of a video's 2-second clips."""
    return np.arange(max(int(video.duration // CLIP_SECONDS), 1))


def centre_prior(videos: Videos) -> list[np.ndarray]:
    """Score every 2-second clip by its nearness to the middle of the video, for highlights."""
    return [-np.abs(_clips(video) - (len(_clips(video)) - 1) / 2) for video, _ in flat(videos)]


def perfect_windows(videos: Videos) -> list[np.ndarray]:
    """Score the clips of the true spans 1 and all others 0: perfect windows, flat scores."""
    scores = []
    for video, query in flat(videos):
        starts = CLIP_SECONDS * _clips(video)[:, None]
        first, last = np.array(query.spans).reshape(-1, 2).T
        scores.append(((starts < last) & (starts + CLIP_SECONDS > first)).any(axis=1).astype(float))
    return scores
