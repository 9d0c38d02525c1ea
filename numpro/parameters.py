"""The parameters of a notebook: their names, types and defaults, and how text becomes a value.

papermill accepts an unknown or mistyped parameter with a log line and guesses the type of what
is typed (``007`` is 7, ``true`` is text). Here a name must exist and a value must have the type
that the notebook's ``parameters`` cell declares, before anything runs.
"""

import ast
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_YAML_HINT = (
    "YAML 1.1 reads yes, no, on, off as booleans, 1:30 as 90 and 1e5 as text; put quotes around "
    "text and write floats with a point and a signed exponent (1.0e+5)"
)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One line ``name: type = default  # help`` of a parameters cell."""

    name: str
    type: str
    default: object
    help: str = ""

    def accepts(self, value: object) -> bool:
        """Tell whether `value` has the declared type (an int is a fine float).

        >>> Parameter("fps", "float", 1.0).accepts(2)
        True
        >>> Parameter("video", "str", "").accepts(90)
        False
        """
        return _fits(value, _annotation(self.type))

    def parse(self, text: str) -> object:
        """Turn `text` from a command line into a value of the declared type.

        >>> Parameter("video", "str", "").parse("007")
        '007'
        >>> Parameter("positions", "list[str]", []).parse("center,top_left")
        ['center', 'top_left']

        Raises
        ------
        ValueError
            When the text does not say a value of that type.
        """
        try:
            value = _parse(text, _annotation(self.type))
        except ValueError:
            raise ValueError(f"parameter {self.name} must be {self.type}; got {text!r}") from None
        if not self.accepts(value):
            raise ValueError(f"parameter {self.name} must be {self.type}; got {text!r}")
        return value


def _annotation(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _fits(value: object, kind: ast.expr) -> bool:
    match kind:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return isinstance(value, list) and all(_fits(item, inner) for item in value)
        case ast.Name(id="float"):
            return type(value) in (int, float) and math.isfinite(value)
        case ast.Name(id=("int" | "str" | "bool" | "list" | "dict") as name):
            return type(value).__name__ == name
    raise ValueError(
        f"a parameter's type must be int, float, str, bool, list, list[...], dict, None or these "
        f"joined by |; got {ast.unparse(kind)}"
    )


def _parse(text: str, kind: ast.expr) -> object:
    match kind:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            try:
                # None first: otherwise `str | None` could never be None
                return _parse(text, right)
            except ValueError:
                return _parse(text, left)
        case ast.Constant(value=None):
            if text != "None":
                raise ValueError(text)
            return None
        case ast.Name(id="bool"):
            if text.lower() not in _TRUTH:
                raise ValueError(text)
            return _TRUTH[text.lower()]
        case ast.Name(id="str"):
            return text
        case ast.Name(id=("int" | "float") as name):
            return {"int": int, "float": float}[name](text)
        case ast.Subscript(slice=inner) if not text.lstrip().startswith("["):
            return [_parse(item.strip(), inner) for item in text.split(",") if item.strip()]
    return json.loads(text)


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
    found = {}
    for cell in cells:
        lines = cell["source"].splitlines()
        for node in ast.parse(cell["source"]).body:
            line = lines[node.end_lineno - 1]
            try:
                if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                    raise ValueError(line)
                default = ast.literal_eval(node.value)
            except (ValueError, TypeError):
                raise ValueError(
                    f"{name}: a line of the parameters cell must read "
                    f"'name: type = literal  # comment'; got {line!r}"
                ) from None
            # columns count bytes, hence the detour
            comment = line.encode()[node.end_col_offset :].decode().strip(" #")
            kind = ast.unparse(node.annotation)
            found[node.target.id] = Parameter(node.target.id, kind, default, comment)
            if not found[node.target.id].accepts(default):
                raise ValueError(f"{name}: the default does not have the declared type: {line!r}")
    return found


def read_recipe(path: Path) -> dict:
    """Read a recipe: a papermill parameter file, one flat YAML mapping of names to values.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is no YAML, no mapping, or YAML made something else of a name.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"no recipe {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"recipe {path.name} is not YAML: {' '.join(str(error).split())}"
        ) from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f"recipe {path.name} must hold 'name: value' lines; got {content!r}")
    for name in content:
        if not isinstance(name, str):
            raise ValueError(
                f"recipe {path.name}: a name must be text; got {name!r} ({_YAML_HINT})"
            )
    return content


def _unknown(name: str, known: Mapping[str, Parameter]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    there = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown parameter {name}; {there}"


def check_parameters(
    given: Mapping[str, object], known: Mapping[str, Parameter], yaml: bool = False
) -> None:
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
    hint = f" ({_YAML_HINT})" if yaml else ""
    faults = [_unknown(name, known) for name in given if name not in known]
    faults += [
        f"parameter {name} must be {known[name].type}; got {value!r}{hint}"
        for name, value in given.items()
        if name in known and not known[name].accepts(value)
    ]
    if faults:
        raise ValueError("; ".join(faults))


def parse_pairs(
    pairs: Sequence[tuple[str, str]], known: Mapping[str, Parameter]
) -> dict[str, object]:
    """Turn ``-p NAME VALUE`` pairs of text into typed values.

    Raises
    ------
    ValueError
        For an unknown name or a text that does not say a value of the declared type.
    """
    if faults := [_unknown(name, known) for name, _ in pairs if name not in known]:
        raise ValueError("; ".join(faults))
    return {name: known[name].parse(text) for name, text in pairs}
