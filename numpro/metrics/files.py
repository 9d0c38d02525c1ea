"""Scores of prediction files, one's own and others'; what is malformed is named with its row."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpro.datasets import load_dataset, loader
from numpro.datasets.rows import naming, number, row_name
from numpro.metrics import baselines
from numpro.metrics.moment_retrieval import moment_retrieval
from numpro.metrics.read import check_same_queries, count_kinds, is_object, read_file, windows_of
from numpro.paths import resolve
from numpro.spans import Span, one_of

CONVENTIONS = ("default", "published", "published-strict", "vtimellm")
# where a row may have its windows, the best place first: ours, moment_detr's, TimeChat's; or text
_PREDICTED = ("pred", "pred_relevant_windows", "timestamp", "response")
_TRUE = ("truth", "relevant_windows")
# and a span in two values, as the NumPro repository's test JSON and its result files have it
_ENDS = (("start_time", "end_time"), ("gt_start", "gt_end"))
_VIDEO = re.compile(r"\.(?:mp4|mkv|webm|avi|mov|m4v)$", re.IGNORECASE)


class _Row(NamedTuple):
    """A query of a file, whatever the format; `spans` may be the raw response."""

    name: Any
    video: str
    query: str
    duration: float | None
    spans: Any
    reason: str | None = None  # why nothing is predicted, where the row gives one


def _row(name: Any, row: dict, spans: Any) -> _Row:
    """Return a row with its video, query and duration, as far as it has them."""
    duration = row.get("duration")
    if duration is not None and number(duration, "duration") <= 0:
        raise ValueError(f"duration must be above 0; got {duration!r}")
    video = row.get("vid") if row.get("video") is None else row["video"]
    known = str(video or ""), str(row.get("query") or ""), duration
    return _Row(name, *known, spans, row.get("reason"))


# --- moment retrieval ---


def _true_row(name: Any, row: dict) -> _Row:
    """Return a row with its true spans, as annotated: reversed ones too."""
    if ends := next((keys for keys in _ENDS if keys[0] in row), None):
        return _row(name, row, (Span(*(number(row.get(k), k) for k in ends)),))
    if (key := next((k for k in _TRUE if k in row), None)) is None:
        raise ValueError("has no truth, relevant_windows, or start_time and end_time")
    if not (spans := windows_of(row[key], key, ordered=False).tolist()):
        raise ValueError(f"{key} is empty")
    return _row(name, row, tuple(Span(*span[:2]) for span in spans))


def _predicted_row(name: Any, row: dict, convention: str) -> _Row:
    """Return a row with what is predicted: windows, or for others' scorers the raw response."""
    keys = _PREDICTED if convention == "default" else _PREDICTED[-1:]
    if (key := next((k for k in keys if k in row), None)) is None:
        raise ValueError(f"has no {' or '.join(keys)}")
    if row[key] is None:
        return _row(name, row, ())
    if key != "response":
        return _row(name, row, [Span(*w[:2]) for w in windows_of(row[key], key).tolist()])
    if not isinstance(row[key], str):
        raise ValueError(f"response must be text; got {row[key]!r:.80}")
    return _row(name, row, row[key])


def _truth(path: Path, dataset: str | None) -> dict[str, _Row]:
    """Read annotations in the form of one of the datasets, or as rows with their truth."""
    if not dataset and path.suffix.lower() == ".txt":
        dataset = "charades-sta"
    if not (dataset := dataset or ("grouped-json" if is_object(path) else None)):
        return read_file(path, _true_row)
    splits = [*loader(dataset).files]
    split = next((name for name in splits if name in path.stem), splits[-1])
    videos = load_dataset(dataset, split, path)
    rows = [_Row(q.qid, v.video, q.text, v.duration, q.spans) for v in videos for q in v.queries]
    if blind := [row.name for row in rows if not row.spans]:
        raise ValueError(f"{path}: {len(blind)} queries have no true span, first {blind[0]!r}")
    return {row.name: row for row in rows}


def _by_text(rows: Iterable[tuple[str, _Row]]) -> dict[tuple, str]:
    """Return the qids by video and query (of equal ones by their place); none if one lacks them."""
    counts, found = Counter(), {}
    for qid, row in rows:
        text = _VIDEO.sub("", row.video), " ".join(row.query.casefold().split()).rstrip(".")
        if not all(text):
            return {}
        counts[text] += 1
        found[*text, counts[text]] = qid
    return found


def _paired(predicted: dict, true: dict, path: Path, true_path: Path) -> list[tuple[_Row, _Row]]:
    """Pair rows by video and query where both files have the same ones, else by qid."""
    order = sorted if predicted.keys() == true.keys() else list  # places of equal ones then agree
    texts, others = (_by_text(order(rows.items())) for rows in (predicted, true))
    if texts and texts.keys() == others.keys():
        return [(predicted[qid], true[others[text]]) for text, qid in texts.items()]
    check_same_queries(predicted, true, path, true_path)
    names = {qid: _VIDEO.sub("", row.video) for qid, row in true.items()}
    known = set(names.values()) - {""}
    for qid, row in predicted.items():  # files may call videos differently, but not mix them up
        if (video := _VIDEO.sub("", row.video)) != names[qid] and video in known:
            mixed = f"is of video {video!r}, in {true_path} of {names[qid]!r}"
            raise ValueError(f"{path}, {row_name(row.name)}: qid {qid!r} {mixed}")
    return [(predicted[qid], true[qid]) for qid in predicted]


def _span(
    row: _Row, duration: float | None, convention: str, step: float | None
) -> tuple[Span | None, str | None]:
    """Return the first span predicted, in seconds; or None and, where it is known, the reason."""
    if not isinstance(row.spans, str):
        return (row.spans[0], None) if row.spans else (None, row.reason)
    from numpro.prompting import parse_moment

    answer = parse_moment(row.spans, None if convention == "default" else convention)
    if not answer.spans:
        return None, row.reason or answer.reason
    unit = answer.unit or "frame"
    whole, parts = {"frame": (step, 1), "percent": (duration, 100)}.get(unit, (1, 1))
    ends = answer.spans[0]
    if whole is None or (duration is None and None in ends):
        needed = "label_seconds" if unit == "frame" and step is None else "a duration"
        raise ValueError(f"needs {needed} to be read in seconds: {row.spans!r:.60}")
    start, end = (duration if t is None else t * whole / parts for t in ends)
    if convention == "default" and duration is not None:
        start, end = (min(max(t, 0.0), duration) for t in (start, end))
    return Span(start, end), None


def _guesses(rows: Sequence[_Row], train: Sequence[_Row], step: float | None) -> dict[str, dict]:
    """Score answers that never look at the video, and the best that frame labels can say.

    The labels are those of sampled frames, times between two of them rounded half to even.
    """
    videos = baselines.records((row.video, row.duration, row.spans) for row in rows)
    fitted = baselines.records((row.video, row.duration, row.spans) for row in train)
    guesses = {"whole-video": baselines.whole_video(videos)}
    if train:
        window = baselines.best_fixed_window(fitted)
        guesses["best-fixed-window"] = baselines.fixed_window(videos, window)
        guesses["random-moment"] = baselines.random_moment(videos, fitted)
    if step:
        guesses["frame-grid"] = baselines.frame_grid(videos, 1 / step, "half_even")
    truth = [row.spans for row in rows]
    scores = {name: moment_retrieval(spans, truth, resamples=1) for name, spans in guesses.items()}
    return {name: _split(score)[0] for name, score in scores.items()}


def _split(scores: dict) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the values of scores, and their intervals."""
    found = {name: value for name, value in scores.items() if isinstance(value, list)}
    return {k: v[0] for k, v in found.items()}, {k: v[1:] for k, v in found.items()}


def evaluate_moment_predictions(
    path: str | Path, annotations: str | Path | None = None, convention: str = "default",
    label_seconds: float | None = None, train: str | Path | None = None, dataset: str | None = None,
) -> dict:  # fmt: skip
    """Score a file of predictions for moment retrieval, one's own or another's.

    A row (of JSON Lines, or of one list or object in a ``.json`` file) has its windows in
    seconds as ``pred`` (`numpro.inference.prediction`), ``pred_relevant_windows`` (moment_detr) or
    ``timestamp`` (TimeChat), of which the first counts and none is unparsed; or it has the raw
    ``response`` (the NumPro repository), which is parsed here.

    Parameters
    ----------
    path
        The predictions.
    annotations
        Where the truth is, if not in the same rows (``truth``, ``gt_start`` and ``gt_end``):
        rows of any form (``relevant_windows``, ``start_time`` and ``end_time``), Charades-STA's
        text lines, JSON grouped by video, or what `dataset` says. Rows are paired by video and
        query where both files have the same ones, else by qid.
    convention
        "default": spans as `numpro.prompting.parse_moment` reads them, clipped to the video; of
        several true spans the one that fits best. The others take the raw response as others'
        scorers do (`numpro.prompting.answers.PATTERNS`) and clip nothing: "published" as the NumPro
        repository's, "published-strict" as its inference script, "vtimellm" in hundredths of
        the video and with the IoU rounded to two decimals.
    label_seconds
        Seconds from one frame label to the next, for raw responses in labels.
    train
        Annotations to fit the floors on.
    dataset
        One of `numpro.datasets.DATASETS`: the form of `annotations` and `train`.

    Returns
    -------
    dict
        ``n``, ``unparsed``; ``R@0.3``, ``R@0.5``, ``R@0.7`` and ``mIoU`` in percent; the 95 %
        ``intervals`` of each (bootstrap by video); ``convention``; ``reversed_truth``, the
        true spans that end before they start, which nothing overlaps; ``reasons``, the kinds of
        reasons of the unparsed, counted; and where every duration is known, ``beside``: the
        scores of floors, and of the frame grid with `label_seconds`. With `train`, ``train``: of
        how many queries (``of``) the ``n`` whose videos have a known duration were fitted on.

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side.
    """
    one_of("convention", convention, CONVENTIONS)
    if label_seconds is not None and not 0 < label_seconds < np.inf:
        raise ValueError(f"label_seconds must be above 0; got {label_seconds!r}")
    path, true_path = resolve(path), resolve(annotations or path)
    predicted = read_file(path, partial(_predicted_row, convention=convention))
    true = _truth(true_path, dataset) if annotations else read_file(path, _true_row)
    pairs = _paired(predicted, true, path, true_path)
    rows = [true._replace(duration=true.duration or row.duration) for row, true in pairs]
    parts = convention == "vtimellm"  # it counts in parts of the video, from 0 to 1
    answers, truth = [], []
    for (row, _), true in zip(pairs, rows, strict=True):
        with naming(path), naming(row_name(row.name)):
            if parts and not true.duration:
                raise ValueError(f"has no duration, which {convention} needs")
            length, whole = (1.0, true.duration) if parts else (true.duration, 1.0)
            answers.append(_span(row, length, convention, label_seconds))
            truth.append([(start / whole, end / whole) for start, end in true.spans])
    spans = [span for span, _ in answers]
    # a row without a video stands for itself
    videos = [row.video or true.video or f"query {row.name}" for row, true in pairs]
    scores = moment_retrieval(spans, truth, videos, decimals=2 if parts else None)
    values, intervals = _split(scores)
    found = {"n": scores["n"], "unparsed": scores["unparsed"], **values, "intervals": intervals}
    found["convention"] = convention
    found["reversed_truth"] = sum(span[0] > span[1] for row in rows for span in row.spans)
    found["reasons"] = count_kinds(reason for span, reason in answers if span is None)
    lengths, fitted = [row.duration for row in rows], []
    if train:
        fitted = [*_truth(resolve(train), dataset).values()]
        known = [row.duration for row in fitted]
        for file, durations, enough in ((true_path, lengths, all), (resolve(train), known, any)):
            if not enough(durations):  # floors are fractions of them
                lack = f"{durations.count(None)} of {len(durations)} queries have none"
                raise ValueError(f"{file}: floors need durations; {lack}")
        fitted = [row for row in fitted if row.duration]
        found["train"] = {"n": len(fitted), "of": len(known)}
    if all(lengths):
        found["beside"] = _guesses(rows, fitted, label_seconds)
    return found
