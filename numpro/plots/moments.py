"""Answers, grades and attention on a time axis as charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from numpro.metrics import moment_ious
from numpro.plots import style
from numpro.plots.style import Rows


@style.styled()
def timelines(rows: Rows, limit: int = 20, title: str = "", what: str = "queries") -> style.Figure:
    """Show truth and prediction of many queries as bars on the time of their videos.

    Parameters
    ----------
    rows : sequence of mappings
        Prediction rows: ``query``, ``duration``, ``truth``, ``pred``, ``reason``.
    limit : int
        At most so many queries, chosen evenly from all; the title says so.
    title : str, optional
        Written before the number of queries.
    what : str
        What the rows are, where they are no queries: "answers" to one of them.
    """
    style.check_rows(rows, ("query", "duration", "truth", "pred"), limit=limit)
    shown = [rows[round(i)] for i in np.linspace(0, len(rows) - 1, min(limit, len(rows)))]
    longest = max(map(_length, shown))
    ax = style.new_figure(1.15 + 0.36 * len(shown)).add_subplot()
    for lane, row in enumerate(shown):
        _lane(ax, lane, row, longest)
    ax.set(xlim=(0, longest), ylim=(len(shown) - 0.4, -0.6), xlabel="seconds")
    ax.set_yticks(range(len(shown)), [style.readable(row["query"], 50) for row in shown])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    few = len(shown) < len(rows)
    count = f"{len(shown)} of {len(rows)} {what}, evenly chosen" if few else f"{len(rows)} {what}"
    title = f"{style.readable(title)}: {count}" if title else count
    # of the whole figure: above the legend, however long it is
    ax.figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=11)
    handles = [Patch(label="truth", **style.TRUTH), Patch(label="answer", **style.ANSWER)]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=2)
    return ax.figure


def _length(row: Mapping) -> float:
    """Return a video's length; where it is not known, the end of the last of its spans."""
    spans = style.as_spans(row["truth"], "truth") + style.as_spans(row["pred"], "pred")
    return row["duration"] or max(span.end for span in spans)


def _lane(ax, lane: int, row: Mapping, longest: float) -> None:
    """Draw one query: the length of its video, truth above, answer below, IoU at the right."""
    ax.barh(lane, _length(row), 0.84, color="#F0F0F0", edgecolor=style.FAINT, gid="video")
    answer, least = style.first_prediction(row), 0.003 * longest  # an instant is visible too
    for a, b in style.as_spans(row["truth"], "truth"):
        ax.barh(lane - 0.21, max(b - a, least), 0.34, a, gid="truth", **style.TRUTH)
    if answer:
        width = max(answer.end - answer.start, least)
        ax.barh(lane + 0.21, width, 0.34, answer.start, gid="answer", **style.ANSWER)
    else:
        words = style.readable(row.get("reason") or "no answer", 60)
        ax.text(0.005 * longest, lane + 0.23, words, va="center", style="italic", gid="why")
    if row["truth"]:  # of one's own film the truth is not known
        fit = f"IoU {moment_ious([answer], [row['truth']])[0]:.2f}"
        ax.text(1.01, lane, fit, gid="iou", va="center", transform=ax.get_yaxis_transform())


@style.styled()
def answer_map(rows_by_method: Mapping[str, Rows]) -> style.Figure:
    """Show where answers lie against where the truth lies: their middles, as shares of the video.

    Right answers lie on the diagonal; the same answer to every query makes a level line.

    Parameters
    ----------
    rows_by_method : dict of prediction rows
        Rows with ``duration``, ``truth`` and ``pred``; a panel for each method. Of several true
        spans the nearest counts. What could not be read is counted in the title.
    """
    style.check_named(rows_by_method, "rows_by_method", ("duration", "truth", "pred"))
    figure = style.new_figure(3.0)
    axes = figure.subplots(1, len(rows_by_method), squeeze=False, sharey=True)[0]
    for ax, (name, rows) in zip(axes, rows_by_method.items(), strict=True):
        known = [row for row in rows if row["truth"]]
        answered = [row for row in known if style.first_prediction(row)]
        pairs = [(_nearest(row), style.first_prediction(row)) for row in answered]
        lengths = np.array([[row["duration"]] for row in answered], float)
        ax.plot([0, 1], [0, 1], color=style.SOFT, lw=1.3, ls=style.DASHES[1], gid="diagonal")
        if pairs:
            look = {"s": 26, "alpha": 0.55, "color": style.BLUE, "edgecolor": style.INK, "lw": 0.4}
            ax.scatter(*(np.mean(pairs, axis=2) / lengths).T, gid="answers", **look)
        unread = len(known) - len(answered)
        ax.set_title(style.wrapped(name, 22) + (f"\n{unread} not readable" if unread else ""))
        ax.set(xlabel="truth (share of the video)", aspect="equal")
        ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.grid()
    axes[0].set_ylabel("answer")
    return figure


def _nearest(row: Mapping) -> Sequence[float]:
    """Return the true span whose middle is nearest to that of the answer."""
    middle = sum(style.first_prediction(row))
    return min(row["truth"], key=lambda span: abs(sum(span) - middle))


@style.styled()
def saliency_plot(
    truth: Any, predicted: Sequence[float] | None, title: str = "", clip_seconds: float = 2.0
) -> style.Figure:
    """Show how annotators and a model grade each clip of a video.

    Parameters
    ----------
    truth : Saliency or sequence of float
        Three annotators' grades of the relevant clips, or one grade a clip; 0 to 4.
    predicted : sequence of float, optional
        One score a clip, on any scale; None where no answer could be read.
    title : str, optional
        Usually the query.
    clip_seconds : float
        Length of a clip (QVHighlights: 2 s).

    Returns
    -------
    matplotlib.figure.Figure
        Grades above, scores below; a star marks the clip scored best (the one HIT@1 judges).

    Raises
    ------
    ValueError
        When a grade lies outside 0..4, a score is not finite, or a clip outside the video.
    """
    scores = None if predicted is None else np.asarray(predicted, float)
    ids = np.asarray(getattr(truth, "clip_ids", ()), int)
    graded = np.asarray(getattr(truth, "scores", ()), float).reshape(-1, 3)
    count = ids.max(initial=0) + 1 if scores is None else scores.size
    if ((ids < 0) | (ids >= count)).any():
        raise ValueError(f"clips of truth must be 0..{count - 1}; got {ids.tolist()}")
    grades = np.zeros(count) if hasattr(truth, "clip_ids") else np.asarray(truth, float)
    grades[ids] = graded.mean(axis=1)
    if grades.ndim != 1 or not grades.size or not ((grades >= 0) & (grades <= 4)).all():
        raise ValueError(f"truth must be a Saliency or one grade 0..4 a clip; got {truth!r}")
    if scores is not None and (scores.shape != grades.shape or not np.isfinite(scores).all()):
        raise ValueError(f"predicted: one finite score a clip, {len(grades)} in all; got {scores}")
    above, below = style.new_figure(3.6).subplots(2, 1, sharex=True)
    starts = np.arange(len(grades)) * clip_seconds
    place = {"width": 0.92 * clip_seconds, "align": "edge"}
    above.bar(starts, grades, gid="truth", **place, **style.TRUTH)
    above.plot((ids + 0.46) * clip_seconds, graded, "_", color=style.INK, ms=11, mew=1.6)
    above.set(ylim=(0, 4.2), ylabel="annotators", title=style.readable(title, 100))
    above.set_yticks(range(5), ["0", "1 bad", "2 fair", "3 good", "4 very good"])
    above.grid(axis="y")
    if scores is None:
        below.text(0.5, 0.5, "no score could be read", transform=below.transAxes, ha="center")
        below.set_yticks([])
    else:
        below.bar(starts, scores, gid="answer", **place, **style.ANSWER)
        look = {"ha": "center", "va": "bottom", "gid": "best"}
        below.text((scores.argmax() + 0.46) * clip_seconds, scores.max(), "★ best", **look)
        below.margins(y=0.3)
    below.set(xlim=(0, len(grades) * clip_seconds), xlabel="seconds", ylabel="model")
    return above.figure


@style.styled()
def attention_map(
    tokens: Sequence[str], weights: Any, truth: Any = (), labels: Sequence | None = None,
    title: str = "", frames: Any = None,
) -> style.Figure:  # fmt: skip
    """Show how much attention each frame gets while each token of an answer is written.

    Parameters
    ----------
    tokens, weights
        From `numpro.studies.attention.frame_attention`: N tokens, [N, T].
    truth : pair of int, optional
        The first and last frame of the true moment: upright lines.
    labels : sequence, optional
        The names of the T frames; default 0..T-1, the numbers that are drawn.
    title : str, optional
        Usually the query.
    frames : uint8 array [T, H, W, 3], optional
        As the model saw them, numbers drawn: shown above, each over its column.
    """
    weights = np.asarray(weights, float)
    if weights.ndim != 2 or len(tokens) != len(weights):
        raise ValueError(f"{len(tokens)} tokens need as many rows of weights; got {weights.shape}")
    if frames is not None and len(frames) != weights.shape[1]:
        raise ValueError(f"{len(frames)} frames, weights of {weights.shape[1]}: must be the same")
    if not len(tokens):
        tokens, weights = ["(no answer)"], np.zeros((1, weights.shape[1]))
    ax, drawn, _ = _below_frames(weights / (weights.max() or 1), 0.3 * len(tokens), frames, labels)
    for edge in truth:
        ax.axvline(edge, color=style.RED, lw=1.6, linestyle="--", gid="truth")
    names = [repr(token)[1:-1].strip() or "␣" for token in tokens]
    ax.set_yticks(range(len(tokens)), [style.readable(name) for name in names])
    ax.set_xlabel("frame")
    ax.figure.axes[0].set_title(style.readable(title or "Attention over the frames", 90))
    ax.figure.colorbar(drawn, ax=ax.figure.axes, label="attention (largest = 1)")
    return ax.figure


def _below_frames(grid: np.ndarray, high: float, frames: Any, labels: Sequence | None) -> tuple:
    """Draw a grid with a column a frame, the frames above; return axes, image and columns named."""
    every = -(-grid.shape[1] // 16)
    shown = range(0, grid.shape[1], every)
    above, column = 0.0, (style.WIDTH - 2.2) / grid.shape[1]
    if frames is not None:  # as high as frames are that stand side by side
        wide = min(column * every, 1.4)
        above = wide * frames.shape[1] / frames.shape[2]
    figure = style.new_figure(0.9 + high + above)
    ratios = {"height_ratios": [above, high]} if above else {}
    *strip, ax = figure.subplots(2 if above else 1, sharex=True, squeeze=False, **ratios)[:, 0]
    drawn = ax.imshow(grid, cmap="cividis", aspect="auto", vmin=0, vmax=np.nanmax(grid))
    if strip:
        _strip_above(strip[0], frames, shown, wide / column)
    ax.set_xticks(shown, [str(i if labels is None else labels[i]) for i in shown])
    return ax, drawn, shown


def _strip_above(ax, frames: np.ndarray, shown: range, wide: float) -> None:
    """Draw frames over their columns, `wide` columns wide where there is room for it."""
    ax.set_axis_off()
    for i in shown:
        half = 0.47 * min(wide, 2 * i + 1, 2 * (len(frames) - i) - 1)
        ax.imshow(frames[i], extent=(i - half, i + half, 0, 1), aspect="auto")
    ax.set(xlim=(-0.5, len(frames) - 0.5), ylim=(0, 1))


@style.styled()
def moment_map(ranked: Any, clip: Any, truth: Any = (), title: str = "") -> style.Figure:
    """Show how likely a model takes each pair of start and end to be the moment.

    Parameters
    ----------
    ranked : RankedMoments
        From `VideoModel.moments`.
    clip : Clip
        What was asked about; its frames as the model saw them, numbers drawn. They are shown
        above, each over its column as the end.
    truth : (start, end) or a list of them, in seconds, optional
        A ring each.
    title : str, optional
        Usually the query.

    Raises
    ------
    ValueError
        When the model gave no probabilities; the reason says why.
    """
    if not len(ranked.spans):
        raise ValueError(f"there is no distribution to draw: {ranked.reason or 'no moments'}")
    seconds = np.asarray(clip.seconds)
    grid = np.where(np.tri(len(seconds)).T > 0, 0.0, np.nan)  # no end before its start
    places = np.abs(np.subtract.outer(ranked.spans, seconds)).argmin(axis=-1)
    np.add.at(grid, tuple(places.T), ranked.probabilities)
    labels = [f"{second:.4g}" for second in seconds]
    ax, drawn, shown = _below_frames(grid, 4.2, clip.frames, labels)
    spans = np.array(style.as_spans(truth, "truth")).reshape(-1, 2)
    start, end = np.interp(spans, seconds, range(len(seconds))).T
    look = {"ms": 16, "mew": 2.4, "mfc": "none", "mec": style.RED, "gid": "truth"}
    ax.plot(end, start, "o", label="truth", clip_on=False, **look)
    ax.legend(loc="lower left")
    ax.set_yticks(shown, [labels[i] for i in shown])
    ax.set(xlabel="end of the moment (s)", ylabel="start (s)")
    ax.figure.axes[0].set_title(style.readable(title or "How likely each moment is", 90))
    ax.figure.colorbar(drawn, ax=ax.figure.axes, label="probability")
    return ax.figure
