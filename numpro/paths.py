"""Where things lie: the project root, the data folder, the embedded models."""

import os
from pathlib import Path


def root() -> Path:
    """Return the project root, wherever the process was started.

    Looked for in this order: the environment variable ``NUMPRO_ROOT``; the working directory
    and its parents (a folder with ``notebooks`` and ``numpro``); the folder above the package.

    Raises
    ------
    FileNotFoundError
        When ``NUMPRO_ROOT`` is set and is not a folder.
    """
    if named := os.environ.get("NUMPRO_ROOT"):
        if not Path(named).is_dir():
            raise FileNotFoundError(f"NUMPRO_ROOT must name a folder; got {named!r}")
        return Path(named).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "numpro" / "__init__.py").is_file():
            return folder
    return Path(__file__).resolve().parents[1]


def resolve(path: str | os.PathLike) -> Path:
    """Return `path` as an absolute path; a relative one counts from the project root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else root() / path


def find(path: str | os.PathLike) -> Path:
    """Return a path to read as an absolute one: from the working directory, else from the root.

    A relative path that is in neither is that from the root; `places` says where was looked.
    """
    here = Path(path).expanduser().absolute()
    return here if os.path.exists(here) else resolve(path)


def places(path: str | os.PathLike) -> str:
    """Say in which folders `find` looks for a path, for an error; nothing for an absolute one."""
    if Path(path).expanduser().is_absolute():
        return ""
    return " (looked in " + " and ".join(dict.fromkeys(map(str, (Path.cwd(), root())))) + ")"


def relative(path: str | os.PathLike) -> str:
    """Return `path` as shown to people: relative to the project root where it lies inside."""
    path = Path(path)
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


def write_whole(path: Path, text: str) -> Path:
    """Write a text file so that a reader, or a kill, finds all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(half, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)  # what a full disk left
    return path


def parse_yaml(text: str | bytes, name: object) -> object:
    """Return what a text of YAML holds; a `ValueError` that begins with `name` if it is none."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not YAML: {error}") from error


def yaml_beside(module_file: str, name: str = "") -> dict:
    """Return the table in the YAML file of this name beside a module, by default the module's."""
    path = Path(module_file)
    path = path.with_name(name) if name else path.with_suffix(".yaml")
    return parse_yaml(path.read_bytes(), path)


def flipbook_dir(*parts: str) -> Path:
    """Return a path under ``data/flipbook``."""
    return root().joinpath("data", "flipbook", *parts)


def find_model(name: str | os.PathLike) -> str:
    """Turn a model or adapter name into what ``from_pretrained`` takes.

    A path that exists (from the working directory or the project root) is returned as a path;
    ``flipbook/NAME`` is the embedded ``data/flipbook/models/NAME``; anything else is taken
    as a hub id and returned as it is.

    Raises
    ------
    FileNotFoundError
        For a ``flipbook/`` name that is not there (the ones that are there are listed).
    """
    if find(name).is_dir():
        return str(find(name))
    if str(name).startswith("flipbook/"):
        folder = flipbook_dir("models")
        found = folder / str(name).removeprefix("flipbook/")
        if found.is_dir():
            return str(found)
        there = sorted(f"flipbook/{p.name}" for p in folder.glob("*") if p.is_dir())
        raise FileNotFoundError(f"no embedded model {str(name)!r}; there are: {', '.join(there)}")
    return str(name)
