"""Runs beside each other: what was set otherwise, and what came of it (`numpro compare`)."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpro.metrics.tables import format_score, metric_names, role

_WHERE = ("dataset", "split", "task", "method", "time_encoding")


def differing(results: Sequence[Mapping]) -> dict[str, list]:
    """Return the parameters in which runs differ, with each run's value.

    A run's value is the one its notebooks were executed with, whether it was given or a default,
    and "-" where none of them has it; what never differs, and the run's own folder, is left out.

    Examples
    --------
    >>> runs = [{"notebooks": [{"parameters": {"fps": fps, "steps": 9}}]} for fps in (1, 2)]
    >>> differing(runs)
    {'fps': [1, 2]}
    """
    used = [
        {name: value for book in run["notebooks"] for name, value in book["parameters"].items()}
        for run in results
    ]
    names = dict.fromkeys(name for values in used for name in values if name != "run_dir")
    found = {name: [values.get(name, "-") for values in used] for name in names}
    return {name: values for name, values in found.items() if any(v != values[0] for v in values)}


def compare(
    results: Sequence[Mapping], metric: str | None = None, roles: Sequence[str] = ("model",)
) -> list[dict]:
    """Put the rows of several runs beside each other: scores, and those of all time encodings.

    Parameters
    ----------
    results
        What each run's ``results.json`` holds.
    metric
        The score to compare; by default the first one of each task.
    roles
        Of `numpro.metrics.tables.ROLES`: whose rows. Floors are no result of a run's settings.

    Returns
    -------
    list of dict
        One row for each dataset, split, task, method and time encoding that a run has, with
        ``metric`` and ``scores``: ``[value, low, high]`` of each run, None where it has none.

    Raises
    ------
    ValueError
        When there are fewer than two runs, or none has the metric.
    """
    if len(results) < 2:
        raise ValueError(f"compare needs at least two runs; got {len(results)}")
    known = [[*run["scores"], *run.get("notes", {}).get("05_ways", [])] for run in results]
    places: dict[tuple, dict[str, list]] = {}  # by place and metric the score of each run
    for number, row in ((n, row) for n, found in enumerate(known) for row in found):
        if role(row["method"]) in roles:
            metrics = places.setdefault(tuple(row[key] for key in _WHERE), {})
            for name in metric_names([row]):
                scores = metrics.setdefault(name, [None] * len(results))
                scores[number] = scores[number] or row[name]  # lookups join the scores
    rows = []
    for place, metrics in places.items():
        if (name := metric or next(iter(metrics))) in metrics:
            where = dict(zip(_WHERE, place, strict=True))
            rows.append(where | {"metric": name, "scores": metrics[name]})
    if not rows:
        names = sorted(set(metric_names(row for found in known for row in found)))
        raise ValueError(f"metric must be one of {', '.join(names)}; got {metric!r}")
    return rows


def leaderboard(results: Sequence[Mapping]) -> tuple[list[str], list[list]]:
    """Return the leaderboard of time encodings: heads, and a row for each model and encoding.

    Parameters
    ----------
    results
        What each run's ``results.json`` holds: its scores, and the notes that notebook 07 writes.
        Of several figures for one cell that of most queries stands.

    Examples
    --------
    >>> row = {"model": "m", "time_encoding": "none", "method": "base", "split": "test", "n": 9}
    >>> run = {"scores": [row | {"task": "moment_retrieval", "mIoU": [40.0, 30.0, 50.0]}]}
    >>> leaderboard([run])[1]
    [['m', 'none', '40.0', '-', '-', '-', '-', '9', '-']]
    """
    columns = {"base": "mIoU", "fine-tuned": "mIoU", "long films": "mIoU", "lookup": "lookup",
               "reverse": "reverse"}  # fmt: skip
    cells: dict[tuple, dict[str, tuple]] = {}
    for run in results:
        about = f"{run['started'][:10]}, {run['versions']['numpro']}" if "started" in run else "-"
        notes = run.get("notes", {})
        for row in [*notes.get("05_ways", []), *notes.get("05_encodings", []), *run["scores"]]:
            if row["time_encoding"] and row["task"] == "moment_retrieval":
                long = "long films" if row["method"] == "fine-tuned" else None
                names = (long if "long" in row["split"] else row["method"], "lookup", "reverse")
                place = cells.setdefault((row["model"], row["time_encoding"]), {})
                for name in (n for n in names if n and columns[n] in row):
                    one = row["n"], row[columns[name]][0], about
                    place[name] = max(place.get(name, one), one, key=lambda cell: cell[0])
    rows = [
        [*key, *(f"{found[c][1]:.1f}" if c in found else "-" for c in columns)]
        + [str(max(cell[0] for cell in found.values())), max(c[2] for c in found.values())]
        for key, found in cells.items()
        if found
    ]
    rows.sort(key=lambda row: [-float(x) if x != "-" else 1.0 for x in (row[3], row[2])])
    return ["model", "time encoding", *columns, "queries", "date, numpro"], rows


def lines(results: Sequence[Mapping], rows: Sequence[Mapping]) -> list[str]:
    """Return the comparison as lines of text: what differs, then a column for each run."""
    import pandas as pd

    names = [Path(r["run"]).name for r in results]
    differs = pd.DataFrame(differing(results), index=names).T
    differs = differs.map(lambda value: textwrap.shorten(str(value), 40, placeholder=" ..."))
    table = pd.DataFrame(rows).fillna("-")  # floors have no time encoding
    table[names] = [[format_score(score) for score in scores] for scores in table.pop("scores")]
    text = differs.to_string() if len(differs) else "the same parameters in all runs"
    return [*text.splitlines(), "", *table.to_string(index=False).splitlines()]
