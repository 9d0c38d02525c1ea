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
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from pebble import ProcessExpired, ProcessPool

from numpro.provenance import count_cores
from numpro.video import Clip, ClipCache, VideoError, read_clip
from numpro.video.clip import check_arguments
from numpro.video.opening import SamplingError

LIMIT = 300.0  # seconds for one video
_TEMPORARY = "numpro-read-"  # how folders in the system's temporary folder begin
_GRACE = 15  # seconds after the limit when a worker that no one stopped ends by itself

# A fork of this process would copy locks that threads of torch and decord hold. Workers are forked
# from a server process that has imported only the decoders; where there is none, spawned.
_BASE = multiprocessing.get_context("forkserver" if sys.platform.startswith("linux") else "spawn")
_starting = threading.Lock()
_folder = ""  # in a worker: where frames are handed over


class TemporaryFolderError(OSError):
    """Frames cannot be handed over: no video is at fault."""


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
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # of accelerate launch on this machine
    return max(1, min(4, count_cores() // beside - 1))


def run_many(
    call: Callable, requests: Iterable[Request], workers: int | None = None, limit: float = LIMIT,
    is_quick: Callable[[Request], bool] | None = None,
) -> Iterator[tuple[Request, Any]]:  # fmt: skip
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
    is_quick
        Tells of a request that it is better called here, without a limit, when its turn comes.

    Yields
    ------
    Request, object
        In the order of the requests, with what the call returned; or a `VideoError`: the one
        it raised, or one that says that it took too long, ended its worker, ran out of memory,
        or met any other error.

    Raises
    ------
    ValueError
        For workers below 0 or a limit that is not above 0.
    RuntimeError
        When no worker process can be started.
    TemporaryFolderError
        When the folder through which frames come has no room.
    """
    workers = default_workers() if workers is None else workers
    if workers < 0 or not limit > 0:
        raise ValueError(f"workers must be 0 or more, limit above 0; got {workers} and {limit}")
    if workers:
        return _in_workers(call, iter(requests), workers, limit, is_quick or (lambda _: False))
    return ((request, _value(call, request)) for request in requests)


def read_many(
    requests: Iterable[Request], workers: int | None = None, limit: float = LIMIT,
    cache: ClipCache | None = None,
) -> Iterator[tuple[Request, Clip | VideoError]]:  # fmt: skip
    """Read many clips, decoded ahead of use in worker processes.

    Parameters
    ----------
    requests, workers, limit
        As in `run_many`.
    cache
        Where clips are looked up and kept. What is there is read in this process: in a sixth of
        the time (``benchmarks/large_set.py``).

    Yields
    ------
    Request, Clip or VideoError
        In the order of the requests.

    Raises
    ------
    ValueError
        For sampling that no video can be read with; and as `run_many`.

    Warns
    -----
    UserWarning
        What `numpro.read_clip` warns of.
    """
    requests = map(_checked, requests)
    kept = cache and (lambda request: cache.has(request.path, **request.sampling))
    for request, found in run_many(partial(_read, cache=cache), requests, workers, limit, kept):
        if isinstance(found, tuple):  # from a worker
            clip, file = found
            found = replace(clip, frames=np.load(file))
            os.unlink(file)
            for message in clip.source["warnings"]:
                warnings.warn(f"{request.path}: {message}", stacklevel=2)
            del clip
        yield request, found
        del found  # not kept while the next is read


def _read(path, cache: ClipCache | None, **sampling) -> Clip | tuple[Clip, str]:
    """Read a clip; a worker leaves the frames in a file."""
    clip = read_clip(path, **sampling) if cache is None else cache.read(path, **sampling)
    if not _folder:
        return clip
    try:
        handle, name = tempfile.mkstemp(".npy", dir=_folder)
        with open(handle, "wb") as file:
            np.save(file, clip.frames)
    except OSError as error:
        remedy = "make room there, or name another folder in TMPDIR; workers=0 needs none"
        raise TemporaryFolderError(f"temporary folder {_folder}: {error}: {remedy}") from error
    return replace(clip, frames=clip.frames[:0].copy()), name


def _checked(request: Request) -> Request:
    check_arguments(**request.sampling)
    return request


def _value(call: Callable, request: Request, limit: float | None = None) -> Any:
    """Return what the call gives for one video; a failure to read it is returned as a value."""
    if limit and hasattr(signal, "alarm"):
        signal.setitimer(signal.ITIMER_REAL, limit + _GRACE)  # also where no one stops it
    try:
        return call(request.path, **request.sampling)
    except TemporaryFolderError:
        raise
    except VideoError as error:
        return error
    except ValueError as error:  # of the arguments
        return SamplingError(request.path, f"cannot be read as asked: {error}")
    except MemoryError:
        return VideoError(request.path, "out of memory while it was read")
    except Exception as error:  # noqa: BLE001 (one film never stops another)
        return VideoError(request.path, f"cannot be read: {type(error).__name__}: {error}")
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


def _in_workers(
    call: Callable, requests: Iterator[Request], workers: int, limit: float, is_quick: Callable
) -> Iterator:
    """Yield results in order; what is quick is called when its turn comes.

    A pool that broke is replaced, and what waited is scheduled again.
    """
    waiting, broken, pool = deque(), 0, None
    with _temporary_folder() as folder:
        try:
            while True:
                for request in islice(requests, 2 * workers - len(waiting)):
                    waiting.append([request, is_quick(request) or None])
                if not waiting:
                    return
                try:
                    for entry in waiting:
                        if entry[1] is None:
                            pool = pool or _start_pool(workers, folder)
                            entry[1] = _schedule(pool, call, entry[0], limit)
                    request, future = waiting[0]
                    here = future is True
                    found = [_value(call, request) if here else _result(request, future, limit)]
                except BrokenProcessPool as error:
                    broken += 1
                    if broken > 2:
                        message = "worker processes end as they start; workers=0 reads without them"
                        raise RuntimeError(message) from error
                    _stop(pool)
                    pool, waiting = None, deque([request, None] for request, _ in waiting)
                    continue
                broken = 0
                yield waiting.popleft()[0], found.pop()  # not kept while the next is read
        finally:
            if pool:
                _stop(pool)


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """Make a folder for frames, and remove those that killed processes have left.

    Each is locked for as long as its process lives, whatever end that comes to.
    """
    for lock in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*/lock"):
        with suppress(OSError, Timeout):
            if time.time() - lock.stat().st_mtime > 60:  # a newer one may be about to be locked
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=_TEMPORARY, ignore_cleanup_errors=True) as folder,
        FileLock(Path(folder, "lock")),
    ):
        yield folder


def _start_pool(workers: int, folder: str) -> ProcessPool:
    context = _Context()
    context.set_forkserver_preload(["numpy", "PIL.Image", "av"])
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
