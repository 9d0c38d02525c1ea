"""What is counted in source code: lines that hold code, and the names that it gives."""

import ast
import io
import tokenize
from collections.abc import Iterator

_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


def docstring_lines(node: ast.AST) -> set[int]:
    """Return the lines of the docstrings in a module, class or function."""
    found = set()
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    for part in ast.walk(node):
        if isinstance(part, kinds) and ast.get_docstring(part):
            found |= set(range(part.body[0].lineno, part.body[0].end_lineno + 1))
    return found


def code_lines(source: str) -> int:
    """Count lines that hold code: no comments, docstrings or empty lines."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(source)))


def source_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each variable, attribute, function, parameter and argument."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword | ast.alias):
            name = node.arg if isinstance(node, ast.keyword) else node.asname
            if name:
                yield node.lineno if isinstance(node, ast.alias) else node.value.lineno, name
