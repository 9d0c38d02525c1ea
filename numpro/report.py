"""Scores as tables: the row format, a plain text table, and the report of a run."""

import base64
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path

FLOORS = ("best-fixed-window", "whole-video", "random-moment", "centre-prior")
CEILINGS = ("frame-grid",)
METHODS = ("base", "fine-tuned", *FLOORS, *CEILINGS)
TASKS = {"moment_retrieval": "moment retrieval", "highlight_detection": "highlight detection"}
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
        Saying which part is missing or wrong, and what was seen.
    """
    if missing := [key for key in KEYS if key not in row]:
        raise ValueError(f"a score row lacks {', '.join(missing)}: {dict(row)}")
    for key, accepted in (("task", tuple(TASKS)), ("method", METHODS)):
        if row[key] not in accepted:
            raise ValueError(f"{key} must be one of {', '.join(accepted)}; got {row[key]!r}")
    n, unparsed = row["n"], row["unparsed"]
    if not (isinstance(n, Integral) and isinstance(unparsed, Integral) and 0 <= unparsed <= n > 0):
        raise ValueError(f"n must be above 0, unparsed 0..n; got n {n!r}, unparsed {unparsed!r}")
    metrics = metric_names([row])
    if not metrics:
        raise ValueError(f"a score row has no metric: {dict(row)}")
    for name in metrics:
        if not _is_score(row[name]):
            raise ValueError(f"{name} must be [value, low, high] in percent; got {row[name]!r}")


def _is_score(score: object) -> bool:
    whole = isinstance(score, Sequence) and len(score) == 3
    whole = whole and all(isinstance(x, Real) and math.isfinite(x) for x in score)
    return whole and all(0 <= x <= 100 for x in score) and score[1] <= score[2]


def metric_names(rows: Iterable[Mapping]) -> list[str]:
    """Return the names of the metrics in `rows`, in order of appearance."""
    names = [key for row in rows for key in row if key not in KEYS and key not in EXTRA]
    return list(dict.fromkeys(names))


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
        groups.setdefault((row["dataset"], row["split"], row["task"]), []).append(row)
    return [_group(*key, found) for key, found in groups.items()]


def _group(dataset: str, split: str, task: str, rows: list) -> dict:
    rows = sorted(rows, key=lambda row: ("floor", "model", "ceiling").index(role(row["method"])))
    shared, columns = {}, ["time_encoding"]
    for key in ("model", "fps", "n"):
        values = {row[key] for row in rows if row[key] is not None}
        if len(values) == 1:
            shared[key] = values.pop()
        elif values:
            columns.append(key)
    title = f"{dataset} {split}: {TASKS[task]}"
    columns.append("unparsed")
    return {"title": title, "task": task, "split": f"{dataset} {split}", "shared": shared,
            "columns": columns, "metrics": metric_names(rows), "rows": rows}  # fmt: skip


def format_score(score: Sequence[float] | None) -> str:
    """Return a score with its interval.

    >>> format_score([62.04, 58, 66.25])
    '62.0 [58.0, 66.2]'
    """
    return "-" if score is None else f"{score[0]:.1f} [{score[1]:.1f}, {score[2]:.1f}]"


def score_table(rows: Sequence[Mapping]) -> str:
    """Return the scores as plain text, one table for each dataset, split and task.

    Intervals are 95 %; what is not a model is marked as floor or ceiling.
    """
    return "\n\n".join(_text_table(group) for group in group_scores(rows)) or "no scores"


def _text_table(group: dict) -> str:
    heads = ["", "method", *(c.replace("_", " ") for c in group["columns"]), *group["metrics"]]
    body = [
        [
            role(row["method"]),
            row["method"],
            *("-" if row[c] is None else f"{row[c]}" for c in group["columns"]),
            *(format_score(row.get(m)) for m in group["metrics"]),
        ]
        for row in group["rows"]
    ]
    widths = [max(map(len, column)) for column in zip(heads, *body, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in (heads, *body)
    ]
    shared = ", ".join(f"{key} {value}" for key, value in group["shared"].items())
    return "\n".join([group["title"] + (f" ({shared})" if shared else ""), *lines])


def headline(rows: Sequence[Mapping]) -> str:
    """Say in one sentence how far the best model gets, between floor and ceiling.

    Taken from the first table with a model in it; empty where there is none.
    """
    for group in group_scores(rows):
        metric = group["metrics"][0]
        scored = [row for row in group["rows"] if metric in row]
        best = {}
        for row in scored:
            kind = role(row["method"])
            if kind not in best or row[metric][0] > best[kind][metric][0]:
                best[kind] = row
        if "model" not in best:
            continue
        top = best["model"]
        text = f"{group['split']}, {TASKS[group['task']]}: {top['method']} with "
        text += f"{top['time_encoding']} reaches {format_score(top[metric])} {metric}"
        plain = [r for r in scored if r["method"] == top["method"] and r["time_encoding"] == "none"]
        if plain and top is not plain[0]:
            text += f", without time on or beside the frames {plain[0][metric][0]:.1f}"
        for kind in ("floor", "ceiling"):
            if kind not in best:
                continue
            text += f"; the {kind} ({best[kind]['method']}) is {best[kind][metric][0]:.1f}"
        return text + "."
    return ""


def rerun_command(results: Mapping) -> str:
    """Return the command that makes the run again."""
    words = ["numpro", "run", *([results["recipe"]] if results["recipe"] else [])]
    for name, value in results["parameters"].items():
        words += ["-p", name, value if isinstance(value, str) else _say(value)]
    return shlex.join(words)


def _say(value: object) -> str:
    return "None" if value is None else json.dumps(value)


def render_report(results: Mapping, figures: Sequence[Mapping]) -> str:
    """Return the report of a run as one HTML page that needs nothing else.

    Parameters
    ----------
    results : Mapping
        What ``results.json`` holds.
    figures : sequence of mappings
        As `Run.figures` gives them; the pictures are put into the page.
    """
    import jinja2

    here = jinja2.FileSystemLoader(Path(__file__).parent)
    pages = jinja2.Environment(
        loader=here, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    pages.globals |= {"role": role, "format_score": format_score, "say": _say}
    pictures = [
        {**figure, "data": base64.b64encode(Path(figure["path"]).read_bytes()).decode()}
        for figure in figures
    ]
    return pages.get_template("report.html.j2").render(
        results=results,
        headline=headline(results["scores"]),
        groups=group_scores(results["scores"]),
        figures=pictures,
        rerun=rerun_command(results),
    )
