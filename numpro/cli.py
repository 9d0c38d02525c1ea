"""The ``numpro`` command: one subcommand for each step of the way from video to score.

A command says what it wrote and where. With ``--json`` standard output carries JSON and nothing
else; progress always goes to standard error. Bad input ends in one line and a non-zero status.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from . import __version__, datasets, metrics, models, overlay, paths, report, runs
from . import finetune as training
from .flipbook.cli import flipbook
from .notebooks import NotebookError
from .parameters import parse_pairs
from .prompts import TASKS, TIME_ENCODINGS
from .spans import to_seconds
from .video import read_clip, write_video

SIZE, MAX_FRAMES = (336, 336), 240  # as published


class _Command(click.Command):
    """A command with ``--json`` (see `_say`) and with examples in its help."""

    def __init__(self, *arguments, example: str, **options):
        shown = "".join(f"\n  numpro {line}" for line in example.splitlines())
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
        except (ValueError, OSError, NotebookError) as error:
            if ctx.find_root().params.get("traceback"):
                raise
            raise click.ClickException(" ".join(str(error).split())) from error


_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="numpro")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Write numbers on a video's frames and let a video LLM read off when something happens."""


main.add_command(flipbook)


def _say(content: object, *lines: str) -> None:
    """Print `content` as JSON where ``--json`` was given, else the lines for people."""
    as_json = click.get_current_context().meta["json"]
    click.echo(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


def _here(path: str | None) -> str | None:
    """Let a relative path count from the working directory where it exists there."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


_PATH, _TIMES = click.Path(), click.Choice(TIME_ENCODINGS)
_PRESETS, _HOW = click.Choice(tuple(training.PRESETS)), "How the model is told the time."
sampling = click.option("--fps", type=float, default=1.0, help="Frames a second.")
model_option = click.option("--model", default="flipbook/longva", help="Name or folder.")
adapter_option = click.option("--adapter", help="A fine-tuned adapter: name or folder.")
encoding_option = click.option("--time-encoding", type=_TIMES, default="overlay-index", help=_HOW)
root_option = click.option("--data-root", type=_PATH, help="Its folder; the flipbook needs none.")


def _asking_options(command: Callable) -> Callable:
    return model_option(adapter_option(encoding_option(sampling(command))))


def _dataset_options(command: Callable) -> Callable:
    command = click.option("--limit", type=click.IntRange(1), help="Only so many videos.")(command)
    command = root_option(command)
    return click.option("--dataset", default="flipbook", help="Name of the dataset.")(command)


@main.command(example="number film.mp4 numbered.mp4 --fps 1 --width 336 --height 336")
@click.argument("video", type=_PATH)
@click.argument("out", type=_PATH)
@sampling
@click.option("--width", type=click.IntRange(1), help="Resize; needs --height too.")
@click.option("--height", type=click.IntRange(1), help="Resize; needs --width too.")
@click.option("--position", default="bottom_right", help="Where it stands.")
@click.option("--font-size", type=float, default=40, help="In pixels.")
@click.option("--color", default="red", help="Name or #rrggbb.")
def number(video, out, fps, width, height, position, font_size, color) -> None:
    """Write VIDEO with a number on every frame to OUT (mp4), at the sampled rate."""
    if (width is None) != (height is None):
        raise click.UsageError("give --width and --height, or neither")
    if Path(out).resolve() == Path(video).resolve():
        raise click.UsageError("OUT must be another file than VIDEO")
    style = overlay.NumberStyle(position=position, size=font_size, color=color)
    clip = read_clip(video, fps=fps, size=(width, height) if width else None)
    overlay.number_frames(clip.frames, style, out=clip.frames)
    write_video(out, clip.frames, seconds=clip.seconds, duration=clip.duration)
    wrote = {"out": str(out), "frames": len(clip), "seconds": clip.duration}
    _say(wrote, f"wrote {out}: {len(clip)} numbered frames, {clip.duration:.2f} s")


@main.command(example="frames film.mp4 --fps 0.5 --json")
@click.argument("video", type=_PATH)
@sampling
def frames(video, fps) -> None:
    """List the sampled frames of VIDEO: the label, its second, the frame of the file."""
    clip = read_clip(video, fps=fps, size=(16, 16))
    columns = zip(clip.seconds.tolist(), clip.source_index.tolist(), strict=True)
    rows = [{"label": i, "seconds": s, "source_index": n} for i, (s, n) in enumerate(columns)]
    lines = [f"{r['label']:5d}  {r['seconds']:9.3f} s  frame {r['source_index']}" for r in rows]
    _say(rows, *lines)


_ASK = """ask film.mp4 "a red star spins"\nask film.mp4 'a dog barks' --json"""


@main.command(example=_ASK)
@click.argument("video", type=_PATH)
@click.argument("query")
@_asking_options
@click.option("--picture", type=_PATH, help="Where the picture goes [<video>_answer.png].")
def ask(video, query, model, adapter, time_encoding, fps, picture) -> None:
    """Ask when QUERY happens in VIDEO: the span in seconds, and a picture of the answer."""
    from .plots import contact_strip

    if not query.strip():
        raise click.UsageError("QUERY is empty")
    clip = read_clip(video, fps=fps, size=SIZE, max_frames=MAX_FRAMES)
    loaded = models.load_model(_here(model), adapter=_here(adapter))
    answer = loaded.answer(clip, [query], task=TASKS[0], time_encoding=time_encoding)[0]
    spans = to_seconds(answer, clip)
    pages = overlay.number_frames(clip.frames) if time_encoding == "overlay-index" else clip.frames
    figure = contact_strip(pages, clip.seconds, predicted=spans[0] if spans else None, title=query)
    picture = picture or f"{Path(video).stem}_answer.png"
    figure.savefig(picture, bbox_inches="tight")
    asked = {"video": str(video), "query": query, "model": model, "adapter": adapter}
    asked |= {"time_encoding": time_encoding, "fps": fps, "text": answer.text, "unit": answer.unit}
    asked |= {"spans": [list(s) for s in spans], "reason": answer.reason, "picture": str(picture)}
    found = ", ".join(f"{start:.2f} s to {end:.2f} s" for start, end in spans)
    found = found or f"no span could be read from the answer ({answer.reason})"
    _say(asked, f"{query}: {found}", f"the model said: {answer.text}", f"wrote {picture}")


@main.command("check-data", example="check-data numpro-json --data-root data/charades --json")
@click.argument("dataset")
@root_option
@click.option("--split", "splits", multiple=True, help="Only this split (may be given again).")
def check_data(dataset, data_root, splits) -> None:
    """Say for each split of DATASET how many videos are there and can be read."""
    from .datasets.check import check_dataset

    found = check_dataset(dataset, _here(data_root), splits)
    lines = ["  ".join(f"{k} {v}" for k, v in row.items()) for row in found["splits"]]
    lines += [f"unreadable: {fault['video']}: {fault['reason']}" for fault in found["unreadable"]]
    _say(found, *lines)
    if any(row["readable"] < row["videos"] for row in found["splits"]):
        raise click.exceptions.Exit(1)


@main.command(example="predict --dataset flipbook --split test --out predictions.jsonl --limit 5")
@_dataset_options
@click.option("--split", default="test", help="Part of the dataset.")
@_asking_options
@click.option("--task", type=click.Choice(TASKS), default=TASKS[0])
@click.option("--out", type=_PATH, required=True, help="JSON Lines; resumed when there.")
def predict(dataset, data_root, limit, split, model, adapter, out, **options) -> None:
    """Run a dataset through a model; one row a query, answered or with the reason why not."""
    from .predict import predict

    videos = datasets.load_dataset(dataset, split, _here(data_root), limit=limit)
    loaded = models.load_model(_here(model), adapter=_here(adapter))
    rows = predict(videos, loaded, Path(out).absolute(), size=SIZE, **options)
    unread = sum(row["reason"] is not None for row in rows)
    wrote = f"{len(rows)} queries of {len(videos)} videos, {unread} without an answer"
    _say({"out": str(out), "n": len(rows), "unparsed": unread}, f"wrote {out}: {wrote}")


@main.group()
def evaluate() -> None:
    """Score a file of predictions."""


@evaluate.command("moment-retrieval", example="evaluate moment-retrieval predictions.jsonl")
@click.argument("predictions", type=_PATH)
@click.option("--annotations", type=_PATH, help="Truth from here, not from the rows.")
def evaluate_moment_retrieval(predictions, annotations) -> None:
    """Score moments: mIoU and R@1 in percent, with 95 % intervals."""
    scores = metrics.evaluate_moment_predictions(_here(predictions), _here(annotations))
    given = scores["intervals"].items()
    lines = [f"{name:<6}  {report.format_score([scores[name], *v])}" for name, v in given]
    _say(scores, f"n {scores['n']}, unparsed {scores['unparsed']}", *lines)


_HIGHLIGHTS = "evaluate highlight-detection predictions.jsonl highlight_val_release.jsonl"


@evaluate.command("highlight-detection", example=_HIGHLIGHTS)
@click.argument("predictions", type=_PATH)
@click.argument("annotations", type=_PATH)
def evaluate_highlight_detection(predictions, annotations) -> None:
    """Score saliency as the official QVHighlights scorer does, in percent."""
    scores = metrics.evaluate_highlight_predictions(_here(predictions), _here(annotations))
    lines = [f"{name:<24}{value:6.2f}" for name, value in scores["brief"].items()]
    _say(scores, f"n {scores['n']}, unparsed {scores['unparsed']}", *lines)


@main.command(example="finetune --dataset flipbook --out adapters/mine --steps 50")
@_dataset_options
@click.option("--split", default="train", help="Part of the dataset.")
@model_option
@encoding_option
@click.option("--fps", type=float, help="Frames a second [the preset's].")
@click.option("--preset", type=_PRESETS, default="laptop", help="Batch, epochs and so on.")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps, if not the preset's.")
@click.option("--seed", type=int, default=0)
@click.option("--out", type=_PATH, required=True, help="Folder of the new adapter.")
def finetune(dataset, data_root, limit, split, model, preset, out, **changes) -> None:
    """Fine-tune a model with LoRA on numbered clips; writes an adapter and its log."""
    changes = {name: value for name, value in changes.items() if value is not None}
    config = replace(training.PRESETS[preset], **changes)
    videos = datasets.load_dataset(dataset, split, _here(data_root), limit=limit)
    plan = training.plan(videos, config)
    click.echo(", ".join(f"{name} {value}" for name, value in plan.items()), err=True)
    log = training.finetune(models.load_model(_here(model)), videos, Path(out).absolute(), config)
    _say({"out": str(out), "plan": plan, "log": log}, f"wrote {out}: adapter and log.csv")


_RUN = "run\nrun papermill_runs/recipes/flipbook_full.yaml -p seed 1\nrun --run mine --resume"


@main.command(example=_RUN)
@click.argument("recipe", type=_PATH, required=False)
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter.")
@click.option("--run", "name", help="Name of the run [flipbook, or the recipe's and the time].")
@click.option("--resume", is_flag=True, help="Go on where a broken run stopped.")
def run(recipe, pairs, name, resume) -> None:
    """Run every notebook in order, headless, into papermill_runs/<run>/.

    RECIPE is a papermill parameter file (YAML: name: value). Only parameters that the notebooks
    declare are taken, of the declared type.
    """
    parameters = parse_pairs(pairs, runs.known_parameters(runs.find_notebooks()))
    folder = runs.run_workbook(recipe, parameters, name, resume)
    results, where = runs.Run(folder).results(), paths.relative(folder)
    lines = [f"{len(results['notebooks'])} notebooks in {results['seconds']:.0f} s"]
    lines += [f"results: {where}/results.json", f"report:  {where}/report.html"]
    _say(results | {"folder": where}, report.score_table(results["scores"]), "", *lines)


@main.command(example="readme\nreadme --check")
@click.option("--check", is_flag=True, help="Write nothing; fail when a part is stale.")
def readme(check) -> None:
    """Write the generated parts of README.md and data/README.md again."""
    from .readme import stale_files, write_files

    if check and (stale := stale_files()):
        raise ValueError(f"{' and '.join(stale)}: stale; run numpro readme")
    changed = [] if check else write_files()
    told = [f"wrote {name}" for name in changed] or ["nothing is stale"]
    _say({"changed": changed}, *told)
