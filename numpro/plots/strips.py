"""Pictures made of frames: one strip, two to compare, a gallery of cases; sizes in inches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from numpro.metrics import moment_ious
from numpro.plots import style

_LEFT, _RIGHT, _EDGE, _GAP = 0.72, 0.08, 0.08, 0.03
_LINE, _LANE, _BAR = 0.2, 0.27, 0.13  # a line of text; the room of a bracket; its height
_LANES = {"truth": style.TRUTH, "answer": style.ANSWER}


class _Strip:
    """Frames in the order of time, thinned to `most` and laid out in rows, and their brackets.

    A lane that is None is left out; frames are small enough for `columns` of them in a row.
    """

    def __init__(self, pages, seconds, labels, truth, predicted, per_row, most=36, columns=1):
        if per_row < 1:
            raise ValueError(f"per_row must be 1 or more; got {per_row}")
        seconds = getattr(pages, "seconds", None) if seconds is None else seconds
        frames = np.asarray(getattr(pages, "frames", pages))
        if frames.dtype != np.uint8 or frames.shape[3:] != (3,) or not len(frames):
            got = f"{frames.dtype} {frames.shape}"
            raise ValueError(f"frames must be a Clip or uint8 [T, H, W, 3] with T > 0; got {got}")
        for name, given in {"seconds": seconds, "labels": labels}.items():
            if given is not None and len(given) != len(frames):
                raise ValueError(f"{len(frames)} frames, {len(given)} {name}: must be one a frame")
        lanes = {"truth": truth, "answer": predicted}
        self.spans = {k: style.as_spans(v, k) for k, v in lanes.items() if v is not None}
        if self.spans and seconds is None:
            raise ValueError("seconds must be given to place spans; got frames without them")
        step = -(-len(frames) // most)
        order = np.arange(len(frames)) if seconds is None else np.argsort(seconds, kind="stable")
        shown = order[::step]
        self.note = f"1 of every {step} frames is shown" if step > 1 else ""
        self.frames = frames[shown]
        self.seconds = None if seconds is None else np.asarray(seconds, float)[shown]
        self.labels = None if labels is None else [style.readable(labels[i], 12) for i in shown]
        self.per_row = -(-len(shown) // -(-len(shown) // per_row))  # rows of the same length
        # a frame with its gap, 1.4 at most
        self.slot = min((style.WIDTH - _LEFT - _RIGHT) / max(self.per_row, columns), 1.4)
        self.width = _LEFT + self.per_row * self.slot + _RIGHT

    def place(self, second: float) -> float:
        """Return where a second lies, in frames; a frame's own second is at its middle."""
        known = np.pad(self.seconds, 1, "reflect", reflect_type="odd")  # one more at both ends
        place = np.interp(second, known, np.arange(len(known)) - 0.5)
        return float(np.clip(place, 0, len(self.seconds)))


class _Canvas:
    """A figure measured in inches from its top left corner, filled from the top down."""

    def __init__(self, width: float):
        self.width, self.y = width, _EDGE
        self.axes = style.new_figure(1, width, layout=None).add_axes((0, 0, 1, 1), frame_on=False)
        self.axes.set(xlim=(0, width), autoscale_on=False, xticks=[], yticks=[])

    def finish(self):
        """Return the figure, as high as what was drawn."""
        self.axes.set_ylim(self.y + _EDGE, 0)
        self.axes.figure.set_size_inches(self.width, self.y + _EDGE)
        return self.axes.figure

    def text(self, x: float, y: float, text: str, va="center", fontsize=10, **look: Any) -> None:
        """Write a text at a place."""
        self.axes.text(x, y, text, va=va, fontsize=fontsize, **look)

    def block(self, text: str, fontsize: float = 10, **look: Any) -> None:
        """Write lines below what is there."""
        if text:
            self.text(_LEFT, self.y, text, "top", fontsize, **look)
            self.y += (text.count("\n") + 1) * fontsize * 1.25 / 72 + 0.08

    def heading(self, text: str) -> None:
        """Write a bold text over as many lines as it takes, three at most."""
        self.block(style.wrapped(text, int((self.width - _LEFT) * 10)), 11, weight="bold")

    def strip(self, strip: _Strip) -> None:
        """Draw the rows of a strip below what is there."""
        for first in range(0, len(strip.frames), strip.per_row):
            last = min(first + strip.per_row, len(strip.frames))
            self._frames(strip, first, last)
            for name in strip.spans:
                self._lane(strip, name, first, last - first)
            self.y += 0.18 if strip.spans else 0.08

    def _frames(self, strip: _Strip, first: int, last: int) -> None:
        """Draw a row of frames, labels above and seconds below them."""
        wide = strip.slot - _GAP
        high = wide * strip.frames.shape[1] / strip.frames.shape[2]
        self.y += _LINE if strip.labels else 0
        for column, i in enumerate(range(first, last)):
            x = _LEFT + column * strip.slot
            small = Image.fromarray(strip.frames[i])  # no larger than it is shown
            small.thumbnail((round(strip.slot * 150), small.height), Image.Resampling.LANCZOS)
            extent = (x, x + wide, self.y + high, self.y)
            self.axes.imshow(small, extent=extent, aspect="auto", gid="frame")
            x, y, look = x + wide / 2, self.y + high + 0.02, {"ha": "center", "color": style.SOFT}
            if strip.labels:
                self.text(x, self.y - 0.03, strip.labels[i], "bottom", ha="center", weight="bold")
            if strip.seconds is not None:
                self.text(x, y, f"{round(strip.seconds[i], 2):g} s", "top", gid="time", **look)
        self.y += high + (_LINE if strip.seconds is not None else 0)

    def _lane(self, strip: _Strip, name: str, first: int, count: int) -> None:
        """Draw the parts of spans in a row of `count` frames; write the seconds of a lone span."""
        y, spans = self.y + _LANE - 0.03 - _BAR / 2, strip.spans[name]
        self.y += _LANE
        self.text(_LEFT - 0.08, y, name, ha="right")
        if spans:  # a faint line where nothing is
            right = _LEFT + count * strip.slot - _GAP
            self.axes.plot([_LEFT, right], [y, y], color=style.FAINT, lw=1, gid="lane")
        elif first == 0:
            self.text(_LEFT, y, "no span could be read", style="italic")
        for span in spans:
            start, end = (strip.place(second) - first for second in span)
            a, b = max(start, 0), min(end, count)
            if a < b or (a, b) == (start, end):
                x0 = _LEFT + a * strip.slot
                x1 = max(_LEFT + b * strip.slot, x0 + 0.04)  # an instant is visible too
                self.axes.barh(y, x1 - x0, _BAR, x0, gid=name, linewidth=0.8, **_LANES[name])
                # the span goes on in another row where it has no upturned end
                for x in [x0] * (start >= 0) + [x1] * (end <= count):
                    ends, ink = [y - _BAR / 2 - 0.07, y + _BAR / 2], _LANES[name]["edgecolor"]
                    self.axes.plot([x, x], ends, color=ink, lw=2)
                if len(spans) == 1 and end <= count:
                    self._seconds(f"{span.start:.1f}–{span.end:.1f} s", x0, x1, y)

    def _seconds(self, text: str, x0: float, x1: float, y: float) -> None:
        """Write a span's seconds right of its bracket, or left, or on it: where there is room."""
        x, side, room = (x0 + x1) / 2, "center", 0.092 * len(text) + 0.06
        if x1 + room <= self.width - _RIGHT:
            x, side = x1 + 0.06, "left"
        elif x0 - room >= _LEFT:
            x, side = x0 - 0.06, "right"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        self.text(x, y, text, ha=side, gid="span", bbox=box)


@style.styled()
def contact_strip(
    clip_or_frames: Any, seconds: Sequence[float] | None = None, labels: Sequence | None = None,
    truth: Any = None, predicted: Any = None, title: str = "", per_row: int = 8,
) -> style.Figure:  # fmt: skip
    """Show the frames of a clip in rows, with the truth and the prediction as brackets.

    Parameters
    ----------
    clip_or_frames : Clip or uint8 array [T, H, W, 3]
        Numbered or not; shown as given, in the order of time. More than 36 are thinned to
        every second, third, ... frame, and the picture says so.
    seconds : sequence of float, optional
        The time of each frame; a Clip's own by default.
    labels : sequence of int or str, optional
        A text above each frame.
    truth, predicted : (start, end) or a list of them, in seconds, optional
        None leaves the lane out; an empty list says that no span could be read.
    title : str, optional
        Usually the query.
    per_row : int
        At most so many frames in a row; with 8 the published numbers are as large as the page's
        own text.

    Raises
    ------
    ValueError
        For frames, seconds, labels or spans of another kind or number, and for spans without
        seconds.
    """
    strip = _Strip(clip_or_frames, seconds, labels, truth, predicted, per_row)
    canvas = _Canvas(max(strip.width, 4.0))
    canvas.heading(title)
    canvas.strip(strip)
    canvas.block(strip.note, color=style.SOFT)
    return canvas.finish()


@style.styled()
def compare_strip(
    clip: Any, numbered: Any, query: str, answer_text: str, truth: Any = None,
    predicted: Any = None, seconds: Sequence[float] | None = None, per_row: int = 8,
    without: tuple[str, Any] | None = None,
) -> style.Figure:  # fmt: skip
    """Show the same frames without and with numbers, the question and the answer.

    Parameters
    ----------
    clip : Clip or uint8 array [T, H, W, 3]
        The frames as they are; with an array `seconds` must be given.
    numbered : Clip or uint8 array [T, H, W, 3]
        The same frames with their numbers.
    query : str
        What is looked for.
    answer_text : str
        What the model answered.
    truth, predicted : (start, end) or a list of them, in seconds, optional
        Drawn under the numbered frames, as in `contact_strip`.
    seconds : sequence of float, optional
        The time of each frame; the clip's own by default.
    per_row : int
        At most so many frames in a row; more than three rows of them are thinned.
    without : (str, spans), optional
        The answer to the frames without numbers, and what was read off it: drawn beside the truth.

    Raises
    ------
    ValueError
        As `contact_strip`; also without seconds, or for another number of numbered frames.
    """
    seconds = getattr(clip, "seconds", None) if seconds is None else seconds
    if seconds is None:
        raise ValueError("seconds must be given with an array of frames; got none")
    size = {"per_row": per_row, "most": 3 * per_row, "columns": per_row}
    lanes = (truth, without[1]) if without else (None, None)
    plain = _Strip(clip, seconds, None, *lanes, **size)
    marked = _Strip(numbered, seconds, None, truth, predicted, **size)
    canvas = _Canvas(max(marked.width, 5.0))
    canvas.heading(f"Question: when does “{query}” happen?")
    canvas.heading("Without numbers" + (f": “{without[0]}”" if without else ""))
    canvas.strip(plain)
    canvas.heading(f"With numbers: “{answer_text}”" + (f" ({marked.note})" if marked.note else ""))
    canvas.strip(marked)
    return canvas.finish()


@style.styled()
def failure_gallery(items: style.Rows, limit: int = 6) -> style.Figure:
    """Show answers with their frames, to see what goes wrong.

    Parameters
    ----------
    items : sequence of mappings
        Prediction rows (``query``, ``response``, ``truth``, ``pred``, ``reason``) with
        ``clip``, the Clip to show beside it; in the order in which to show them.
    limit : int
        Show the first so many.
    """
    style.check_rows(items, ("clip", "query", "response", "truth", "pred"), "items", limit)
    canvas = _Canvas(style.WIDTH)
    for number, item in enumerate(items[:limit]):
        answer = style.first_prediction(item)
        strip = _Strip(item["clip"], None, None, item["truth"], answer or (), 8, most=8, columns=8)
        fit = f"not read: {style.readable(item.get('reason') or 'no answer', 60)}"
        fit = f"IoU {moment_ious([answer], [item['truth']])[0]:.2f}" if answer else fit
        if number:
            canvas.axes.axhline(canvas.y + 0.02, color="#BBBBBB", lw=0.8)
            canvas.y += 0.14
        query, reply = style.readable(item["query"], 90), style.readable(item["response"], 80)
        thinned = f"   ({strip.note})" if strip.note else ""
        canvas.block(f"{query}   ({fit})\n“{reply}”{thinned}")
        canvas.strip(strip)
    return canvas.finish()
