"""What the commands share: errors in one line, ``--json``, and the options of several commands."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import click

from numpro import __version__
from numpro.models.question import WHOLE
from numpro.paths import parse_yaml
from numpro.prompting import TIME_ENCODINGS
from numpro.video.container import ORIGINS
from numpro.workbook.notebooks import NotebookError
from numpro.workbook.report import render


class _Command(click.Command):
    """A command with ``--json`` (see `say`); its docstring ends with the lines of an example."""

    def __init__(self, *arguments, help: str, **options):
        text, _, example = inspect.cleandoc(help).partition("Example:\n")
        options["epilog"] = f"\b\nExample:\n{example}"  # \b keeps the lines as they are
        super().__init__(*arguments, help=text, **options)
        self.params.append(click.Option(["--json"], is_flag=True, help="Print JSON to stdout."))

    def invoke(self, ctx: click.Context):
        ctx.meta["json"] = ctx.params.pop("json")
        return super().invoke(ctx)


class _Commands(click.Group):
    """A group that turns the package's own errors into one line."""

    command_class, group_class = _Command, type

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, ImportError, NotebookError, MemoryError) as error:
            if ctx.find_root().params.get("traceback"):
                raise
            raise click.ClickException(" ".join(str(error).split()) or "out of memory") from error


_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="numpro")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Write numbers on a video's frames and let a video LLM read off when something happens."""


def say(content: object, *lines: str) -> None:
    """Print `content` as JSON where ``--json`` was given, else the lines for people."""
    as_json = click.get_current_context().meta["json"]
    click.echo(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


def show(result: dict, form: str, **names: object) -> None:
    """Print a result as `say` does; for people as a template of the folder ``text`` puts it."""
    folder = Path(__file__).with_name("text")
    say(result, render(f"{form}.j2", folder, result=result, **names).rstrip("\n"))


def tell(line: str) -> None:
    """Print a line for people on standard error."""
    click.echo(line, err=True)


def here(path: str | None) -> str | None:
    """Return the absolute path where it exists in the working directory, else the path as given."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


def _settings(_context, _option, pairs: tuple[tuple[str, str], ...]) -> dict:
    """Read options of a model; a value is YAML, so that 3, true and {seed: 1} are what they say.

    None is what it is in Python, as with ``-p``.
    """
    if taken := {"name", "adapter"} & {name for name, _ in pairs}:
        raise click.BadParameter(f"{', '.join(taken)} is an option of its own")
    try:
        return {name: _with_none(parse_yaml(value, name)) for name, value in pairs}
    except ValueError as error:
        raise click.BadParameter(f"a value must be YAML: {error}") from error


def _with_none(value: object) -> object:
    """Return a value in which the text None is None, which YAML calls null."""
    if isinstance(value, dict):
        return {key: _with_none(inner) for key, inner in value.items()}
    return None if value == "None" else value


def _windows(_context, _option, value: str | None) -> tuple | str | None:
    """Read windows, such as ``16,4``; a `Question` refuses what is none."""
    if value in (None, WHOLE):
        return value
    return tuple(int(n) if n.strip().isdigit() else n for n in value.split(","))


# options that several commands have
PATH, POSITIVE = click.Path(), click.IntRange(1)
_TIMES, _HOW = click.Choice(TIME_ENCODINGS), "How the model is told the time."
_MODEL = "Of the model: device, dtype, quantization, frames_as, max_pixels, base_url ..."
_WORKERS = "Processes that read videos; 0: none [by cores]."
fps = click.option("--fps", type=float, default=1.0, help="Frames a second.")
_ZERO = "What second 0 is: the film's beginning, as in a player, or its first picture."
origin = click.option("--origin", type=click.Choice(ORIGINS), default=ORIGINS[0], help=_ZERO)
model = click.option("--model", default="flipbook/longva", help="Name or folder.")
adapter = click.option("--adapter", help="A fine-tuned adapter: name or folder.")
time_encoding = click.option("--time-encoding", type=_TIMES, default="overlay-index", help=_HOW)
model_settings = click.option(
    "-o", "--model-option", "settings", nargs=2, multiple=True, metavar="NAME VALUE",
    callback=_settings, help=_MODEL,
)  # fmt: skip
template = click.option("--template", type=PATH, help="A file: the question, with {query} in it.")
max_tokens = click.option(
    "--max-new-tokens", type=POSITIVE, help="Where an answer is cut [by the task]."
)
_WINDOWS = "FRAMES,STRIDE of ranked moments, or: whole [what the adapter was trained on]."
windows = click.option("--windows", metavar="SIZE", callback=_windows, help=_WINDOWS)
data_root = click.option("--data-root", type=PATH, help="Its folder; the flipbook needs none.")
workers = click.option("--workers", type=click.IntRange(0), help=_WORKERS)

calibration = click.option("--calibration", type=PATH, help="Of the confidence: numpro calibrate.")
_SURE = "Below this confidence an answer is: not sure."
min_confidence = click.option("--min-confidence", type=click.FloatRange(0, 1), help=_SURE)


def read_calibration(path: str | None, put: dict) -> dict | None:
    """Return what ``numpro calibrate`` wrote; None where no file is given.

    A temperature belongs to one way of asking: `put` has the model, adapter and time encoding that
    it is wanted for, as far as they are known.
    """
    found = path and json.loads(Path(here(path)).read_text(encoding="utf-8"))
    if path and not (isinstance(found, dict) and {"temperature", "videos"} <= found.keys()):
        raise ValueError(f"{path} is no calibration: numpro calibrate writes one")
    for key in put.keys() & (found or {}).keys():
        if found[key] != put[key]:
            other = f"of {key} {found[key]!r}; got {put[key]!r}"
            raise ValueError(f"{path} is {other}: fit one by numpro calibrate")
    return found


def question_options(command: Callable) -> Callable:
    """Add the options of a question: the model, its settings, time encoding, sampling, wording."""
    sampled = fps(origin(template(max_tokens(windows(command)))))
    return model(adapter(model_settings(time_encoding(sampled))))


def dataset_options(split: str) -> Callable:
    """Return what adds the options of a dataset: its name, its folder, the split, how many videos.

    `split` is the default.
    """
    name = click.option("--dataset", default="flipbook", help="Name of the dataset.")
    part = click.option("--split", default=split, help="Part of the dataset.")
    limit = click.option("--limit", type=POSITIVE, help="Only so many videos.")
    return lambda command: name(data_root(part(limit(command))))
