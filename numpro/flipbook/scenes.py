"""Made-up pictures for pretraining: what lies where, before anything is drawn.

A scene is a list of panels; a panel is its placed objects and its number. The same scenes
are drawn as pictures (`numpro.flipbook.world.draw_panel`) and written as *symbols*: for each
cell of the token grid, which colour, shape and object it shows, which number the whole picture
bears, and which cell it is. The tiny language model first learns its questions on symbols,
which costs no rendering and no vision tower; the tower and projector then learn to turn
pictures into those symbols. The tower sees a whole picture at once, so each of its tokens can
tell the picture's number, as each patch of a large CLIP knows of the others.
"""

from dataclasses import dataclass, replace

import numpy as np

from numpro.flipbook import CELLS, COLOURS, OBJECTS, SHAPES, SIZE
from numpro.flipbook.questions import Object, Picture

N_DIGITS = 3
WIDTHS = (62, 124)  # of things, in pixels of the picture; in films nothing is narrower
POSITIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "center")
# What the columns of a symbol say: its colour and shape, the object, each digit by its place
# (counted from the left), a constant, the cell.
_WIDTHS = (len(COLOURS), len(SHAPES), len(OBJECTS), N_DIGITS * 10, 1, CELLS * CELLS)
AT_COLOUR, AT_SHAPE, AT_OBJECT, AT_DIGITS, AT_CONSTANT, AT_CELL, N_SYMBOLS = (
    int(n) for n in np.cumsum((0, *_WIDTHS))
)


@dataclass(frozen=True)
class Placed:
    """An object on a panel: its centre and its width in pixels of the SIZE x SIZE picture."""

    thing: Object
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Panel:
    """One picture of a scene; `position` is where the number is drawn."""

    placed: tuple[Placed, ...]
    number: int | None = None
    position: str = "bottom_right"

    def picture(self) -> Picture:
        """Return what a question can ask about."""
        return Picture(tuple(p.thing for p in self.placed), self.number)


def coverage(placed: Placed) -> np.ndarray:
    """Return how much of each grid cell an object covers, float [CELLS * CELLS] in 0..1."""
    edges = np.linspace(0, SIZE, CELLS + 1)
    half = placed.size / 2
    across, down = (
        np.clip(np.minimum(edges[1:], c + half) - np.maximum(edges[:-1], c - half), 0, None)
        for c in (placed.x, placed.y)
    )
    return np.minimum(1.0, 1.6 * np.outer(down, across) / (SIZE / CELLS) ** 2).ravel()


def patch_things(panel: Panel, grid: int) -> np.ndarray:
    """Say which object each patch of a grid x grid picture shows, int64 [grid * grid].

    The number is the object's place in OBJECTS, or ``len(OBJECTS)`` where no object covers
    two fifths of the patch.
    """
    shown = np.full((grid, grid), len(OBJECTS))
    edges = np.linspace(0, SIZE, grid + 1)
    for placed in panel.placed:
        half = 0.45 * placed.size
        across, down = (
            np.clip(np.minimum(edges[1:], c + half) - np.maximum(edges[:-1], c - half), 0, None)
            for c in (placed.x, placed.y)
        )
        shown[np.outer(down, across) > 0.4 * (SIZE / grid) ** 2] = OBJECTS.index(placed.thing)
    return shown.ravel()


def shown_in(placed: Placed) -> np.ndarray:
    """Say in which grid cells an object is seen: a quarter covered, or nearly the most. Bool.

    An object on the border of two cells is seen in both: were it said of one alone, by a pixel
    more or less, neither token could be sure of it.
    """
    covered = coverage(placed)
    return (covered > 0.25) | (covered > 0.6 * covered.max())


def symbols(panel: Panel) -> np.ndarray:
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
        grid[np.ix_(shown_in(placed), columns)] += 1.0
    if panel.number is not None:
        for place, digit in enumerate(str(panel.number)[:N_DIGITS]):
            grid[:, AT_DIGITS + 10 * place + int(digit)] = 1.0
    return grid


def place(rng: np.random.Generator, thing: Object, taken: list[Placed]) -> Placed:
    """Place an object where it covers none of `taken` (as well as twenty tries can)."""
    best, best_gap = None, -np.inf
    for _ in range(20):
        size = float(rng.uniform(*WIDTHS))
        x, y = (float(v) for v in rng.uniform(size / 2 + 4, SIZE - size / 2 - 4, 2))
        gaps = [np.hypot(x - p.x, y - p.y) - (size + p.size) / 2 for p in taken]
        gap = min(gaps, default=np.inf)
        if gap > best_gap:
            best, best_gap = Placed(thing, x, y, size), gap
        if gap > 0:
            break
    return best


def _things(rng: np.random.Generator, count: int) -> list[Object]:
    """Pick distinct objects that share colours and shapes, so that half a match misleads."""
    palette = rng.choice(len(OBJECTS), min(len(OBJECTS), count + 3), replace=False)
    pool = [OBJECTS[i] for i in palette]
    colours = {o[0] for o in pool[: max(2, count // 2)]}
    pool.sort(key=lambda o: o[0] not in colours)
    return pool[:count]


def loose_panels(rng: np.random.Generator, count: int, numbered: bool = True) -> list[Panel]:
    """Return unrelated panels with distinct random numbers in no order."""
    top = int(rng.choice([n for n in (10, 40, 100, 300, 300) if n >= count]))
    numbers = rng.choice(top, count, replace=False)
    position = _position(rng)
    panels = []
    for number in numbers:
        taken: list[Placed] = []
        for thing in _things(rng, int(rng.integers(0 if count > 1 else 1, 4))):
            taken.append(place(rng, thing, taken))
        panels.append(Panel(tuple(taken), int(number) if numbered else None, position))
    return panels


def _position(rng: np.random.Generator) -> str:
    return "bottom_right" if rng.random() < 0.7 else str(rng.choice(POSITIONS))


def story(rng: np.random.Generator, count: int, n_things: int, longest: int) -> list[Panel]:
    """Return unnumbered panels through which objects stay for a run of panels each."""
    shown: list[list[Placed]] = [[] for _ in range(count)]
    for thing in _things(rng, n_things):
        length = int(rng.integers(1, longest + 1))
        first = int(rng.integers(0, max(1, count - length + 1)))
        span = range(first, min(count, first + length))
        home = place(rng, thing, [p for i in span for p in shown[i]])
        for i in span:
            shift = rng.normal(0, 5, 2)
            shown[i].append(
                replace(
                    home,
                    x=home.x + shift[0],
                    y=home.y + shift[1],
                    size=home.size * float(rng.uniform(0.9, 1.1)),
                )
            )
    return [Panel(tuple(panel)) for panel in shown]


def strip(rng: np.random.Generator) -> list[Panel]:
    """Return a comic strip of 3 to 8 panels, numbers rising but never consecutive."""
    count = int(rng.integers(3, 9))
    panels = story(rng, count, int(rng.integers(1, 5)), count)
    top = int(rng.choice([n for n in (20, 40, 100, 300) if n > 2 * count]))
    numbers = np.sort(rng.choice(np.arange(0, top - count), count, replace=False))
    numbers = numbers + np.arange(count)  # at least 2 apart
    position = _position(rng)
    return [
        replace(p, number=int(n), position=position) for p, n in zip(panels, numbers, strict=True)
    ]


def silent_video(rng: np.random.Generator, longest: int = 66) -> list[Panel]:
    """Return an unnumbered video of 4 to `longest` frames."""
    count = int(rng.integers(4, longest + 1))
    return story(rng, count, int(rng.integers(2, 6)), max(3, count // 2))
