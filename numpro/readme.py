"""The generated parts of README.md and data/README.md: tables that would otherwise go stale.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``; the rest of the
files is written by hand. ``numpro readme`` writes the parts again.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping

from .metrics.paper import PAPER_ROWS
from .paths import relative, root
from .provenance import _git
from .report import format_score, group_scores, headline, role

FILES = ("README.md", "data/README.md")
RUNS = ("flipbook", "flipbook_full")
METRICS = ("mIoU", "R@0.3", "R@0.5", "R@0.7", "mAP", "HIT@1")  # the report shows the others too
EXPECTED = ("Qwen2-VL-7B", "LongVA-7B-DPO")
_PART = re.compile(r"(<!-- generated: (\S+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)
_DATASETS = {
    "charades-sta": "Charades-STA test",
    "activitynet-captions": "ActivityNet Captions val_2",
    "qvhighlights": "QVHighlights val",
}


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    r"""Return a Markdown table.

    >>> print(table(["a", "b"], [[1, "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    heads = list(heads)
    lines = [heads, *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    text = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([text[0], "|" + "---|" * len(heads), *text[1:]])


def notebook_table() -> str:
    """Return one row a notebook: the title and the first line of its first cell."""
    import nbformat

    from .runs import find_notebooks

    rows = []
    try:
        found = find_notebooks()
    except FileNotFoundError:
        return "No notebook is there yet."
    for path in found:
        first = nbformat.read(path, as_version=4).cells[0].source.splitlines()
        lines = [line.strip() for line in first if line.strip()]
        title, about = lines[0].lstrip("# "), lines[1] if len(lines) > 1 else ""
        about = re.sub(r"^\*\*\w+\.\*\* ", "", about)  # "**Goal.** ..."
        rows.append([f"[{path.stem}](notebooks/{path.name})", title, about])
    return table(["notebook", "question", "in short"], rows)


def results_section(run: str, results: Mapping | None) -> str:
    """Return the scores of a run as Markdown tables, with where they come from."""
    if results is None:
        return f"No run `{run}` is stored yet."
    where = f"papermill_runs/{run}"
    machine, versions = results["machine"], results["versions"]
    names = ", ".join(["", *machine["accelerators"]])
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers"))
    lines = [
        f"Run `{run}` ([figures and all scores]({where}/report.html), "
        f"[results.json]({where}/results.json)): {len(results['notebooks'])} notebooks in "
        f"{results['seconds'] / 60:.1f} minutes on {machine['cores']} cores{names} "
        f"({machine['processor']}); numpro {versions['numpro']}, {packages}, "
        f"seed {results['seed']}.",
        headline(results["scores"]),
        *(_scores(group) for group in group_scores(results["scores"])),
    ]
    return "\n\n".join(line for line in lines if line)


def _scores(group: Mapping) -> str:
    """Return one table of scores; floors come first, the ceiling last."""
    metrics = [name for name in METRICS if name in group["metrics"]]
    heads = ["", "method", *(c.replace("_", " ") for c in group["columns"]), *metrics]
    rows = [
        [
            role(row["method"]),
            _method(row),
            *("-" if row[c] is None else row[c] for c in group["columns"]),
            *(format_score(row.get(name)) for name in metrics),
        ]
        for row in group["rows"]
    ]
    shared = ", ".join(f"{key} {value}" for key, value in group["shared"].items())
    title = f"**{group['title']}**" + (f" ({shared})" if shared else "")
    return f"{title}\n\n{table(heads, rows)}"


def _method(row: Mapping) -> str:
    """Return the method, marked where its row was loaded or carries a note."""
    loaded = f"loaded from {row['loaded_from']}" if row.get("loaded_from") else None
    said = [text for text in (loaded, row.get("note")) if text]
    return row["method"] + "".join(f"<br><sub>{text}</sub>" for text in said)


def expected_table() -> str:
    """Return the paper's rows of the models that its repository runs."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    heads = {}
    for row in PAPER_ROWS:
        if row["model"] in EXPECTED:
            names = [name for name in METRICS if name in row]
            heads[row["dataset"]] = f"{_DATASETS[row['dataset']]}<br>{' / '.join(names)}"
            scores = " / ".join(f"{row[name]:.1f}" for name in names)
            found.setdefault((row["model"], row["method"]), {})[row["dataset"]] = scores
    rows = [[*key, *(scores.get(d, "-") for d in heads)] for key, scores in found.items()]
    rows.sort(key=lambda row: EXPECTED.index(row[0]))
    return table(["model", "method", *heads.values()], rows)


def flipbook_table() -> str:
    """Return one row a split of the embedded world, counted from its stories."""
    from .flipbook.world import SPLITS, make_film

    rows = []
    for name, split in SPLITS.items():
        queries = sum(len(make_film(name, i).events) for i in range(split.films))
        low, high = split.seconds
        rows.append([f"`{name}`", split.films, queries, f"{low:g} to {high:g}"])
    return table(["split", "films", "queries", "seconds a film"], rows)


def _stored(run: str) -> dict | None:
    """Read a finished run of this folder."""
    path = root() / "papermill_runs" / run / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return results if results.get("status") == "complete" else None


def _committed(run: str) -> dict | None:
    """Read a run as it was last committed."""
    text = _git("show", f"HEAD:./papermill_runs/{run}/results.json")
    return json.loads(text) if text else None


def _results_parts(read: Callable[[str], dict | None]) -> dict[str, str]:
    """Return the parts that show runs; `read` gives the results of one, or None."""
    return {f"results-{run}": results_section(run, read(run)) for run in RUNS}


def parts() -> dict[str, str]:
    """Return every generated part by its name."""
    return _results_parts(_stored) | {
        "notebooks": notebook_table(),
        "expected": expected_table(),
        "flipbook": flipbook_table(),
    }


def fill(text: str, generated: Mapping[str, str]) -> str:
    r"""Return `text` with its generated parts replaced.

    >>> fill("<!-- generated: a -->\nold\n<!-- end: a -->", {"a": "new"})
    '<!-- generated: a -->\nnew\n<!-- end: a -->'

    Raises
    ------
    ValueError
        For a part that has no end or whose name is unknown.
    """
    named = re.findall(r"<!-- generated: (\S+) -->", text)
    closed = [found[2] for found in _PART.finditer(text)]
    for name in named:
        if name not in closed:
            raise ValueError(f"the generated part {name} has no end (<!-- end: {name} -->)")
        if name not in generated:
            raise ValueError(f"a part must be one of {', '.join(generated)}; got {name}")
    return _PART.sub(lambda found: f"{found[1]}{generated[found[2]]}\n{found[4]}", text)


def stale_files() -> list[str]:
    """Return the files with a part that is not what it should be.

    The scores may be those of the folder or those last committed: who runs the workbook for
    himself has not made the README wrong. Without git, where the two cannot be told apart,
    they are not judged.
    """
    generated = parts()
    accepted = [generated, generated | _results_parts(_committed)]
    judged = bool(_git("ls-files", "--", FILES[0]))
    stale = []
    for name in FILES:
        text = (root() / name).read_text(encoding="utf-8")
        asis = {} if judged else {p[2]: p[3].removesuffix("\n") for p in _PART.finditer(text)}
        asis = {part: old for part, old in asis.items() if part.startswith("results-")}
        if all(fill(text, version | asis) != text for version in accepted):
            stale.append(name)
    return stale


def write_files() -> list[str]:
    """Write the generated parts from this folder; return the files that changed.

    Raises
    ------
    ValueError
        When a run that should be shown is unfinished, or a file's marks are broken.
    """
    for run in RUNS:
        path = root() / "papermill_runs" / run / "results.json"
        if path.is_file() and _stored(run) is None:
            raise ValueError(f"{relative(path)} is of an unfinished run; resume it first")
    changed, generated = [], parts()
    for name in FILES:
        path = root() / name
        old = path.read_text(encoding="utf-8")
        if (new := fill(old, generated)) != old:
            path.write_text(new, encoding="utf-8")
            changed.append(name)
    return changed
