"""The flipbook world: seeded films of coloured shapes that come, do something and go.

A film is drawn from its `Film` record alone, so the same seed gives the same pixels at any second.
`numpro.flipbook.films` writes the splits as H.264 mp4 files, with their annotations in the
QVHighlights format.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from numpro.flipbook import COLOURS, MANNERS, OBJECTS, SHAPES, SIZE
from numpro.flipbook.scenes import Panel

WORLD_VERSION = 4
RATES = ("12.5", "24000/1001", "30000/1001", "variable")
RGB = {
    "red": (222, 45, 38),
    "blue": (38, 92, 217),
    "green": (34, 150, 66),
    "yellow": (246, 205, 38),
    "purple": (140, 60, 180),
}
GLOW = (255, 250, 205)


@dataclass(frozen=True)
class Split:
    """How many films a split has, how long they are, how many events they hold."""

    code: int
    films: int
    seconds: tuple[float, float]
    events: tuple[int, int]


SPLITS = {
    "train": Split(1, 160, (8.0, 16.0), (3, 5)),
    "val": Split(2, 24, (8.0, 16.0), (3, 5)),
    "test": Split(3, 40, (8.0, 16.0), (3, 5)),
    "test_long": Split(4, 16, (32.0, 64.0), (5, 8)),
    # of a full run only: choices for longer films, and more to learn from
    "val_long": Split(5, 24, (32.0, 64.0), (5, 8)),
    "train_more": Split(6, 480, (8.0, 48.0), (3, 6)),
}


@dataclass(frozen=True)
class Event:
    """One object on screen from `start` to `end` seconds, doing one thing.

    `x0, y` to `x1, y` is its way (equal for all that do not move), `size` its width in pixels
    at rest, `peak` the second at which it looks largest.
    """

    colour: str
    shape: str
    manner: str
    start: float
    end: float
    x0: float
    x1: float
    y: float
    size: float
    peak: float

    @property
    def query(self) -> str:
        """The event in words, such as ``a red star spins``."""
        return f"a {self.colour} {self.shape} {self.manner}"

    def width(self, t: float | np.ndarray) -> np.ndarray:
        """Return the width in pixels at second `t`, or at each of several (0 out of sight)."""
        t = np.asarray(t, float)
        visible = (self.start <= t) & (t < self.end)
        if self.manner == "blinks":
            visible &= (t % 1 < 0.42) | (t % 1 >= 0.64)
        if self.manner == "grows":
            share = 0.8 + 0.45 * (t - self.start) / (self.end - self.start)
        else:
            share = 0.82 + 0.36 * np.exp(-(((t - self.peak) / 1.8) ** 2))
        return np.where(visible, self.size * share, 0.0)

    def x(self, t: float) -> float:
        """Return the centre's horizontal place in pixels at second `t`."""
        done = (t - self.start) / (self.end - self.start)
        return self.x0 + (self.x1 - self.x0) * done

    def angle(self, t: float) -> float:
        """Return the rotation in degrees at second `t`."""
        return 100.0 * (t - self.start) if self.manner == "spins" else 0.0

    def overlaps(self, other: "Event") -> bool:
        """Tell whether both are on screen at some time and their ways touch."""
        if self.start >= other.end or other.start >= self.end:
            return False
        reach = 0.6 * (self.size * 1.35 + other.size * 1.35) / 1.2 + 4
        apart_y = abs(self.y - other.y) > reach
        low, high = sorted((self.x0, self.x1))
        other_low, other_high = sorted((other.x0, other.x1))
        return not (apart_y or low - other_high > reach or other_low - high > reach)


@dataclass(frozen=True)
class Film:
    """A film's whole story; `rate` is one of `RATES`, `absent` what is asked for and not there."""

    name: str
    seed: tuple[int, ...]
    duration: float
    rate: str
    events: tuple[Event, ...]
    absent: str = ""

    @property
    def queries(self) -> dict[str, list[Event]]:
        """The events by what is asked for, in the order they were made: one each, or two."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.query, []).append(event)
        return found

    def frame_times(self) -> np.ndarray:
        """Return the presentation times of its native frames in seconds, float64 [N]."""
        if self.rate != "variable":
            top, _, bottom = self.rate.partition("/")
            period = float(bottom or 1) / float(top)
            return np.arange(0.0, self.duration - 1e-9, period)
        gaps = np.random.default_rng([*self.seed, 7]).uniform(1 / 30, 1 / 11, 2000)
        times = np.round(np.concatenate([[0.0], np.cumsum(gaps)]), 3)
        return times[times < self.duration]


@lru_cache(maxsize=1024)  # all splits: their stories are counted and written down again and again
def make_film(split: str, index: int) -> Film:
    """Write the story of film `index` of a split (seeds of splits are disjoint).

    Every event lasts at least 4 s and begins anywhere. Every event has a rival of its colour or of
    its shape, so half of the query is not enough. In some of the films that have the time, one
    thing does the same twice. One thing in the same words is not in the film at all: it shares its
    colour or its shape with what is.
    """
    spec = SPLITS[split]
    seed = (WORLD_VERSION, spec.code, index)
    rng = np.random.default_rng(seed)
    shortest, longest = spec.seconds  # long films are likelier: they ask more of a reader
    duration = round(shortest + (longest - shortest) * float(np.sqrt(rng.random())), 2)
    wanted = int(rng.integers(spec.events[0], spec.events[1] + 1))
    events: list[Event] = []
    while len(events) < spec.events[0] or not all(_has_rival(e, events) for e in events):
        events = _make_events(rng, wanted, duration)
    if duration >= 12 and rng.random() < 0.5:
        events += _again(rng, events, duration)
    rate = RATES[int(rng.integers(len(RATES)))]
    absent = _absent(rng, events)
    return Film(f"{split}_{index:04d}", seed, duration, rate, tuple(events), absent)


def _has_rival(event: Event, events: Sequence[Event]) -> bool:
    return any((event.colour == e.colour) != (event.shape == e.shape) for e in events)


def _make_events(rng: np.random.Generator, wanted: int, duration: float) -> list[Event]:
    """Place events that do not cover each other: as many as wanted, or as find a place."""
    colours = list(rng.permutation(COLOURS))[: 2 + (wanted > 4)]
    shapes = list(rng.permutation(SHAPES))[: 2 + (wanted > 3)]
    pairs = [(str(c), str(s)) for c in colours for s in shapes]
    rng.shuffle(pairs)
    events: list[Event] = []
    for colour, shape in pairs:
        if len(events) == wanted:
            break
        for _ in range(40):
            event = _make_event(rng, colour, shape, duration)
            if not any(event.overlaps(other) for other in events):
                events.append(event)
                break
    return events


def _again(rng: np.random.Generator, events: Sequence[Event], duration: float) -> list[Event]:
    """Return one of the events at another time, 2 s or more apart; [] where no place is found."""
    for _ in range(200):
        first = events[int(rng.integers(len(events)))]
        event = _make_event(rng, first.colour, first.shape, duration, first.manner)
        apart = max(first.start - event.end, event.start - first.end)
        if apart >= 2 and not any(event.overlaps(other) for other in events):
            return [event]
    return []


def _absent(rng: np.random.Generator, events: Sequence[Event]) -> str:
    """Return a query about a thing that is not there, like one that is in colour or shape."""
    there = {(event.colour, event.shape) for event in events}
    colours, shapes = ({pair[k] for pair in there} for k in (0, 1))
    near = [o for o in OBJECTS if o not in there and (o[0] in colours or o[1] in shapes)]
    colour, shape = near[int(rng.integers(len(near)))]
    return f"a {colour} {shape} {MANNERS[int(rng.integers(len(MANNERS)))]}"


def _make_event(
    rng: np.random.Generator, colour: str, shape: str, duration: float, manner: str = ""
) -> Event:
    length = float(rng.uniform(4.0, max(5.0, min(0.42 * duration, 16.0))))
    start = round(float(rng.uniform(0.0, duration - 0.35 - length)), 3)
    end = round(start + length, 3)
    manner = manner or MANNERS[int(rng.integers(len(MANNERS)))]
    size = float(rng.uniform(78, 100))  # so that no width is under the least of scenes.WIDTHS
    low, high = 0.7 * size, SIZE - 0.7 * size
    x0, y = (float(v) for v in rng.uniform(low, high, 2))
    x1 = x0
    if manner == "moves":
        way = (-1.0, 1.0)[int(rng.integers(2))] * float(rng.uniform(80, 180))
        ways = [float(np.clip(x0 + way, low, high)), float(np.clip(x0 - way, low, high))]
        x1 = ways[0] if abs(ways[0] - x0) >= 80 else ways[1]  # to where there is room
    peak = float(rng.uniform(start + 0.5, end - 0.5))
    return Event(colour, shape, manner, start, end, x0, x1, y, size, peak)


# ---------------------------------------------------------------- drawing


def _outline(shape: str) -> np.ndarray:
    """Return a shape's corners around the origin, within a circle of radius 1, float [N, 2]."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    if shape == "circle":
        return 0.92 * np.stack([np.cos(turn), np.sin(turn)], 1)
    if shape == "square":
        return 0.82 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    if shape == "triangle":
        return np.array([[0, -1.0], [0.95, 0.75], [-0.95, 0.75]])
    if shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
        return np.stack([x, -y - 1], 1) / 17
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


@lru_cache(maxsize=4096)
def sprite(
    colour: str, shape: str, width: int, angle: int, glows: bool = False
) -> Image.Image:  # fmt: skip
    """Draw one object, RGBA, `width` pixels wide, turned by `angle` degrees.

    A white dot off the centre makes every shape asymmetric, so that turning shows. What glows has a
    broad edge of light instead of a dark one.
    """
    side = 2 * (width + (width // 6 if glows else 4))
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = side / 2 + width * 0.97 * _outline(shape) @ rotation
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    fill = RGB[colour]
    edge, broad = tuple(int(0.45 * c) for c in fill), max(2, width // 14)
    if glows:
        edge, broad = GLOW, width // 6
    points = [tuple(p) for p in corners]
    draw.polygon(points, fill=fill)
    draw.line([*points, points[0], points[1]], fill=edge, width=broad, joint="curve")
    x, y = side / 2 + width * np.array([0.12, -0.22]) @ rotation
    r = 0.13 * width
    draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 255, 255))
    return image.reduce(2)


@lru_cache(maxsize=512)
def background(seed: tuple[int, ...]) -> Image.Image:
    """Draw a muted background: a slanted gradient with soft spots."""
    rng = np.random.default_rng([*seed, 3])
    base = rng.uniform(70, 225)
    corners = np.clip(base + rng.uniform(-28, 28, (2, 2, 3)), 40, 240)
    for _ in range(int(rng.integers(0, 3))):
        corners[tuple(rng.integers(0, 2, 2))] = np.clip(base + rng.uniform(-45, 45, 3), 40, 240)
    small = np.asarray(
        Image.fromarray(corners.astype(np.uint8)).resize((24, 24), Image.Resampling.BICUBIC), float
    )
    small += rng.normal(0, float(rng.uniform(0, 9)), (24, 24, 1))
    image = Image.fromarray(np.clip(small, 0, 255).astype(np.uint8))
    return image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _paste(canvas: Image.Image, stamp: Image.Image, x: float, y: float) -> None:
    canvas.paste(stamp, (round(x - stamp.width / 2), round(y - stamp.height / 2)), stamp)


def draw_frame(film: Film, t: float, without: int | None = None) -> np.ndarray:
    """Draw the film at second `t`, uint8 [SIZE, SIZE, 3]; `without` leaves one event out."""
    canvas = background(film.seed).copy()
    for number, event in enumerate(film.events):
        width = round(float(event.width(t)))
        if width and number != without:
            angle = round(event.angle(t) / 5) * 5 % 360
            stamp = sprite(event.colour, event.shape, width, angle, event.manner == "glows")
            _paste(canvas, stamp, event.x(t), event.y)
    return np.asarray(canvas)


def draw_panel(panel: Panel, seed: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw a pretraining picture without its number, uint8 [SIZE, SIZE, 3]."""
    canvas = background(seed).copy()
    for placed in panel.placed:
        angle = int(rng.choice([0, 0, 5 * int(rng.integers(72))]))
        stamp = sprite(*placed.thing, round(placed.size), angle, placed.glows)
        _paste(canvas, stamp, placed.x, placed.y)
    return np.asarray(canvas)
