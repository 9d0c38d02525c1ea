"""Pictures as symbols: what a perfect eye would say of each of their visual tokens.

For each cell of the token grid they say which colour, shape and object it shows, which number the
whole picture bears, and which cell it is. The tiny language model first learns its questions on
symbols, which costs no drawing and no vision tower; the tower and projector then learn to turn
pictures into them. The tower sees a whole picture at once, so each of its tokens can tell the
picture's number, as each patch of a large CLIP knows of the others.
"""

import numpy as np

from numpro.flipbook import CELLS, COLOURS, OBJECTS, SHAPES, SIZE
from numpro.flipbook.scenes import Panel, Placed

N_DIGITS = 3
# What the columns of a symbol say: its colour and shape, the object, each digit by its place
# (counted from the left), a constant, the cell.
_WIDTHS = (len(COLOURS), len(SHAPES), len(OBJECTS), N_DIGITS * 10, 1, CELLS * CELLS)
AT_COLOUR, AT_SHAPE, AT_OBJECT, AT_DIGITS, AT_CONSTANT, AT_CELL, N_SYMBOLS = (
    int(n) for n in np.cumsum((0, *_WIDTHS))
)


def _covered(placed: Placed, half: float, grid: int) -> np.ndarray:
    """Return the pixels that a square about an object covers of each cell of a grid x grid picture.

    `half` is half the square's side.
    """
    edges = np.linspace(0, SIZE, grid + 1)
    across, down = (
        np.clip(np.minimum(edges[1:], c + half) - np.maximum(edges[:-1], c - half), 0, None)
        for c in (placed.x, placed.y)
    )
    return np.outer(down, across)


def find_cells(placed: Placed) -> np.ndarray:
    """Find the grid cells that show an object, bool [CELLS * CELLS]: a quarter, or nearly the most.

    An object on the border of two cells is shown in both: if it counted for one alone, by a pixel
    more or less, neither token could be sure of it.
    """
    pixels = _covered(placed, placed.size / 2, CELLS)
    covered = np.minimum(1.0, 1.6 * pixels / (SIZE / CELLS) ** 2).ravel()
    return (covered > 0.25) | (covered > 0.6 * covered.max())


def name_patches(panel: Panel, grid: int) -> np.ndarray:
    """Name the object that each patch of a grid x grid picture shows, int64 [grid * grid].

    It is the object's place in OBJECTS, or ``len(OBJECTS)`` where no object covers two fifths of
    the patch.
    """
    shown = np.full((grid, grid), len(OBJECTS))
    for placed in panel.placed:
        covered = _covered(placed, 0.45 * placed.size, grid)
        shown[covered > 0.4 * (SIZE / grid) ** 2] = OBJECTS.index(placed.thing)
    return shown.ravel()


def write_symbols(panel: Panel) -> np.ndarray:
    """Write a panel as symbols, float32 [CELLS * CELLS, N_SYMBOLS] of 0 and 1 (rarely 2)."""
    grid = np.zeros((CELLS * CELLS, N_SYMBOLS), np.float32)
    grid[:, AT_CONSTANT] = 1.0
    grid[:, AT_CELL:] = np.eye(CELLS * CELLS)
    for placed in panel.placed:
        colour, shape = placed.thing
        columns = (
            AT_COLOUR + COLOURS.index(colour),
            AT_SHAPE + SHAPES.index(shape),
            AT_OBJECT + OBJECTS.index(placed.thing),
        )
        grid[np.ix_(find_cells(placed), columns)] += 1.0
    if panel.number is not None:
        for place, digit in enumerate(str(panel.number)[:N_DIGITS]):
            grid[:, AT_DIGITS + 10 * place + int(digit)] = 1.0
    return grid
