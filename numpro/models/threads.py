"""Threads that suit a model: one where handing work to a second takes longer than doing it."""

from collections.abc import Callable
from functools import wraps

import torch

from numpro.models.kept import weight_bytes

# A step of the embedded models (12 MB of weights) is some hundred operations of microseconds. On
# two cores a second thread gains little, and loses where it sleeps between them, or spins beside
# another process that works on its core; one that sleeps gains from about 36 MB on, a tenth at
# first (benchmarks/threads.py).
SMALL_BYTES = 50_000_000


def fit_threads(ask: Callable) -> Callable:
    """Let a call about a local model, its first argument, use one thread when the model is small.

    Only weights on a CPU count. The number of threads is of the whole process: it is set back
    when the call ends, however it ends.
    """

    @wraps(ask)
    def fitted(model, *args, **kwargs):
        threads, small = torch.get_num_threads(), 0 < weight_bytes(model) <= SMALL_BYTES
        if threads == 1 or not small or model.model.device.type != "cpu":
            return ask(model, *args, **kwargs)
        torch.set_num_threads(1)
        try:
            return ask(model, *args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return fitted
