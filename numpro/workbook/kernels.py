"""Notebook kernels side by side: which starts when, what they share, and how all of them end."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from time import monotonic
from typing import ClassVar
from weakref import WeakSet

from jupyter_client import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop, run_sync


class Kernel(AsyncKernelManager):
    """A kernel that `Kernel.end_all` finds."""

    _all: ClassVar[WeakSet] = WeakSet()

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._all.add(self)

    @classmethod
    def end_all(cls) -> None:
        """Kill every kernel that this process started, and the processes of its notebook."""
        for kernel in list(cls._all):
            if kernel.has_kernel:
                run_sync(kernel.signal_kernel)(signal.SIGKILL)


def side_by_side(
    tasks: Mapping[str, Callable[[], None]], needs: Mapping[str, set[str]], jobs: int, cores: int,
    seconds: Mapping[str, float] | None = None,
) -> Iterator[tuple[str, float, BaseException | None]]:  # fmt: skip
    """Call several tasks at a time, each when those that it needs have ended without an error.

    One at a time they are called in the order given; else the task with which the longest chain
    of tasks begins comes first. Where the caller stops early, all kernels are killed.

    Parameters
    ----------
    tasks : Mapping
        What to call, by name; each executes a notebook in a `Kernel`.
    needs : Mapping
        For each name those that must end first; one that is no task is not waited for.
    jobs : int
        How many run at the same time.
    cores : int
        The cores that their threads share (``OMP_NUM_THREADS``, unless it is set).
    seconds : Mapping, optional
        How long tasks took before, by name; one that is not known counts as one second.

    Yields
    ------
    tuple
        Name, seconds and error (or None) of each task when it has ended. Tasks that were not
        called, since one that they need failed, come last.
    """
    waiting = list(tasks)
    if jobs > 1:
        waiting.sort(key=lambda name: -_chain(name, needs, seconds or {}))
    running: dict[Future, tuple[str, float]] = {}
    unfinished = set(tasks)
    with ExitStack() as stack:
        if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            os.environ["OMP_NUM_THREADS"] = str(max(1, cores // jobs))
            stack.callback(os.environ.pop, "OMP_NUM_THREADS")
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        try:
            while True:
                ready = [name for name in waiting if not needs[name] & unfinished]
                for name in ready[: jobs - len(running)]:
                    waiting.remove(name)
                    running[pool.submit(_call, tasks[name])] = name, monotonic()
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name, start = running.pop(future)
                    error = future.exception()
                    unfinished -= set() if error else {name}
                    yield name, round(monotonic() - start, 1), error
        except BaseException:
            while wait(running, timeout=0.2).not_done:  # a kernel may be just starting
                Kernel.end_all()
            raise
    for name in waiting:
        missing = ", ".join(sorted(needs[name] & unfinished))
        yield name, 0.0, RuntimeError(f"not run, since it needs {missing}")


def _chain(name: str, needs: Mapping[str, set[str]], seconds: Mapping[str, float]) -> float:
    """Return the seconds from the start of a task to the end of the last that waits for it."""
    after = (_chain(other, needs, seconds) for other, needed in needs.items() if name in needed)
    return seconds.get(name, 1.0) + max(after, default=0.0)


def _call(task: Callable[[], None]) -> None:
    """Call a task in a thread, and close the event loop that its kernel got there."""
    with closing(ensure_event_loop()):
        task()
