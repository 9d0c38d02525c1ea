"""Scores against thresholds, floors, ceilings and the length of the video."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from numpro.metrics import bootstrap_interval, group_scores, moment_ious
from numpro.metrics.ranked import calibration_error, reliability, risk_coverage
from numpro.metrics.tables import KEYS, TASKS, metric_names, role
from numpro.plots import style
from numpro.plots.style import Rows

_BARS = {"base": style.SKY, "fine-tuned": style.BLUE}
_HATCHES = ("", "////", "....", "xxxx", "----")
_ARMS = {"none": "", "overlay-index": " + numbers"}  # as `numpro.studies.four_arms` names them


@style.styled()
def recall_curve(
    curves: Mapping[str, tuple], floors: Mapping[str, tuple] | None = None,
    ceiling: tuple | None = None, videos: Sequence[str] | None = None, resamples: int = 500,
) -> style.Figure:  # fmt: skip
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
    """
    style.check_named(curves, "curves")
    thresholds = np.linspace(0.05, 0.95, 37)
    ax = style.new_figure(4.2).add_subplot()
    for number, (name, pair) in enumerate(curves.items()):
        hits = 100 * (moment_ious(*pair)[:, None] >= thresholds)
        low, high = bootstrap_interval(hits, videos, resamples).T
        # markers at 0.3, 0.5 and 0.7: the thresholds papers quote
        look = style.line_look(number) | {"label": style.readable(name), "markevery": [10, 18, 26]}
        ax.fill_between(thresholds, low, high, color=look["color"], alpha=0.25, lw=0)
        ax.plot(thresholds, hits.mean(axis=0), **look)
    lines = {} if ceiling is None else {"frame grid (ceiling)": (ceiling, style.INK)}
    lines |= {f"{name} (floor)": (pair, style.SOFT) for name, pair in (floors or {}).items()}
    for number, (name, (pair, colour)) in enumerate(lines.items()):
        recall = 100 * (moment_ious(*pair)[:, None] >= thresholds).mean(axis=0)
        look = {"color": colour, "linestyle": style.DASHES[number % 4], "lw": 1.3}
        ax.plot(thresholds, recall, label=style.readable(name), **look)
    ax.set(xlim=(0.05, 0.95), ylim=(0, 102), xlabel="IoU threshold", ylabel="R@1 (%)")
    ax.set_xticks([0.1, 0.3, 0.5, 0.7, 0.9])
    ax.grid()
    style.name_lines(ax.figure, "bands: 95 % intervals")
    return ax.figure


@style.styled()
def score_bars(rows: Rows, metric: str | None = None) -> style.Figure:
    """Show scores with their intervals as bars, floors and ceilings as lines.

    Parameters
    ----------
    rows : sequence of mappings
        Score rows as in ``results.json`` (`numpro.metrics.tables.check_score_row`); one panel for
        each dataset, split and task.
    metric : str, optional
        The metric to show; by default mIoU, or the first that a panel's rows have. Panels
        without the metric are left out.
    """
    style.check_rows(rows, KEYS)
    panels = []
    for group in group_scores(rows):
        name = metric or ("mIoU" if "mIoU" in group["metrics"] else group["metrics"][0])
        if kept := [row for row in group["rows"] if name in row]:
            panels.append((group, name, kept))
    if not panels:
        raise ValueError(f"metric must be one of {', '.join(metric_names(rows))}; got {metric!r}")
    lanes = [max(1, sum(role(row["method"]) == "model" for row in kept)) for *_, kept in panels]
    fig = style.new_figure(sum(0.36 * n + 1.0 for n in lanes))
    axes = fig.subplots(len(panels), 1, squeeze=False, height_ratios=[n + 1.6 for n in lanes])
    named: list[str] = []
    for ax, panel in zip(axes[:, 0], panels, strict=True):
        _score_panel(ax, *panel)
        names = ax.get_legend_handles_labels()[1]
        if names and names != named:  # lines that stay are named once
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
        named = names
    return fig


def _score_panel(ax, group: Mapping, metric: str, rows: Rows) -> None:
    models = [row for row in rows if role(row["method"]) == "model"]
    encodings = list(dict.fromkeys(row["time_encoding"] for row in models))
    for lane, row in enumerate(models):
        value, low, high = row[metric]
        hatch = _HATCHES[encodings.index(row["time_encoding"]) % len(_HATCHES)]
        look = {"color": _BARS.get(row["method"], style.PINK), "hatch": hatch, "linewidth": 0.6}
        ax.barh(lane, value, 0.66, gid="score", edgecolor=style.INK, **look)
        error = [[max(value - low, 0)], [max(high - value, 0)]]
        ax.errorbar(value, lane, xerr=error, color=style.INK, capsize=4, lw=1.5)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the lines of floors
        look = {"va": "center", "weight": "bold", "bbox": box, "zorder": 4}
        # in the bar, else beside it: there it would hide the lines of ceilings
        ax.text(1.2 if value > 12 else max(high, value) + 1.2, lane, f"{value:.1f}", **look)
    others = [(row, role(row["method"])) for row in rows if role(row["method"]) != "model"]
    for i, (row, kind) in enumerate(others):
        ink, ls = (style.INK, "-") if kind == "ceiling" else (style.RED, style.DASHES[1 + i % 4])
        label = f"{kind}: {row['method']} {row[metric][0]:.1f}"
        ax.axvline(row[metric][0], label=label, gid=kind, color=ink, ls=ls, lw=1.6)
    arms = _ARMS if set(encodings) <= set(_ARMS) else {}
    ax.set_yticks(range(len(models)), [_score_name(row, group["columns"], arms) for row in models])
    ax.set(xlim=(0, 105), ylim=(max(len(models), 1) - 0.4, -0.6))
    counts = ", ".join(map(str, sorted({row["n"] for row in rows})))
    ax.set_title(f"{group['split']}, {TASKS[group['task']]} (n {counts})")
    ax.set_xlabel(f"{metric} (%), with 95 % intervals")
    ax.tick_params(axis="y", length=0)


def _score_name(row: Mapping, columns: Sequence[str], arms: Mapping[str, str]) -> str:
    """Name a model's row by its method, its time encoding (or `arms`) and what else differs."""
    shown = {**row, "n": None, "unparsed": None, "fps": row["fps"] and f"{row['fps']:g} fps"}
    if arms:
        shown |= {"method": row["method"] + arms[row["time_encoding"]], "time_encoding": None}
    return ", ".join(str(shown[key]) for key in ("method", *columns) if shown[key])


@style.styled()
def length_curve(
    rows_by_method: Mapping[str, Rows], edges: Sequence[float] | None = None, resamples: int = 500
) -> style.Figure:
    """Show mIoU against the length of the video, with 95 % intervals by video.

    Parameters
    ----------
    rows_by_method : dict of prediction rows
        Rows with ``duration``, ``video``, ``truth``, ``pred``, ``reason``; an answer that
        could not be read counts as IoU 0.
    edges : sequence of float, optional
        Bins in seconds, each without its lower and with its upper edge; by default
        1, 1.5, 2, 3, 4, 6, 8, 12, 16, ... One of them at least must hold a video.
    resamples : int
        Of the bootstrap.
    """
    style.check_named(rows_by_method, "rows_by_method", ("duration", "video", "truth", "pred"))
    rows = [{**row, "method": name} for name, rows in rows_by_method.items() for row in rows]
    answers, truth = map(style.first_prediction, rows), [row["truth"] for row in rows]
    edges = [0, *np.outer(2.0 ** np.arange(20), (1, 1.5)).ravel()] if edges is None else edges
    table = pd.DataFrame(rows, columns=["method", "duration", "video"])
    table = table.assign(iou=100 * moment_ious(list(answers), truth))
    table = table.assign(bin=pd.cut(table["duration"], edges)).dropna(subset=["bin"])
    counts = table.groupby(["method", "bin"], observed=True).size()
    counts = counts.groupby("bin", observed=True).max()
    if counts.empty:
        raise ValueError(f"no video lies within the edges {list(edges)} s")
    ax = style.new_figure(3.8).add_subplot()
    for number, (name, rows) in enumerate(table.groupby("method", sort=False)):
        points = []
        for place, here in rows.groupby("bin", observed=True):
            interval = bootstrap_interval(here[["iou"]].to_numpy(), list(here["video"]), resamples)
            points.append((counts.index.get_loc(place), here["iou"].mean(), *interval[0]))
        aside = 0.06 * (number - (len(rows_by_method) - 1) / 2)  # intervals side by side
        style.draw_intervals(ax, number, name, points, aside)
    ticks = [f"{bin.left:g}–{bin.right:g} s\nn {count}" for bin, count in counts.items()]
    ax.set(xlabel="length of the video", ylabel="mIoU (%)", ylim=(0, 102))
    ax.set(xticks=range(len(ticks)), xticklabels=ticks, xlim=(-0.5, len(ticks) - 0.5))
    ax.grid(axis="y")
    style.name_lines(ax.figure, "whiskers: 95 % intervals")
    return ax.figure


@style.styled()
def learning_curve(rows: Rows, lines: Rows = (), metric: str = "mIoU") -> style.Figure:
    """Show a score against the number of queries it was learned from, with 95 % intervals.

    Parameters
    ----------
    rows : sequence of mappings
        Score rows (see `score_bars`) with ``queries``; one curve for each time encoding.
    lines : sequence of mappings
        Score rows of what learned nothing: untrained models, floors and ceilings.
    metric : str
        Which score.
    """
    style.check_rows(rows, (*KEYS, "queries", metric))
    ax = style.new_figure(3.8).add_subplot()
    for number, encoding in enumerate(dict.fromkeys(row["time_encoding"] for row in rows)):
        points = sorted((r["queries"], *r[metric]) for r in rows if r["time_encoding"] == encoding)
        style.draw_intervals(ax, number, f"fine-tuned{_ARMS.get(encoding, encoding)}", points)
    for number, row in enumerate(lines):
        label = row["method"] + _ARMS.get(row["time_encoding"], "")
        look = {"color": style.SOFT, "linestyle": style.DASHES[number % 4], "lw": 1.3}
        ax.axhline(row[metric][0], label=f"{label} {row[metric][0]:.1f}", **look)
    ticks = sorted({row["queries"] for row in rows})
    ax.set(xscale="log", ylim=(0, 102), xlabel="queries learned from", ylabel=f"{metric} (%)")
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.grid(axis="y")
    style.name_lines(ax.figure, "whiskers: 95 % intervals")
    return ax.figure


@style.styled()
def recall_bars(recall: Mapping[str, float], iou: float) -> style.Figure:
    """Show R@1 of several methods at one IoU threshold, in percent, as bars."""
    style.check_named(recall, "recall")
    ax = style.new_figure(0.7 + 0.42 * len(recall), 8).add_subplot()
    for lane, value in enumerate(recall.values()):
        ax.barh(lane, value, 0.66, color=style.SKY, edgecolor=style.INK, lw=0.6, gid="recall")
        ax.text(value + 1, lane, f"{value:.1f}", va="center", weight="bold")
    ax.set_yticks(range(len(recall)), [style.readable(name) for name in recall])
    ax.set(xlim=(0, 108), ylim=(len(recall) - 0.4, -0.6))
    ax.set_xlabel(f"queries with an IoU of at least {iou:.2f} (%)")
    return ax.figure


@style.styled()
def trust_curves(answers: Mapping[str, tuple], bins: int = 10) -> style.Figure:
    """Show whether confidence is true (left), and what answering only the surest gains (right).

    Parameters
    ----------
    answers : dict of (confidence, IoU)
        Of each method the confidence and the IoU ``[N]`` of its answers, 0 to 1
        (`numpro.metrics.confidences`).
    bins : int
        Confidences are put together in so many bins of equal width.
    """
    style.check_named(answers, "answers")
    figure = style.new_figure(4.2)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=style.SOFT, lw=1.3, ls=style.DASHES[1], gid="true")
    for number, (name, (confidence, ious)) in enumerate(answers.items()):
        sure, right_by, counts = reliability(confidence, ious, bins).T
        error, look = calibration_error(confidence, ious, bins), style.line_look(number)
        dots, line = {k: look[k] for k in ("color", "marker")}, look | {"marker": None}
        left.plot(sure, right_by, label=f"{style.readable(name)}, error {error:.2f}", **line)
        left.scatter(sure, right_by, 8 + 400 * counts / counts.sum(), alpha=0.7, **dots)
        coverage, risk = risk_coverage(confidence, ious).T
        right.plot(100 * coverage, 100 * (1 - risk), **line)
    left.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="mean IoU")
    left.set_title("Is the confidence true?")
    right.set(xlim=(0, 102), ylim=(0, 102), xlabel="queries answered, the surest first (%)")
    right.set(ylabel="mIoU of those (%)", title="What “not sure” gains")
    for ax in (left, right):
        ax.grid()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
