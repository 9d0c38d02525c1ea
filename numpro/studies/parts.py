"""The parts of a dataset as notebooks need them: which there are, and what of them can be used.

What is missing is counted in a printed line and costs only what needs it.
"""

from collections.abc import Sequence
from dataclasses import replace

from numpro.datasets import VideoQueries, downloads, load_dataset, loader

Parts = dict[str, list[VideoQueries]]


def load_parts(
    dataset: str, data_root: str, splits: Sequence[str], n_videos: Sequence[int]
) -> Parts:
    """Load parts of a dataset, of each at most `n_videos` (0: all); "" is its own data root.

    The notebooks name splits of the embedded world by default; those that another dataset has not
    are left out, which is printed. A video of unknown length, which has no file that reads, is
    taken to end with its last true span, which is printed, too.

    Raises
    ------
    ValueError
        When there are not as many numbers as splits, or a query has no true span.
    FileNotFoundError
        When a split has no annotations or not one of its videos is there.
    """
    if len(splits) != len(n_videos):
        listed = f"{len(n_videos)} for {len(splits)} ({', '.join(splits)})"
        raise ValueError(f"n_videos needs one number a split: {listed}")
    world, parts = set(loader("flipbook").files) - set(loader(dataset).files), {}
    for split, count in zip(splits, n_videos, strict=True):
        if split in world and not world.issuperset(splits):
            print(f"left out: {split}, which {dataset} has not")
            continue
        videos = load_dataset(dataset, split, data_root or None, count or None)
        queries = [(video.video, query) for video in videos for query in video.queries]
        if blind := next((f"{q.qid!r} of {name!r}" for name, q in queries if not q.spans), ""):
            what = "it can be asked (numpro predict), not scored: leave it out"
            raise ValueError(f"split {split}: query {blind} has no true span; {what}")
        there = sum(video.path.is_file() for video in videos)
        if not there:
            where = f"such as {videos[0].path}; numpro check-data {dataset} lists what to get"
            raise FileNotFoundError(f"none of {len(videos)} videos of {split} is there, {where}")
        if there < len(videos):
            print(f"{split}: {there} of {len(videos)} videos are there")
        if unknown := sum(not video.duration for video in videos):
            print(f"{split}: {unknown} videos of unknown length are taken to their last true span")
        parts[split] = [
            replace(v, duration=v.duration or max(t for q in v.queries for s in q.spans for t in s))
            for v in videos
            if v.queries
        ]
    return parts


def fit_parts(
    dataset: str, data_root: str, splits: Sequence[str], n_videos: int, scored: Parts
) -> tuple[list[VideoQueries], str]:
    """Load what floors are fitted on: training videos, never one of those that are scored.

    Parameters
    ----------
    dataset, data_root, splits
        As in `load_parts`.
    n_videos
        Videos of each split; 0 is all.
    scored
        What is scored, from `load_parts`.

    Returns
    -------
    list of VideoQueries, str
        The videos, and why there are none ("" where there are).
    """
    try:
        loaded = [load_dataset(dataset, s, data_root or None, n_videos or None) for s in splits]
        found = [video for videos in loaded for video in videos]
    except (ValueError, FileNotFoundError) as error:
        return [], str(error)
    taken = {video.path for videos in scored.values() for video in videos}
    others = [video for video in found if video.path not in taken]
    usable = [v for v in others if v.duration and any(query.spans for query in v.queries)]
    if usable or not others:
        every = f"all {len(found)} videos of {', '.join(splits)} are among those that are scored"
        return usable, "" if usable else every
    files = " or ".join(name.format(split=splits[0]) for name in loader(dataset).lengths)
    get = [f"; {line}" for line in downloads(dataset) if line.startswith("durations")]
    return [], f"no length of a video of {', '.join(splits)} is known: add {files}{''.join(get)}"
