"""The report of a run as one HTML page."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpro.metrics import tables


def _as_text(value: object) -> str:
    """Return a parameter's value as a command line takes it."""
    return "None" if value is None else json.dumps(value)


def render(template: str, folder: Path = Path(__file__).parent, **names: object) -> str:
    """Return a template of a folder filled in; it may call `names` and `tables`."""
    import jinja2

    escape = jinja2.select_autoescape(["html.j2"])
    options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=escape, **options)
    pages.filters |= names
    return pages.get_template(template).render(names, tables=tables)


def render_report(results: Mapping, figures: Sequence[Mapping]) -> str:
    """Return the report of a run as one HTML page that needs nothing else.

    Parameters
    ----------
    results : Mapping
        What ``results.json`` holds.
    figures : sequence of mappings
        As `Run.figures` gives them; the pictures are put into the page.
    """
    names = {"as_text": _as_text, "picture": _picture, "quote": shlex.quote}
    books = {book["name"].partition("_")[0]: book["name"] for book in results["notebooks"]}
    groups: dict[str, list] = {}
    for figure in figures:
        number = figure.get("name", "").partition("_")[0]
        groups.setdefault(books.get(number, "others"), []).append({"saw": "", **figure})
    return render("report.html.j2", results=results, figures=groups, **names)


def _picture(path: Path) -> dict:
    """Return a picture in base64, and its width at 100 dots an inch, where its text is readable."""
    from PIL import Image

    with Image.open(path) as image:
        width = round(100 * image.width / image.info.get("dpi", (100, 100))[0])
    return {"data": base64.b64encode(path.read_bytes()).decode(), "width": width}
