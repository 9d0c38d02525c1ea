"""Pictures for pretraining, drawn from scenes in a worker process ahead of the training step."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from PIL import Image

from numpro.flipbook import world
from numpro.flipbook.scenes import Panel
from numpro.numbers.overlay import POSITIONS, NumberStyle, number_frames

DEFAULT = NumberStyle()
BACKGROUNDS = 400
NUMBER_COLOURS = ("red", "blue", "green", "black", "white")


def any_style(rng: np.random.Generator, position: str, plain: float = 0.6) -> NumberStyle:
    """Return the published style, or (with probability 1 - `plain`) any size and colour."""
    if rng.random() < plain:
        return NumberStyle(position=position)
    return NumberStyle(position, int(rng.integers(20, 84)), str(rng.choice(NUMBER_COLOURS)))


def draw(panels: list[Panel], seed: tuple[int, ...], plain: float, side: int) -> np.ndarray:
    """Draw panels with their numbers as the vision tower sees them, uint8 [N, side, side, 3]."""
    rng = np.random.default_rng(seed)
    pictures = []
    for panel in panels:
        # a few hundred backgrounds, drawn once each, are enough to learn to pass over
        frame = world.draw_panel(panel, (seed[0], int(rng.integers(BACKGROUNDS))), rng)
        if panel.number is not None:
            style = any_style(rng, panel.position, plain)
            frame = number_frames(frame, style=style, labels=[panel.number])
        small = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(small))
    return np.stack(pictures)


def ahead(make: Callable, steps: range, workers: int = 1) -> Iterator:
    """Yield ``make(step)`` in order, made a few steps ahead in worker processes."""
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = deque(pool.submit(make, step) for step in steps[: 2 * workers + 1])
        for step in steps:
            if step + 2 * workers + 1 < steps.stop:
                waiting.append(pool.submit(make, step + 2 * workers + 1))
            yield waiting.popleft().result()


__all__ = ["DEFAULT", "NUMBER_COLOURS", "POSITIONS", "ahead", "any_style", "draw"]
