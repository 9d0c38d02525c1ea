"""The report of a run as one HTML page."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpro.metrics.tables import format_score, group_scores, headline, paper_table, role


def rerun_command(results: Mapping) -> str:
    """Return the command that makes the run again."""
    words = ["numpro", "run", *([results["recipe"]] if results["recipe"] else [])]
    for name, value in results["parameters"].items():
        words += ["-p", name, value if isinstance(value, str) else _say(value)]
    return shlex.join(words)


def _say(value: object) -> str:
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

    pages = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    pages.trim_blocks = pages.lstrip_blocks = True
    pages.loader = jinja2.FileSystemLoader(Path(__file__).parent)
    pages.globals |= {"role": role, "format_score": format_score, "say": _say}
    pictures = [{**figure, **_picture(Path(figure["path"]))} for figure in figures]
    scores, rerun = results["scores"], rerun_command(results)
    told = {"headline": headline(scores), "groups": group_scores(scores), "rerun": rerun}
    told["paper"] = paper_table(scores)
    return pages.get_template("report.html.j2").render(results=results, figures=pictures, **told)


def _picture(path: Path) -> dict:
    """Return a picture as text, and how wide it is at 100 dots an inch: its text as the page's."""
    from PIL import Image

    with Image.open(path) as image:
        width = round(100 * image.width / image.info.get("dpi", (100, 100))[0])
    return {"data": base64.b64encode(path.read_bytes()).decode(), "width": width}
