"""Runs beside each other, and answers against the truth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from numpro.metrics.tables import TASKS
from numpro.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled()
def run_scores(rows: Sequence[Mapping], names: Sequence[str]) -> "Figure":
    """Show each score in every run, with 95 % intervals; a panel for each split and task.

    Parameters
    ----------
    rows
        From `numpro.workbook.compare.compare`.
    names
        The runs, in the order of the rows' ``scores``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there are no rows, or a row has not one score a run.
    """
    keys = ("dataset", "split", "task", "method", "time_encoding", "metric", "scores")
    style.check_rows(rows, keys)
    for row in rows:
        if len(row["scores"]) != len(names):
            raise ValueError(f"a row has {len(row['scores'])} scores for {len(names)} runs")
    panels = list(dict.fromkeys(tuple(row[key] for key in keys[:3]) for row in rows))
    figure = style.new_figure(0.6 + 2.9 * len(panels), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        here = [row for row in rows if tuple(row[key] for key in keys[:3]) == panel]
        for number, row in enumerate(here):
            points = [(x, *s) for x, s in enumerate(row["scores"]) if s is not None]
            x, value, low, high = np.array(points).T
            x = x + 0.05 * (number - (len(here) - 1) / 2)  # intervals side by side
            label = style.readable(f"{row['method']}, {row['time_encoding']}")
            error, look = np.maximum([value - low, high - value], 0), style.line_look(number)
            ax.errorbar(x, value, yerr=error, capsize=4, **look, label=label)
        ax.set_title(f"{panel[0]} {panel[1]}, {TASKS[panel[2]]}")
        ax.set(ylim=(0, 102), ylabel=f"{here[0]['metric']} (%)", xlim=(-0.4, len(names) - 0.6))
        ax.set_xticks(range(len(names)), [style.readable(name, 24) for name in names])
        ax.grid(axis="y")
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.4)
    return figure


@style.styled()
def answer_map(rows_by_method: Mapping[str, Sequence[Mapping]]) -> "Figure":
    """Show where answers lie against where the truth lies: their middles, as shares of the video.

    Who sees the moment stays on the diagonal; who falls back to a habit makes a level line.

    Parameters
    ----------
    rows_by_method : dict of prediction rows
        Rows with ``duration``, ``truth`` and ``pred``; a panel for each method. What could not
        be read is counted in the title.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there are no rows, or a row lacks a part.
    """
    style.check_named(rows_by_method, "rows_by_method")
    figure = style.new_figure(3.0, layout="constrained")
    axes = figure.subplots(1, len(rows_by_method), squeeze=False, sharey=True)[0]
    for ax, (name, rows) in zip(axes, rows_by_method.items(), strict=True):
        style.check_rows(rows, ("duration", "truth", "pred"), name)
        said = [(row, style.first_prediction(row)) for row in rows if row["truth"]]
        points = [
            (sum(row["truth"][0]) / 2 / row["duration"], sum(span) / 2 / row["duration"])
            for row, span in said
            if span is not None
        ]
        ax.plot([0, 1], [0, 1], color=style.SOFT, lw=1.3, ls=style.DASHES[1], gid="diagonal")
        if points:
            look = {"s": 26, "alpha": 0.55, "color": style.BLUE, "edgecolor": style.INK, "lw": 0.4}
            ax.scatter(*np.array(points).T, gid="answers", **look)
        unread = len(said) - len(points)
        ax.set_title(style.wrapped(name, 22) + (f"\n{unread} not readable" if unread else ""))
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="truth (share of the video)")
        ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.set_aspect("equal")
        ax.grid()
    axes[0].set_ylabel("answer")
    return figure


@style.styled()
def dots(
    series: Mapping[str, Mapping[str, Sequence]], xlabel: str,
    lines: Mapping[str, float] | None = None,
) -> "Figure":  # fmt: skip
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

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there is no series.
    """
    from matplotlib.container import ErrorbarContainer
    from matplotlib.legend_handler import HandlerErrorbar

    style.check_named(series, "series")
    labels = list(dict.fromkeys(label for one in series.values() for label in one))
    rows = max(0.34, 0.17 * len(series)) * len(labels)
    ax = style.new_figure(0.8 + rows, layout="constrained").add_subplot()
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
    ax.set(xlabel=xlabel, xlim=(-1, 101), ylim=(len(labels) - 0.45, -0.55))
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
def recall_bars(recall: Mapping[str, float], iou: float) -> "Figure":
    """Show R@1 of several methods at one IoU threshold, in percent, as bars."""
    style.check_named(recall, "recall")
    ax = style.new_figure(0.7 + 0.42 * len(recall), 8, layout="constrained").add_subplot()
    for lane, value in enumerate(recall.values()):
        ax.barh(lane, value, 0.66, color=style.SKY, edgecolor=style.INK, lw=0.6, gid="recall")
        ax.text(value + 1, lane, f"{value:.1f}", va="center", weight="bold")
    ax.set_yticks(range(len(recall)), [style.readable(name) for name in recall])
    ax.set(xlim=(0, 108), ylim=(len(recall) - 0.4, -0.6))
    ax.set_xlabel(f"queries with an IoU of at least {iou:.2f} (%)")
    return ax.figure
