"""Moments of a long film, asked a window at a time and put together on the film's clock.

The rule was chosen on validation films (``docs/long_films.md``): a moment's confidence is its
expected IoU, the mean over the windows that show it. A sum over all windows would prefer a wrong
moment in the middle of the film to one near its ends, which few windows show.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from numpro.models.moments import Moment, RankedMoments, keep_distinct
from numpro.models.question import Question
from numpro.prompting import MomentAnswer
from numpro.spans import Labels, temporal_iou
from numpro.video import Clip, Windows, cut_windows, film_of_window

_COMPARED = 4096  # the best candidates, among which repeats are looked for
_DOUBT = 0.1  # windows that disagree with every moment: else one that hardly any shows could win


def choose_windows(
    clip: Clip | Windows, question: Question, notes: dict, labels: Labels = None
) -> Clip | Windows:
    """Return the windows in which a film is asked; the clip where it is asked whole.

    Parameters
    ----------
    clip
        The film, or windows that were opened already.
    question
        Its `windows` says which.
    notes
        Of the adapter, which know the default.
    labels
        Numbers of the user's own.

    Raises
    ------
    ValueError
        For windows of a clip that has numbers of its own: each window is numbered from 0.
    """
    if not isinstance(clip, Windows):
        size = question.window_size(notes)
        if not size or (labels is not None and not question.windows):
            return clip
        clip = cut_windows(clip, size)
    if labels is not None:
        raise ValueError("windows are numbered from 0 each; got labels of the whole film, too")
    return clip if len(clip.starts) > 1 else clip.read(0, len(clip))


def ask_windows(
    windows: Windows, ask: Callable[[list[Clip]], list[list[RankedMoments]]], queries: int,
    top: int, overlap: float, at_once: int = 1,
) -> list[RankedMoments]:  # fmt: skip
    """Ask about each window as a film of its own, and put the answers together.

    Parameters
    ----------
    windows
        Of the film; those that stand in its `answers` are not asked, the others are added there.
    ask
        Gives the moments of each query in each of some clips.
    queries
        How many there are.
    top, overlap
        As in `numpro.models.VideoModel.moments`.
    at_once
        How many windows are asked as one batch.
    """
    from tqdm import tqdm

    todo = len(windows.starts) - len(windows.answers)
    bar = {"desc": str(windows), "total": todo, "unit": "window", "leave": False, "delay": 1}
    clips = windows.clips(skip=windows.answers)
    with tqdm(**bar, disable=None) as progress:
        while part := list(islice(clips, at_once)):
            ranked = ask([film_of_window(clip) for _, clip in part])
            for (start, clip), rows in zip(part, ranked, strict=True):
                windows.answers[start] = [_on_film_clock(row, clip) for row in rows]
            progress.update(len(part))
            part = clip = None  # so that their frames are gone before further ones are read
    found = [windows.answers[start] for start in windows.starts]
    return [put_together(windows, [w[q] for w in found], top, overlap) for q in range(queries)]


def _on_film_clock(ranked: RankedMoments, window: Clip) -> dict:
    """Return what a window says of a query in seconds of its film, as JSON has it.

    A window that gives no probabilities counts with its greedy answer.
    """
    begins = float(window.seconds[0])
    firsts = [(m.start + begins, m.end + begins) for m in ranked.moments[:1]]
    alone = not len(ranked.spans)
    spans = firsts if alone else (ranked.spans + begins).tolist()
    weights = [1.0] * len(firsts) if alone else ranked.probabilities.tolist()
    answer = {"text": ranked.answer.text, "spans": firsts, "unparsed": ranked.answer.reason}
    read = {"spans": spans, "probabilities": weights, "left_out": ranked.left_out}
    return read | {"answer": answer, "reason": ranked.reason if alone else None}


def put_together(
    windows: Windows, answers: Sequence[dict], top: int, overlap: float
) -> RankedMoments:
    """Put what the windows answered to one query into one list.

    Parameters
    ----------
    windows
        What each of them shows.
    answers
        Of each window: ``spans`` in seconds of the film and their ``probabilities``, the greedy
        ``answer``, the ``reason`` where there are no probabilities, and what was ``left_out``.

    Returns
    -------
    RankedMoments
        `probabilities` are the mean over windows; `labels` are seconds; `answer` is that of the
        window whose first moment is most like the best, in seconds. Where a window got no
        answer, there are no moments, and the reason names the window.
    """
    shown = windows.seconds[[(a, windows.stop(a) - 1) for a in windows.starts]]
    for one, (begins, ends) in zip(answers, shown, strict=True):
        if one["answer"]["unparsed"] and not one["answer"]["text"]:
            reason = f"{one['answer']['unparsed']} (window of {begins:.1f} to {ends:.1f} s)"
            return RankedMoments((), MomentAnswer("", reason=reason), reason)
    found = [(np.reshape(a["spans"], (-1, 2)), np.array(a["probabilities"])) for a in answers]
    tables, weights = zip(*found, strict=True)
    spans, place = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    mixed = np.bincount(place.ravel(), np.concatenate(weights), len(spans)) / len(shown)
    confidences = _confidences(spans, found, shown)
    best = np.argsort(-confidences, kind="stable")[:_COMPARED]
    kept = best[keep_distinct(spans[best], confidences[best], overlap)[:top]]
    columns = np.column_stack([spans, mixed, confidences])[kept]
    moments = tuple(Moment(*row) for row in columns.tolist())
    left_out = float(np.mean([one["left_out"] for one in answers]))
    reason = next((one["reason"] for one in answers if one["reason"]), None)
    answer = _nearest_answer([one["answer"] for one in answers], moments)
    return RankedMoments(moments, answer, reason, spans, spans, mixed, left_out)


def _confidences(spans: np.ndarray, found: Sequence[tuple], shown: np.ndarray) -> np.ndarray:
    """Return of each span how far the windows that show it agree on it.

    Of each window there are the spans that it found with their probabilities, and what it shows.
    """
    agreed, windows = np.zeros(len(spans)), np.full(len(spans), _DOUBT)
    lengths, instant = spans[:, 1] - spans[:, 0], 1e-9
    for (table, weights), (begins, ends) in zip(found, shown, strict=True):
        inside = np.minimum(spans[:, 1], ends) - np.maximum(spans[:, 0], begins)
        near = inside >= 0
        agreed[near] += temporal_iou(spans[near][:, None], table) @ weights
        windows[near] += (inside[near] + instant) / (lengths[near] + instant)
    return agreed / windows


def _nearest_answer(answers: Sequence[dict], moments: Sequence[Moment]) -> MomentAnswer:
    """Return the answer of the window whose first moment is most like the best of all."""
    best = [(m.start, m.end) for m in moments[:1]]
    ious = [temporal_iou(one["spans"][0], best[0]) if one["spans"] else -1.0 for one in answers]
    found = answers[int(np.argmax(ious))]
    spans = tuple(map(tuple, found["spans"]))
    return MomentAnswer(found["text"], spans, "second", found["unparsed"])
