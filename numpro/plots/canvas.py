"""Strips of frames with brackets of time under them; all sizes are in inches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpro.plots.style import (
    ANSWER,
    INK,
    SOFT,
    TRUTH,
    WIDTH,
    as_spans,
    new_figure,
    readable,
    say_spans,
)
from numpro.spans import Span

LEFT, _RIGHT, EDGE, _GAP = 0.72, 0.08, 0.08, 0.03
_WIDEST = 1.6  # a frame
_LINE, _LANE, _BAR = 0.2, 0.27, 0.13  # a line of text; the room of a bracket; its height
_LANES = {"truth": TRUTH, "answer": ANSWER}


@dataclass(frozen=True)
class Strip:
    """Frames to show, in the order of time, and the brackets under them."""

    frames: Sequence[np.ndarray]
    seconds: np.ndarray | None
    labels: Sequence[str] | None
    step: int  # every so many-th frame is shown
    spans: dict[str, tuple[Span, ...]]

    def place(self, second: float) -> float:
        """Return where a second lies, in frames; a frame's own second is at its middle."""
        times = self.seconds
        steps = np.diff(times) if len(times) > 1 else np.ones(1)
        known = [times[0] - steps[0], *times, times[-1] + steps[-1]]
        return float(np.clip(np.interp(second, known, np.arange(len(known)) - 0.5), 0, len(times)))


def make_strip(pages, seconds, labels, truth, predicted, most: int) -> Strip:
    """Check what is to be shown and thin it; a lane that was not asked for is left out."""
    if hasattr(pages, "frames"):
        pages, seconds = pages.frames, pages.seconds if seconds is None else seconds
    frames = np.asarray(pages)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(
            "frames must be a Clip or uint8 [T, H, W, 3] with T > 0; "
            f"got {frames.dtype} {frames.shape}"
        )
    for name, given in (("seconds", seconds), ("labels", labels)):
        if given is not None and len(given) != len(frames):
            raise ValueError(
                f"{name} must be one a frame: {len(frames)} frames, {len(given)} {name}"
            )
    lanes = {"truth": truth, "answer": predicted}
    spans = {name: as_spans(given, name) for name, given in lanes.items() if given is not None}
    if spans and seconds is None:
        raise ValueError("seconds must be given to place spans; got frames without them")
    order = np.arange(len(frames)) if seconds is None else np.argsort(seconds, kind="stable")
    step = -(-len(frames) // most)
    shown = order[::step]
    return Strip(
        frames[shown],
        None if seconds is None else np.asarray(seconds, float)[shown],
        None if labels is None else [readable(labels[i], 12) for i in shown],
        step,
        spans,
    )


class Canvas:
    """A figure measured in inches from its top left corner, filled from the top down."""

    def __init__(self, height: float, width: float = WIDTH):
        self.width, self.y = width, EDGE
        self.figure = new_figure(height, width)
        self.axes = self.figure.add_axes((0, 0, 1, 1), autoscale_on=False, frame_on=False)
        self.axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])

    def text(self, x: float, y: float, text: str, **look: Any):
        """Write a text at a place."""
        look = {"fontsize": 9.5, "va": "top", "color": INK} | look
        return self.axes.text(x, y, text, **look)

    def block(self, text: str, **look: Any) -> None:
        """Write lines over the whole width, below what is there."""
        self.text(look.pop("x", EDGE), self.y, text, **look)
        self.y += block_height(text, look.get("fontsize", 9.5))

    def strip(self, strip: Strip, layout: "Layout") -> None:
        """Draw the rows of a strip, below what is there."""
        for first in range(0, len(strip.frames), layout.per_row):
            self._row(strip, layout, first)
            self.y += layout.row

    def _row(self, strip: Strip, layout: "Layout", first: int) -> None:
        top = self.y
        if strip.labels:
            top += _LINE
        bottom = top + layout.height
        count = min(layout.per_row, len(strip.frames) - first)
        for column in range(count):
            x = LEFT + column * layout.slot
            extent = (x, x + layout.slot - _GAP, bottom, top)
            small = _shrunk(strip.frames[first + column], layout.slot)
            self.axes.imshow(small, extent=extent, aspect="auto", gid="frame")
            middle = x + (layout.slot - _GAP) / 2
            if strip.labels:
                label = strip.labels[first + column]
                self.text(middle, top - 0.03, label, ha="center", va="bottom", weight="bold")
            if strip.seconds is not None:
                text = f"{strip.seconds[first + column]:.2f}".rstrip("0").rstrip(".") + " s"
                self.text(
                    middle, bottom + 0.02, text, ha="center", fontsize=9, color=SOFT, gid="time"
                )
        y = bottom + (_LINE if strip.seconds is not None else 0)
        for name, spans in strip.spans.items():
            middle = y + _LANE - 0.03 - _BAR / 2
            self.text(LEFT - 0.08, middle, name, ha="right", va="center")
            if not spans and first == 0:
                self.text(LEFT, middle, "no span could be read", va="center", style="italic")
            for span in spans:
                ends = [strip.place(t) - first for t in span]
                self._bracket(name, span, ends, count, layout, y + _LANE, len(spans) == 1)
            y += _LANE

    def _bracket(self, name, span, ends, count, layout, y, say: bool) -> None:
        """Draw the part of a span that lies in a row of `count` frames, ending at height y."""
        from matplotlib.patches import Rectangle

        a, b = max(ends[0], 0), min(ends[1], count)
        if a > b or (a == b and ends[0] != ends[1]):
            return
        x0, x1 = LEFT + a * layout.slot, LEFT + b * layout.slot
        x1 = max(x1, x0 + 0.04)  # an instant can be seen too
        look = _LANES[name] | {"linewidth": 0.8}
        y0 = y - _BAR - 0.03
        self.axes.add_patch(Rectangle((x0, y0), x1 - x0, _BAR, gid=name, **look))
        for x, real in ((x0, ends[0] >= 0), (x1, ends[1] <= count)):
            if real:  # the span goes on in another row where it is not
                self.axes.plot([x, x], [y0 - 0.07, y0 + _BAR], color=look["edgecolor"], lw=2)
        if say and ends[1] <= count:
            self._say(span, x0, x1, y0 + _BAR / 2)

    def _say(self, span: Span, x0: float, x1: float, y: float) -> None:
        """Write a span's seconds right of its bracket, or left, or on it: where there is room."""
        text = say_spans([span])
        room = 0.085 * len(text)
        look = {"fontsize": 9, "va": "center", "gid": "span"}
        if x1 + 0.06 + room <= self.width - _RIGHT:
            self.text(x1 + 0.06, y, text, **look)
        elif x0 - 0.06 - room >= LEFT:
            self.text(x0 - 0.06, y, text, ha="right", **look)
        else:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            self.text((x0 + x1) / 2, y, text, ha="center", bbox=box, **look)


@dataclass(frozen=True)
class Layout:
    """The sizes of a strip: frames a row, width of a frame with its gap, heights."""

    per_row: int
    slot: float
    height: float
    row: float
    total: float
    width: float


def lay_out(strip: Strip, per_row: int, columns: int = 1) -> Layout:
    """Return the sizes of a strip; frames are small enough for `columns` of them in a row."""
    count = len(strip.frames)
    rows = -(-count // per_row)
    per_row = -(-count // rows)  # rows of the same length
    slot = min((WIDTH - LEFT - _RIGHT) / max(per_row, columns), _WIDEST)
    shape = strip.frames[0].shape
    height = (slot - _GAP) * shape[0] / shape[1]
    lines = (strip.labels is not None) + (strip.seconds is not None)
    row = height + lines * _LINE + len(strip.spans) * _LANE + 0.08
    width = LEFT + per_row * slot + _RIGHT
    return Layout(per_row, slot, height, row, rows * row, width)


def _shrunk(frame: np.ndarray, inches: float) -> np.ndarray:
    """Return a frame no larger than it is seen: the file stays small."""
    from PIL import Image

    width = round(inches * 150)
    if frame.shape[1] <= width:
        return frame
    size = (width, max(1, round(width * frame.shape[0] / frame.shape[1])))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def block_height(text: str, fontsize: float = 9.5) -> float:
    """Return how high lines of text are, with the room below them."""
    return (text.count("\n") + 1) * fontsize * 1.25 / 72 + 0.08


def thinned(step: int) -> str:
    """Say that not every frame is shown."""
    return f"1 of every {step} frames is shown" if step > 1 else ""
