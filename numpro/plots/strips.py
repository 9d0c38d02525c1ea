"""Pictures made of frames: one strip, two to compare, a gallery of cases."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpro.plots.canvas import EDGE, LEFT, Canvas, block_height, lay_out, make_strip, thinned
from numpro.plots.style import (
    SOFT,
    as_spans,
    check_count,
    check_rows,
    first_prediction,
    readable,
    styled,
    wrapped,
)
from numpro.spans import Span, temporal_iou

MOST = 36  # frames in a picture; more are thinned


@styled
def contact_strip(
    clip_or_frames: Any,
    seconds: Sequence[float] | None = None,
    labels: Sequence[int | str] | None = None,
    truth: Any = None,
    predicted: Any = None,
    title: str | None = None,
    per_row: int = 12,
):
    """Show the frames of a clip in rows, with the truth and the prediction as brackets.

    Parameters
    ----------
    clip_or_frames : Clip or uint8 array [T, H, W, 3]
        Numbered or not; shown as given, in the order of time. More than 36 are thinned to
        every second, third, ... frame, and the picture says so.
    seconds : sequence of float, optional
        The time of each frame; a Clip's own by default.
    labels : sequence of int or str, optional
        A text above each frame.
    truth, predicted : (start, end) or a list of them, in seconds, optional
        None leaves the lane out; an empty list says that no span could be read.
    title : str, optional
        Usually the query.
    per_row : int
        At most so many frames in a row.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For frames, seconds, labels or spans of another kind or number, and for spans without
        seconds.
    """
    check_count("per_row", per_row)
    strip = make_strip(clip_or_frames, seconds, labels, truth, predicted, MOST)
    layout = lay_out(strip, per_row)
    note = thinned(strip.step)
    width = max(layout.width, 4.0)
    heading = wrapped(title, int((width - LEFT) * 10)) if title else ""
    above = block_height(heading, 11) if heading else 0
    below = block_height(note, 9) if note else 0
    canvas = Canvas(2 * EDGE + above + layout.total + below, width)
    if heading:
        canvas.block(heading, fontsize=11, weight="bold", x=LEFT)
    canvas.strip(strip, layout)
    if note:
        canvas.block(note, fontsize=9, color=SOFT, x=LEFT)
    return canvas.figure


@styled
def compare_strip(
    clip: Any,
    numbered: Any,
    query: str,
    answer_text: str,
    truth: Any = None,
    predicted: Any = None,
    seconds: Sequence[float] | None = None,
    per_row: int = 12,
):
    """Show the same frames without and with numbers, the question and the answer.

    Parameters
    ----------
    clip : Clip or uint8 array [T, H, W, 3]
        The frames as they are; with an array `seconds` must be given.
    numbered : Clip or uint8 array [T, H, W, 3]
        The same frames with their numbers.
    query : str
        What is looked for.
    answer_text : str
        What the model said.
    truth, predicted : (start, end) or a list of them, in seconds, optional
        Drawn under the numbered frames, as in `contact_strip`.
    seconds : sequence of float, optional
        The time of each frame; the clip's own by default.
    per_row : int
        Both strips are one row; more frames are thinned to at most so many.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        As `contact_strip`; also without seconds, or for another number of numbered frames.
    """
    check_count("per_row", per_row)
    seconds = getattr(clip, "seconds", None) if seconds is None else seconds
    if seconds is None:
        raise ValueError("seconds must be given with an array of frames; got none")
    plain = replace(make_strip(clip, seconds, None, None, None, per_row), seconds=None)
    marked = make_strip(numbered, seconds, None, truth, predicted, per_row)
    over, under = lay_out(plain, per_row), lay_out(marked, per_row)
    columns = int((max(under.width, 5.0) - LEFT) * 10)
    question = wrapped(f"Question: when does “{query}” happen?", columns)
    note = f" ({thinned(marked.step)})" if marked.step > 1 else ""
    answer = wrapped(f"Answer: “{answer_text}”", columns)
    heads = ["What a video model is given", f"The same, with numbers{note}"]
    height = sum(block_height(text, 11) for text in (question, answer))
    height += sum(block_height(text) for text in heads)
    canvas = Canvas(2 * EDGE + height + over.total + under.total, max(under.width, 5.0))
    canvas.block(question, fontsize=11, weight="bold", x=LEFT)
    for head, strip, layout in zip(heads, (plain, marked), (over, under), strict=True):
        canvas.block(head, color=SOFT, x=LEFT)
        canvas.strip(strip, layout)
    canvas.block(answer, fontsize=11, weight="bold", x=LEFT)
    return canvas.figure


@styled
def failure_gallery(items: Sequence[Mapping], limit: int = 6):
    """Show answers with their frames, to see what goes wrong.

    Parameters
    ----------
    items : sequence of mappings
        Prediction rows (``query``, ``response``, ``truth``, ``pred``, ``reason``) with
        ``clip``, the Clip to show beside it; in the order they are to be seen.
    limit : int
        Show the first so many.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there is nothing to show or a row lacks a part.
    """
    check_rows(items, ("clip", "query", "response", "truth", "pred"), "items")
    check_count("limit", limit)
    shown = []
    for item in items[:limit]:
        said = first_prediction(item)
        answered = () if said is None else said
        strip = make_strip(item["clip"], None, None, item["truth"], answered, 12)
        shown.append((_case(item, said), strip, lay_out(strip, 12, columns=12)))
    height = sum(block_height(head, 10) + layout.total for head, _, layout in shown)
    canvas = Canvas(2 * EDGE + height + 0.14 * (len(shown) - 1))
    for number, (head, strip, layout) in enumerate(shown):
        if number:
            canvas.axes.axhline(canvas.y + 0.02, color="#BBBBBB", lw=0.8)
            canvas.y += 0.14
        canvas.block(head, fontsize=10, x=LEFT)
        canvas.strip(strip, layout)
    return canvas.figure


def _case(item: Mapping, said: Span | None) -> str:
    """Say the query, the answer as written and how well it fits."""
    ious = [0.0 if said is None else temporal_iou(said, t) for t in as_spans(item["truth"], "t")]
    fit = f"IoU {max(ious, default=0):.2f}"
    if item.get("reason") is not None:
        fit = f"not read: {readable(item['reason'], 60)}"
    reply = readable(item["response"], 80)
    return f"{readable(item['query'], 90)}   ({fit})\n“{reply}”"
