"""How a run over a dataset is executed, as one record."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from numpro.video import ClipCache
from numpro.video.workers import LIMIT


@dataclass(frozen=True)
class Execution:
    """How a run over a dataset is executed; no answer depends on it, but for `seed`.

    Attributes
    ----------
    seed : int
        Torch's random numbers are seeded with it and the video's name before each video, so
        that a run in parts draws what a whole one draws.
    shard : (i, n) or None
        Ask every n-th video only, from the i-th (1 to n); the rows go to a file of their own
        (`numpro.inference.prediction_files.shard_path`) until `merge_shards`.
    workers : int or None
        Processes that decode ahead (`numpro.video.workers.read_many`); None goes by the cores.
    limit : float
        Seconds for reading one video.
    max_memory : float or None
        Bytes that reading one video may take (`numpro.read_clip`).
    cache : ClipCache, path or None
        Where sampled clips are kept from run to run.
    progress : bool or None
        Show a bar on stderr; None: when it is a terminal.
    tell : callable or None
        Gets one line before the first video is asked: what it costs, of a local model.
    """

    seed: int = 0
    shard: tuple[int, int] | None = None
    workers: int | None = None
    limit: float = LIMIT
    max_memory: float | None = None
    cache: ClipCache | str | os.PathLike | None = None
    progress: bool | None = None
    tell: Callable[[str], None] | None = None
