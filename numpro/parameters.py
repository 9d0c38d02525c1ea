"""The parameters of a notebook: their names, types and defaults, and how text becomes a value.

papermill accepts an unknown or mistyped parameter with a log line and guesses the type of what
you type (``007`` is 7, ``true`` is text); its inspection of a notebook overlooks
``str | None``.
Here a name must exist and a value must have the type that the notebook's ``parameters`` cell
declares, before anything runs.
"""

import ast
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from numpro.paths import parse_yaml

_YAML_HINT = (
    "YAML 1.1 reads yes, no, on, off as booleans, 1:30 as 90 and 1e5 as text; put quotes around "
    "text and write floats with a point and a signed exponent (1.0e+5)"
)
_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line ``name: type = default  # comment`` of a parameters cell."""

    name: str
    type: str
    default: object

    def accepts(self, value: object) -> bool:
        """Tell whether `value` has the declared type (an int is a fine float).

        >>> Parameter("fps", "float", 1.0).accepts(2)
        True
        >>> Parameter("video", "str", "").accepts(90)
        False
        """
        return _fits(value, self.type)

    def parse(self, text: str) -> object:
        """Turn `text` from a command line into a value of the declared type.

        >>> Parameter("video", "str", "").parse("007")
        '007'
        >>> Parameter("positions", "list[str]", []).parse("center,top_left")
        ['center', 'top_left']

        Raises
        ------
        ValueError
            When the text is no value of that type.
        """
        with suppress(ValueError, click.BadParameter):
            value = _parse(text, self.type)
            if self.accepts(value):
                return value
        raise ValueError(f"parameter {self.name} must be {self.type}; got {text!r}")


def _fits(value: object, kind: str) -> bool:
    if kind.endswith(" | None"):
        return value is None or _fits(value, kind.removesuffix(" | None"))
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(item, kind[5:-1]) for item in value)
    if kind not in _TYPES:
        accepted = f"{', '.join(_TYPES)}, list[...] of these, or one of these | None"
        raise ValueError(f"a parameter's type must be {accepted}; got {kind}")
    if kind == "float":
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is _TYPES[kind]


def _out_of_range(value: object, kind: str) -> str:
    """Return what a number should be that no parameter takes: rates are above 0, counts from 0."""
    if kind == "float":
        return "above 0" * (value <= 0)
    numbers = value if isinstance(value, list) else [value]
    return "at least 0" * any(isinstance(number, int) and number < 0 for number in numbers)


def _parse(text: str, kind: str) -> object:
    if kind.endswith(" | None"):
        return None if text == "None" else _parse(text, kind.removesuffix(" | None"))
    if not kind.startswith("list["):
        return click.types.convert_type(_TYPES[kind]).convert(text, None, None)
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [_parse(item.strip(), kind[5:-1]) for item in text.split(",") if item.strip()]


def read_parameters(notebook: Mapping, name: str = "notebook") -> dict[str, Parameter]:
    """Return the parameters that the cell tagged ``parameters`` declares.

    Parameters
    ----------
    notebook : Mapping
        A notebook as `nbformat.read` gives it.
    name : str
        What to call the notebook in an error.

    Returns
    -------
    dict of str to Parameter
        In the order of the cell; empty where there is no such cell.

    Raises
    ------
    ValueError
        For a line that is not ``name: type = literal  # comment``.
    """
    cells = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    source = "\n".join(cell["source"] for cell in cells)
    found = {}
    for node in ast.parse(source).body:
        line = source.splitlines()[node.end_lineno - 1]
        try:
            key, kind, default = node.target.id, node.annotation, ast.literal_eval(node.value)
        except (AttributeError, ValueError, TypeError):
            form = "a line of the parameters cell must read 'name: type = literal  # comment'"
            raise ValueError(f"{name}: {form}; got {line!r}") from None
        found[key] = Parameter(key, ast.unparse(kind), default)
        if not found[key].accepts(default):
            raise ValueError(f"{name}: the default does not have the declared type: {line!r}")
    return found


def read_recipe(path: Path) -> dict:
    """Read a recipe: a papermill parameter file, one flat YAML mapping of names to values.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not YAML or not a mapping, or when YAML reads a name as no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no recipe {path}")
    content = parse_yaml(path.read_bytes(), f"recipe {path.name}") or {}
    if not isinstance(content, dict):
        raise ValueError(f"recipe {path.name} must hold 'name: value' lines; got {content!r}")
    if odd := [name for name in content if not isinstance(name, str)]:
        raise ValueError(f"recipe {path.name}: a name must be text; got {odd[0]!r} ({_YAML_HINT})")
    return content


def check_parameters(given: Mapping, known: Mapping[str, Parameter], yaml: bool = False) -> None:
    """Refuse parameters that no notebook declares or whose value has another type.

    Parameters
    ----------
    given : Mapping
        Names and values.
    known : Mapping
        What the notebooks declare.
    yaml : bool
        Whether the values come from a YAML file; an error then says how YAML misreads.

    Raises
    ------
    ValueError
        Naming every fault, the nearest known names and the declared types.
    """
    faults = []
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            there = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            faults.append(f"unknown parameter {name}; {there}")
        elif not known[name].accepts(value):
            hint = f" ({_YAML_HINT})" if yaml else ""
            faults.append(f"parameter {name} must be {known[name].type}; got {value!r}{hint}")
        elif not name.startswith("seed") and (out := _out_of_range(value, known[name].type)):
            faults.append(f"parameter {name} must be {out}; got {value!r}")
    if faults:
        raise ValueError("; ".join(faults))


def parse_pairs(pairs: Sequence, known: Mapping[str, Parameter]) -> dict[str, object]:
    """Turn ``-p NAME VALUE`` pairs of text into typed values.

    Raises
    ------
    ValueError
        For an unknown name, or a text that is no value of the declared type.
    """
    check_parameters({name: text for name, text in pairs if name not in known}, known)
    return {name: known[name].parse(text) for name, text in pairs}
