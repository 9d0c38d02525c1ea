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

from . import __version__
from .notebooks import NotebookError, execute
from .parameters import Parameter, check_parameters, read_parameters, read_recipe
from .paths import relative, resolve, root
from .provenance import provenance
from .report import check_score_row, render_report, score_table

__all__ = ["NotebookError", "Run", "check_score_row", "run_workbook", "score_table"]

DEFAULT_RUN = "flipbook"
_RESERVED = ("recipes", "interactive")


def _write(path: Path, content: object) -> Path:
    """Write text, or anything else as JSON, so that a reader sees all of it or nothing."""
    text = content if isinstance(content, str) else _json(content) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def _json(content: object) -> str:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    # lists of numbers on one line; a line break is never inside a JSON string
    numbers = re.compile(r"\[(\n[-+\d.eE,\s]+?\n\s*)\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def _plain(value: object) -> object:
    """Turn what numpy made into plain numbers and lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot store {type(value).__name__} as JSON: {value!r}")


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
        """Return a path inside the run folder, whose parent folder then exists.

        Raises
        ------
        ValueError
            When the path leads out of the run folder.
        """
        path = self.folder.joinpath(*parts)
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"a path must stay in the run folder; got {'/'.join(parts)!r}")
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
            # no software version in the file: the same picture stays the same bytes
            fig.savefig(path, dpi=144, bbox_inches="tight", metadata={"Software": None})
        else:
            fig.save(path)
        about = path.with_suffix(".json")
        order = _read(about)["order"] if about.exists() else len(self.figures())
        _write(about, {"order": order, "caption": caption, "alt": alt or caption or name})
        return path

    def figures(self) -> list[dict]:
        """Return name, caption, alt and path of the saved pictures, in the order of saving."""
        found = [
            _read(file) | {"name": file.stem, "path": file.with_suffix(".png")}
            for file in self.folder.glob("figures/*.json")
        ]
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


def find_notebooks(notebooks: str | os.PathLike | Sequence | None = None) -> list[Path]:
    """Return the notebooks of a run in order: by number, then the appendices.

    Parameters
    ----------
    notebooks : path, sequence of paths, or None
        A folder; or the notebooks themselves; None is ``notebooks/`` of the project.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    if notebooks is None or isinstance(notebooks, str | os.PathLike):
        folder = resolve(notebooks or "notebooks")
        found = sorted(folder.glob("*.ipynb"), key=lambda p: (not p.stem[0].isdigit(), p.stem))
    else:
        folder, found = "the list given", [resolve(path) for path in notebooks]
    if not found or not all(path.is_file() for path in found):
        raise FileNotFoundError(f"no notebooks in {folder}")
    return found


def known_parameters(notebooks: Sequence[Path]) -> dict[str, Parameter]:
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
                raise ValueError(
                    f"{path.stem} declares {name} as {parameter.type}, an earlier notebook as "
                    f"{known[name].type}; a name must have one type"
                )
    known.pop("run_dir", None)
    return known


def _load(path: Path):
    import nbformat

    return nbformat.read(path, as_version=4)


def _choose_folder(name: str | None, stem: str | None, default: bool, resume: bool) -> Path:
    """Return the run's folder: named, the default one, or stem and time; refuse a taken one."""
    runs = root() / "papermill_runs"
    if name is not None and (_file_name(name) in _RESERVED):
        raise ValueError(f"a run may not be called {', '.join(_RESERVED)}; got {name}")
    if name is None and default:
        name = DEFAULT_RUN
    if resume:
        broken = [
            file.parent
            for file in sorted(runs.glob(f"{name or stem + '-*'}/results.json"))
            if name or _read(file)["status"] != "complete"
        ]
        if not broken:
            raise ValueError(f"nothing to resume: no run {name or stem + '-…'} in {runs.name}/")
        return broken[-1]
    folder = runs / (name or f"{stem}-{datetime.now():%Y%m%d-%H%M%S}")
    if folder.exists() and not (default and folder.name == DEFAULT_RUN):
        raise ValueError(
            f"the run {folder.name} is there already; resume it (--resume), remove "
            f"{relative(folder)} or choose another name (--run)"
        )
    return folder


def run_workbook(
    recipe: str | os.PathLike | None = None,
    parameters: Mapping[str, object] | None = None,
    name: str | None = None,
    notebooks: str | os.PathLike | Sequence | None = None,
    resume: bool = False,
    echo: bool = True,
) -> Path:
    """Execute the notebooks in order into ``papermill_runs/<run>/`` and write the report.

    Parameters
    ----------
    recipe : path, optional
        A papermill parameter file (flat YAML).
    parameters : Mapping, optional
        Single parameters; they win over the recipe's.
    name : str, optional
        Name of the run. By default ``flipbook`` where nothing else is given (it replaces the
        earlier one), else the recipe's name and the time.
    notebooks : path or sequence of paths, optional
        Other notebooks than the project's.
    resume : bool
        Go on with a broken run: notebooks finished with the same source and parameters are
        kept, up to the first that is not; all after it run again, since they build on it.
    echo : bool
        Show notebook, cell and time on stderr.

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
    books = find_notebooks(notebooks)
    known = known_parameters(books)
    chosen = dict(parameters or {})
    if recipe is not None:
        recipe = Path(recipe) if Path(recipe).is_file() else resolve(recipe)
        from_recipe = read_recipe(recipe)
        check_parameters(from_recipe, known, yaml=True)
        chosen = from_recipe | chosen
    check_parameters(chosen, known)
    default = recipe is None and not chosen and notebooks is None
    stem = recipe.stem if recipe else DEFAULT_RUN
    folder = _choose_folder(name, stem, default, resume)
    before = Run(folder).results() if resume else {}
    if resume and recipe is None and not chosen:
        chosen = before["parameters"]
        check_parameters(chosen, known)
    results = _start(folder, before, recipe, chosen, known)
    _execute_all(books, folder, results, before, echo)
    return folder


def _start(
    folder: Path, before: dict, recipe: Path | None, chosen: dict, known: Mapping[str, Parameter]
) -> dict:
    """Make the folder and the first results.json."""
    if not before and folder.exists():
        if any(folder.iterdir()) and not (folder / "results.json").is_file():
            raise ValueError(f"{relative(folder)} is in the way: it holds no run")
        shutil.rmtree(folder)
    seed = chosen.get("seed", known["seed"].default if "seed" in known else None)
    results = {
        "run": folder.name,
        "status": "unfinished",
        "started": before.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
        "seconds": 0.0,
        "recipe": relative(recipe) if recipe else before.get("recipe"),
        "parameters": chosen,
        "seed": seed,
        **provenance(),
        "notebooks": [],
        "notes": {},
        "scores": [],
    }
    _write(folder / "results.json", results)
    return results


def _execute_all(books: list[Path], folder: Path, results: dict, before: dict, echo: bool) -> None:
    """Execute or keep each notebook; results.json is true after each of them."""
    earlier = {note["name"]: note for note in before.get("notebooks", [])}
    keep, run = bool(before), Run(folder)
    for number, path in enumerate(books, 1):
        values, effective = _values(path, folder, results["parameters"])
        mark = _fingerprint(path, values)
        note = earlier.get(path.stem, {})
        keep = keep and note.get("status") == "complete" and note.get("fingerprint") == mark
        if not keep:
            title = f"[{number}/{len(books)}] {path.stem}" if echo else None
            note = {"name": path.stem, "status": "unfinished", "seconds": 0.0}
            note |= {"fingerprint": mark, "parameters": effective}
            _write(folder / "results.json", results | {"notebooks": [*results["notebooks"], note]})
            start = monotonic()
            execute(path, folder / path.name, values, title)
            note |= {"status": "complete", "seconds": round(monotonic() - start, 1)}
        results["notebooks"].append(note)
        results["seconds"] = round(sum(n["seconds"] for n in results["notebooks"]), 1)
        results |= {"notes": run.notes, "scores": run.scores()}
        results["status"] = "complete" if number == len(books) else "unfinished"
        _write(folder / "results.json", results)
    _write(folder / "report.html", render_report(results, run.figures()))


def _values(path: Path, folder: Path, chosen: Mapping) -> tuple[dict, dict]:
    """Return what is injected into one notebook and what its parameters then are."""
    declared = read_parameters(_load(path), path.stem)
    values = {name: value for name, value in chosen.items() if name in declared}
    if "run_dir" in declared:
        values["run_dir"] = relative(folder)
    return values, {name: parameter.default for name, parameter in declared.items()} | values


def _fingerprint(path: Path, values: Mapping) -> str:
    """Return a hash of what decides a notebook's outcome: its source, parameters, our version."""
    cells = [(cell["cell_type"], cell["source"]) for cell in _load(path)["cells"]]
    return hashlib.sha256(_json([cells, values, __version__]).encode()).hexdigest()[:16]
