"""Losses and number designs as charts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numpro.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEYS = ["position", "size", "color"]


@style.styled()
def loss_curves(logs: Mapping[str, Sequence[Mapping]], title: str | None = None) -> "Figure":
    """Show the loss of one or more trainings against the step.

    Parameters
    ----------
    logs : dict of lists of dicts
        For each training its log: rows with ``step`` and ``loss`` (as in an adapter's
        ``log.csv``). A log of more than 40 rows is drawn faint, with its running mean over it.
        Rows with ``val_mIoU`` are drawn beside it. More than four are named below the picture.
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
    style.check_named(logs, "logs")
    held_out = {n: [r for r in log if r.get("val_mIoU") is not None] for n, log in logs.items()}
    panels = 1 + any(held_out.values())
    fig = style.new_figure(3.6, layout="constrained")
    ax, *beside = np.ravel(fig.subplots(1, panels))
    for number, (name, log) in enumerate(logs.items()):
        style.check_rows(log, ("step", "loss"), name)
        pairs = [(row["step"], row["loss"]) for row in log if row["loss"] is not None]
        steps, loss = np.array(pairs, float).T
        look = style.line_look(number)
        if len(loss) > 40:
            ax.plot(steps, loss, color=look["color"], lw=0.8, alpha=0.35, gid="raw")
            near = np.ones(len(loss) // 20)  # the mean over neighbours; fewer of them at both ends
            loss = np.convolve(loss, near, "same") / np.convolve(loss * 0 + 1, near, "same")
        ax.plot(steps, loss, label=style.readable(name), markevery=max(1, len(loss) // 10), **look)
        if held_out[name]:
            pairs = [(row["step"], row["val_mIoU"]) for row in held_out[name]]
            beside[0].plot(*np.array(pairs, float).T, label=style.readable(name), **look)
    ax.set(ylabel="loss", ylim=(0, None), title=style.readable(title or ""))
    for panel in beside:
        panel.set(ylabel="mIoU on held-out videos (%)", ylim=(0, 100))
    for panel in (ax, *beside):
        panel.set(xlabel="training step")
        panel.grid(axis="y")
    if len(logs) > 4:  # more names than there is room for between the lines
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        fig.set_figheight(fig.get_figheight() + 0.25 * -(-len(logs) // 3))
    else:
        ax.legend()
    return fig


@style.styled()
def design_heatmaps(
    table: Any, values: Sequence[str] = ("number_accuracy", "caption_accuracy"), chosen: Any = None
) -> "Figure":
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

    Returns
    -------
    matplotlib.figure.Figure

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
    fig = style.new_figure(height, width, layout="constrained")
    axes = fig.subplots(len(values) * down, across, squeeze=False, sharey=True)
    for block, value in enumerate(values):
        grids = table.pivot(index="position", columns=["color", "size"], values=value)
        low, high = table[value].min(), table[value].max()
        low = min(low, high - (20 if high > 1 else 0.2))  # a point or two are no great difference
        for ax, colour in zip(axes[block * down :].flat, colours, strict=False):
            grid = grids[colour].reindex(index=places, columns=sizes)
            _heatmap(ax, grid, low, high, colour, pick)
            ax.set_title(f"{value.replace('_', ' ')}, {colour}", fontsize=10)
    for ax in axes.flat:
        ax.set_visible(bool(ax.images))
    known = [f"{v.replace('_', ' ')} {without[v].mean():.1f}" for v in values if without[v].any()]
    note = f"\n(without a number: {', '.join(known)})" if known else ""
    fig.supxlabel(f"size of the number in pixels{note}", fontsize=10)
    return fig


def _heatmap(ax, grid, low: float, high: float, colour: str, pick: tuple | bool) -> None:
    """Draw a table of figures; light or dark text as the ground needs it."""
    from matplotlib.patches import Rectangle

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
    ax.set_yticks(range(grid.shape[0]), [str(place).replace("_", " ") for place in grid.index])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
