"""The table of supported video LLMs in docs, made of what the tests found."""

from collections.abc import Mapping
from pathlib import Path

from zoo import ZOO

PAGE = Path(__file__).parents[2] / "docs" / "video_llms.md"
START, END = "<!-- generated: video llms -->\n", "<!-- end: video llms -->"
HEAD = (
    "| type | a checkpoint | tokens a frame, as images / as a video | it writes by itself, as "
    "images / as a video | questions answered at once | training | without torchvision |"
)


def table_of(ran: Mapping) -> str:
    """Return the table of what was found of each type and way."""
    lines = [HEAD, "|---" * 7 + "|"]
    for name, kind in ZOO.items():
        both = [ran[name, way] for way in ("images", "video")]
        tokens = " / ".join(f"{one['tokens']:g}" for one in both)
        writes = " / ".join(_written(one["writes"]) for one in both)
        (shares,) = {one["shares"] for one in both}
        trains = "yes" if all(one.get("trains") for one in both) else "no"
        plain = [way for way, one in zip(("images", "video"), both, strict=True) if one["plain"]]
        lines.append(
            f"| `{name}` | {kind.checkpoint} | {tokens} | {writes} | {shares} | {trains} | "
            f"{' and '.join(plain) or 'no'} |"
        )
    return "\n".join(lines) + "\n"


def _written(marks: list[str]) -> str:
    """Show the first numbers of frames at 1.5, 3.5, 5.5 and 7.5 seconds."""
    return f"`{' '.join(marks)}`" if marks else "nothing"


def read_table() -> str:
    """Return the table as it stands in docs."""
    return PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]


def write_table(table: str) -> None:
    """Write the table into docs."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + table + END + rest.partition(END)[2], encoding="utf-8")
