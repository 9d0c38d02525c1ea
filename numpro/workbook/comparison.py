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
    places: dict[tuple, dict[int, Mapping]] = {}
    known = [[*run["scores"], *run.get("notes", {}).get("05_ways", [])] for run in results]
    for number, found in enumerate(known):
        for row in found:
            if role(row["method"]) in roles:
                place = tuple(row[key] for key in _WHERE)
                by_run = places.setdefault(place, {})
                by_run[number] = {**row, **by_run.get(number, {})}  # lookups join the scores
    rows = []
    for place, by_run in places.items():
        names = metric_names(by_run.values())
        name = metric or names[0]
        if name in names:
            scores = [by_run.get(number, {}).get(name) for number in range(len(results))]
            rows.append(dict(zip(_WHERE, place, strict=True), metric=name, scores=scores))
    if not rows:
        names = sorted(set(metric_names(row for found in known for row in found)))
        raise ValueError(f"metric must be one of {', '.join(names)}; got {metric!r}")
    return rows


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
