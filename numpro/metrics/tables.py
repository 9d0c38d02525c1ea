"""Score rows: their format, their groups, and tables of them as text."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from operator import itemgetter

from numpro.metrics.paper import beside_paper
from numpro.spans import one_of

FLOORS = ("best-fixed-window", "whole-video", "random-moment", "centre-prior")
CEILINGS = ("frame-grid",)
ROLES = ("floor", "model", "ceiling")
METHODS = ("base", "fine-tuned", *FLOORS, *CEILINGS)
TASKS = {"moment_retrieval": "moment retrieval", "highlight_detection": "highlight detection"}
PANEL = itemgetter("dataset", "split", "task")  # rows that are alike in these are one table
KEYS = ("dataset", "split", "task", "method", "model", "time_encoding", "fps", "n", "unparsed")
# beside the metrics a row may say where it comes from and anything a reader should know
EXTRA = ("adapter", "loaded_from", "note")


def check_score_row(row: Mapping) -> None:
    """Refuse a score row that is not whole.

    A row has ``dataset``, ``split``, ``task``, ``method``, ``model``, ``time_encoding``,
    ``fps``, ``n``, ``unparsed`` (``model``, ``time_encoding`` and ``fps`` may be None for what
    asks no model), and one or more metrics as ``[value, low, high]`` in percent. The text keys
    ``adapter``, ``loaded_from`` and ``note`` may be added.

    Raises
    ------
    ValueError
        Saying which part is missing or wrong, and what was given.
    """
    if missing := [key for key in KEYS if key not in row]:
        raise ValueError(f"a score row lacks {', '.join(missing)}: {dict(row)}")
    one_of("task", row["task"], TASKS)
    one_of("method", row["method"], METHODS)
    n, unparsed = row["n"], row["unparsed"]
    if not (isinstance(n, Integral) and isinstance(unparsed, Integral) and 0 <= unparsed <= n > 0):
        raise ValueError(f"n must be above 0, unparsed 0..n; got n {n!r}, unparsed {unparsed!r}")
    if not (metrics := metric_names([row])):
        raise ValueError(f"a score row has no metric: {dict(row)}")
    for name in metrics:
        if not _is_score(row[name]):
            raise ValueError(f"{name} must be [value, low, high] in percent; got {row[name]!r}")


def _is_score(s: object) -> bool:
    numbers = isinstance(s, Sequence) and len(s) == 3 and all(isinstance(x, Real) for x in s)
    return numbers and 0 <= min(s) <= max(s) <= 100 and s[1] <= s[2]


def metric_names(rows: Iterable[Mapping]) -> list[str]:
    """Return the names of the metrics in `rows`, in order of appearance."""
    return list(dict.fromkeys(k for row in rows for k in row if k not in (*KEYS, *EXTRA)))


def role(method: str) -> str:
    """Return ``floor``, ``model`` or ``ceiling``.

    >>> role("whole-video"), role("base"), role("frame-grid")
    ('floor', 'model', 'ceiling')
    """
    return "floor" if method in FLOORS else "ceiling" if method in CEILINGS else "model"


def group_scores(rows: Sequence[Mapping]) -> list[dict]:
    """Group rows by dataset, split and task; floors come first, the ceiling last.

    Returns
    -------
    list of dict
        Each with ``title``, ``shared`` (what all its models have in common), ``columns`` (the
        keys in which they differ), ``metrics`` and ``rows``.
    """
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault(PANEL(row), []).append(row)
    return [_group(*panel, found) for panel, found in groups.items()]


def _group(dataset: str, split: str, task: str, rows: list) -> dict:
    """Return the group of these rows, with what its models share and in what they differ."""
    rows = sorted(rows, key=lambda row: ROLES.index(role(row["method"])))
    found = {key: {row[key] for row in rows} - {None} for key in ("model", "fps", "n")}
    return {
        "title": f"{dataset} {split}: {TASKS[task]}", "split": f"{dataset} {split}",
        "shared": {key: min(values) for key, values in found.items() if len(values) == 1},
        "columns": ["time_encoding", *(key for key in found if len(found[key]) > 1), "unparsed"],
        "metrics": metric_names(rows), "task": task, "rows": rows,
    }  # fmt: skip


def format_score(score: Sequence[float] | None) -> str:
    """Return a score with its interval.

    >>> format_score([62.04, 58, 66.25])
    '62.0 [58.0, 66.2]'
    """
    return "-" if score is None else f"{score[0]:.1f} [{score[1]:.1f}, {score[2]:.1f}]"


def table_cells(group: Mapping, metrics: Sequence[str]) -> list[list[str]]:
    """Return the head and the rows of a group of scores as text, the role first."""
    cells = [["", "method", *(c.replace("_", " ") for c in group["columns"]), *metrics]]
    for row in group["rows"]:
        values = ("-" if row[c] is None else f"{row[c]}" for c in group["columns"])
        scores = (format_score(row.get(m)) for m in metrics)
        cells.append([role(row["method"]), row["method"], *values, *scores])
    return cells


def shared_text(group: Mapping) -> str:
    """Return what all models of a group have in common, in brackets."""
    shared = ", ".join(f"{key} {value}" for key, value in group["shared"].items())
    return f" ({shared})" if shared else ""


def cell_lines(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return a table of text cells as lines, its columns below each other."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def score_text(rows: Sequence[Mapping]) -> str:
    """Return the scores as plain text, one table for each dataset, split and task.

    Intervals are 95 %; what is not a model is marked as floor or ceiling.
    """
    tables = []
    for group in group_scores(rows):
        cells = table_cells(group, group["metrics"])
        tables.append("\n".join([group["title"] + shared_text(group), *cell_lines(cells)]))
    return "\n\n".join(tables) or "no scores"


def headline(rows: Sequence[Mapping]) -> str:
    """Say in one sentence how far the best model gets, between floor and ceiling.

    Taken from the first table with a model in it; empty where there is none.
    """
    for group in group_scores(rows):
        metric = group["metrics"][0]
        scored = [row for row in group["rows"] if metric in row]
        by_role = [[row for row in scored if role(row["method"]) == kind] for kind in ROLES]
        best = [max(found, key=lambda row: row[metric][0], default=None) for found in by_role]
        if (top := best[1]) is None:
            continue
        text = f"{group['split']}, {TASKS[group['task']]}: {top['method']} with "
        text += f"{top['time_encoding']} reaches {format_score(top[metric])} {metric}"
        plain = [r for r in scored if r["method"] == top["method"] and r["time_encoding"] == "none"]
        if plain and top is not plain[0]:
            text += f", {top['method']} without numbers {plain[0][metric][0]:.1f}"
        for kind, row in zip(ROLES[::2], best[::2], strict=True):
            text += f"; the {kind} ({row['method']}) is {row[metric][0]:.1f}" if row else ""
        return text + "."
    return ""


def paper_table(rows: Sequence[Mapping]) -> dict:
    """Put the run's mIoU and mAP of each arm beside the paper's.

    The first part of a dataset with a model's scores is taken for each task.

    Returns
    -------
    dict
        ``where`` (the paper's datasets), its ``models``, ``rows`` with ``arm``, ``metric``,
        ``ours`` and ``paper`` (a score or None for each of `where`), and ``notes``. Empty rows
        where no arm is one of the paper's.
    """
    models = [row for row in rows if role(row["method"]) == "model"]
    first = {row["task"]: PANEL(row) for row in reversed(models)}
    kept = [row for row in models if PANEL(row) == first[row["task"]]]
    beside = [row for row in beside_paper(kept) if row["metric"] in ("mIoU", "mAP")]
    where = list(dict.fromkeys(row["where"] for row in beside))
    lines: dict[tuple, dict] = {}
    for row in beside:
        line = {key: row[key] for key in ("arm", "metric", "ours")} | {"paper": [None] * len(where)}
        line = lines.setdefault((row["arm"], row["metric"]), line)
        line["paper"][where.index(row["where"])] = row["paper"]
    notes = list(dict.fromkeys(row["note"] for row in beside if row["note"]))
    models = sorted({row["model"] for row in beside})
    return {"where": where, "models": models, "rows": list(lines.values()), "notes": notes}
