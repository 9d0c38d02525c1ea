"""Runs, number designs and series of scores beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.container import ErrorbarContainer
from matplotlib.legend_handler import HandlerErrorbar
from matplotlib.patches import Rectangle

from numpro.metrics.tables import PANEL, TASKS
from numpro.plots import style

_KEYS = ["position", "size", "color"]


@style.styled()
def run_scores(rows: style.Rows, names: Sequence[str]) -> style.Figure:
    """Show each score in every run, with 95 % intervals; a panel for each split and task.

    Parameters
    ----------
    rows
        From `numpro.workbook.comparison.compare`: ``scores`` holds one score a run.
    names
        The runs, in the order of the rows' ``scores``.
    """
    keys = ("dataset", "split", "task", "method", "time_encoding", "metric", "scores")
    style.check_rows(rows, keys)
    for row in rows:
        if len(row["scores"]) != len(names):
            raise ValueError(f"a row has {len(row['scores'])} scores for {len(names)} runs")
    panels = dict.fromkeys(map(PANEL, rows))
    figure = style.new_figure(0.6 + 2.9 * len(panels))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        here = [row for row in rows if PANEL(row) == panel]
        for number, row in enumerate(here):
            points = [(x, *s) for x, s in enumerate(row["scores"]) if s is not None]
            aside = 0.05 * (number - (len(here) - 1) / 2)  # intervals side by side
            label = f"{row['method']}, {row['time_encoding']}"
            style.draw_intervals(ax, number, label, points, aside)
        ax.set_title(f"{panel[0]} {panel[1]}, {TASKS[panel[2]]}")
        ax.set(ylim=(0, 102), ylabel=f"{here[0]['metric']} (%)", xlim=(-0.4, len(names) - 0.6))
        ax.set_xticks(range(len(names)), [style.readable(name, 24) for name in names])
        ax.grid(axis="y")
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.4)
    return figure


@style.styled()
def dots(
    series: Mapping[str, Mapping], xlabel: str, lines: Mapping[str, float] | None = None,
    whole: bool = True,
) -> style.Figure:  # fmt: skip
    """Show scores of several series side by side, with their intervals; a row for each label.

    Parameters
    ----------
    series : dict of dicts
        For each series (its own colour and marker) what it reaches at each label, in percent:
        a value, ``[value, low, high]``, or a list of those (a dot each, such as one a seed).
    xlabel : str
        What is measured, and what the intervals are.
    lines : dict of float, optional
        Upright lines by name, such as a floor.
    whole : bool
        The axis goes from 0 to 100; False: only over what is reached.
    """
    style.check_named(series, "series")
    labels = list(dict.fromkeys(label for one in series.values() for label in one))
    rows = max(0.34, 0.17 * len(series)) * len(labels)
    ax = style.new_figure(0.8 + rows).add_subplot()
    for number, (name, points) in enumerate(series.items()):
        look = style.line_look(number) | {"linestyle": "none", "capsize": 3, "markersize": 7}
        aside = (number - (len(series) - 1) / 2) * 0.8 / len(series)
        found = [(labels.index(k) + aside, *s) for k, v in points.items() for s in _scores(v)]
        lane, value, low, high = np.array(found, float).reshape(-1, 4).T
        error = np.maximum([value - low, high - value], 0)
        error = error if error.any() else None
        ax.errorbar(value, lane, xerr=error, label=style.readable(name), **look)
    for number, (name, value) in enumerate((lines or {}).items()):
        look = {"color": style.SOFT, "ls": style.DASHES[1 + number % 4], "lw": 1.5, "gid": "line"}
        ax.axvline(value, label=f"{style.readable(name)} {value:.1f}", **look)
    ax.set_yticks(range(len(labels)), [style.readable(label, 44) for label in labels])
    ax.set(xlabel=xlabel, xlim=(-1, 101) if whole else None, ylim=(len(labels) - 0.45, -0.55))
    for lane in range(1, len(labels)):
        ax.axhline(lane - 0.5, color=style.FAINT, lw=0.8, zorder=0)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    if len(series) > 1 or lines:
        wide = {ErrorbarContainer: HandlerErrorbar(xerr_size=1.0)}  # past the marker
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handler_map=wide)
    return ax.figure


def _scores(given) -> np.ndarray:
    """Return a value, a score with its interval, or a list of those as rows (value, low, high)."""
    rows = np.atleast_2d(np.asarray(given, float))
    return rows if rows.shape[1] == 3 else np.repeat(rows[:, :1], 3, axis=1)


@style.styled()
def design_heatmaps(
    table: Any, values: Sequence[str] = ("number_accuracy", "caption_accuracy"), chosen: Any = None
) -> style.Figure:
    """Show the study of number designs: place against size for each colour, the choice marked.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a design: ``position``, ``size``, ``color`` and the value columns. A row with
        the position ``"none"`` is what is reached without a number; it is written below.
    values : sequence of str
        The columns to show, one block of panels each, on a scale of its own, which spans at
        least 20 points.
    chosen : NumberStyle, mapping or pandas row, optional
        With ``position``, ``size`` and ``color``; framed and starred in every block.

    Raises
    ------
    ValueError
        When a column is missing, a design is there twice, or the chosen one is not.
    """
    if missing := [name for name in [*_KEYS, *values] if name not in table.columns]:
        raise ValueError(f"table lacks {', '.join(missing)}; it has {list(table.columns)}")
    without, table = table[table["position"] == "none"], table[table["position"] != "none"]
    if not len(table) or table.duplicated(_KEYS).any():
        raise ValueError(f"table must have each design once; got {len(table)} rows")
    keyed = hasattr(chosen, "keys")  # a dict or a row of a table
    pick = chosen is not None and tuple(chosen[k] if keyed else getattr(chosen, k) for k in _KEYS)
    if pick and pick not in set(table[_KEYS].itertuples(index=False, name=None)):
        raise ValueError(f"chosen must be a design of the table; got {pick}")
    colours, places = table["color"].unique(), table["position"].unique()
    sizes, count = sorted(table["size"].unique()), len(colours)
    across, down = min(count, 4), -(-count // 4)
    height = len(values) * down * (0.29 * len(places) + 0.66) + 0.4
    width = min(style.WIDTH, max(1.2 + across * max(0.5 * len(sizes), 1.9), 4.0))
    fig = style.new_figure(height, width)
    axes = fig.subplots(len(values) * down, across, squeeze=False, sharey=True)
    for block, value in enumerate(values):
        grids = table.pivot(index="position", columns=["color", "size"], values=value)
        low, high = table[value].min(), table[value].max()
        low = min(low, high - (20 if high > 1 else 0.2))  # a point or two are no great difference
        for ax, colour in zip(axes[block * down :].flat, colours, strict=False):
            grid = grids[colour].reindex(index=places, columns=sizes)
            _heatmap(ax, grid, low, high, colour, pick)
            title = f"{value.replace('_', ' ')}, {colour}"
            ax.set_title(title, fontsize=10, weight="normal")  # bold titles would touch
    for ax in axes.flat:
        ax.set_visible(bool(ax.images))
    known = [f"{v.replace('_', ' ')} {without[v].mean():.1f}" for v in values if without[v].any()]
    note = f"\n(without a number: {', '.join(known)})" if known else ""
    fig.supxlabel(f"size of the number in pixels{note}", fontsize=10)
    return fig


def _heatmap(ax, grid, low: float, high: float, colour: str, pick: tuple | bool) -> None:
    """Draw a table of figures; light or dark text as the ground needs it."""
    ax.imshow(grid, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    for (y, x), figure in np.ndenumerate(grid.to_numpy(float)):
        here = pick == (grid.index[y], grid.columns[x], colour)
        text = f"{figure:{'.0f' if high > 1 else '.2f'}}" + ("★" if here else "")
        look = {"ha": "center", "va": "center", "weight": "bold" if here else None}
        look["color"] = "black" if figure > (low + high) / 2 else "white"
        ax.text(x, y, "–" if np.isnan(figure) else text, **look)
        if here:
            look = {"fill": False, "ec": style.RED, "lw": 3, "clip_on": False}
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, gid="chosen", **look))
    ax.set_xticks(range(grid.shape[1]), [f"{size:g}" for size in grid.columns])
    places = [str(place).replace("_", " ").replace("center", "centre") for place in grid.index]
    ax.set_yticks(range(grid.shape[0]), places)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
