"""Made-up pictures: what lies where, before anything is drawn.

A scene is a list of panels; a panel is its placed objects and its number. `pictures` draws them;
pretraining also writes them as symbols (`numpro.flipbook.pretraining.symbols`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from numpro.flipbook import OBJECTS, SIZE
from numpro.numbers.overlay import POSITIONS

WIDTHS = (62, 124)  # of objects, in pixels of the picture; in films nothing is narrower
GLOWING = 1 / 6  # of the objects on made-up pictures: as many as events of a film
DIGITS = ((0, 10), (10, 100), (100, 300))  # from and below which numbers have 1, 2 and 3 digits
PAGES = 48  # of the longest strip or set
Object = tuple[str, str]  # colour and shape


def name(thing: Object, article: str = "a") -> str:
    """Return an object in words.

    Examples
    --------
    >>> name(("red", "star"))
    'a red star'
    """
    return f"{article} {thing[0]} {thing[1]}"


def describe(objects: Sequence[Object]) -> str:
    """Return a caption, objects in the order given.

    Examples
    --------
    >>> describe([("red", "star"), ("blue", "heart")])
    'a red star and a blue heart'
    """
    return " and ".join(map(name, objects)) or "nothing"


@dataclass(frozen=True)
class Placed:
    """An object on a panel: its centre and its width in pixels of the SIZE x SIZE picture."""

    thing: Object
    x: float
    y: float
    size: float
    glows: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture of a scene; `position` is where the number is drawn."""

    placed: tuple[Placed, ...]
    number: int | None = None
    position: str = "bottom_right"

    @property
    def objects(self) -> tuple[Object, ...]:
        """The objects in the order in which they were placed."""
        return tuple(placed.thing for placed in self.placed)

    @property
    def named(self) -> list[Object]:
        """The objects in the fixed order in which captions name them."""
        return sorted(self.objects, key=OBJECTS.index)


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
    return replace(best, glows=bool(rng.random() < GLOWING))


def _things(rng: np.random.Generator, count: int) -> list[Object]:
    """Pick distinct objects that share colours and shapes, so that half a match misleads."""
    palette = rng.choice(len(OBJECTS), min(len(OBJECTS), count + 3), replace=False)
    pool = [OBJECTS[i] for i in palette]
    colours = {o[0] for o in pool[: max(2, count // 2)]}
    pool.sort(key=lambda o: o[0] not in colours)
    return pool[:count]


def loose_panels(rng: np.random.Generator, count: int, numbered: bool = True) -> list[Panel]:
    """Return unrelated panels with distinct random numbers in no order."""
    numbers = _loose_numbers(rng, count)
    position = _position(rng)
    panels = []
    for number in numbers:
        taken: list[Placed] = []
        for thing in _things(rng, int(rng.integers(0 if count > 1 else 1, 4))):
            taken.append(place(rng, thing, taken))
        panels.append(Panel(tuple(taken), int(number) if numbered else None, position))
    return panels


def _loose_numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return distinct numbers in no order; one, two and three digits are as likely, while any."""
    by_digits = [list(rng.permutation(range(low, high))) for low, high in DIGITS]
    numbers = []
    for _ in range(count):
        left = [each for each in by_digits if each]
        numbers.append(int(left[int(rng.integers(len(left)))].pop()))
    return np.array(numbers)


def _rising_numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return rising numbers, never consecutive; half of the strips that can keep to their digits.

    Small first numbers come most: the numbers after them have more digits all the same.
    """
    low, high = DIGITS[int(rng.choice(len(DIGITS), p=(0.55, 0.22, 0.23)))]
    room = DIGITS[-1][1] - 2 * count
    if high - low >= 2 * count and rng.random() < 0.7:
        room = high - 2 * count
    first = int(rng.integers(low, max(low, min(high - 1, room)) + 1))
    apart = int(max(0, room - first) * rng.random() ** 3)  # how much further than by 2
    return first + 2 * np.arange(count) + np.sort(rng.integers(0, apart + 1, count))


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
            x, y = rng.normal(0, 5, 2) + (home.x, home.y)
            shown[i].append(Placed(thing, x, y, home.size * float(rng.uniform(0.9, 1.1))))
    return [Panel(tuple(panel)) for panel in shown]


def strip(rng: np.random.Generator, most: int = PAGES) -> list[Panel]:
    """Return a comic strip of 3 to 8 panels, or up to `most`; numbers rise, never consecutive."""
    # most are short: a long one takes the tokens of six, and teaches the same look-ups
    longest = int(rng.choice([n for n in (*7 * (8,), 16, 32, PAGES) if n <= max(8, most)]))
    count = int(rng.integers(3, longest + 1))
    things = int(rng.integers(1, 5 if count < 9 else 9))
    panels = story(rng, count, things, count if count < 9 else count // 2)
    numbers, position = _rising_numbers(rng, count), _position(rng)
    pairs = zip(panels, numbers, strict=True)
    return [replace(panel, number=int(n), position=position) for panel, n in pairs]


def silent_video(rng: np.random.Generator, longest: int = 66) -> list[Panel]:
    """Return an unnumbered video of 4 to `longest` frames."""
    count = int(rng.integers(4, longest + 1))
    return story(rng, count, int(rng.integers(2, 6)), max(3, count // 2))
