"""Scores of prediction files; whatever is malformed is named with its file and row."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from numpro.datasets import Saliency
from numpro.metrics.highlight_detection import highlight_values
from numpro.metrics.moment_retrieval import moment_retrieval
from numpro.paths import resolve
from numpro.spans import Span

_LONGEST = 16 * 2**20  # characters of one row; a longer one is no prediction


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the filled rows of a file as JSON texts, none of them endless.

    A ``.json`` file is one list of rows; any other has one row a line.
    """
    with path.open(encoding="utf-8") as file:
        if path.suffix == ".json":
            rows = json.load(file)
            if not isinstance(rows, list):
                raise ValueError(f"must be a list of rows; got {type(rows).__name__}")
            yield from ((n, json.dumps(row)) for n, row in enumerate(rows, 1))
            return
        number = 0
        while line := file.readline(_LONGEST + 1):
            number += 1
            if len(line) > _LONGEST:
                raise ValueError(f"row {number}: longer than {_LONGEST} characters")
            if line.strip():
                yield number, line


def _qid(row: Any) -> str:
    """Return the id of a row."""
    if not isinstance(row, dict):
        raise ValueError(f"must be an object; got {type(row).__name__}")
    if row.get("qid", row.get("id")) is None:
        raise ValueError("has no qid")
    return str(row.get("qid", row.get("id")))


def _read(path: str | Path, read: Callable[[dict], Any]) -> dict[str, Any]:
    """Read every row of a file, by its id.

    Raises
    ------
    ValueError
        For anything malformed; the message names the file and the row (from 1).
    """
    path, found, where = resolve(path), {}, ""
    try:
        for number, line in _lines(path):
            where = f", row {number}"
            row = json.loads(line)
            qid = _qid(row)
            if qid in found:
                raise ValueError(f"qid {qid!r} is there twice")
            found[qid] = read(row)
            where = ""
        if not found:
            raise ValueError("is empty")
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}{where}: not JSON: {error}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}{where}: cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}{where}: {error}") from error
    return found


def _number(value: Any, name: str) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value!r}")
    return float(value)


def _list(row: dict, key: str, empty: bool = True) -> list:
    """Return a list from a row."""
    value = row.get(key)
    if not isinstance(value, list) or not (value or empty):
        raise ValueError(f"{key} must be a {'' if empty else 'non-empty '}list; got {value!r:.80}")
    return value


def _windows(row: dict, key: str, ordered: bool = False) -> list[Span]:
    """Return the windows of a row; a third value (a confidence) is passed over."""
    spans = []
    for window in _list(row, key):
        if not isinstance(window, list) or len(window) not in (2, 3):
            raise ValueError(f"{key} must hold [start, end] in seconds; got {window!r:.80}")
        span = Span(*(_number(value, key) for value in window[:2]))
        if ordered and span.start > span.end:
            raise ValueError(f"{key} has a window that ends before it starts: {window!r:.80}")
        spans.append(span)
    return spans


def _truth(row: dict) -> list[Span]:
    """Return the true spans of a row of ours, of the NumPro JSON, or of QVHighlights."""
    if "start_time" in row:
        return [Span(*(_number(row.get(k), k) for k in ("start_time", "end_time")))]
    key = next((k for k in ("truth", "relevant_windows", "spans") if k in row), None)
    if key is None:
        raise ValueError("has no truth, relevant_windows, or start_time and end_time")
    if not (spans := _windows(row, key)):
        raise ValueError(f"{key} is empty")
    return spans


def _moment(row: dict) -> tuple[str, Span | None, dict]:
    """Return the video of a row, the first span predicted, and the row."""
    if "pred" not in row:
        raise ValueError("has no pred")
    spans = [] if row["pred"] is None else _windows(row, "pred", ordered=True)
    return str(row.get("video", row.get("vid", ""))), spans[0] if spans else None, row


def _same_queries(said: dict, true: dict, said_path: Any, true_path: Any) -> None:
    """Refuse predictions that leave out queries or bring others."""
    for there, others, path in ((true, said, said_path), (said, true, true_path)):
        if missing := [qid for qid in there if qid not in others]:
            count = f"{len(missing)} of {len(there)} queries"
            raise ValueError(f"{resolve(path)}: has no row for {count}, first qid {missing[0]!r}")


def evaluate_moment_predictions(path: str | Path, annotations: str | Path | None = None) -> dict:
    """Score a ``predictions.jsonl`` of `numpro.predict` for moment retrieval.

    Of each row ``pred`` ([[start, end], ...] in seconds; empty or null is unparsed) the first
    span counts.

    Parameters
    ----------
    path
        JSONL with qid, video, pred and, without `annotations`, truth.
    annotations
        Where the truth is taken from instead: the NumPro repository's test JSON
        (``start_time``, ``end_time``) or QVHighlights' JSONL (``relevant_windows``).

    Returns
    -------
    dict
        ``n``, ``unparsed``; ``R@0.3``, ``R@0.5``, ``R@0.7`` and ``mIoU`` in percent; and the
        95 % ``intervals`` of each (bootstrap by video).

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side.
    """
    said = _read(path, _moment if annotations else lambda row: (*_moment(row), _truth(row)))
    if annotations is None:
        truth = [row[-1] for row in said.values()]
    else:
        true = _read(annotations, _truth)
        _same_queries(said, true, path, annotations)
        truth = [true[qid] for qid in said]
    # a row without a video stands for itself
    videos = [row[0] or f"query {qid}" for qid, row in said.items()]
    scores = moment_retrieval([row[1] for row in said.values()], truth, videos)
    metrics = {name: value for name, value in scores.items() if isinstance(value, list)}
    return {
        "n": scores["n"],
        "unparsed": scores["unparsed"],
        **{name: value[0] for name, value in metrics.items()},
        "intervals": {name: value[1:] for name, value in metrics.items()},
    }


def _saliency(row: dict) -> tuple[Saliency, float]:
    """Return the saliency and duration of a QVHighlights annotation row."""
    ids, scores = _list(row, "relevant_clip_ids"), _list(row, "saliency_scores")
    if any(isinstance(i, bool) or not isinstance(i, int) for i in ids):
        raise ValueError("relevant_clip_ids must be whole numbers")
    if len(ids) != len(scores) or any(not isinstance(s, list) or len(s) != 3 for s in scores):
        raise ValueError("saliency_scores must hold three scores for each relevant clip")
    rated = tuple(tuple(_number(x, "saliency_scores") for x in s) for s in scores)
    duration = _number(row.get("duration"), "duration")
    if ids and not 0 <= min(ids) <= max(ids) < duration // 2:
        raise ValueError(f"relevant_clip_ids must lie inside the video of {duration:g} s")
    return Saliency(tuple(ids), rated), duration


def _scores(row: dict) -> np.ndarray | None:
    """Return the clip scores of a prediction row; None where there are none."""
    if "pred_saliency_scores" not in row:
        raise ValueError("has no pred_saliency_scores")
    if row["pred_saliency_scores"] in (None, []):
        return None
    values = _list(row, "pred_saliency_scores")
    return np.array([_number(value, "pred_saliency_scores") for value in values])


def evaluate_highlight_predictions(predictions: str | Path, annotations: str | Path) -> dict:
    """Score predictions for highlight detection as the official QVHighlights scorer does.

    Parameters
    ----------
    predictions
        JSONL with qid and pred_saliency_scores, one score per 2-second clip; null or empty is
        an unparsed answer: all zeros, and counted.
    annotations
        QVHighlights' JSONL: qid, duration, relevant_clip_ids, saliency_scores.

    Returns
    -------
    dict
        ``n``, ``unparsed`` and the official scorer's keys ``brief`` and ``HL-min-Fair``,
        ``HL-min-Good``, ``HL-min-VeryGood`` with ``HL-mAP`` and ``HL-Hit1``, in percent with
        two decimals as it prints them.

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side.
    """
    said, true = _read(predictions, _scores), _read(annotations, _saliency)
    _same_queries(said, true, predictions, annotations)
    truth, durations = zip(*(true[qid] for qid in said), strict=True)
    values = highlight_values(list(said.values()), truth, durations)
    brief, levels = {}, {}
    for level, value in values.items():
        ap, hit = (float(f"{x:.2f}") for x in 100 * value.mean(axis=0))
        brief |= {f"HL-min-{level}-mAP": ap, f"HL-min-{level}-Hit1": hit}
        levels[f"HL-min-{level}"] = {"HL-mAP": ap, "HL-Hit1": hit}
    unparsed = sum(scores is None for scores in said.values())
    return {"n": len(said), "unparsed": unparsed, "brief": brief, **levels}
