"""The package stays readable: short functions and files, every public name annotated.

That every public name has a docstring is ruff's to check (rules D).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_lines import code_lines, docstring_lines

import numpro

PACKAGE = Path(numpro.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FUNCTION, LONGEST_FILE = 40, 250


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield public functions, and public methods of public classes."""
    for part in getattr(node, "body", []):
        if isinstance(part, ast.ClassDef) and not part.name.startswith("_"):
            yield from public_functions(part)
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            yield part


def is_command(function: ast.FunctionDef) -> bool:
    """Tell a command of click, whose arguments its options describe."""
    called = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return any(isinstance(d, ast.Attribute) and d.attr in ("command", "group") for d in called)


def test_what_is_counted():
    source = 'def f(a: int) -> int:\n    """Say.\n\n    More.\n    """\n    # why\n\n    return a\n'
    assert code_lines(source) == 2
    assert [f.name for f in public_functions(ast.parse(source))] == ["f"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_go(path):
    source = path.read_text(encoding="utf-8")
    assert code_lines(source) <= LONGEST_FILE
    tree = ast.parse(source)
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef):
            lines = range(part.body[0].lineno, part.end_lineno + 1)
            assert len(set(lines) - docstring_lines(part)) <= LONGEST_FUNCTION, part.name
    for function in public_functions(tree):
        if not is_command(function):
            arguments = function.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            bare = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
            missing = bare + ["what it returns"] * (function.returns is None)
            assert not missing, f"{function.name} (line {function.lineno}) lacks annotations"
