"""Answers on a time axis: spans of many queries, saliency over one video."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpro.plots.style import (
    ANSWER,
    FAINT,
    INK,
    TRUTH,
    as_spans,
    check_count,
    check_rows,
    first_prediction,
    new_figure,
    readable,
    styled,
)
from numpro.spans import temporal_iou


@styled
def timelines(rows: Sequence[Mapping], limit: int = 20, title: str | None = None):
    """Show truth and prediction of many queries as bars on the time of their videos.

    Parameters
    ----------
    rows : sequence of mappings
        Prediction rows: ``query``, ``duration``, ``truth``, ``pred``, ``reason``.
    limit : int
        At most so many queries, chosen evenly from all; the title says so.
    title : str, optional
        Written before the number of queries.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there are no rows or one lacks a part.
    """
    from matplotlib.patches import Patch

    check_rows(rows, ("query", "duration", "truth", "pred"))
    check_count("limit", limit)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int))
    shown = [rows[i] for i in chosen]
    longest = max(row["duration"] for row in shown)
    fig = new_figure(0.95 + 0.36 * len(shown), layout="constrained")
    ax = fig.add_subplot()
    for lane, row in enumerate(shown):
        _lane(ax, lane, row, longest)
    ax.set(xlim=(0, longest), ylim=(len(shown) - 0.4, -0.6), xlabel="seconds")
    ax.set_yticks(range(len(shown)), [readable(row["query"], 44) for row in shown])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    count = f"{len(rows)} queries"
    if len(shown) < len(rows):
        count = f"{len(shown)} of {count}, evenly chosen"
    ax.set_title(f"{readable(title)}: {count}" if title else count)
    handles = [Patch(label="truth", **TRUTH), Patch(label="answer", **ANSWER)]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=2)
    return fig


def _lane(ax, lane: int, row: Mapping, longest: float) -> None:
    """Draw one query: the length of its video, truth above, answer below, IoU at the right."""
    ax.barh(lane, row["duration"], 0.84, color="#F0F0F0", edgecolor=FAINT, gid="video")
    truth, said = as_spans(row["truth"], "truth"), first_prediction(row)
    for a, b in truth:
        ax.barh(lane - 0.21, max(b - a, 0.003 * longest), 0.34, a, gid="truth", **TRUTH)
    if said is None:
        words = readable(row.get("reason") or "no answer", 60)
        ax.text(
            0.005 * longest, lane + 0.23, words, va="center", fontsize=9, style="italic", gid="why"
        )
        fit = 0.0
    else:
        a, b = said
        ax.barh(lane + 0.21, max(b - a, 0.003 * longest), 0.34, a, gid="answer", **ANSWER)
        fit = max((temporal_iou(said, t) for t in truth), default=0.0)
    place = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 9.5}
    ax.text(1.01, lane, f"IoU {fit:.2f}", gid="iou", **place)


@styled
def saliency_plot(
    truth: Any,
    predicted: Sequence[float] | None,
    title: str | None = None,
    clip_seconds: float = 2.0,
):
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
    grades, dots = _grades(truth, None if predicted is None else len(predicted))
    scores = None if predicted is None else np.asarray(predicted, float)
    if scores is not None and (scores.shape != grades.shape or not np.isfinite(scores).all()):
        raise ValueError(
            f"predicted must be one finite score a clip, {len(grades)} in all; got {predicted!r}"
        )
    fig = new_figure(3.6, layout="constrained")
    above, below = fig.subplots(2, 1, sharex=True)
    starts = np.arange(len(grades)) * clip_seconds
    place = {"width": 0.92 * clip_seconds, "align": "edge"}
    above.bar(starts, grades, gid="truth", **place, **TRUTH)
    for clip, grade in dots:
        above.plot((clip + 0.46) * clip_seconds, grade, "_", color=INK, ms=11, mew=1.6)
    above.set(ylim=(0, 4.2), ylabel="annotators")
    above.set_yticks([0, 2, 3, 4], ["0", "2 fair", "3 good", "4 very good"])
    above.grid(axis="y")
    if scores is None:
        below.text(0.5, 0.5, "no score could be read", transform=below.transAxes, ha="center")
        below.set_yticks([])
    else:
        below.bar(starts, scores, gid="answer", **place, **ANSWER)
        best = int(scores.argmax())
        place = {"ha": "center", "va": "bottom", "fontsize": 9, "gid": "best"}
        below.text((best + 0.46) * clip_seconds, scores[best], "★ best", **place)
        below.margins(y=0.3)
    below.set(xlim=(0, len(grades) * clip_seconds), xlabel="seconds", ylabel="model")
    if title:
        above.set_title(readable(title, 100))
    return fig


def _grades(truth: Any, clips: int | None) -> tuple[np.ndarray, list[tuple[int, float]]]:
    """Return the mean grade of each clip, and every annotator's (clip, grade)."""
    dots = []
    if hasattr(truth, "clip_ids"):
        ids, graded = np.asarray(truth.clip_ids, int), np.asarray(truth.scores, float)
        count = int(max(ids, default=0)) + 1 if clips is None else clips
        if any(not 0 <= i < count for i in ids):
            raise ValueError(f"clips of truth must be 0..{count - 1}; got {ids.tolist()}")
        grades = np.zeros(count)
        for i, three in zip(ids, graded, strict=True):
            grades[i] = three.mean()
            dots += [(int(i), float(g)) for g in three]
    else:
        grades = np.asarray(truth, float)
    if grades.ndim != 1 or not grades.size or not ((grades >= 0) & (grades <= 4)).all():
        raise ValueError(f"truth must be a Saliency or one grade 0..4 a clip; got {truth!r}")
    return grades, dots
