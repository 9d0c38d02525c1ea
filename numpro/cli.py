"""The ``numpro`` command: one subcommand for each step of the way from video to score.

A command says what it wrote and where. With ``--json`` standard output carries JSON and nothing
else; progress always goes to standard error. Bad input ends in one line and a non-zero status.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from . import __version__
from .flipbook.cli import flipbook
from .prompts import TASKS, TIME_ENCODINGS

SIZE, MAX_FRAMES = (336, 336), 240  # as published


class _Commands(click.Group):
    """A group that turns the package's own errors into one line."""

    def invoke(self, ctx: click.Context):
        from .notebooks import NotebookError

        try:
            return super().invoke(ctx)
        except (ValueError, OSError, NotebookError) as error:
            if ctx.params.get("traceback"):
                raise
            raise click.ClickException(" ".join(str(error).split())) from error


def _example(*commands: str) -> dict:
    """Return the epilog that shows how a command is used."""
    return {"epilog": "\b\nExample:\n" + "\n".join(f"  numpro {line}" for line in commands)}


def _options(*options: Callable) -> Callable:
    def add(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return add


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON to standard output.")
sampling = click.option(
    "--fps", type=float, default=1.0, show_default=True, help="Frames a second."
)
model_option = click.option(
    "--model", default="flipbook/longva", show_default=True, help="Name or folder."
)
adapter_option = click.option("--adapter", help="A fine-tuned adapter: name or folder.")
encoding_option = click.option(
    "--time-encoding",
    type=click.Choice(TIME_ENCODINGS),
    default="overlay-index",
    show_default=True,
    help="How the model is told the time.",
)
model_options = _options(model_option, adapter_option, encoding_option)
dataset_options = _options(
    click.option("--dataset", default="flipbook", show_default=True, help="Name of the dataset."),
    click.option("--data-root", type=click.Path(), help="Its folder; the flipbook needs none."),
    click.option("--limit", type=click.IntRange(1), help="Only so many videos."),
)


def _say(as_json: bool, content: object, *lines: str) -> None:
    """Print `content` as JSON, or the lines for people."""
    click.echo(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


def _here(path: str | None) -> str | None:
    """Let a relative path count from the working directory where it exists there."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="numpro")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Write numbers on a video's frames and let a video LLM read off when something happens."""


@main.command(**_example("number film.mp4 numbered.mp4 --fps 1 --width 336 --height 336"))
@click.argument("video", type=click.Path())
@click.argument("out", type=click.Path())
@sampling
@click.option("--width", type=click.IntRange(1), help="Resize; needs --height too.")
@click.option("--height", type=click.IntRange(1), help="Resize; needs --width too.")
@click.option("--position", default="bottom_right", show_default=True, help="Where it stands.")
@click.option("--font-size", type=float, default=40, show_default=True, help="In pixels.")
@click.option("--color", default="red", show_default=True, help="Name or #rrggbb.")
@as_json
def number(video, out, fps, width, height, position, font_size, color, as_json) -> None:
    """Write VIDEO with a number on every frame to OUT (mp4), at the sampled rate."""
    from .overlay import NumberStyle, number_frames
    from .video import read_clip, write_video

    if (width is None) != (height is None):
        raise click.UsageError("give --width and --height, or neither")
    if Path(out).resolve() == Path(video).resolve():
        raise click.UsageError("OUT must be another file than VIDEO")
    style = NumberStyle(position=position, size=font_size, color=color)
    clip = read_clip(video, fps=fps, size=(width, height) if width else None)
    number_frames(clip.frames, style, out=clip.frames)
    write_video(out, clip.frames, seconds=clip.seconds, duration=clip.duration)
    wrote = {"out": str(out), "frames": len(clip), "seconds": clip.duration}
    _say(as_json, wrote, f"wrote {out}: {len(clip)} numbered frames, {clip.duration:.2f} s")


@main.command(**_example("frames film.mp4 --fps 0.5 --json"))
@click.argument("video", type=click.Path())
@sampling
@as_json
def frames(video, fps, as_json) -> None:
    """List the sampled frames of VIDEO: the label, its second, the frame of the file."""
    from .video import read_clip

    clip = read_clip(video, fps=fps, size=(16, 16))
    names = ("label", "seconds", "source_index")
    columns = zip(clip.seconds.tolist(), clip.source_index.tolist(), strict=True)
    rows = [dict(zip(names, (i, *row), strict=True)) for i, row in enumerate(columns)]
    lines = [f"{r['label']:5d}  {r['seconds']:9.3f} s  frame {r['source_index']}" for r in rows]
    _say(as_json, rows, *lines)


@main.command(**_example('ask film.mp4 "a red star spins"', "ask film.mp4 'a dog barks' --json"))
@click.argument("video", type=click.Path())
@click.argument("query")
@model_options
@sampling
@click.option("--picture", type=click.Path(), help="Where the picture goes [<video>_answer.png].")
@as_json
def ask(video, query, model, adapter, time_encoding, fps, picture, as_json) -> None:
    """Ask when QUERY happens in VIDEO: the span in seconds, and a picture of the answer."""
    from .models import load_model
    from .spans import to_seconds
    from .video import read_clip

    if not query.strip():
        raise click.UsageError("QUERY is empty")
    clip = read_clip(video, fps=fps, size=SIZE, max_frames=MAX_FRAMES)
    answer = load_model(_here(model), adapter=_here(adapter)).answer(
        clip, [query], task="moment_retrieval", time_encoding=time_encoding
    )[0]
    spans = to_seconds(answer, clip)
    picture = Path(picture or f"{Path(video).stem}_answer.png")
    _draw_answer(clip, spans, query, time_encoding, picture)
    asked = {"video": str(video), "query": query, "model": model, "adapter": adapter}
    asked |= {"time_encoding": time_encoding, "fps": fps, "text": answer.text}
    asked |= {"spans": [list(span) for span in spans], "unit": answer.unit}
    found = [f"{start:.2f} s to {end:.2f} s" for start, end in spans]
    unread = f"no span could be read from the answer ({answer.reason})"
    _say(
        as_json,
        asked | {"reason": answer.reason, "picture": str(picture)},
        f"{query}: {', '.join(found) or unread}",
        f"the model said: {answer.text}",
        f"wrote {picture}",
    )


def _draw_answer(clip, spans, query: str, time_encoding: str, picture: Path) -> None:
    from .overlay import number_frames
    from .plots import contact_strip

    pages = number_frames(clip.frames) if time_encoding == "overlay-index" else clip.frames
    figure = contact_strip(pages, clip.seconds, predicted=spans[0] if spans else None, title=query)
    figure.savefig(picture, bbox_inches="tight")


@main.command("check-data", **_example("check-data numpro-json --data-root data/charades --json"))
@click.argument("dataset")
@click.option("--data-root", type=click.Path(), help="Its folder; the flipbook needs none.")
@click.option("--split", "splits", multiple=True, help="Only this split (may be given again).")
@as_json
def check_data(dataset, data_root, splits, as_json) -> None:
    """Say for each split of DATASET how many videos are there and can be read."""
    from .datasets.check import check_dataset

    found = check_dataset(dataset, _here(data_root), splits)
    lines = ["  ".join(f"{k} {v}" for k, v in row.items()) for row in found["splits"]]
    lines += [f"unreadable: {fault['video']}: {fault['reason']}" for fault in found["unreadable"]]
    _say(as_json, found, *lines)
    if any(row["readable"] < row["videos"] for row in found["splits"]):
        raise click.exceptions.Exit(1)


@main.command(
    **_example("predict --dataset flipbook --split test --out predictions.jsonl --limit 5")
)
@dataset_options
@click.option("--split", default="test", show_default=True, help="Part of the dataset.")
@model_options
@click.option("--task", type=click.Choice(TASKS), default=TASKS[0], show_default=True)
@sampling
@click.option("--out", type=click.Path(), required=True, help="JSON Lines; resumed when there.")
@as_json
def predict(
    dataset, data_root, limit, split, model, adapter, time_encoding, task, fps, out, as_json
) -> None:
    """Run a dataset through a model; one row a query, answered or with the reason why not."""
    from .datasets import load_dataset
    from .models import load_model
    from .predict import predict

    videos = load_dataset(dataset, split, _here(data_root), limit=limit)
    rows = predict(
        videos,
        load_model(_here(model), adapter=_here(adapter)),
        Path(out).absolute(),
        task=task,
        time_encoding=time_encoding,
        fps=fps,
        size=SIZE,
    )
    unread = sum(row["reason"] is not None for row in rows)
    _say(
        as_json,
        {"out": str(out), "n": len(rows), "unparsed": unread},
        f"wrote {out}: {len(rows)} queries of {len(videos)} videos, {unread} without an answer",
    )


@main.group()
def evaluate() -> None:
    """Score a file of predictions."""


@evaluate.command("moment-retrieval", **_example("evaluate moment-retrieval predictions.jsonl"))
@click.argument("predictions", type=click.Path())
@click.option("--annotations", type=click.Path(), help="Truth from here, not from the rows.")
@as_json
def evaluate_moment_retrieval(predictions, annotations, as_json) -> None:
    """Score moments: mIoU and R@1 in percent, with 95 % intervals."""
    from .metrics import evaluate_moment_predictions
    from .report import format_score

    scores = evaluate_moment_predictions(_here(predictions), _here(annotations))
    lines = [f"n {scores['n']}, unparsed {scores['unparsed']}"]
    for name, interval in scores["intervals"].items():
        lines.append(f"{name:<6}  {format_score([scores[name], *interval])}")
    _say(as_json, scores, *lines)


@evaluate.command(
    "highlight-detection",
    **_example("evaluate highlight-detection predictions.jsonl highlight_val_release.jsonl"),
)
@click.argument("predictions", type=click.Path())
@click.argument("annotations", type=click.Path())
@as_json
def evaluate_highlight_detection(predictions, annotations, as_json) -> None:
    """Score saliency as the official QVHighlights scorer does, in percent."""
    from .metrics import evaluate_highlight_predictions

    scores = evaluate_highlight_predictions(_here(predictions), _here(annotations))
    lines = [f"n {scores['n']}, unparsed {scores['unparsed']}"]
    lines += [f"{name:<24}{value:6.2f}" for name, value in scores["brief"].items()]
    _say(as_json, scores, *lines)


@main.command(**_example("finetune --dataset flipbook --out adapters/mine --steps 50"))
@dataset_options
@click.option("--split", default="train", show_default=True, help="Part of the dataset.")
@model_option
@encoding_option
@click.option("--fps", type=float, help="Frames a second [the preset's].")
@click.option("--preset", default="laptop", show_default=True, help="Batch, epochs and so on.")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps, if not the preset's.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(), required=True, help="Folder of the new adapter.")
@as_json
def finetune(
    dataset, data_root, limit, split, model, time_encoding, fps, preset, steps, seed, out, as_json
) -> None:
    """Fine-tune a model with LoRA on numbered clips; writes an adapter and its log."""
    from . import finetune as training
    from .datasets import load_dataset
    from .models import load_model

    if preset not in training.PRESETS:
        raise ValueError(f"preset must be one of {', '.join(training.PRESETS)}; got {preset!r}")
    changes = {"time_encoding": time_encoding, "fps": fps, "steps": steps, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    config = replace(training.PRESETS[preset], **changes)
    videos = load_dataset(dataset, split, _here(data_root), limit=limit)
    plan = training.plan(videos, config)
    click.echo(", ".join(f"{name} {value}" for name, value in plan.items()), err=True)
    log = training.finetune(load_model(_here(model)), videos, Path(out).absolute(), config)
    _say(as_json, {"out": str(out), "plan": plan, "log": log}, f"wrote {out}: adapter and log.csv")


@main.command(
    **_example(
        "run",
        "run papermill_runs/recipes/flipbook_full.yaml -p seed 1",
        "run --run mine --resume",
    )
)
@click.argument("recipe", type=click.Path(), required=False)
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter.")
@click.option("--run", "name", help="Name of the run [flipbook, or the recipe's and the time].")
@click.option("--resume", is_flag=True, help="Go on where a broken run stopped.")
@as_json
def run(recipe, pairs, name, resume, as_json) -> None:
    """Run every notebook in order, headless, into papermill_runs/<run>/.

    RECIPE is a papermill parameter file (YAML: name: value). Only parameters that the notebooks
    declare are taken, of the declared type.
    """
    from . import runs
    from .parameters import parse_pairs
    from .paths import relative

    parameters = parse_pairs(pairs, runs.known_parameters(runs.find_notebooks()))
    folder = runs.run_workbook(recipe, parameters, name, resume=resume)
    results = runs.Run(folder).results()
    _say(
        as_json,
        results | {"folder": relative(folder)},
        runs.score_table(results["scores"]),
        "",
        f"{len(results['notebooks'])} notebooks in {results['seconds']:.0f} s",
        f"results: {relative(folder / 'results.json')}",
        f"report:  {relative(folder / 'report.html')}",
    )


@main.command(**_example("readme", "readme --check"))
@click.option("--check", is_flag=True, help="Write nothing; fail when a part is stale.")
@as_json
def readme(check, as_json) -> None:
    """Write the generated parts of README.md and data/README.md again."""
    from .readme import stale_files, write_files

    if check and (stale := stale_files()):
        raise ValueError(f"{' and '.join(stale)}: stale; run numpro readme")
    changed = [] if check else write_files()
    told = [f"wrote {name}" for name in changed] or ["nothing is stale"]
    _say(as_json, {"changed": changed}, *told)


main.add_command(flipbook)
