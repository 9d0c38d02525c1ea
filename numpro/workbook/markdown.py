"""Text for a page in Markdown: tables, and what someone else wrote."""

import re
from collections.abc import Iterable


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    r"""Return a Markdown table; a name such as R@0.5 is no address, an interval does not break.

    >>> print(markdown_table(["a", "b"], [[1, "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    cells = [[markdown_cell(str(cell)) for cell in line] for line in (heads, *rows)]
    head, *body = ("| " + " | ".join(line) + " |" for line in cells)
    return "\n".join([head, "|" + "---|" * len(cells[0]), *body])


def plain_text(text: str) -> str:
    """Return what someone else wrote, an answer say, so that no part of it is markup.

    >>> plain_text("<b>1</b> *2*")
    '<code>&#60;b&#62;1&#60;&#47;b&#62; &#42;2&#42;</code>'
    """
    marks = re.sub(r"[^\w .,]|_", lambda mark: f"&#{ord(mark[0])};", " ".join(text.split()))
    return f"<code>{marks}</code>"


def markdown_cell(text: str) -> str:
    """Return a cell's text for a table of Markdown."""
    text = re.sub(r" \[([-\d.]+), ([-\d.]+)\]", "\u00a0[\\1,\u00a0\\2]", text)
    return re.sub(r"^\w+@[\d.]+$", r"`\g<0>`", text.replace("|", "\\|"))
