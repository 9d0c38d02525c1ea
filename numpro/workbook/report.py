"""The report of a run as one HTML page."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpro.metrics import group_scores, headline
from numpro.metrics.tables import paper_table, role


def rerun_command(results: Mapping) -> str:
    """Return the command that makes the run again."""
    words = ["numpro", "run", *([results["recipe"]] if results["recipe"] else [])]
    for name, value in results["parameters"].items():
        words += ["-p", name, value if isinstance(value, str) else _as_text(value)]
    return shlex.join(words)


def _as_text(value: object) -> str:
    """Return a parameter's value as a command line takes it."""
    return "None" if value is None else json.dumps(value)


def render_report(results: Mapping, figures: Sequence[Mapping]) -> str:
    """Return the report of a run as one HTML page that needs nothing else.

    Parameters
    ----------
    results : Mapping
        What ``results.json`` holds.
    figures : sequence of mappings
        As `Run.figures` gives them; the pictures are put into the page.
    """
    import jinja2

    text = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    options = {"autoescape": True, "trim_blocks": True, "undefined": jinja2.StrictUndefined}
    page = jinja2.Template(text, lstrip_blocks=True, **options)
    scores, pictures = results["scores"], [figure | _picture(figure["path"]) for figure in figures]
    parts = {"headline": headline(scores), "groups": group_scores(scores), "figures": pictures}
    parts |= {"paper": paper_table(scores), "rerun": rerun_command(results)}
    return page.render(results=results, role=role, as_text=_as_text, **parts)


def _picture(path: Path) -> dict:
    """Return a picture in base64, and its width at 100 dots an inch, where its text is readable."""
    from PIL import Image

    with Image.open(path) as image:
        width = round(100 * image.width / image.info.get("dpi", (100, 100))[0])
    return {"data": base64.b64encode(path.read_bytes()).decode(), "width": width}
