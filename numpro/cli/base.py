"""What the commands share: errors in one line, ``--json``, and what ``options.yaml`` says."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import click

from numpro import __version__
from numpro.metrics import CONVENTIONS
from numpro.models.question import WHOLE
from numpro.paths import parse_yaml, yaml_beside
from numpro.workbook.notebooks import NotebookError
from numpro.workbook.report import render


class _Command(click.Command):
    """A command with ``--json`` (see `say`); its docstring ends with the lines of an example.

    What else it takes stands under its name in ``options.yaml``.
    """

    def __init__(self, *arguments, help: str, **options):
        text, _, example = inspect.cleandoc(help).partition("Example:\n")
        options["epilog"] = f"\b\nExample:\n{example}"  # \b keeps the lines as they are
        super().__init__(*arguments, help=text, **options)
        as_json = click.Option(["--json"], is_flag=True, help="Print JSON to stdout.")
        self.params += [*_parameters(_TABLE[self.name]), as_json]

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


def _shard(_context, _option, value: str | None) -> tuple[int, int] | None:
    number, _, count = (value or "1/1").partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise click.BadParameter(f"must be i/n with 1 <= i <= n, such as 2/4; got {value!r}")
    return (int(number), int(count)) if value else None


_TABLE = yaml_beside(__file__, "options.yaml")
_TYPES = {"path": click.Path(), "number": float, "integer": int, "count": click.IntRange(1)}
_TYPES |= {"size": click.IntRange(0), "share": click.FloatRange(0, 1)}
_CALLBACKS = {"settings": _settings, "windows": _windows, "shard": _shard}
_NAMED = {"type": _TYPES, "callback": _CALLBACKS}  # what the table says by name


def _parameters(entries: list) -> Iterator[click.Parameter]:
    """Yield the arguments and options in a list of the table."""
    for entry in entries:
        if isinstance(entry, list):
            yield from _parameters(entry)
            continue
        ((declared, changes),) = ({entry: {}} if isinstance(entry, str) else entry).items()
        facts = _TABLE["shared"].get(declared, {}) | changes
        for fact, known in _NAMED.items():
            if fact in facts:
                facts[fact] = known[facts[fact]]
        if "choices" in facts:
            facts["type"] = click.Choice(tuple(resolve_name(facts.pop("choices"))))
        if "help" in facts:
            facts["help"] = facts["help"].replace("CONVENTIONS", ", ".join(CONVENTIONS))
        kind = click.Option if declared.startswith("-") else click.Argument
        yield kind(declared.split(), **facts)


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
