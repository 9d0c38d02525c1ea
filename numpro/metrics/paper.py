"""Printed results of the NumPro paper (arXiv 2411.10332, CVPR 2025), to stand beside ours.

The rows stand in ``paper.csv`` as printed: moment retrieval on Charades-STA test and ActivityNet
Captions val_2, highlight detection on QVHighlights val at "VeryGood" (split confirmed by the
authors, threshold by elimination). ``note`` says where a figure is wrong or must be read with
care, ``misprint`` marks those known to be wrong. Method "FT" is fine-tuned without numbers. What
the paper has on general question answering is left out: nothing here measures it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from numpro.datasets.rows import csv_rows

_METRICS = ("R@0.3", "R@0.5", "R@0.7", "mIoU", "mAP", "HIT@1")
_ARMS = {("base", "none"): "base", ("base", "overlay-index"): "NumPro",
         ("fine-tuned", "none"): "FT", ("fine-tuned", "overlay-index"): "NumPro-FT"}  # fmt: skip


def _rows(*tables: str) -> Iterator[dict]:
    """Yield the rows of these tables of the paper."""
    for _, row in csv_rows(Path(__file__).with_name("paper.csv")):
        if (table := row.pop("table")) in tables:
            printed = {name: row.pop(name) for name in _METRICS}
            row |= {name: float(value) for name, value in printed.items() if value}
            row |= {"misprint": row["misprint"] == "yes", "note": row["note"] or None}
            yield row | {"source": f"arXiv 2411.10332, Table {table}"}


PAPER_ROWS = [*_rows("1", "2", "5")]  # one row a method, model and dataset
PAPER_STUDIES = [*_rows("3", "6", "7", "9")]  # number design, attention, times instead of numbers


_MODELS = {row["model"]: {*row["model"].lower().split("-")} for row in PAPER_ROWS}
_PLAIN = {"instruct", "hf", "ov", "qwen2"}  # what checkpoints of these models add to the name


def paper_model(name: str | None) -> str | None:
    """Return the paper's name of a checkpoint's model; None of one that is not in the paper.

    Examples
    --------
    >>> paper_model("Qwen/Qwen2-VL-7B-Instruct"), paper_model("openai:gpt-4o-mini")
    ('Qwen2-VL-7B', None)
    """
    words = set(re.split(r"[-_]", re.split(r"[/:]", (name or "").lower())[-1]))
    return next((m for m, known in _MODELS.items() if known <= words <= known | _PLAIN), None)


def beside_paper(scores: Sequence[dict], model: str = "LongVA-7B-DPO") -> list[dict]:
    """Put our scores beside the paper's for the same arm and task, and say what differs.

    They are those of the same model where the paper has it, and of the same dataset where it has
    that.

    Parameters
    ----------
    scores
        Score rows as in ``results.json``; those of floors and ceilings are passed over.
    model
        The paper's model to compare with, where the score's is not in the paper.

    Returns
    -------
    list of dict
        For each metric in both: ``arm``, ``metric``, ``ours``, ``paper``, ``difference`` (ours
        minus the paper's, in points), ``model`` and ``where`` (the paper's, its dataset and
        split), ``differs`` (in what but the numbers) and ``note``.
    """
    rows = []
    for mine in scores:
        mine = mine | {"model": paper_model(mine["model"]) or mine["model"]}
        named = mine["model"] if mine["model"] in _MODELS else model
        wanted = _ARMS.get((mine["method"], mine["time_encoding"])), named, mine["task"]
        alike = [r for r in PAPER_ROWS if (r["method"], r["model"], r["task"]) == wanted]
        for row in [r for r in alike if r["dataset"] == mine["dataset"]] or alike:
            keys = [key for key in ("model", "dataset", "split") if mine[key] != row[key]]
            differs = ", ".join(f"{key} {mine[key]} for {row[key]}" for key in keys)
            for metric in (name for name in _METRICS if name in mine and name in row):
                ours, theirs = mine[metric][0], row[metric]
                beside = {"arm": row["method"], "metric": metric, "ours": ours, "paper": theirs}
                beside |= {"difference": ours - theirs, "differs": differs}
                where = f"{row['dataset']} {row['split']}"
                beside |= {"model": row["model"], "where": where, "note": row["note"]}
                rows.append(beside)
    return rows
