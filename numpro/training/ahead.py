"""The order of an epoch, and its clips, decoded by worker processes before they are asked for."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from numpro.video import Clip, VideoError
from numpro.video.cache import ClipCache
from numpro.video.workers import Request, read_many


class ByLength:
    """The order of each epoch: batches of like length, the batches in random order.

    The order depends on the seed and the epoch alone, so that a run taken up again goes on in it.

    Parameters
    ----------
    samples : numpro.training.samples.Samples
        Whose `lengths` count; they are told the order.
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
        import torch
        from transformers.trainer_pt_utils import get_length_grouped_indices

        drawn = torch.Generator().manual_seed(self.seed + 1000003 * self.samples.epoch)
        pool = min(max(len(self) // (2 * self.batch), 1), 50)  # batches that exchange samples
        lengths = self.samples.lengths
        order = get_length_grouped_indices(lengths, self.batch, pool, generator=drawn)
        batches = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        # whole batches change places, but the first: it has the longest sample, so that what does
        # not fit into memory fails at once and not after hours
        whole = len(order) // self.batch
        places = (1 + torch.randperm(max(whole - 1, 0), generator=drawn)).tolist()
        batches[1:whole] = [batches[place] for place in places]
        order = [index for batch in batches for index in batch]
        self.samples.look_ahead(order)
        return iter(order)


class Ahead:
    """Clips in the order in which they will be asked for.

    Parameters
    ----------
    request
        Turns a sample's index into what to read.
    needed
        Whether a sample's clip will have to be read at all.
    workers
        Worker processes; 0 reads when asked.
    limit
        Seconds for one video.
    batch
        A batch's size: with several processes (``WORLD_SIZE``) each takes every so manieth batch.
    cache
        Where clips are kept.
    """

    def __init__(
        self,
        request: Callable[[int], Request],
        needed: Callable[[int], bool],
        workers: int,
        limit: float,
        batch: int,
        cache: ClipCache | None = None,
    ):
        self.request, self.needed, self.batch = request, needed, batch
        self.how = {"limit": limit, "cache": cache}
        self.workers = workers
        self._order: list[int] = []
        self._places: dict[int, int] = {}
        self._stream: Iterator | None = None
        self._asked: deque[int] = deque()  # places that the workers were asked for
        self._next: tuple | None = None  # a place and its clip that no one has taken yet

    def begin(self, order: Sequence[int]) -> None:
        """Hear the order of an epoch; reading begins with the first clip that is asked for."""
        self.close()
        if self.workers:
            self._order = list(order)
            self._places = {index: place for place, index in enumerate(order)}

    def close(self) -> None:
        """End the workers."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._next, self._asked = None, None, deque()
        self._order, self._places = [], {}

    def clip(self, index: int) -> Clip:
        """Return a sample's clip.

        Raises
        ------
        VideoError
            When it cannot be read, or not in time.
        """
        found = self._found(index)
        if isinstance(found, VideoError):
            raise found
        return found

    def _found(self, index: int) -> Clip | VideoError:
        place = self._places.get(index)
        if place is not None:
            if self._stream is None:
                self._stream = read_many(self._requests(place), self.workers, **self.how)
            while (known := self._peek()) and known[0] <= place:
                self._next = None
                if known[0] == place:
                    return known[1]
        # not in the order, or taken out of it: read for itself
        alone = read_many([self.request(index)], min(1, self.workers), **self.how)
        return next(iter(alone))[1]

    def _peek(self) -> tuple | None:
        """Return the next place of the stream with its clip; None at its end."""
        if self._next is None and (read := next(self._stream, None)):
            self._next = self._asked.popleft(), read[1]
        return self._next

    def _requests(self, start: int) -> Iterator[Request]:
        """Yield what this process will ask for, from a place on."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        for place in range(start, len(self._order)):
            ours = (place - start) // self.batch % processes == 0
            if ours and self.needed(self._order[place]):
                self._asked.append(place)
                yield self.request(self._order[place])
