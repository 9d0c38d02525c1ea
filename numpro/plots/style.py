"""One look for every picture: white ground, Okabe-Ito colours, dark text of 9 pt and more."""

import io
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import Any

import numpy as np

from numpro.spans import Span

WIDTH = 10.0  # inches; at 100 dots an inch the width of a notebook
INK, SOFT, FAINT = "#222222", "#555555", "#DDDDDD"
BLUE, RED, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
# beside its colour each line has its own dashes and marker, each bar its own hatch
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TRUTH = {"facecolor": GREEN, "edgecolor": "#00513B"}
ANSWER = {"facecolor": "#F6B26B", "edgecolor": "#8A3D00", "hatch": "/////"}

# fonts with letters that DejaVu Sans lacks, used where the system has them
_MORE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC")
_STYLE = {
    "figure.dpi": 100, "figure.facecolor": "white", "savefig.facecolor": "white",
    "axes.facecolor": "white", "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10,
    "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5,
    "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "grid.color": FAINT, "axes.axisbelow": True,
    "legend.frameon": False, "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08, "lines.linewidth": 2, "hatch.linewidth": 0.9,
    # a query or an answer may hold a dollar sign; it is never a formula
    "text.parse_math": False,
}  # fmt: skip


def styled(draw: Callable) -> Callable:
    """Draw in the one look, whatever the reader's own settings are."""

    @wraps(draw)
    def drawn(*args, **kwargs):
        from matplotlib import interactive, is_interactive, style

        with style.context(["default", _STYLE | {"font.family": _fonts()}]):
            figure = draw(*args, **kwargs)
            switched_on = is_interactive()
        # a notebook's backend starts with the first figure and switches this on for good
        interactive(switched_on)
        return figure

    return drawn


@cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    there = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in there)]


@cache
def _figure_class() -> type:
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A Figure that looks the same in every notebook, whatever its backend."""

        def _ipython_display_(self) -> None:
            from IPython.display import display

            display({"text/plain": repr(self), "image/png": small_png(self)}, raw=True)

    return Picture


def new_figure(height: float, width: float = WIDTH, **options: Any):
    """Return an empty figure of this size in inches."""
    options["figsize"] = (width, height)
    # pyplot keeps its figures until they are shown: only who uses it anyway gets one of them
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return _figure_class()(**options)
    return pyplot.figure(FigureClass=_figure_class(), **options)


def small_png(figure) -> bytes:
    """Return a figure as a PNG of 256 colours: a third of the bytes in a notebook."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, format="png", metadata={"Software": None})
    picture = Image.open(whole).convert("RGB")
    small = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def readable(text: object, most: int | None = None) -> str:
    r"""Return a text on one line, of at most `most` characters, without what no font can draw.

    Examples
    --------
    >>> readable("From 3\n to 7, then nothing at all", most=15)
    'From 3 to 7, t…'
    """
    from matplotlib.font_manager import findfont, get_font

    line = " ".join(str(text).split())
    if most is not None and len(line) > most:
        line = line[: most - 1] + "…"
    fonts = [get_font(findfont(name)) for name in _fonts()]
    return "".join(c if any(f.get_char_index(ord(c)) for f in fonts) else "?" for c in line)


def wrapped(text: object, columns: int, lines: int = 3) -> str:
    """Return a readable text in at most so many lines."""
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
    try:
        pairs = np.asarray(spans, float)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"{name} must be a span (start, end) or a list of them; got {spans!r}")
    if not np.isfinite(pairs).all() or (pairs[:, 0] > pairs[:, 1]).any():
        raise ValueError(f"{name} must have finite seconds, start <= end; got {spans!r}")
    return tuple(Span(float(a), float(b)) for a, b in pairs)


def say_spans(spans: Sequence[Span]) -> str:
    """Say spans in seconds.

    >>> say_spans([Span(3, 7.25)])
    '3.0–7.2 s'
    """
    return ", ".join(f"{a:.1f}–{b:.1f}" for a, b in spans) + " s"


def first_prediction(row: Mapping) -> Span | None:
    """Return what a prediction row answers, None where nothing could be read."""
    found = as_spans(row["pred"], "pred")
    return found[0] if found and row.get("reason") is None else None


def check_rows(rows: Sequence[Mapping], keys: Sequence[str], name: str = "rows") -> None:
    """Refuse no rows, and rows that lack a key.

    Raises
    ------
    ValueError
        Saying which row lacks what.
    """
    if not len(rows):
        raise ValueError(f"{name} is empty: there is nothing to draw")
    for number, row in enumerate(rows):
        if missing := [key for key in keys if key not in row]:
            raise ValueError(f"{name}[{number}] lacks {', '.join(missing)}; it has {list(row)}")


def check_count(name: str, count: int) -> None:
    """Refuse a number that is not 1 or more.

    Raises
    ------
    ValueError
        Saying what was given.
    """
    if count < 1:
        raise ValueError(f"{name} must be 1 or more; got {count}")


def line_look(number: int) -> dict:
    """Return colour, dashes and marker of the so many-th line."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 6,
    }


def check_named(given: Mapping, name: str) -> None:
    """Refuse what is not a dict with something in it.

    Raises
    ------
    ValueError
        Saying what was given.
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{name} must be a dict with one entry or more; got {given!r}")
