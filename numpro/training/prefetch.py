"""The order of an epoch, and its clips, decoded by worker processes ahead of use."""

import math
from collections.abc import Iterator, Sequence
from itertools import tee

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from numpro.training.processes import world_size
from numpro.video import Clip, ClipCache, VideoError, read_many


class ByLength:
    """The order of each epoch: batches of like length, the batches in random order.

    The order depends on the seed and the epoch alone, so that a resumed run goes on in it.

    Parameters
    ----------
    samples : numpro.training.samples.Samples
        Their `lengths` are what counts; they are given the order before it is used.
    batch
        Samples that go through the model together: a batch's size times the processes.
    seed
        The order's.
    """

    def __init__(self, samples, batch: int, seed: int = 0):
        self.samples, self.batch, self.seed = samples, batch, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1000003 * self.samples.epoch)
        pool = min(max(len(self) // (2 * self.batch), 1), 50)  # batches that exchange samples
        lengths = self.samples.lengths
        order = get_length_grouped_indices(lengths, self.batch, pool, generator=generator)
        batches = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        # whole batches change places, but the first: it has the longest sample, so that what does
        # not fit into memory fails at once and not after hours
        whole = len(order) // self.batch
        places = (1 + torch.randperm(max(whole - 1, 0), generator=generator)).tolist()
        batches[1:whole] = [batches[place] for place in places]
        order = [index for batch in batches for index in batch]
        self.samples.look_ahead(order)
        return iter(order)


class Prefetcher:
    """Clips, decoded ahead of use in the order in which they will be used.

    Parameters
    ----------
    samples : numpro.training.samples.Samples
        Their ``request`` says what to read for one of them, ``needs_clip`` whether at all. Their
        configuration gives ``workers`` (0: a clip is read when it is used), ``video_limit`` and
        ``batch_size``: of several processes, each takes its own batches.
    cache
        Where clips are kept.
    """

    def __init__(self, samples, cache: ClipCache | None = None):
        self.samples, self.config = samples, samples.config
        self._options = {"limit": self.config.video_limit, "cache": cache}
        self._clips: Iterator | None = None
        self.begin([])

    def begin(self, order: Sequence[int]) -> None:
        """Take the order of an epoch; reading begins with the first clip that is used.

        The workers of the order before it end; an empty order starts none.
        """
        if self._clips is not None:
            self._clips.close()  # ends the workers
        self._order = order if self.config.workers else []
        self._places = {index: place for place, index in enumerate(self._order)}
        self._clips, self._stream, self._next = None, None, (-1, None)

    def clip(self, index: int) -> Clip:
        """Return a sample's clip.

        Raises
        ------
        VideoError
            When it cannot be read, or not in time.
        """
        found = self._prefetched(self._places[index]) if index in self._places else None
        if found is None:  # not in the order, or used already
            request, workers = self.samples.request(index), min(1, self.config.workers)
            _, found = next(read_many([request], workers, **self._options))
        if isinstance(found, VideoError):
            raise found
        return found

    def _prefetched(self, place: int) -> Clip | VideoError | None:
        """Return what was read for a place of the order; None where it was not, or not again."""
        if self._clips is None:
            places, requested = tee(self._needed_from(place))
            requests = (self.samples.request(self._order[one]) for one in requested)
            self._clips = read_many(requests, self.config.workers, **self._options)
            self._stream = zip(places, (found for _, found in self._clips), strict=False)
        while self._next[0] < place:
            self._next = next(self._stream, (math.inf, None))
        if self._next[0] != place:
            return None
        found, self._next = self._next[1], (place, None)
        return found

    def _needed_from(self, start: int) -> Iterator[int]:
        """Yield the places, from `start` on, whose clips this process has to read."""
        for place in range(start, len(self._order)):
            ours = (place - start) // self.config.batch_size % world_size() == 0
            if ours and self.samples.needs_clip(self._order[place]):
                yield place
