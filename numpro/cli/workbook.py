"""``numpro run``, ``compare`` and ``readme``: the notebooks, and what is made of their results."""

from pathlib import Path

from numpro import paths
from numpro.cli.base import main, say
from numpro.metrics import tables
from numpro.parameters import parse_pairs
from numpro.workbook import runs


@main.command()
def run(recipe, pairs, name, resume, only, jobs, reference) -> None:
    """Run every notebook, headless, into papermill_runs/<run>/.

    A notebook starts when those that it needs have finished; --jobs 1 runs one after the other.

    RECIPE is a papermill parameter file (YAML: name: value). Only parameters that the notebooks
    declare are taken, of the declared type.

    Example:
      numpro run
      numpro run papermill_runs/recipes/flipbook_full.yaml -p seed 1
      numpro run --run mine --resume --jobs 1
    """
    parameters = parse_pairs(pairs, runs.known_parameters(runs.find_notebooks()))
    folder = runs.run_workbook(recipe, parameters, name, resume, only, jobs, reference)
    results, where = runs.Run(folder).results(), paths.relative(folder)
    lines = [f"{len(results['notebooks'])} notebooks in {results['seconds']:.0f} s"]
    lines += [f"results: {where}/results.json", f"report:  {where}/report.html"]
    say(results | {"folder": where}, tables.score_text(results["scores"]), "", *lines)


@main.command()
def readme(check) -> None:
    """Write the generated parts of README.md and data/README.md again.

    Example:
      numpro readme
      numpro readme --check
    """
    from numpro.workbook.opening import load_script

    changed = load_script("docs/tables.py").write_files(check)
    say({"changed": changed}, *([f"wrote {name}" for name in changed] or ["nothing is stale"]))


@main.command()
def compare(folders, metric, out) -> None:
    """Put runs beside each other: what was set otherwise, and what came of it.

    Every way of giving the time that a run has asked with stands in a row, and floors and ceiling.

    Example:
      numpro compare papermill_runs/flipbook papermill_runs/mine --out sweep.png
    """
    from numpro.plots import run_scores, save
    from numpro.workbook import comparison

    results = [runs.Run(Path(folder).absolute()).results() for folder in folders]
    rows = comparison.compare(results, metric, tables.ROLES)
    names, lines = [Path(folder).name for folder in folders], comparison.lines(results, rows)
    if out:
        of_models = [row for row in rows if tables.role(row["method"]) == "model"]
        save(run_scores(of_models, names), out)
        lines = [*lines, f"picture: {out}"]
    say({"runs": names, "differs": comparison.differing(results), "scores": rows}, *lines)


@main.command()
def leaderboard(folders) -> None:
    """Print the leaderboard of time encodings of stored runs, yours beside ours.

    Example:
      numpro leaderboard papermill_runs/flipbook papermill_runs/mine

    A row of your own: numpro run papermill_runs/recipes/encodings.yaml --only 07 --run mine
    """
    from numpro.workbook import comparison, markdown_table

    heads, rows = comparison.leaderboard([runs.Run(folder).results() for folder in folders])
    say({"rows": [dict(zip(heads, row, strict=True)) for row in rows]}, markdown_table(heads, rows))


@main.command()
def student(folder) -> None:
    """Write the notebooks without their solutions into DIR, for those who learn from them.

    Each exercise keeps its empty cell and the cell that checks it.

    Example:
      numpro student course
      jupyter lab course/00_start_here.ipynb
    """
    from numpro.workbook.exercises import write_student_copies

    files = write_student_copies(folder)
    say({"files": files}, *[f"wrote {paths.relative(file)}" for file in files])
