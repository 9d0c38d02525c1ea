"""One look for every picture: white ground, Okabe-Ito colours, dark text of 10 pt and more."""

import io
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text
from PIL import Image

from numpro.spans import Span

Rows = Sequence[Mapping]
WIDTH = 10.0  # inches; at 100 dots an inch the width of a notebook
INK, SOFT, FAINT = "#222222", "#555555", "#DDDDDD"
BLUE, RED, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
# in the order of look.mplstyle; beside its colour each line has its own dashes and marker, each
# bar its own hatch
COLOURS = (BLUE, RED, GREEN, PINK, "#E69F00", SKY, "#000000")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TRUTH = {"facecolor": GREEN, "edgecolor": "#00513B"}
ANSWER = {"facecolor": "#F6B26B", "edgecolor": "#8A3D00", "hatch": "/////"}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the one look, whatever the reader's own settings are."""
    with mpl.style.context(["default", Path(__file__).with_name("look.mplstyle")]):
        yield
        switched_on = mpl.is_interactive()
    # a notebook's backend starts with the first figure and switches this on for good
    mpl.interactive(switched_on)


def new_figure(height: float, width: float = WIDTH, layout: str | None = "constrained") -> Figure:
    """Return an empty figure of this size in inches, the same whatever a notebook's backend."""
    # pyplot keeps its figures until they are shown, so it makes one only where it is in use
    pyplot = sys.modules.get("matplotlib.pyplot")
    figure = (pyplot.figure if pyplot else Figure)(figsize=(width, height), layout=layout)
    figure._ipython_display_ = partial(show, figure)
    return figure


def show(figure: Figure, caption: str = "", saw: str = "") -> None:
    """Show a picture in a notebook, small in bytes and with words for readers who cannot see it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        From this package or drawn by hand; pyplot will not show it again.
    caption : str
        What it shows; put before the words that stand in it.
    saw : str
        What one sees and what follows from it, in a few sentences: written below the picture.
    """
    from IPython.display import display

    content = {"text/plain": repr(figure), "image/png": small_png(figure)}
    display(content, metadata={"image/png": {"alt": alt_text(figure, caption)}}, raw=True)
    close(figure)
    if saw:
        text = f"**What you see.** {saw}"
        display({"text/markdown": text, "text/plain": text}, raw=True)


def save(figure: Figure, path: str | os.PathLike, **options: Any) -> None:
    """Write a picture to a file and let go of it; options are those of ``savefig``."""
    figure.savefig(path, **options)
    close(figure)


def close(figure: Figure) -> None:
    """Let pyplot forget a picture, which the cell would show as well."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)


def alt_text(figure: Figure, caption: str = "", most: int = 500) -> str:
    """Return a caption and the words that stand in a picture: titles, axes, lines, answers.

    Figures on axes are left out, and what is longer than `most` characters is cut.
    """
    shown = figure.findobj(lambda a: isinstance(a, Text) and a.get_visible())
    texts = dict.fromkeys(" ".join(text.get_text().split()) for text in shown)
    words = "; ".join(text for text in texts if any(map(str.isalpha, text)))
    caption = f"{caption.rstrip('.')}. " if caption and words else caption
    return readable(caption + words, most)


@styled()
def small_png(figure: Figure, dpi: float = 100) -> bytes:
    """Return a figure as a PNG of 128 colours: a third of the bytes in a notebook.

    Parameters
    ----------
    figure
        What to draw.
    dpi
        Dots an inch.
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, pil_kwargs={"compress_level": 0})
    picture = Image.open(drawn).convert("RGB")
    picture = picture.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True, dpi=(dpi, dpi))
    return small.getvalue()


def readable(text: object, most: int | None = None) -> str:
    r"""Return a text on one line, of at most `most` characters, without what no font can draw.

    Examples
    --------
    >>> readable("From 3\n to 7, then nothing at all", most=15)
    'From 3 to 7, t…'
    """
    line = " ".join(str(text).split())
    line = line if most is None or len(line) <= most else line[: most - 1] + "…"
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(c if ord(c) in known else "?" for c in line)


def wrapped(text: object, columns: int, lines: int = 3) -> str:
    """Return a readable text in at most `lines` lines."""
    return textwrap.fill(readable(text), columns, max_lines=lines, placeholder=" …")


def as_spans(spans: Any, name: str) -> tuple[Span, ...]:
    """Return one span or a sequence of spans as a tuple of spans; None is none at all.

    Raises
    ------
    ValueError
        When it is neither, or a time is not finite, or a span ends before it starts.
    """
    if spans is None or not len(spans):
        return ()
    pairs = np.atleast_2d(np.asarray(spans, float))
    if pairs.shape[1:] != (2,) or not np.isfinite(pairs).all() or (pairs.T[0] > pairs.T[1]).any():
        raise ValueError(f"{name} must be finite (start <= end) or a list of them; got {spans!r}")
    return tuple(Span(*pair) for pair in pairs.tolist())


def first_prediction(row: Mapping) -> Span | None:
    """Return what a prediction row answers, None where nothing could be read."""
    found = as_spans(row["pred"], "pred")
    return found[0] if found and row.get("reason") is None else None


def check_rows(rows: Rows, keys: Sequence[str], name: str = "rows", limit: int = 1) -> None:
    """Refuse no rows, rows that lack a key, and a limit that lets none be shown.

    Raises
    ------
    ValueError
        Saying which row lacks what, or what was given.
    """
    if limit < 1:
        raise ValueError(f"limit must be 1 or more; got {limit}")
    if not len(rows):
        raise ValueError(f"{name} is empty: there is nothing to draw")
    for number, row in enumerate(rows):
        if missing := [key for key in keys if key not in row]:
            raise ValueError(f"{name}[{number}] lacks {', '.join(missing)}; it has {list(row)}")


def check_named(given: Mapping, name: str, keys: Sequence[str] = ()) -> None:
    """Refuse what is not a dict with something in it; with `keys`, of rows that have them.

    Raises
    ------
    ValueError
        Saying what was given, or which row lacks what.
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{name} must be a dict with one entry or more; got {given!r}")
    for entry in given if keys else ():
        check_rows(given[entry], keys, entry)


def line_look(number: int) -> dict:
    """Return colour, dashes and marker of the line with this number, counted from 0."""
    cycles = {"color": COLOURS, "linestyle": DASHES, "marker": MARKERS}
    return {key: cycle[number % len(cycle)] for key, cycle in cycles.items()}


def draw_intervals(ax: Axes, number: int, label: str, points: Sequence, aside: float = 0) -> None:
    """Draw points ``(x, value, low, high)`` as one line, moved `aside` to the right."""
    x, value, low, high = np.array(points, float).T
    error = np.maximum([value - low, high - value], 0)
    ax.errorbar(x + aside, value, error, label=readable(label), capsize=4, **line_look(number))


def name_lines(figure: Figure, title: str) -> None:
    """Name the lines of a picture at its right."""
    figure.legend(loc="outside right center", handlelength=3.4, title=title)
