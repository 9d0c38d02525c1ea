"""The generated parts of the READMEs and CONTRIBUTING.md: tables that would otherwise go stale.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``; the rest of the
files is written by hand. ``numpro readme`` writes the parts again.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping

from numpro.datasets import DATASETS, loader, sources
from numpro.metrics import PAPER_ROWS, group_scores, headline, table_cells
from numpro.metrics.tables import shared_text
from numpro.paths import root

FILES = ("README.md", "data/README.md", "CONTRIBUTING.md", "docs/results.md",
         "docs/reproduce_the_paper.md")  # fmt: skip
RUNS = ("flipbook", "flipbook_full")
METRICS = ("mIoU", "R@0.3", "R@0.5", "R@0.7", "mAP", "HIT@1")  # the report shows the others too
SHORT = ("mIoU", "R@0.5", "mAP")  # of the one table in README.md
EXPECTED = ("Qwen2-VL-7B", "LongVA-7B-DPO")
_PART = re.compile(r"(<!-- generated: (\S+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)
_DATASETS = {"charades-sta": "Charades-STA test", "qvhighlights": "QVHighlights val",
             "activitynet-captions": "ActivityNet Captions val_2"}  # fmt: skip


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    r"""Return a Markdown table; a name such as R@0.5 is no address, an interval does not break.

    >>> print(markdown_table(["a", "b"], [[1, "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    cells = [[_cell(str(cell)) for cell in line] for line in (heads, *rows)]
    head, *body = ("| " + " | ".join(line) + " |" for line in cells)
    return "\n".join([head, "|" + "---|" * len(cells[0]), *body])


def _cell(text: str) -> str:
    text = re.sub(r" \[([-\d.]+), ([-\d.]+)\]", "\u00a0[\\1,\u00a0\\2]", text)
    return re.sub(r"^\w+@[\d.]+$", r"`\g<0>`", text.replace("|", "\\|"))


def notebook_table() -> str:
    """Return one row a notebook: its title, which is a question."""
    import nbformat

    from numpro.workbook.runs import find_notebooks

    rows = []
    for path in find_notebooks():
        title = nbformat.read(path, as_version=4).cells[0].source.strip().partition("\n")[0]
        rows.append([f"[{path.stem}](notebooks/{path.name})", title.lstrip("# ")])
    return markdown_table(["notebook", "question"], rows)


def results_section(run: str, results: Mapping | None, short: bool = False) -> str:
    """Return the scores of a run and where they come from: all tables, or `short`, for README.md.

    Links of the whole section are those of a page in ``docs/``.
    """
    if results is None:
        return f"No run `{run}` is stored yet."
    where, scores = f"{'' if short else '../'}papermill_runs/{run}", results["scores"]
    machine, versions = results["machine"], results["versions"]
    names = ", ".join(["", *machine["accelerators"]])
    packages = ", ".join(f"{name} {versions[name]}" for name in ("numpro", "torch", "transformers"))
    lines = [
        f"Run `{run}` ([figures and all scores]({where}/report.html), [results.json]"
        f"({where}/results.json)): {len(results['notebooks'])} notebooks in "
        f"{results['seconds'] / 60:.1f} minutes on {machine['cores']} cores{names} "
        f"({machine['processor']}); {packages}, seed {results['seed']}."
    ]
    groups, metrics = group_scores(scores), METRICS
    if short:
        groups, metrics = groups[:1], SHORT
    lines += [headline(scores), *(_scores(group, metrics) for group in groups)]
    return "\n\n".join(line for line in lines if line)


def _scores(group: Mapping, metrics: Iterable[str]) -> str:
    """Return one table of scores; a loaded row or one with a note says so."""
    head, *rows = table_cells(group, [name for name in metrics if name in group["metrics"]])
    for cells, row in zip(rows, group["rows"], strict=True):
        loaded = f"loaded from {row['loaded_from']}" if row.get("loaded_from") else None
        notes = [text for text in (loaded, row.get("note")) if text]
        cells[1] += "".join(f"<br><sub>{text}</sub>" for text in notes)
    return f"**{group['title']}**{shared_text(group)}\n\n{markdown_table(head, rows)}"


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


def flipbook_table() -> str:
    """Return one row a split of the embedded world, counted from its stories."""
    from numpro.flipbook.world import SPLITS, make_film

    rows = []
    for name, split in SPLITS.items():
        queries = sum(len(make_film(name, i).events) for i in range(split.films))
        rows.append([f"`{name}`", split.films, queries, "{:g} to {:g}".format(*split.seconds)])
    return markdown_table(["split", "films", "queries", "seconds a film"], rows)


def loaders_table() -> str:
    """Return one row a loader: the files that it looks for in the data root."""
    rows = []
    for name in DATASETS:
        found = loader(name)
        files = [", ".join(f"`{file}`" for file in files) for files in found.files.values()]
        folders = [f"`{folder}`" for folder in found.folders if folder != "."]
        splits = ", ".join(f"`{split}`" for split in found.files)
        rows.append([f"`{name}`", splits, "; ".join(dict.fromkeys(files)), ", ".join(folders)])
    return markdown_table(["name", "splits", "annotations", "videos, if not beside them"], rows)


def datasets_tables() -> str:
    """Return the published counts of the public datasets, and their downloads."""
    counts, files = [], []
    for name, source in sources().items():
        for split, has in source["published"].items():
            sizes = (f"{has[key]:,}" for key in ("videos", "queries"))
            counts.append([f"`{name}`", f"`{split}`", *sizes, has["video"], has["moment"]])
        for got in source["get"]:
            link = f"[{got['what']}]({got['url']})"
            files.append([f"`{name}`", link, got["size"], got["licence"]])
    heads = ["name", "split", "videos", "queries", "mean video", "mean moment"]
    got = markdown_table(["name", "download", "size", "licence"], files)
    return f"{markdown_table(heads, counts)}\n\n{got}"


def package_table() -> str:
    """Return one row a room of the package: the first line of its docstring."""
    rows = []
    for path in sorted((root() / "numpro").rglob("__init__.py")):
        name = path.parent.relative_to(root()).as_posix()
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        rows.append([f"[{name}/]({name})", about.partition("\n")[0]])
    return markdown_table(["room", "what it is for"], rows)


def _finished(run: str) -> dict | None:
    """Return the results of a run of this folder; None where it is not there or not finished."""
    path = root() / "papermill_runs" / run / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return results if results.get("status") == "complete" else None


def parts() -> dict[str, str]:
    """Return every generated part by its name."""
    made = {"notebooks": notebook_table(), "expected": expected_table()}
    made |= {f"results-{run}": results_section(run, _finished(run)) for run in RUNS}
    made["results-short"] = results_section(RUNS[0], _finished(RUNS[0]), short=True)
    made |= {"loaders": loaders_table(), "datasets": datasets_tables()}
    return made | {"flipbook": flipbook_table(), "package": package_table()}


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
    generated, stale = parts(), {}
    for name in FILES:
        text = (root() / name).read_text(encoding="utf-8")
        if (fresh := fill(text, generated)) != text:
            stale[name] = fresh
    return stale


def write_files() -> list[str]:
    """Write the generated parts from this folder; return the files that changed."""
    stale = stale_files()
    for name, fresh in stale.items():
        (root() / name).write_text(fresh, encoding="utf-8")
    return list(stale)
