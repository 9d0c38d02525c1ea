"""Scores against thresholds, floors, ceilings and the length of the video."""

from collections.abc import Mapping, Sequence

import numpy as np

from numpro.metrics.bootstrap import bootstrap_interval
from numpro.metrics.moment_retrieval import moment_ious
from numpro.plots.style import (
    BLUE,
    DASHES,
    INK,
    PINK,
    RED,
    SKY,
    SOFT,
    check_named,
    check_rows,
    first_prediction,
    line_look,
    new_figure,
    readable,
    styled,
)
from numpro.report import TASKS, group_scores, role
from numpro.report import score_table as as_text

_BARS = {"base": SKY, "fine-tuned": BLUE}
_HATCHES = ("", "////", "....", "xxxx", "----")


@styled
def recall_curve(
    curves: Mapping[str, tuple],
    floors: Mapping[str, tuple] | None = None,
    ceiling: tuple | None = None,
    videos: Sequence[str] | None = None,
    resamples: int = 500,
):
    """Show R@1 against the IoU threshold, with 95 % intervals, floors and ceiling.

    Parameters
    ----------
    curves, floors : dict of (predicted, truth)
        As `numpro.metrics.moment_retrieval` takes them: a span or None per query, and the true
        spans of each query.
    ceiling : (predicted, truth), optional
        What a perfect reader of the frame grid would reach.
    videos : sequence of str, optional
        The video of each query, the same for all curves; intervals are by video.
    resamples : int
        Of the bootstrap.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there is no curve, or predictions and truth differ in length.
    """
    check_named(curves, "curves")
    thresholds = np.linspace(0.05, 0.95, 37)
    fig = new_figure(4.2, layout="constrained")
    ax = fig.add_subplot()

    def recalls(pair):
        return 100 * (moment_ious(*pair)[:, None] >= thresholds)

    for number, (name, pair) in enumerate(curves.items()):
        columns = recalls(pair)
        low, high = bootstrap_interval(columns, videos, resamples).T
        look = line_look(number)
        ax.fill_between(thresholds, low, high, color=look["color"], alpha=0.16, lw=0)
        # markers at the thresholds papers quote
        marks = np.flatnonzero(np.isclose(thresholds[:, None], (0.3, 0.5, 0.7)).any(axis=1))
        ax.plot(
            thresholds, columns.mean(axis=0), label=readable(name), markevery=list(marks), **look
        )
    blind = [(f"{name} (floor)", pair) for name, pair in (floors or {}).items()]
    perfect = [] if ceiling is None else [("frame grid (ceiling)", ceiling)]
    for number, (name, pair) in enumerate([*perfect, *blind]):
        look = {"color": INK if pair is ceiling else SOFT, "linestyle": DASHES[number % 4]}
        ax.plot(thresholds, recalls(pair).mean(axis=0), lw=1.3, label=readable(name), **look)
    ax.set(xlim=(0.05, 0.95), ylim=(0, 102), xlabel="IoU threshold", ylabel="R@1 (%)")
    ax.set_xticks([0.1, 0.3, 0.5, 0.7, 0.9])
    ax.grid()
    fig.legend(loc="outside right center", handlelength=3.4, title="bands: 95 % intervals")
    return fig


@styled
def score_bars(rows: Sequence[Mapping], metric: str | None = None):
    """Show scores with their intervals as bars, floors and ceilings as lines.

    Parameters
    ----------
    rows : sequence of mappings
        Score rows as in ``results.json`` (see `numpro.report.check_score_row`); one panel for
        each dataset, split and task.
    metric : str, optional
        The metric to show; by default mIoU, or the first that a panel's rows have. Panels
        without the metric are left out.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When no row has the metric, or a row lacks a part.
    """
    check_rows(rows, ("dataset", "split", "task", "method", "time_encoding", "model", "fps", "n"))
    panels = []
    for group in group_scores(rows):
        name = metric or ("mIoU" if "mIoU" in group["metrics"] else group["metrics"][0])
        kept = [row for row in group["rows"] if name in row]
        if kept:
            panels.append((group, name, kept))
    if not panels:
        seen = sorted({name for group in group_scores(rows) for name in group["metrics"]})
        raise ValueError(f"metric must be one of {', '.join(seen)}; got {metric!r}")
    lanes = [max(1, sum(role(r["method"]) == "model" for r in kept)) for *_, kept in panels]
    fig = new_figure(sum(0.36 * n + 1.0 for n in lanes), layout="constrained")
    axes = fig.subplots(len(panels), 1, squeeze=False, height_ratios=[n + 1.6 for n in lanes])
    for ax, panel in zip(axes[:, 0], panels, strict=True):
        _score_panel(ax, *panel)
    return fig


def _score_panel(ax, group: Mapping, metric: str, rows: Sequence[Mapping]) -> None:
    models = [row for row in rows if role(row["method"]) == "model"]
    encodings = list(dict.fromkeys(row["time_encoding"] for row in models))
    names = []
    for lane, row in enumerate(models):
        value, low, high = row[metric]
        hatch = _HATCHES[encodings.index(row["time_encoding"]) % len(_HATCHES)]
        look = {"color": _BARS.get(row["method"], PINK), "hatch": hatch, "edgecolor": INK}
        error = [[max(value - low, 0)], [max(high - value, 0)]]
        ax.barh(lane, value, 0.66, gid="score", linewidth=0.6, **look)
        ax.errorbar(value, lane, xerr=error, color=INK, capsize=4, lw=1.5)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the lines of floors
        text = {"va": "center", "weight": "bold", "bbox": box, "zorder": 4}
        ax.text(max(high, value) + 1.2, lane, f"{value:.1f}", **text)
        names.append(_score_name(row, group["columns"]))
    others = [row for row in rows if role(row["method"]) != "model"]
    for number, row in enumerate(others):
        kind = role(row["method"])
        dashes = "-" if kind == "ceiling" else DASHES[1 + number % 4]
        label = f"{kind}: {row['method']} {row[metric][0]:.1f}"
        look = {"color": INK if kind == "ceiling" else RED, "ls": dashes, "lw": 1.6}
        ax.axvline(row[metric][0], label=label, gid=kind, **look)
    ax.set_yticks(range(len(models)), names)
    ax.set(
        xlim=(0, 105),
        ylim=(max(len(models), 1) - 0.4, -0.6),
        xlabel=f"{metric} (%), with 95 % intervals",
    )
    counts = sorted({row["n"] for row in rows})
    ax.set_title(f"{group['split']}, {TASKS[group['task']]} (n {', '.join(map(str, counts))})")
    ax.tick_params(axis="y", length=0)
    if others:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)


def _score_name(row: Mapping, columns: Sequence[str]) -> str:
    """Name a model's row by its method, its time encoding and what else differs."""
    parts = [row["method"], row["time_encoding"]]
    parts.append(row["model"] if "model" in columns else None)
    parts.append(f"{row['fps']:g} fps" if "fps" in columns and row["fps"] else None)
    return ", ".join(part for part in parts if part)


@styled
def length_curve(
    rows_by_method: Mapping[str, Sequence[Mapping]],
    edges: Sequence[float] | None = None,
    resamples: int = 500,
):
    """Show mIoU against the length of the video, with 95 % intervals.

    Parameters
    ----------
    rows_by_method : dict of prediction rows
        Rows with ``duration``, ``video``, ``truth``, ``pred``, ``reason``; an answer that
        could not be read counts as IoU 0.
    edges : sequence of float, optional
        Bins in seconds, each without its lower and with its upper edge; by default they
        double: 1, 2, 4, 8, 16, ...
    resamples : int
        Of the bootstrap, by video.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there are no rows, a row lacks a part, or no video lies within the edges.
    """
    check_named(rows_by_method, "rows_by_method")
    for name, rows in rows_by_method.items():
        check_rows(rows, ("duration", "video", "truth", "pred"), name)
    longest = max(row["duration"] for rows in rows_by_method.values() for row in rows)
    if edges is None:
        edges = [0, *2.0 ** np.arange(0, np.ceil(np.log2(max(longest, 1))) + 1)]
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or (np.diff(edges) <= 0).any():
        raise ValueError(f"edges must be two or more rising seconds; got {edges.tolist()}")
    binned = {
        name: np.digitize([row["duration"] for row in rows], edges, right=True)
        for name, rows in rows_by_method.items()
    }
    filled = [b for b in range(1, len(edges)) if any((bins == b).any() for bins in binned.values())]
    if not filled:
        raise ValueError(f"no video lies within the edges {edges.tolist()} s")
    fig = new_figure(3.8, layout="constrained")
    ax = fig.add_subplot()
    for number, (name, rows) in enumerate(rows_by_method.items()):
        _length_line(ax, number, name, rows, binned[name], filled, len(binned), resamples)
    counts = {b: max(int((bins == b).sum()) for bins in binned.values()) for b in filled}
    ticks = [f"{edges[b - 1]:g}–{edges[b]:g} s\nn {counts[b]}" for b in filled]
    ax.set_xticks(range(len(filled)), ticks)
    ax.set(xlim=(-0.5, len(filled) - 0.5), ylim=(0, 102))
    ax.set(xlabel="length of the video", ylabel="mIoU (%)")
    ax.grid(axis="y")
    fig.legend(loc="outside right center", handlelength=3.4, title="whiskers: 95 % intervals")
    return fig


def _length_line(ax, number, name, rows, bins, filled, methods, resamples) -> None:
    predicted = [first_prediction(row) for row in rows]
    ious = 100 * moment_ious(predicted, [row["truth"] for row in rows])
    videos = [row["video"] for row in rows]
    points = []
    for place, b in enumerate(filled):
        here = np.flatnonzero(bins == b)
        if here.size:
            groups = [videos[i] for i in here]
            interval = bootstrap_interval(ious[here, None], groups, resamples)[0]
            points.append((place, ious[here].mean(), *interval))
    x, mean, low, high = np.array(points).T
    x = x + 0.06 * (number - (methods - 1) / 2)  # intervals side by side
    error = np.maximum([mean - low, high - mean], 0)
    ax.errorbar(x, mean, yerr=error, capsize=4, label=readable(name), **line_look(number))


@styled
def score_table(rows: Sequence[Mapping]):
    """Show score rows as a table: the text of `numpro.report.score_table` as a picture.

    Parameters
    ----------
    rows
        As in ``results.json``; each metric is [value, low, high] in percent.

    Raises
    ------
    ValueError
        When there are no rows.
    """
    if not rows:
        raise ValueError("score_table needs at least one score row; got none")
    lines = as_text(rows).splitlines()
    figure = new_figure(height=0.4 + 0.19 * len(lines), width=0.6 + 0.082 * max(map(len, lines)))
    figure.text(
        0.02, 0.99, "\n".join(lines), family="DejaVu Sans Mono", fontsize=9.5, color=INK, va="top",
        linespacing=1.35,
    )  # fmt: skip
    return figure
