"""The generated parts of the pages here, the READMEs and CONTRIBUTING.md: they would go stale.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``; the rest of the
files is written by hand. ``numpro readme`` runs this script, which writes the parts again as
``tables.md.j2`` says.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from numpro.datasets import DATASETS, loader, sources
from numpro.flipbook.world import SPLITS, make_film
from numpro.metrics import PAPER_ROWS, baselines, conventions, moment_ious
from numpro.paths import relative, root
from numpro.spans import Span
from numpro.workbook import leaderboard, markdown_table
from numpro.workbook.markdown import markdown_cell
from numpro.workbook.notebooks import load
from numpro.workbook.report import render
from numpro.workbook.runs import REFERENCE_RUNS, Run, find_notebooks

FILES = ("README.md", "data/README.md", "CONTRIBUTING.md", "docs/results.md",
         "docs/reproduce_the_paper.md", "docs/why_your_number_differs.md",
         "docs/execution.md")  # fmt: skip
METRICS = ("mIoU", "R@0.3", "R@0.5", "R@0.7", "mAP", "HIT@1")  # the report shows the others too
EXPECTED = ("Qwen2-VL-7B", "LongVA-7B-DPO")
_PART = re.compile(r"(<!-- generated: (\S+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)
_DATASETS = {"charades-sta": "Charades-STA test", "qvhighlights": "QVHighlights val",
             "activitynet-captions": "ActivityNet Captions val_2"}  # fmt: skip


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def expected_table() -> str:
    """Return the paper's rows of the models that its repository runs."""
    heads, found = {}, {}
    for row in PAPER_ROWS:
        if row["model"] in EXPECTED:
            names = [name for name in METRICS if name in row]
            heads[row["dataset"]] = f"{_DATASETS[row['dataset']]}<br>{' / '.join(names)}"
            scores = " / ".join(f"{row[name]:.1f}" for name in names)
            found.setdefault((row["model"], row["method"]), {})[row["dataset"]] = scores
    rows = [[*key, *(scores.get(d, "-") for d in heads)] for key, scores in found.items()]
    return markdown_table(["model", "method", *heads.values()], rows)


def _world() -> list[dict]:
    """Return a row for each split of the embedded world, from its stories; no film is drawn.

    Floors and ceilings are mIoU in percent: of the whole film, of the best fixed window (fitted on
    ``train``), and of the frames that show the truth at four rates, by two rules of what they mean.
    """
    stories = {s: [make_film(s, n) for n in range(spec.films)] for s, spec in SPLITS.items()}
    found = {
        split: baselines.records(
            (film.name, film.duration, tuple(Span(e.start, e.end) for e in events))
            for film in films
            for events in film.queries.values()
        )
        for split, films in stories.items()
    }
    rules = ("inner", "instant"), ("inner", "halfway")
    window, rows = baselines.best_fixed_window(found["train"]), []
    for split, videos in found.items():

        def score(answers: list, videos: list = videos) -> float:
            return 100 * float(moment_ious(answers, [v.queries[0].spans for v in videos]).mean())

        grids = {
            fps: [score(baselines.frame_grid(videos, fps, *rule)) for rule in rules]
            for fps in (0.5, 1, 2, 4)
        }
        twice = sum(len(v.queries[0].spans) > 1 for v in videos)
        floors = [baselines.whole_video(videos), baselines.fixed_window(videos, window)]
        row = {"split": split, "n": len(videos), "twice": twice, "grids": grids}
        rows.append(row | {"floors": [score(answers) for answers in floors]})
    return rows


def _rooms() -> dict[str, str]:
    """Return for each room of the package the first line of its docstring."""
    files = sorted((root() / "numpro").rglob("__init__.py"))
    texts = {relative(path.parent): path.read_text(encoding="utf-8") for path in files}
    return {room: text.partition("\n")[0].strip('"') for room, text in texts.items()}


def _finished(run: str) -> dict | None:
    """Return the results of a run of this folder; None where it is not there or not finished."""
    with suppress(FileNotFoundError):
        results = Run(f"papermill_runs/{run}").results()
        return results if results["status"] == "complete" else None


def parts() -> dict[str, str]:
    """Return every generated part by its name, as ``tables.md.j2`` writes it."""
    runs = {run: _finished(run) for run in REFERENCE_RUNS}
    names = {"cell": markdown_cell, "code": _code, "load": load}
    names |= {"notebooks": find_notebooks(), "expected": expected_table(), "rooms": _rooms()}
    names |= {"conventions": conventions.CONVENTIONS, "differences": conventions.differences}
    names |= {"loaders": {name: loader(name) for name in DATASETS}, "sources": sources()}
    board = leaderboard([results for results in runs.values() if results])
    names |= {"leaderboard": markdown_table(*board), "world": _world(), "metrics": METRICS}
    text = render("tables.md.j2", Path(__file__).parent, runs=runs, splits=SPLITS, **names)
    return {found[2]: found[3].removesuffix("\n") for found in _PART.finditer(text)}


def fill(text: str, generated: Mapping[str, str]) -> str:
    r"""Return `text` with its generated parts replaced.

    >>> fill("<!-- generated: a -->\nold\n<!-- end: a -->", {"a": "new"})
    '<!-- generated: a -->\nnew\n<!-- end: a -->'

    Raises
    ------
    ValueError
        For a part that has no end or whose name is unknown.
    """
    named = set(re.findall(r"<!-- generated: (\S+) -->", text))
    if odd := named - {found[2] for found in _PART.finditer(text) if found[2] in generated}:
        known = f"{', '.join(generated)} and have an end; got {', '.join(odd)}"
        raise ValueError(f"a generated part must be one of {known}")
    return _PART.sub(lambda found: f"{found[1]}{generated[found[2]]}\n{found[4]}", text)


def stale_files() -> dict[str, str]:
    """Return the files with a part that is not as it should be, each with its right text.

    Only the reference runs are shown, and what you run yourself goes to another folder: it makes
    nothing stale.
    """
    texts = {name: (root() / name).read_text(encoding="utf-8") for name in FILES}
    generated = parts()
    fresh = {name: fill(text, generated) for name, text in texts.items()}
    return {name: text for name, text in fresh.items() if text != texts[name]}


def write_files(check: bool = False) -> list[str]:
    """Write the generated parts from this folder; return the files that changed.

    Raises
    ------
    ValueError
        Naming the files that would change, where it is only to `check` them.
    """
    stale = stale_files()
    if check and stale:
        raise ValueError(f"{' and '.join(stale)}: stale; run numpro readme")
    for name, fresh in stale.items():
        (root() / name).write_text(fresh, encoding="utf-8")
    return list(stale)
