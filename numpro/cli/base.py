"""What the commands share: one line for an error, ``--json``, and options of several."""

import json
from collections.abc import Callable
from pathlib import Path

import click

from numpro import __version__
from numpro.prompting.prompts import TIME_ENCODINGS
from numpro.workbook.notebooks import NotebookError


class _Command(click.Command):
    """A command with ``--json`` (see `say`) and with examples in its help."""

    def __init__(self, *arguments, example: str, **options):
        lines = (
            line if " -m numpro " in line else f"numpro {line}" for line in example.splitlines()
        )
        shown = "".join(f"\n  {line}" for line in lines)
        super().__init__(*arguments, epilog=f"\b\nExample:{shown}", **options)
        told = "Print JSON to standard output."
        self.params.append(click.Option(["--json"], is_flag=True, help=told))

    def invoke(self, ctx: click.Context):
        ctx.meta["json"] = ctx.params.pop("json")
        return super().invoke(ctx)


class _Commands(click.Group):
    """A group that turns the package's own errors into one line."""

    command_class, group_class = _Command, type

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, ImportError, NotebookError) as error:
            if ctx.find_root().params.get("traceback"):
                raise
            raise click.ClickException(" ".join(str(error).split())) from error


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


def here(path: str | None) -> str | None:
    """Let a relative path count from the working directory where it exists there."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


PATH, _TIMES = click.Path(), click.Choice(TIME_ENCODINGS)
_HOW = "How the model is told the time."
sampling = click.option("--fps", type=float, default=1.0, help="Frames a second.")
model_option = click.option("--model", default="flipbook/longva", help="Name or folder.")
adapter_option = click.option("--adapter", help="A fine-tuned adapter: name or folder.")
encoding_option = click.option("--time-encoding", type=_TIMES, default="overlay-index", help=_HOW)
root_option = click.option("--data-root", type=PATH, help="Its folder; the flipbook needs none.")


def _settings(_context, _option, pairs: tuple[tuple[str, str], ...]) -> dict:
    """Read options of a model; a value is YAML, so that 3, true and {seed: 1} are what they say."""
    import yaml

    if taken := {"name", "adapter"} & {name for name, _ in pairs}:
        raise click.BadParameter(f"{', '.join(taken)} is an option of its own")
    try:
        return {name: yaml.safe_load(value) for name, value in pairs}
    except yaml.YAMLError as error:
        raise click.BadParameter(f"a value must be YAML: {error}") from error


_OF_MODEL = "Of the model: device, dtype, quantization, frames_as, max_pixels, base_url ..."
settings_option = click.option(
    "-o", "--model-option", "settings", nargs=2, multiple=True, metavar="NAME VALUE",
    callback=_settings, help=_OF_MODEL,
)  # fmt: skip


workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Processes that read videos; 0: none [by cores]."
)


def asking_options(command: Callable) -> Callable:
    """Add the options of a question: model, adapter, time encoding, frames a second."""
    return model_option(adapter_option(encoding_option(sampling(command))))


def dataset_options(command: Callable) -> Callable:
    """Add the options of a dataset: its name, its folder, how many videos."""
    command = click.option("--limit", type=click.IntRange(1), help="Only so many videos.")(command)
    command = root_option(command)
    return click.option("--dataset", default="flipbook", help="Name of the dataset.")(command)
