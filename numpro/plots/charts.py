"""Losses and number designs as charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpro.plots.style import (
    RED,
    WIDTH,
    check_named,
    check_rows,
    line_look,
    new_figure,
    readable,
    styled,
)


@styled
def loss_curves(logs: Mapping[str, Sequence[Mapping]], title: str | None = None):
    """Show the loss of one or more trainings against the step.

    Parameters
    ----------
    logs : dict of lists of dicts
        For each training its log: rows with ``step`` and ``loss`` (as in an adapter's
        ``log.csv``). A log of more than 40 rows is drawn faint, with its running mean over it.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there is no log, or a row lacks its step or loss.
    """
    check_named(logs, "logs")
    fig = new_figure(3.6, layout="constrained")
    ax = fig.add_subplot()
    for number, (name, log) in enumerate(logs.items()):
        check_rows(log, ("step", "loss"), name)
        steps = np.array([float(row["step"]) for row in log])
        loss = np.array([float(row["loss"]) for row in log])
        look, width = line_look(number), max(1, len(loss) // 20)
        if len(loss) > 40:
            ax.plot(steps, loss, color=look["color"], lw=0.8, alpha=0.35, gid="raw")
            # the mean over neighbours; fewer of them at both ends
            sums = [np.convolve(row, np.ones(width), "same") for row in (loss, loss * 0 + 1)]
            loss = sums[0] / sums[1]
        ax.plot(steps, loss, label=readable(name), markevery=max(1, len(loss) // 10), **look)
    ax.set(xlabel="training step", ylabel="loss")
    ax.set_ylim(bottom=0)
    ax.grid(axis="y")
    ax.legend()
    if title:
        ax.set_title(readable(title))
    return fig


@styled
def design_heatmaps(
    table: Any,
    values: Sequence[str] = ("number_accuracy", "caption_accuracy"),
    chosen: Any = None,
):
    """Show the study of number designs: place against size for each colour, the choice marked.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a design: ``position``, ``size``, ``color`` and the value columns. A row with
        the position ``"none"`` is what is reached without a number; it is written below.
    values : sequence of str
        The columns to show, one block of panels each, on a scale of its own.
    chosen : NumberStyle, mapping or pandas row, optional
        With ``position``, ``size`` and ``color``; framed and starred in every block.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When a column is missing, a design is there twice, or the chosen one is not.
    """
    keys = ["position", "size", "color"]
    if missing := [name for name in [*keys, *values] if name not in table.columns]:
        raise ValueError(f"table lacks {', '.join(missing)}; it has {list(table.columns)}")
    without, table = table[table["position"] == "none"], table[table["position"] != "none"]
    if not len(table) or table.duplicated(keys).any():
        raise ValueError(f"table must have each design once; got {len(table)} rows")
    colours, pick = list(dict.fromkeys(table["color"])), _picked(chosen, table)
    places, sizes = table["position"].unique(), sorted(table["size"].unique())
    across = len(colours) if len(colours) <= 4 else min(4, -(-len(colours) // 2))
    down = -(-len(colours) // across)
    height = len(values) * down * (0.29 * len(places) + 0.66) + 0.4
    width = min(WIDTH, max(1.2 + across * max(0.5 * len(sizes), 1.9), 4.0))
    fig = new_figure(height, width, layout="constrained")
    axes = fig.subplots(len(values) * down, across, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()  # until there is something to show
    for block, value in enumerate(values):
        scale = table[value].min(), table[value].max()
        for ax, colour in zip(axes[block * down :].flat, colours, strict=False):
            here = table[table["color"] == colour]
            grid = here.pivot(index="position", columns="size", values=value)
            marked = pick if pick and pick[2] == colour else None
            _heatmap(ax, grid.reindex(index=places, columns=sizes), scale, marked)
            ax.set_title(f"{value.replace('_', ' ')}, {colour}", fontsize=9.5)
    for ax in axes[:, 1:].flat:
        ax.set_yticklabels([])
    known = [f"{v.replace('_', ' ')} {without[v].mean():.1f}" for v in values if without[v].any()]
    note = f"\n(without a number: {', '.join(known)})" if known else ""
    fig.supxlabel(f"size of the number in pixels{note}", fontsize=10)
    return fig


def _picked(chosen: Any, table: Any) -> tuple | None:
    """Return the chosen (position, size, colour), which must be a design of the table."""
    if chosen is None:
        return None
    keys = ("position", "size", "color")
    keyed = hasattr(chosen, "keys")  # a dict or a row of a table
    pick = tuple(chosen[key] if keyed else getattr(chosen, key) for key in keys)
    if pick not in set(table[list(keys)].itertuples(index=False, name=None)):
        raise ValueError(f"chosen must be a design of the table; got {pick}")
    return pick


def _heatmap(ax, grid, scale: tuple[float, float], pick: tuple | None) -> None:
    """Draw a table of figures; light or dark text as the ground needs it."""
    from matplotlib.patches import Rectangle

    low, high = scale
    ax.set_axis_on()
    ax.imshow(grid, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    digits = ".0f" if high > 1 else ".2f"
    for (y, x), figure in np.ndenumerate(grid.to_numpy(float)):
        here = pick is not None and (grid.index[y], grid.columns[x]) == pick[:2]
        text = "–" if np.isnan(figure) else f"{figure:{digits}}" + ("★" if here else "")
        dark = figure > (low + high) / 2
        ax.text(
            x, y, text, ha="center", va="center", fontsize=9,
            color="black" if dark else "white", weight="bold" if here else "normal",
        )  # fmt: skip
        if here:
            box = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec=RED, lw=3, gid="chosen")
            box.set_clip_on(False)
            ax.add_patch(box)
    ax.set_xticks(range(grid.shape[1]), [f"{size:g}" for size in grid.columns])
    ax.set_yticks(range(grid.shape[0]), [str(p).replace("_", " ") for p in grid.index])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
