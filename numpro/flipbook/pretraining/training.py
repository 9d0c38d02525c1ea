"""A small resumable training loop for pretraining on a CPU, with float32 master weights.

Fine-tuning uses `transformers.Trainer`; this loop exists because the models made here have
no checkpoint to start from and because pure bf16 with float32 master weights is the fastest
way to train something tiny on two cores. On a processor that does not compute in bf16 it is
four times slower than float32, which is then taken.
"""

import csv
import io
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from numpro.models.loading import pick_dtype
from numpro.paths import write_whole
from numpro.progress import progress_bar

MUON_LR = 0.02
# the plain products of matrices: on a CPU the backward pass of torch's fused attention takes two
# fifths of a step for sequences as short as these
ATTENTION = "eager"
LOGGED, SAVED = 100, 100  # steps from one row of the log, and one state on disk, to the next
LOG_COLUMNS = ("step", "cpu_seconds", "figure", "mean")
Echo = Callable[[str], object]  # what is done with a line for the reader


class Float32Muon(torch.optim.Muon):
    """Muon that orthogonalises in float32.

    PyTorch's does it in bf16, which takes two fifths of a step where the processor has to
    imitate bf16. The state is the same, so a leg may go on on another kind of processor.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Take one step, as `torch.optim.Muon` with Nesterov momentum does."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                kept = self.state[weight]
                if "momentum_buffer" not in kept:
                    kept["momentum_buffer"] = torch.zeros_like(weight.grad)
                momentum = kept["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(momentum, group["momentum"]), group)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                wider = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.add_(update, alpha=-group["lr"] * wider)


def orthogonal(update: torch.Tensor, group: dict) -> torch.Tensor:
    """Bring a matrix near an orthogonal one by Newton and Schulz's iteration, in its own dtype.

    `group` has the coefficients and the number of rounds, as `torch.optim.Muon` names them.
    """
    a, b, c = group["ns_coefficients"]
    tall = update.shape[0] > update.shape[1]
    near = update.T if tall else update
    near = near / near.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = near @ near.T
        near = torch.addmm(near, torch.addmm(gram, gram, gram, beta=b, alpha=c), near, beta=a)
    return near.T if tall else near


def _timed(make: Callable[[int], object], step: int) -> tuple[object, float]:
    """Return ``make(step)`` and the CPU seconds it took."""
    began = time.process_time()
    return make(step), time.process_time() - began


class Leg:
    """One leg of pretraining: modules, their float32 masters, and how far it has come.

    Parameters
    ----------
    name : str
        Names the state file ``<folder>/<name>.pt`` and the entry of ``gates.json``.
    modules : torch.nn.Module
        What is trained; its weights are bf16 while training where the CPU computes in it.
    folder : Path
        Where state and records go.
    steps : int
        Length of the schedule (linear warm-up, then cosine to a fiftieth).
    peak_lr : float
        Of AdamW. Weight matrices inside transformer layers are trained by Muon (Jordan et al.
        2024, `torch.optim.Muon`), at `MUON_LR` when this is 1e-3 and in proportion: looking
        things up in a set of pictures is then learned in far fewer steps.
    """

    def __init__(self, name: str, modules, folder: Path, steps: int, peak_lr: float):
        self.name, self.modules, self.folder, self.steps = name, modules, folder, steps
        self.step, self.seconds, self.cpu = 0, 0.0, 0.0
        self.rows: list[tuple] = []
        named = [(n, p) for n, p in modules.named_parameters() if p.requires_grad]
        self.params = [p for _, p in named]
        self.masters = [p.detach().float().clone() for p in self.params]
        dtype = pick_dtype("auto", "cpu")
        modules.to(dtype)
        matrices, others = [], []
        for (place, param), master in zip(named, self.masters, strict=True):
            (matrices if ".layers." in place and param.ndim == 2 else others).append(master)
        adam = torch.optim.AdamW(others, lr=peak_lr, betas=(0.9, 0.98), weight_decay=0.01)
        self.optimizers = [adam]
        if matrices:
            rate = MUON_LR * peak_lr / 1e-3
            muon = torch.optim.Muon if dtype == torch.bfloat16 else Float32Muon
            self.optimizers.append(muon(matrices, lr=rate, weight_decay=0.01))
        self.peaks = [o.param_groups[0]["lr"] for o in self.optimizers]
        self.path = folder / f"{name}.pt"
        if self.path.is_file():
            self._load()

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(saved)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds, self.cpu = state["step"], state["seconds"], state["cpu"]
        self.rows = state["log"]
        self._publish()

    def save(self) -> None:
        """Write the state atomically, so that a kill leaves the last one whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        half = self.path.with_suffix(".half")
        state = {"step": self.step, "seconds": self.seconds, "cpu": self.cpu, "log": self.rows}
        state |= {"optimizers": [o.state_dict() for o in self.optimizers]}
        torch.save(state | {"masters": self.masters}, half)
        os.replace(half, self.path)
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([LOG_COLUMNS, *self.rows])
        write_whole(self.folder / f"{self.name}.csv", table.getvalue())

    def _publish(self) -> None:
        with torch.no_grad():
            for master, param in zip(self.masters, self.params, strict=True):
                param.copy_(master)

    def finish(self) -> torch.nn.Module:
        """Return the modules in float32, with the masters' full precision."""
        self.modules.float()
        self._publish()
        return self.modules.eval()

    def rate(self) -> float:
        """Return the learning rate of the coming step, as a share of its peak."""
        warm = min(1.0, (self.step + 1) / max(1, min(150, self.steps // 10)))
        fallen = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        return warm * max(0.02, fallen)

    def make_ahead(self, make: Callable[[int], object], workers: int = 1) -> Iterator:
        """Yield ``make(step)`` for the steps to come, made a few ahead in worker processes.

        Their CPU time is counted with the leg's.
        """
        coming, waiting = iter(range(self.step, self.steps)), deque()
        with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
            while True:
                fresh = islice(coming, 2 * workers + 2 - len(waiting))
                waiting.extend(pool.submit(_timed, make, step) for step in fresh)
                if not waiting:
                    return
                made, spent = waiting.popleft().result()
                self.cpu += spent
                yield made

    def run(
        self,
        loss_of: Callable[[int], tuple[torch.Tensor, dict]],
        minutes: float = 60.0,
        echo: Echo = print,
    ) -> bool:
        """Train until the schedule or the time is over; return whether the schedule is.

        `loss_of(step)` gives the loss of a step's batch (seeded by the step, so that a resumed
        leg sees the same batches) and figures to show.
        """
        began, shown = time.monotonic() - self.seconds, {}
        clock = time.process_time()
        deadline = time.monotonic() + 60 * minutes
        bar = progress_bar(None, self.name, self.steps, "step", initial=self.step)
        while self.step < self.steps and time.monotonic() < deadline:
            for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
                optimizer.param_groups[0]["lr"] = peak * self.rate()
            loss, figures = loss_of(self.step)
            loss.backward()
            for master, param in zip(self.masters, self.params, strict=True):
                master.grad = None if param.grad is None else param.grad.float()
                param.grad = None
            torch.nn.utils.clip_grad_norm_([m for m in self.masters if m.grad is not None], 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self._publish()
            self.step += 1
            bar.update()
            self.seconds = time.monotonic() - began
            self.cpu, clock = self.cpu + time.process_time() - clock, time.process_time()
            for key, value in figures.items():
                shown.setdefault(key, []).append(float(value))
            if self.step % LOGGED == 0 or self.step == self.steps:
                means = {k: round(float(np.mean(v)), 4) for k, v in sorted(shown.items())}
                self.rows += [(self.step, round(self.cpu), k, v) for k, v in means.items()]
                text = "  ".join(f"{k} {v:.3f}" for k, v in means.items())
                echo(f"{self.name} {self.step}/{self.steps} {self.seconds:.0f} s  {text}")
                shown = {}
            if self.step % SAVED == 0:
                self.save()
        bar.close()
        self.save()
        return self.step >= self.steps

    def reach_gate(
        self,
        loss_of: Callable,
        measure: Callable[[], dict],
        bounds: dict,
        minutes: float,
        echo: Echo,
    ) -> bool:
        """Run to the end, then measure and record what was reached; return whether it is enough.

        ``measure()`` gives the figures of the finished modules on scenes they were not trained on.
        """
        if not self.run(loss_of, minutes, echo):
            return False
        self.finish()
        figures = measure()
        passed = Gates(self.folder).record(self.name, figures, bounds, self.seconds, self.cpu)
        echo(f"{self.name} gate {'passed' if passed else 'NOT passed'}: {figures}")
        return passed


def finished(name: str, modules: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Return the modules of a leg as it left them in its folder.

    Raises
    ------
    FileNotFoundError
        When it has left no state.
    """
    leg = Leg(name, modules, folder, 1, 0.0)
    if not leg.path.is_file():
        raise FileNotFoundError(f"leg {name!r} has left no state at {leg.path}; run it first")
    return leg.finish()


class Gates:
    """The record of what each leg reached, in ``gates.json``."""

    def __init__(self, folder: Path):
        self.path = folder / "gates.json"
        self.reached: dict[str, dict] = {}
        if self.path.is_file():
            self.reached = json.loads(self.path.read_text(encoding="utf-8"))

    def record(
        self, leg: str, figures: dict, bounds: dict, seconds: float, cpu: float
    ) -> bool:  # fmt: skip
        """Store a leg's figures beside their bounds; return whether all were reached."""
        passed = all(figures[name] >= bound for name, bound in bounds.items())
        times = {"seconds": round(seconds), "cpu_seconds": round(cpu)}
        self.reached[leg] = {"passed": passed, "figures": figures, "bounds": bounds} | times
        write_whole(self.path, json.dumps(self.reached, indent=1) + "\n")
        return passed

    def require(self, leg: str) -> None:
        """Refuse to build on a leg that was not finished or did not pass.

        Raises
        ------
        ValueError
        """
        got = self.reached.get(leg)
        if got is None or not got["passed"]:
            found = "was not finished" if got is None else f"reached {got['figures']}"
            raise ValueError(
                f"leg {leg!r} must pass its gate first; it {found}, "
                f"wanted {got['bounds'] if got else 'its bounds'}; --force goes on all the same"
            )
