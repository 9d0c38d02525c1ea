"""Runs of the workbook: every notebook in order, headless, into one folder that tells all.

A run folder ``papermill_runs/<run>/`` holds the executed notebooks, what they saved
(``scores/``, ``figures/``, ``notes/`` and whatever they wrote with `Run.path`),
``results.json`` and ``report.html``. papermill executes; this module checks the parameters
first, checks that every cell finished, resumes, and collects.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from numpro import __version__
from numpro.metrics.tables import check_score_row
from numpro.parameters import Parameter, check_parameters, read_parameters, read_recipe
from numpro.paths import relative, resolve, root, write_whole
from numpro.provenance import provenance
from numpro.workbook.notebooks import execute
from numpro.workbook.report import render_report

DEFAULT_RUN = "flipbook"


def _write(path: Path, content: object) -> Path:
    """Write text, or anything else as JSON."""
    return write_whole(path, content if isinstance(content, str) else _json(content) + "\n")


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

    def save_figure(self, fig: object, name: str, caption: str = "", alt: str = "") -> Path:
        """Save a picture for the report as ``figures/<name>.png``.

        Parameters
        ----------
        fig : matplotlib Figure or PIL Image
            The picture.
        name : str
            File name without ending; the same name replaces the picture.
        caption : str
            What the report says below it.
        alt : str
            What it shows, for who cannot see it; the caption when not given.
        """
        path = self.path("figures", f"{_file_name(name)}.png")
        if hasattr(fig, "savefig"):
            from numpro.plots.style import small_png

            path.write_bytes(small_png(fig, dpi=144))
        else:
            fig.save(path)
        about = path.with_suffix(".json")
        order = _read(about)["order"] if about.exists() else len(self.figures())
        _write(about, {"order": order, "caption": caption, "alt": alt or caption or name})
        return path

    def show(self, fig: object, name: str, caption: str) -> None:
        """Save a picture for the report and show it in the notebook, the caption as its words."""
        from numpro.plots import show

        self.save_figure(fig, name, caption)
        if hasattr(fig, "set_layout_engine"):
            fig.set_layout_engine("none")  # laid out just now; that is half of drawing
        show(fig, caption)

    def figures(self) -> list[dict]:
        """Return name, caption, alt and path of the saved pictures, in the order of saving."""
        files = self.folder.glob("figures/*.json")
        found = [_read(f) | {"name": f.stem, "path": f.with_suffix(".png")} for f in files]
        return sorted(found, key=lambda figure: (figure["order"], figure["name"]))

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
            When the run has none.
        """
        return _read(self.folder / "results.json")


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
        for name, parameter in read_parameters(_load(path), path.stem).items():
            if known.setdefault(name, parameter).type != parameter.type:
                told = f"an earlier notebook as {known[name].type}; a name must have one type"
                raise ValueError(f"{path.stem} declares {name} as {parameter.type}, {told}")
    return {name: parameter for name, parameter in known.items() if name != "run_dir"}


def _load(path: Path):
    import nbformat

    return nbformat.read(path, as_version=4)


def _new_folder(name: str | None, stem: str | None) -> Path:
    """Return the folder of a new run: named, by recipe (stem) and time, or the default one."""
    stamped = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}" if stem else DEFAULT_RUN
    folder = root() / "papermill_runs" / (name or stamped)
    if folder.name == DEFAULT_RUN and not stem and (folder / "results.json").is_file():
        shutil.rmtree(folder)
    if folder.exists():
        told = f"choose another name (--run), resume it (--resume) or remove {relative(folder)}"
        raise ValueError(f"the run {folder.name} is there already; {told}")
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
) -> Path:  # fmt: skip
    """Execute the notebooks in order into ``papermill_runs/<run>/`` and write the report.

    Notebook, cell and time are shown on stderr.

    Parameters
    ----------
    recipe : path, optional
        A papermill parameter file (flat YAML).
    parameters : Mapping, optional
        Single parameters; they win over the recipe's.
    name : str, optional
        Name of the run. By default ``flipbook`` where nothing else is given (it replaces the
        earlier one), else the recipe's name and the time.
    resume : bool
        Go on with a broken run: notebooks finished with the same source and parameters are
        kept, up to the first that is not; all after it run again, since they build on it.
    only
        The notebooks to run, by the beginnings of their names, such as ``05``; all by default.

    Returns
    -------
    Path
        The run folder, with ``results.json`` and ``report.html``.

    Raises
    ------
    ValueError
        For unknown or mistyped parameters or a name that is taken, before anything runs.
    NotebookError
        When a notebook fails or leaves a cell unfinished.
    """
    books = find_notebooks()
    known = known_parameters(books)
    books = _chosen_books(books, only)
    name, chosen = name and _file_name(name), dict(parameters or {})
    if recipe is not None:
        recipe = Path(recipe) if Path(recipe).is_file() else resolve(recipe)
        from_recipe = read_recipe(recipe)
        check_parameters(from_recipe, known, yaml=True)
        chosen = from_recipe | chosen
    stem = recipe.stem if recipe else DEFAULT_RUN if chosen else None
    before, folder = {}, None
    if resume:
        folder = _broken_folder(name, stem)
        before = Run(folder).results()
        chosen = chosen or before["parameters"]
    check_parameters(chosen, known)
    folder = folder or _new_folder(name, stem)
    started = before.get("started", datetime.now(UTC).isoformat(timespec="seconds"))
    told = relative(recipe) if recipe else before.get("recipe")
    seed = chosen.get("seed", known["seed"].default if "seed" in known else None)
    results = {"run": folder.name, "status": "unfinished", "started": started, "seconds": 0.0}
    results |= {"recipe": told, "parameters": chosen, "seed": seed, **provenance()}
    results |= {"notebooks": [], "notes": {}, "scores": []}
    _execute_all(books, Run(folder), results, before.get("notebooks", []))
    return folder


def _chosen_books(books: list[Path], only: Sequence[str]) -> list[Path]:
    """Return the notebooks whose names begin as told, in their order."""
    for start in only:
        if not any(book.stem.startswith(start) for book in books):
            names = ", ".join(book.stem for book in books)
            raise ValueError(f"only must be beginnings of {names}; got {start!r}")
    return [book for book in books if not only or book.stem.startswith(tuple(only))]


def _execute_all(books: list[Path], run: Run, results: dict, before: list[dict]) -> None:
    """Execute or keep each notebook; results.json is true after each of them."""
    store, notes = run.folder / "results.json", results["notebooks"]
    chosen = results["parameters"] | {"run_dir": relative(run.folder)}
    for number, path in enumerate(books, 1):
        declared = read_parameters(_load(path), path.stem)
        values = {name: value for name, value in chosen.items() if name in declared}
        note = {"name": path.stem, "status": "complete", "fingerprint": _fingerprint(path, values)}
        earlier = before[number - 1] if number <= len(before) else {}
        if earlier | note == earlier:
            note = earlier
        else:
            before = []  # what comes after builds on this one
            effective = {name: parameter.default for name, parameter in declared.items()} | values
            note |= {"status": "unfinished", "seconds": 0.0, "parameters": effective}
            _write(store, results | {"notebooks": [*notes, note]})
            start = monotonic()
            execute(path, run.path(path.name), values, f"[{number}/{len(books)}] {path.stem}")
            note |= {"status": "complete", "seconds": round(monotonic() - start, 1)}
        notes.append(note)
        results["seconds"] = round(sum(n["seconds"] for n in notes), 1)
        results |= {"notes": run.notes, "scores": run.scores()}
        results["status"] = "complete" if number == len(books) else "unfinished"
        _write(store, results)
    _write(run.folder / "report.html", render_report(results, run.figures()))


def _fingerprint(path: Path, values: Mapping) -> str:
    """Return a hash of what decides a notebook's outcome: its source, parameters, our version."""
    cells = [(cell["cell_type"], cell["source"]) for cell in _load(path)["cells"]]
    return hashlib.sha256(_json([cells, values, __version__]).encode()).hexdigest()[:16]
