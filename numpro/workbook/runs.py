"""Runs of the workbook: every notebook, headless, side by side, into one folder of results.

A run folder ``papermill_runs/<run>/`` holds the executed notebooks, what they saved
(``scores/``, ``figures/``, ``notes/`` and whatever they wrote with `Run.path`),
``results.json`` and ``report.html``. This module checks the parameters, starts each notebook
when those that it needs have finished, resumes a broken run and collects the results.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic

from numpro import __version__
from numpro.metrics.tables import check_score_row
from numpro.parameters import Parameter, check_parameters, read_parameters, read_recipe
from numpro.paths import relative, resolve, root, write_whole
from numpro.provenance import provenance
from numpro.workbook.notebooks import NotebookError, check_needs, execute, load, read_needs
from numpro.workbook.report import render_report

DEFAULT_RUN = "workbook"
_FREE = 1e9  # bytes that the answers, pictures and adapters of a run may take
PATHS = ("adapter", "adapters", "clip_model", "data_root", "loaded", "model", "other_bases",
         "pictures", "plain_adapter", "stored", "video")  # fmt: skip
REFERENCE_RUNS = ("flipbook", "flipbook_full")  # git keeps these two and ignores all others


def _write(path: Path, content: object) -> Path:
    return write_whole(path, _json(content) + "\n")


def _json(content: object) -> str:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    # lists of numbers on one line; a line break is never inside a JSON string
    return re.sub(r"\[(\n[-+\d.eE,\s]+?\n\s*)\]", lambda m: f"[{' '.join(m[1].split())}]", text)


def _plain(value: object) -> object:
    """Turn what numpy made into plain numbers and lists."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"cannot store {type(value).__name__} as JSON: {value!r}")
    return value.tolist()


def _read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"a name must be letters, digits, '.', '_' or '-'; got {name!r}")
    return name


def _number(figure: str) -> str:
    """Return the notebook's number that a figure's name begins with, or what sorts behind all."""
    return figure.partition("_")[0] if re.match(r"[A-Z]?\d+_", figure) else "~"


class Run:
    """The folder of one run, as the notebooks see it.

    Parameters
    ----------
    folder : str or Path
        Relative to the project root; made when something is first written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = resolve(folder)

    def __repr__(self) -> str:
        return f"Run({relative(self.folder)!r})"

    def path(self, *parts: str) -> Path:
        """Return a path inside the run folder, whose parent folder then exists."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add_scores(self, rows: Iterable[Mapping], source: str) -> Path:
        """Store score rows under the notebook they come from, replacing its earlier ones.

        Parameters
        ----------
        rows : iterable of mappings
            As `check_score_row` describes them.
        source : str
            Name of the notebook.

        Raises
        ------
        ValueError
            For a row that is not whole.
        """
        rows = [dict(row) for row in rows]
        for row in rows:
            check_score_row(row)
        return _write(self.path("scores", f"{_file_name(source)}.json"), rows)

    def scores(self) -> list[dict]:
        """Return the score rows of all notebooks, in the order of the notebooks."""
        return [row for file in sorted(self.folder.glob("scores/*.json")) for row in _read(file)]

    def save_figure(
        self, fig: object, name: str, caption: str = "", alt: str = "", saw: str = ""
    ) -> Path:
        """Save a picture for the report as ``figures/<name>.png``.

        Parameters
        ----------
        fig : matplotlib Figure or PIL Image
            The picture.
        name : str
            File name without ending; the same name replaces the picture.
        caption : str
            The text below it in the report.
        alt : str
            A description for readers who cannot see it; by default the caption.
        saw : str
            What one sees and what follows from it; the report has it below the picture.
        """
        path = self.path("figures", f"{_file_name(name)}.png")
        if hasattr(fig, "savefig"):
            from numpro.plots.style import small_png

            path.write_bytes(small_png(fig, dpi=144))
        else:
            fig.save(path)
        details = path.with_suffix(".json")
        # each notebook counts its own: others may be saving theirs at the same time
        order = sum(_number(figure["name"]) == _number(name) for figure in self.figures())
        order = _read(details)["order"] if details.exists() else order
        about = {"order": order, "caption": caption, "alt": alt or caption or name}
        _write(details, about | ({"saw": saw} if saw else {}))
        return path

    def show(self, fig: object, name: str, caption: str, saw: str = "") -> None:
        """Save a picture for the report and show it, as `numpro.plots.show` does."""
        from numpro.plots import show

        self.save_figure(fig, name, caption, saw=saw)
        fig.set_layout_engine("none")  # laid out just now; that is half of drawing
        show(fig, caption, saw)

    def figures(self) -> list[dict]:
        """Return name, caption, alt and path of the saved pictures.

        They come in the order of the notebooks whose number their names begin with (``05_bars``)
        and then of saving; other names come last.
        """
        files = self.folder.glob("figures/*.json")
        found = [_read(f) | {"name": f.stem, "path": f.with_suffix(".png")} for f in files]
        return sorted(found, key=lambda f: (_number(f["name"]), f["order"], f["name"]))

    def note(self, name: str, value: object) -> Path:
        """Store a measured value that is no score (seconds, losses, a chosen style)."""
        return _write(self.path("notes", f"{_file_name(name)}.json"), value)

    @property
    def notes(self) -> dict[str, object]:
        """The stored notes by name."""
        return {file.stem: _read(file) for file in sorted(self.folder.glob("notes/*.json"))}

    def results(self) -> dict:
        """Return what ``results.json`` holds.

        Raises
        ------
        FileNotFoundError
            When the run has none; the runs that are there are named.
        """
        if not (file := self.folder / "results.json").is_file():
            there = sorted(path.parent for path in root().glob("papermill_runs/*/results.json"))
            names = ", ".join(map(relative, there)) or "none"
            raise FileNotFoundError(f"no run {relative(self.folder)}; there are: {names}")
        return _read(file)


def find_notebooks(folder: str | os.PathLike = "notebooks") -> list[Path]:
    """Return the notebooks of a folder in order: by number, then the appendices.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    found = resolve(folder).glob("*.ipynb")
    if books := sorted(found, key=lambda path: (not path.stem[0].isdigit(), path.stem)):
        return books
    raise FileNotFoundError(f"no notebooks in {resolve(folder)}")


def known_parameters(notebooks: Iterable[Path]) -> dict[str, Parameter]:
    """Return every parameter that the notebooks declare, except the run's own ``run_dir``.

    Raises
    ------
    ValueError
        When two notebooks declare the same name with different types.
    """
    known: dict[str, Parameter] = {}
    for path in notebooks:
        for name, parameter in read_parameters(load(path), path.stem).items():
            if known.setdefault(name, parameter).type != parameter.type:
                other = f"an earlier notebook as {known[name].type}; a name must have one type"
                raise ValueError(f"{path.stem} declares {name} as {parameter.type}, {other}")
    return {name: parameter for name, parameter in known.items() if name != "run_dir"}


def _new_folder(name: str | None, stem: str | None, reference: bool) -> Path:
    """Return the folder of a new run: named, by recipe (stem) and time, or the default one."""
    stamped = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}" if stem else DEFAULT_RUN
    folder = root() / "papermill_runs" / (name or stamped)
    replaced = reference or (folder.name == DEFAULT_RUN and not stem)
    if replaced and (folder / "results.json").is_file():
        shutil.rmtree(folder)
    if folder.exists():
        ways = f"choose another name (--run), resume it (--resume) or remove {relative(folder)}"
        raise ValueError(f"the run {folder.name} is there already; {ways}")
    return folder


def _broken_folder(name: str | None, stem: str | None) -> Path:
    """Return the folder of the run to resume: the one named, else the newest unfinished one."""
    runs, pattern = root() / "papermill_runs", name or (f"{stem}-*" if stem else DEFAULT_RUN)
    for file in sorted(runs.glob(f"{pattern}/results.json"), reverse=True):
        if "*" not in pattern or _read(file)["status"] != "complete":
            return file.parent
    raise ValueError(f"nothing to resume: no run {pattern} in papermill_runs/")


def run_workbook(
    recipe: str | os.PathLike | None = None, parameters: Mapping[str, object] | None = None,
    name: str | None = None, resume: bool = False, only: Sequence[str] = (),
    jobs: int | None = None, reference: bool = False,
) -> Path:  # fmt: skip
    """Execute the notebooks into ``papermill_runs/<run>/`` and write the report.

    Every notebook that is running shows its cell and time on stderr.

    Parameters
    ----------
    recipe : path, optional
        A papermill parameter file (flat YAML).
    parameters : Mapping, optional
        Single parameters; they win over the recipe's.
    name : str, optional
        Name of the run. By default ``workbook`` where nothing else is given (it replaces the
        earlier one), else the recipe, the data set and model given beside it, and the time.
    resume : bool
        Go on with a broken run: a notebook that finished with the same source and parameters is
        kept, unless one that it needs runs again.
    only
        The notebooks to run, by the beginnings of their names, such as ``05``; all by default.
    jobs : int, optional
        How many notebooks run at the same time, each with its share of the cores; with 1 they
        run in order. By default one a core; one where torch finds an accelerator, since
        they would share its memory.
    reference : bool
        For maintainers: make a run that git keeps again, ``flipbook`` or, with its recipe,
        ``flipbook_full``.

    Returns
    -------
    Path
        The run folder, with ``results.json`` and ``report.html``.

    Raises
    ------
    ValueError
        For unknown or mistyped parameters, a name that is taken, or data, models and adapters
        that a notebook will need and that are not there, before anything runs.
    NotebookError
        When a notebook fails or leaves a cell unfinished. Those that do not need it still run.
    """
    books = find_notebooks()
    known = known_parameters(books)
    everything, books = books, _chosen_books(books, only)
    name, given = name and _file_name(name), dict(parameters or {})
    chosen = given
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1; got {jobs}")
    if recipe is not None:
        recipe = Path(recipe) if Path(recipe).is_file() else resolve(recipe)
        from_recipe = read_recipe(recipe)
        check_parameters(from_recipe, known, yaml=True)
        chosen = from_recipe | chosen
    stem = recipe.stem if recipe else DEFAULT_RUN if chosen else None
    if about := [Path(str(given[key])).name for key in ("dataset", "model") if key in given]:
        stem = re.sub(r"[^\w.-]+", "-", "-".join([*([recipe.stem] if recipe else []), *about]))
    if reference:
        if name or parameters or only or stem not in (None, REFERENCE_RUNS[1]):
            raise ValueError("a reference run takes no options but the recipe of flipbook_full")
        name = stem or REFERENCE_RUNS[0]
    folder = _broken_folder(name, stem) if resume else None
    before = Run(folder).results() if folder else {}
    chosen = chosen or before.get("parameters", {})
    check_parameters(chosen, known)
    chosen = {key: _from_here(value) if key in PATHS else value for key, value in chosen.items()}
    needs = read_needs(everything, chosen)
    folder = folder or _new_folder(name, stem, reference)
    started = before.get("started", datetime.now(UTC).isoformat(timespec="seconds"))
    source = relative(recipe) if recipe else before.get("recipe")
    seed = chosen.get("seed", known["seed"].default if "seed" in known else None)
    results = {"run": folder.name, "status": "unfinished", "started": started, "seconds": 0.0}
    results |= {"recipe": source, "parameters": chosen, "seed": seed, **provenance()}
    _execute_all(books, needs, Run(folder), results, before.get("notebooks", []), jobs)
    return folder


def _from_here(path: object) -> object:
    """Return a path that counts from the working directory as the root's, for a kernel elsewhere.

    Of a list each; what is no path there stays, as the words that such a parameter may be.
    """
    if isinstance(path, list):
        return [_from_here(one) for one in path]
    words = (None, "", "flipbook", "none", "run")
    return path if path in words or not Path(path).exists() else relative(Path(path).absolute())


def _chosen_books(books: list[Path], only: Sequence[str]) -> list[Path]:
    """Return the notebooks whose names begin with one of `only`, in order."""
    for start in only:
        if not any(book.stem.startswith(start) for book in books):
            names = ", ".join(book.stem for book in books)
            raise ValueError(f"only must be beginnings of {names}; got {start!r}")
    return [book for book in books if not only or book.stem.startswith(tuple(only))]


def _execute_all(
    books: list[Path], needs: Mapping[str, set[str]], run: Run, results: dict, before: list[dict],
    jobs: int | None,
) -> None:  # fmt: skip
    """Execute or keep each notebook; results.json is true after each of them."""
    from tqdm import tqdm

    from numpro.workbook.kernels import side_by_side

    entries, tasks = _plan(books, needs, run, results["parameters"], before)
    if results["parameters"]:  # what a run of defaults needs is here
        ready = {book: entries[book.stem]["parameters"] for book in books if book.stem in tasks}
        check_needs(ready)
    if (free := shutil.disk_usage(root()).free) < _FREE:
        raise OSError(f"{free / 1e9:.2f} GB are free on the disk; a run needs {_FREE / 1e9:.0f}")
    for name in tasks:  # it may no longer make the pictures that it made before
        for file in run.folder.glob(f"figures/{name.partition('_')[0]}_*"):
            file.unlink()
    usual = _usual_seconds()
    start, kept = monotonic(), sum(entry["seconds"] for entry in entries.values())
    cores, failures = results["machine"]["cores"], {}
    jobs = min(jobs or (1 if results["machine"]["accelerators"] else cores), len(tasks) or 1)

    def store() -> None:
        complete = all(entry["status"] == "complete" for entry in entries.values())
        results["status"] = "complete" if complete else "unfinished"
        results["seconds"] = round(kept + monotonic() - start, 1)
        results.update(notebooks=list(entries.values()), notes=run.notes, scores=run.scores())
        _write(run.folder / "results.json", results)

    store()
    # papermill changes the folder of the whole process: here it is the same for all threads
    with chdir(books[0].parent), closing(side_by_side(tasks, needs, jobs, cores, usual)) as ended:
        for name, seconds, failure in ended:
            if failure:
                failures[name] = failure
                tqdm.write(f"{name}: {failure}", file=sys.stderr)
            else:
                entries[name] |= {"status": "complete", "seconds": seconds}
            store()
    if failures:
        text = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
        raise NotebookError(text) from next(iter(failures.values()))
    write_whole(run.folder / "report.html", render_report(results, run.figures()))


def _usual_seconds() -> dict[str, float]:
    """Return how long each notebook took in the stored run of the default workbook."""
    file = root() / "papermill_runs" / REFERENCE_RUNS[0] / "results.json"
    entries = _read(file)["notebooks"] if file.exists() else []
    return {entry["name"]: entry["seconds"] for entry in entries}


def _plan(
    books: list[Path], needs: Mapping[str, set[str]], run: Run, chosen: Mapping, before: list[dict]
) -> tuple[dict[str, dict], dict[str, Callable[[], None]]]:
    """Return by name each notebook's entry in results.json, and what executes those not kept."""
    chosen = {**chosen, "run_dir": relative(run.folder)}
    earlier, entries, tasks = {entry["name"]: entry for entry in before}, {}, {}
    for number, path in enumerate(books, 1):
        name, title = path.stem, f"[{number}/{len(books)}] {path.stem}"
        declared = read_parameters(load(path), name)
        values = {key: value for key, value in chosen.items() if key in declared}
        entry = {"name": name, "status": "complete", "fingerprint": _fingerprint(path, values)}
        old = earlier.get(name, {})
        if old | entry != old or needs[name] & tasks.keys():
            effective = {key: parameter.default for key, parameter in declared.items()} | values
            old = entry | {"status": "unfinished", "seconds": 0.0, "parameters": effective}
            tasks[name] = partial(execute, path, run.folder / path.name, values, title)
        entries[name] = old
    return entries, tasks


def _fingerprint(path: Path, values: Mapping) -> str:
    """Return a hash of what decides a notebook's outcome: its source, parameters, our version."""
    cells = [(cell["cell_type"], cell["source"]) for cell in load(path)["cells"]]
    return hashlib.sha256(_json([cells, values, __version__]).encode()).hexdigest()[:16]
