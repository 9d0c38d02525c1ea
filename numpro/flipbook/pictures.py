"""Scenes drawn as pictures."""

import numpy as np
from PIL import Image

from numpro.flipbook import world
from numpro.flipbook.scenes import Panel
from numpro.numbers.overlay import NumberStyle, number_frames

BACKGROUNDS = 400
NUMBER_COLOURS = ("red", "blue", "green", "black", "white")


def choose_style(rng: np.random.Generator, position: str, plain: float) -> NumberStyle:
    """Choose the published style or, with probability 1 - `plain`, any size and colour."""
    if rng.random() < plain:
        return NumberStyle(position=position)
    return NumberStyle(position, int(rng.integers(20, 84)), str(rng.choice(NUMBER_COLOURS)))


def draw(panels: list[Panel], seed: tuple[int, ...], plain: float, side: int) -> np.ndarray:
    """Draw panels with their numbers as the vision tower sees them, uint8 [N, side, side, 3].

    `plain` is the share of numbers in the published style.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for panel in panels:
        # a few hundred backgrounds, drawn once each, are enough to learn to pass over
        frame = world.draw_panel(panel, (seed[0], int(rng.integers(BACKGROUNDS))), rng)
        if panel.number is not None:
            style = choose_style(rng, panel.position, plain)
            frame = number_frames(frame, style=style, labels=[panel.number])
        small = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(small))
    return np.stack(pictures)
