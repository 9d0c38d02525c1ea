"""Many videos, decoded ahead of use in worker processes.

A video that takes longer than its limit, or that ends the process reading it, becomes a
`VideoError` with the reason; its worker is replaced and the others go on. Frames come back through
a file in a temporary folder, which costs less than a pipe (``benchmarks/workers.py``). Through a
pipe, a worker killed while it writes could leave half a message, and the reader would wait forever.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from pebble import ProcessExpired, ProcessPool

from numpro.video import Clip, ClipCache, VideoError, read_clip

LIMIT = 300.0  # seconds for one video
_GRACE = 15  # seconds after the limit when a worker that no one stopped ends by itself

# A fork of this process would copy locks that threads of torch and decord hold. Workers are forked
# from a server process that has imported only the decoders; where there is none, spawned.
_BASE = multiprocessing.get_context("forkserver" if sys.platform.startswith("linux") else "spawn")
_starting = threading.Lock()
_folder = ""  # in a worker: where frames are handed over


class Request(NamedTuple):
    """A video to be read: its path, and the arguments of `numpro.read_clip`."""

    path: str | os.PathLike
    sampling: dict[str, Any] = {}


class _Process(_BASE.Process):
    """A process that does not import the main script: that may start workers or load torch."""

    def start(self) -> None:
        with _starting:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _Context(type(_BASE)):
    Process = _Process


def default_workers() -> int:
    """Return how many workers read ahead: one less than the cores of this process, from 1 to 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # of accelerate launch on this machine
    return max(1, min(4, (cores or 1) // beside - 1))


def run_many(
    call: Callable, requests: Iterable[Request], workers: int | None = None, limit: float = LIMIT
) -> Iterator[tuple[Request, Any]]:
    """Call a function for many videos in worker processes; each works at most two videos ahead.

    Parameters
    ----------
    call
        Called as ``call(path, **sampling)``; a function of a module, as workers import it.
    requests
        Taken one by one, as results are.
    workers
        Processes; `default_workers` by default. 0 calls here, without a limit of time.
    limit
        Seconds for one video.

    Yields
    ------
    Request, object
        In the order of the requests, with what the call returned; or a `VideoError`: the one
        it raised, or one that says that it took too long, ended its worker, met an error of the
        system, or ran out of memory.

    Raises
    ------
    ValueError
        For workers below 0 or a limit that is not above 0.
    RuntimeError
        When no worker process can be started. Any other error that the call raises comes through.
    """
    workers = default_workers() if workers is None else workers
    if workers < 0 or not limit > 0:
        raise ValueError(f"workers must be 0 or more, limit above 0; got {workers} and {limit}")
    if workers:
        return _in_workers(call, iter(requests), workers, limit)
    return ((request, _value(call, request)) for request in requests)


def read_many(
    requests: Iterable[Request],
    workers: int | None = None,
    limit: float = LIMIT,
    cache: ClipCache | None = None,
) -> Iterator[tuple[Request, Clip | VideoError]]:
    """Read many clips, decoded ahead of use in worker processes.

    Parameters
    ----------
    requests, workers, limit
        As in `run_many`.
    cache
        Where clips are looked up and kept.

    Yields
    ------
    Request, Clip or VideoError
        In the order of the requests.

    Warns
    -----
    UserWarning
        What `numpro.read_clip` warns of.
    """
    for request, found in run_many(partial(_read, cache=cache), requests, workers, limit):
        if isinstance(found, tuple):  # from a worker
            clip, file = found
            found = replace(clip, frames=np.load(file))
            os.unlink(file)
            for message in clip.source["warnings"]:
                warnings.warn(f"{request.path}: {message}", stacklevel=2)
        yield request, found


def _read(path, cache: ClipCache | None, **sampling) -> Clip | tuple[Clip, str]:
    """Read a clip; a worker leaves the frames in a file."""
    clip = read_clip(path, **sampling) if cache is None else cache.read(path, **sampling)
    if not _folder:
        return clip
    handle, name = tempfile.mkstemp(".npy", dir=_folder)
    with open(handle, "wb") as file:
        np.save(file, clip.frames)
    return replace(clip, frames=clip.frames[:0].copy()), name


def _value(call: Callable, request: Request, limit: float | None = None) -> Any:
    """Return what the call gives for one video; a failure to read it is returned as a value."""
    if limit and hasattr(signal, "alarm"):
        signal.setitimer(signal.ITIMER_REAL, limit + _GRACE)  # also where no one stops it
    try:
        return call(request.path, **request.sampling)
    except VideoError as error:
        return error
    except MemoryError:
        return VideoError(request.path, "out of memory while it was read")
    except OSError as error:
        return VideoError(request.path, f"cannot be read: {error}")
    finally:
        if limit and hasattr(signal, "alarm"):
            signal.alarm(0)


def _begin(folder: str) -> None:
    """Prepare a worker: it leaves warnings to its parent, and ends when that ends."""
    global _folder
    _folder = folder
    warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    shutil.rmtree(_folder, ignore_errors=True)
    os._exit(1)


def _in_workers(call, requests: Iterator[Request], workers: int, limit: float) -> Iterator:
    """Yield results in order; a pool that broke is replaced, and what waited is scheduled again."""
    waiting, broken = deque(), 0
    with tempfile.TemporaryDirectory(prefix="numpro-", ignore_cleanup_errors=True) as folder:
        pool = _start_pool(workers, folder)
        try:
            while True:
                fresh = islice(requests, 2 * workers - len(waiting))
                waiting.extend([request, None] for request in fresh)
                if not waiting:
                    return
                try:
                    for entry in waiting:
                        entry[1] = entry[1] or _schedule(pool, call, entry[0], limit)
                    value = _result(*waiting[0], limit)
                except BrokenProcessPool as error:
                    broken += 1
                    if broken > 2:
                        message = "worker processes end as they start; workers=0 reads without them"
                        raise RuntimeError(message) from error
                    _stop(pool)
                    pool = _start_pool(workers, folder)
                    waiting = deque([request, None] for request, _ in waiting)
                    continue
                broken = 0
                yield waiting.popleft()[0], value
        finally:
            _stop(pool)


def _start_pool(workers: int, folder: str) -> ProcessPool:
    context = _Context()
    context.set_forkserver_preload(["numpy", "PIL.Image", "av", "decord"])
    return ProcessPool(workers, initializer=_begin, initargs=(folder,), context=context)


def _schedule(pool: ProcessPool, call: Callable, request: Request, limit: float):
    """Return the future of a video; the limit counts from when a worker takes it up."""
    try:
        return pool.schedule(_value, (call, request, limit), timeout=limit)
    except RuntimeError as error:
        raise BrokenProcessPool(str(error)) from error


def _result(request: Request, future, limit: float) -> Any:
    """Wait for the value; a `VideoError` where the worker hung or died."""
    try:
        return future.result()
    except TimeoutError:
        return VideoError(request.path, f"not read within {limit:g} s")
    except ProcessExpired as error:
        code = error.exitcode
        how = signal.Signals(-code).name if code and code < 0 else f"status {code}"
        return VideoError(request.path, f"reading it ended the worker process ({how})")


def _stop(pool: ProcessPool) -> None:
    """End the workers, whatever they are doing."""
    pool.stop()
    pool.join()
