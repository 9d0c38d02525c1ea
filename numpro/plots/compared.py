"""Runs beside each other, and answers against the truth."""

from collections.abc import Mapping, Sequence

import numpy as np

from numpro.plots import style
from numpro.report import TASKS


@style.styled()
def run_scores(rows: Sequence[Mapping], names: Sequence[str]):
    """Show each score in every run, with 95 % intervals; a panel for each split and task.

    Parameters
    ----------
    rows
        From `numpro.compare.compare`.
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
def answer_map(rows_by_method: Mapping[str, Sequence[Mapping]]):
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
        ax.set_aspect("equal")
        ax.grid()
    axes[0].set_ylabel("answer")
    return figure


@style.styled()
def recall_bars(recall: Mapping[str, float], iou: float):
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
