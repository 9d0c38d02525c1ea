"""Scores of prediction files, one's own and others'; what is malformed is named with its row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from numpro.metrics import baselines
from numpro.metrics.bootstrap import score_table
from numpro.metrics.conventions import CONVENTIONS, convention_scores, differences
from numpro.metrics.moment_retrieval import THRESHOLDS
from numpro.metrics.official import WINDOWS, detection_values
from numpro.metrics.ranked import ranked_columns, trust
from numpro.metrics.read import Queries, read_queries, read_truth
from numpro.metrics.span_sets import Spans
from numpro.paths import find
from numpro.spans import Span, one_of

_DRAWS = 200_000_000  # of the bootstrap: of more than 100,000 videos it takes fewer resamples


def _records(videos: Sequence[str], durations: np.ndarray, true: Spans) -> list:
    """Return a record of each query whose film's length is known."""
    spans = np.split(true.ends, true.starts_at[1:])
    rows = zip(videos, durations.tolist(), spans, strict=True)
    return baselines.records(
        (v, d, tuple(Span(*s) for s in e.tolist())) for v, d, e in rows if d > 0
    )


def _guesses(queries: Queries, fitted: list, step: float | None) -> dict[str, dict]:
    """Score answers that never look at the video, and the best that frame labels can say.

    The labels are those of sampled frames, times between two of them rounded half to even.
    """
    lengths, once = queries.durations, np.ones(len(queries.videos), int)
    guesses = {"whole-video": np.column_stack([0 * lengths, lengths])}
    if fitted or step:
        videos = _records(queries.videos, lengths, queries.true)
    if fitted:
        window = baselines.best_fixed_window(fitted)
        guesses["best-fixed-window"] = baselines.fixed_window(videos, window)
        guesses["random-moment"] = baselines.random_moment(videos, fitted)
    if step:
        guesses["frame-grid"] = baselines.frame_grid(videos, 1 / step, "half_even", "instant")
    spans = {name: Spans(np.array(ends), once) for name, ends in guesses.items()}
    scored = {name: _columns("numpro", found, queries)[0] for name, found in spans.items()}
    return {k: {m: float(100 * v.mean()) for m, v in row.items()} for k, row in scored.items()}


def _floors(queries: Queries, train: Path | None, dataset: str | None, step: float | None) -> dict:
    """Return what stands beside the scores, where every duration is known."""
    known, found, fitted = np.isfinite(queries.durations), {}, []
    if train:
        table = read_truth(train, dataset)
        lengths = np.array(table.durations)
        fitted = _records(table.videos, lengths, table.true.spans())
        if not (known.all() and fitted):  # floors are fractions of them
            file, there = (train, lengths > 0) if known.all() else (queries.true_path, known)
            lack = f"{(~there).sum()} of {len(there)} queries have none"
            raise ValueError(f"{file}: floors need durations; {lack}")
        found["train"] = {"n": len(fitted), "of": len(lengths)}
    return found | ({"beside": _guesses(queries, fitted, step)} if known.all() else {})


def _columns(convention: str, predicted: Spans, queries: Queries) -> tuple[dict, dict]:
    """Return `convention_scores`; by numpro's rule those of sets, too, if a truth is a set."""
    columns, areas = convention_scores(convention, predicted, queries.true, queries.durations)
    if convention == "numpro" and (queries.true.counts > 1).any():
        as_sets, _ = _columns("numpro-sets", predicted, queries)
        columns |= {f"set_{metric}": values for metric, values in as_sets.items()}
    return columns, areas


def _ranked_rows(queries: Queries) -> list[dict]:
    """Return rows of ranked moments beside their truth; none where a row's have no score."""
    rows = queries.table.ranked
    if len(rows) < len(queries.videos):
        return []
    truth = np.split(queries.true.ends, queries.true.starts_at[1:])
    beside = zip(rows, queries.videos, truth, strict=True)
    return [r | {"video": v, "truth": t, "pred": r[WINDOWS][:1]} for r, v, t in beside]


def _scored(queries: Queries, convention: str, step: float | None) -> dict:
    """Return the scores of one convention with their intervals, and what was counted."""
    rule, spans = CONVENTIONS[convention], queries.predicted(convention, step)
    columns, areas = _columns(convention, spans, queries)
    if convention == "numpro" and (rows := _ranked_rows(queries)):
        columns |= ranked_columns([r[WINDOWS] for r in rows], [r["truth"] for r in rows])
    answered = spans.counts > 0
    resamples = int(np.clip(_DRAWS // len(set(queries.videos)), 200, 2000))
    table = score_table(int((~answered).sum()), columns, queries.videos, resamples)
    found = {"n": table.pop("n"), "unparsed": table.pop("unparsed")}
    found |= {name: value for name, (value, *_) in table.items()} | areas
    found["intervals"] = {name: ends for name, (_, *ends) in table.items()}
    found |= {"convention": convention, "reversed": int((np.diff(spans.ends) < 0).sum())}
    found["unclipped"] = rule.clipped * int((answered & np.isnan(queries.durations)).sum())
    return found | {"reasons": dict(queries.table.found[rule.reader].reasons.most_common())}


def _average_precision(queries: Queries, convention: str, spans: Spans) -> float:
    """Return the mAP over IoU 0.50 to 0.95, in percent, of windows in the order of their scores."""
    scores = np.array(queries.table.found[CONVENTIONS[convention].reader].scores)
    windows = np.split(np.column_stack([spans.ends, scores]), spans.starts_at[1:])
    true = np.split(queries.true.ends, queries.true.starts_at[1:])
    return float(100 * detection_values(windows, true)["full"][:, 0].mean())


def _compared(queries: Queries, step: float | None) -> list[dict]:
    """Return the scores of every convention, and how many queries it scores unlike numpro's."""
    rows, usual = [], None
    for name in CONVENTIONS:
        rows.append(row := {"convention": name, "differs": differences(name)})
        try:
            spans = queries.predicted(name, step)
        except ValueError as error:
            row["needs"] = str(error)
            continue
        columns, areas = convention_scores(name, spans, queries.true, queries.durations)
        values = np.column_stack(list(columns.values())).astype(float)
        usual = values if name == "numpro" else usual
        row |= dict(zip(columns, (100 * values.mean(axis=0)).tolist(), strict=True)) | areas
        if CONVENTIONS[name].detection and (queries.true.counts > 1).any():
            row["mAP"] = _average_precision(queries, name, spans)
        row["unparsed"] = int((spans.counts == 0).sum())
        if usual is not None:
            row["changed"] = int((np.abs(values - usual) > 1e-6).any(axis=1).sum())
        if above := int((values[:, 0] > 1).sum()):
            row |= {"above_1": above, "largest": float(values[:, 0].max())}
    return rows


def convention_cells(rows: Sequence[dict]) -> list[list[str]]:
    """Return the head and the rows of a table of ``conventions``, as text.

    There is a column mAP where a query has several true spans, for projects that have it. The last
    columns are the answers that could not be read, and how many queries score otherwise
    than by numpro's rule.
    """
    names = ["mIoU", *(f"R@{t:g}" for t in THRESHOLDS)] + ["mAP"] * any("mAP" in r for r in rows)
    cells = [["convention", *names, "unparsed", "changed"]]
    for row in rows:
        values = [f"{row[name]:.2f}" if name in row else "-" for name in names]
        counts = [str(row.get(key, "-")) for key in ("unparsed", "changed")]
        cells.append([row["convention"], *values, *counts])
    return cells


def evaluate_moment_predictions(
    path: str | Path, annotations: str | Path | None = None, convention: str = "numpro",
    label_seconds: float | None = None, train: str | Path | None = None, dataset: str | None = None,
    calibration: Mapping | None = None, min_confidence: float | None = None,
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
        One of `numpro.metrics.CONVENTIONS`, by which answers are read and scored, or "all".
        Windows and a text that says them score the same. Where a row has both, "numpro" and
        those that read no text take the windows, the others the text. ("default" is "numpro".)
    label_seconds
        Seconds from one frame label to the next, for raw responses in labels.
    train
        Annotations to fit the floors on.
    dataset
        One of `numpro.datasets.DATASETS`: the form of `annotations` and `train`.
    calibration, min_confidence
        Of ranked moments (`numpro.metrics.ranked.trust`).

    Returns
    -------
    dict
        ``n``, ``unparsed``; ``mIoU`` and ``R@0.3``, ``R@0.5``, ``R@0.7`` in percent, for "numpro"
        with ``set_`` before them, too, where a query has several true spans (all spans as one
        set), and where every row has scored windows those of `numpro.metrics.ranked`; the 95 %
        ``intervals`` of each (bootstrap by video); ``convention``;
        ``reversed_truth``, the true spans that end before they start, which nothing overlaps;
        ``reversed`` and ``unclipped``, the answers that end before they start, and those whose
        film's length is not known; ``reasons``, the kinds of reasons of the unparsed, counted;
        and where every duration is known, ``beside``: the scores of floors, and of the frame grid
        with `label_seconds`. With `train`, ``train``: of how many queries (``of``) the ``n`` whose
        videos have a known duration were fitted on. Where every window has a confidence of 0 to 1,
        ``trust``: how true it is (`numpro.metrics.ranked.trust`).

        With "all" instead ``conventions``: for each its ``unparsed`` and scores without intervals
        (``mAP`` too, where a project has it and a query has several true spans),
        in how many queries it scores otherwise than numpro (``changed``), in words what it
        ``differs`` in, and what it ``needs`` if it cannot be had.

    Raises
    ------
    ValueError
        For a malformed file, named with its row; for queries missing on either side; for "all"
        with a calibration or a least confidence.
    """
    convention = "numpro" if convention == "default" else convention
    one_of("convention", convention, (*CONVENTIONS, "all"))
    if convention == "all" and (calibration or min_confidence is not None):
        advice = "score with one convention, or leave calibration and min_confidence out"
        raise ValueError(f"convention 'all' compares answers, not their confidence: {advice}")
    if label_seconds is not None and not 0 < label_seconds < np.inf:
        raise ValueError(f"label_seconds must be above 0; got {label_seconds!r}")
    names = CONVENTIONS if convention == "all" else (convention,)
    readers = {CONVENTIONS[name].reader for name in names}
    queries = read_queries(find(path), find(annotations or path), dataset, readers)
    found = {"reversed_truth": int((np.diff(queries.true.ends) < 0).sum())}
    if convention == "all":
        rows = _compared(queries, label_seconds)
        return {"n": len(queries.videos), "convention": "all", "conventions": rows} | found
    found |= _scored(queries, convention, label_seconds)
    rows = _ranked_rows(queries)
    if rows and all(0 <= w[2] <= 1 for row in rows for w in row[WINDOWS]):
        found["trust"] = trust(rows, calibration, min_confidence)
    elif calibration or min_confidence is not None:
        lack = "has no windows with a confidence of 0 to 1, as predict --read ranked writes them"
        raise ValueError(f"{path}: {lack}")
    return found | _floors(queries, train and find(train), dataset, label_seconds)
