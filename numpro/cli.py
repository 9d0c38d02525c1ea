"""The ``numpro`` command: one subcommand for each step of the way from video to score.

A command says what it wrote and where. With ``--json`` standard output carries JSON and nothing
else; progress always goes to standard error. Bad input ends in one line and a non-zero status.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from . import __version__, datasets, metrics, models, overlay, paths, report, runs
from . import finetune as training
from .datasets import instructions as teaching
from .flipbook.cli import flipbook
from .notebooks import NotebookError
from .numbering import DRAWN, list_frames, number_video
from .own import SIZE, find_moment
from .parameters import parse_pairs
from .presets import parse_values
from .prompts import TASKS, TIME_ENCODINGS, read_template, render_prompt
from .spans import ROUNDINGS
from .video import probe


class _Command(click.Command):
    """A command with ``--json`` (see `_say`) and with examples in its help."""

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


def _asking_options(command: Callable) -> Callable:
    return model_option(adapter_option(encoding_option(sampling(command))))


def _dataset_options(command: Callable) -> Callable:
    command = click.option("--limit", type=click.IntRange(1), help="Only so many videos.")(command)
    command = root_option(command)
    return click.option("--dataset", default="flipbook", help="Name of the dataset.")(command)


_NUMBER = """number film.mp4 numbered.mp4 --fps 1 --width 336 --height 336
number film.mp4 timed.mp4 --time-encoding overlay-seconds --outline white"""


@main.command(example=_NUMBER)
@click.argument("video", type=_PATH)
@click.argument("out", type=_PATH)
@sampling
@click.option("--width", type=click.IntRange(1), help="Resize; needs --height too.")
@click.option("--height", type=click.IntRange(1), help="Resize; needs --width too.")
@click.option("--position", default="bottom_right", help="Where it stands.")
@click.option("--font-size", type=float, default=40, help="In pixels.")
@click.option("--color", default="red", help="Name or #rrggbb.")
@click.option("--outline", help="Colour around the digits [none].")
@click.option("--box", help="Colour of a box behind the number [none].")
@click.option("--time-encoding", type=click.Choice(DRAWN), default=DRAWN[0], help="What is drawn.")
def number(video, out, fps, width, height, position, font_size, color, outline, box, **how) -> None:
    """Write VIDEO with a number on every frame to OUT (mp4), at the sampled rate.

    Each frame stays on screen for as long as it stands for.
    """
    if (width is None) != (height is None):
        raise click.UsageError("give --width and --height, or neither")
    style = overlay.NumberStyle(position, font_size, color, outline, box)
    size = (width, height) if width else None
    wrote = number_video(video, out, fps, size, style, **how)
    told = f"{wrote['frames']} numbered frames, {wrote['seconds']:.2f} s"
    _say(wrote, f"wrote {out}: {told}")


@main.command(example="frames film.mp4 --fps 0.5 --json")
@click.argument("video", type=_PATH)
@sampling
def frames(video, fps) -> None:
    """List the sampled frames of VIDEO: the label, its second, the frame of the file."""
    rows = list_frames(video, fps)
    lines = [f"{r['label']:5d}  {r['seconds']:9.3f} s  frame {r['source_index']}" for r in rows]
    _say(rows, *lines)


_ASK = """ask film.mp4 "a red star spins"
ask film.mp4 "a dog barks" --time-encoding text-seconds --json
ask film.mp4 "a dog barks" --model openai:Qwen/Qwen3-VL-8B-Instruct -o base_url http://127.0.0.1:8000/v1"""


@main.command(example=_ASK)
@click.argument("video", type=_PATH)
@click.argument("query")
@_asking_options
@settings_option
@click.option("--template", type=_PATH, help="A file with the question, with {query} in it.")
@click.option("--picture", type=_PATH, help="Where the picture goes [<video>_answer.png].")
def ask(video, query, model, adapter, time_encoding, fps, settings, template, picture) -> None:
    """Ask when QUERY happens in VIDEO: the span in seconds, and a picture of the answer.

    A model is a folder, a hub id, or openai:NAME of a server, whose key is read from the
    environment variable OPENAI_API_KEY (or the one that -o key_variable names).
    """
    if not query.strip():
        raise click.UsageError("QUERY is empty")
    template = read_template(template) if template else None
    probe(video)  # before the model is loaded: a wrong path is said at once
    loaded = models.load_model(_here(model), adapter=_here(adapter), **settings)
    tell = partial(click.echo, err=True)
    found = find_moment(video, query, loaded, time_encoding, fps, template, SIZE, tell)
    answer = found.answer
    if not answer.text and (answer.reason or "").startswith(("server:", "out of memory:")):
        raise ValueError(f"no answer from {model}: {answer.reason}")
    picture = picture or f"{Path(video).stem}_answer.png"
    found.figure().savefig(picture, bbox_inches="tight")
    asked = {"video": str(video), "query": query, "model": model, "adapter": adapter}
    asked |= {"time_encoding": time_encoding, "fps": fps, "text": answer.text, "unit": answer.unit}
    asked |= {"spans": [list(s) for s in found.spans], "reason": answer.reason}
    asked |= {"picture": str(picture), "prompt": render_prompt(found.prompt, len(found.clip))}
    said = f"the model said: {answer.text}"
    _say(asked | {"state": loaded.state()}, f"{query}: {found}", said, f"wrote {picture}")


_CHECK = """check-data charades-sta --data-root data/charades
check-data folder --data-root my_films --split test --json"""
workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Processes that read videos; 0: none [by cores]."
)


@main.command("check-data", example=_CHECK)
@click.argument("dataset")
@root_option
@click.option("--split", "splits", multiple=True, help="Only this split (may be given again).")
@click.option("--limit-s", "limit", type=float, default=60.0, help="Seconds to look at one file.")
@workers_option
def check_data(dataset, data_root, splits, limit, workers) -> None:
    """Say for each split of DATASET how many videos are there and can be read.

    Then what is missing or differs from the annotations, and where to get the data.
    """
    from .datasets.check import check_dataset, report_lines

    found = check_dataset(dataset, _here(data_root), splits, limit, workers)
    _say(found, *report_lines(found))
    if any(row["readable"] < row["videos"] for row in found["splits"]):
        raise click.exceptions.Exit(1)


_PREDICT = """predict --dataset flipbook --split test --out predictions.jsonl --limit 5
predict --model Qwen/Qwen2-VL-7B-Instruct -o frames_as video -o max_pixels 50176 --out a.jsonl
predict --model openai:Qwen/Qwen3-VL-8B-Instruct -o base_url http://127.0.0.1:8000/v1 --out b.jsonl
predict --dataset qvhighlights --data-root data/qvh --shard 2/4 --out predictions.jsonl
predict --dataset qvhighlights --data-root data/qvh --merge --out predictions.jsonl"""


def _shard(_context, _option, value: str | None) -> tuple[int, int] | None:
    number, _, count = (value or "1/1").partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise click.BadParameter(f"must be i/n with 1 <= i <= n, such as 2/4; got {value!r}")
    return (int(number), int(count)) if value else None


@main.command(example=_PREDICT)
@_dataset_options
@click.option("--split", default="test", help="Part of the dataset.")
@_asking_options
@settings_option
@click.option("--task", type=click.Choice(TASKS), default=TASKS[0])
@click.option("--template", type=_PATH, help="A file with the question, with {query} in it.")
@click.option("--seed", type=int, default=0)
@workers_option
@click.option("--limit-s", "seconds", type=float, default=300.0, help="Seconds to read one video.")
@click.option("--cache", type=_PATH, help="Keep sampled clips in this folder for the next run.")
@click.option("--shard", callback=_shard, help="i/n: ask every n-th video from the i-th only.")
@click.option("--merge", is_flag=True, help="Ask nothing; put the rows of all shards into OUT.")
@click.option("--out", type=_PATH, required=True, help="JSON Lines; resumed when there.")
def predict(
    dataset, data_root, limit, split, model, adapter, settings, template, seconds, cache, shard,
    merge, out, **options,
) -> None:  # fmt: skip
    """Run a dataset through a model; one row a query, answered or with the reason why not.

    The same command goes on with a broken run and asks again what failed. A shard, or a process
    of accelerate launch, writes OUT.shard-i-of-n; the last one to end puts them together.
    """
    from .predict import predict
    from .predictions import launched, merge_shards, missing_queries, shard_path

    named, out, (process, device) = Path(out), Path(out).absolute(), launched()
    if (shard or process) and merge:
        raise click.UsageError("--merge goes without --shard, in one process")
    shard = shard or process
    videos = datasets.load_dataset(dataset, split, _here(data_root), limit=limit)
    if merge:
        rows = merge_shards(videos, out)
    else:
        options["template"] = read_template(template, options["task"]) if template else None
        options |= {"limit": seconds, "cache": cache and Path(cache).absolute(), "shard": shard}
        settings = {"device": device} | settings if process else settings
        loaded = models.load_model(_here(model), adapter=_here(adapter), **settings)
        tell = partial(click.echo, err=True)
        rows = predict(videos, loaded, out, size=SIZE, tell=tell, **options)
    lines = []
    if shard and missing_queries(videos, out):
        named = shard_path(named, shard)
        lines = ["the shards are put together when all have ended; or now, by --merge"]
    elif shard:
        rows = merge_shards(videos, out)
    unread = sum(row["reason"] is not None for row in rows)
    told = f"{len(rows)} queries of {len({r['video'] for r in rows})} videos"
    said = {"out": str(named), "n": len(rows), "unparsed": unread}
    _say(said, f"wrote {named}: {told}, {unread} without an answer", *lines)


@main.group()
def evaluate() -> None:
    """Score a file of predictions."""


def _counted(scores: dict) -> str:
    """Return how many were scored, how many of them could not be read, and why not."""
    why = ", ".join(f"{reason}: {count}" for reason, count in scores["reasons"].items())
    return f"n {scores['n']}, unparsed {scores['unparsed']}" + (f" ({why})" if why else "")


_MOMENTS = """evaluate moment-retrieval predictions.jsonl
evaluate moment-retrieval timechat.json --annotations charades_sta_test.txt
evaluate moment-retrieval results.json --convention published --label-seconds 2 --json"""
_SCORERS, _FORM = click.Choice(metrics.CONVENTIONS), click.Choice(tuple(datasets.DATASETS))


@evaluate.command("moment-retrieval", example=_MOMENTS)
@click.argument("predictions", type=_PATH)
@click.option("--annotations", type=_PATH, help="Truth from here, not from the rows.")
@click.option("--dataset", type=_FORM, help="Form of the annotations, where the file can be two.")
@click.option("--convention", type=_SCORERS, default="default", help="How answers are counted.")
@click.option("--label-seconds", type=float, help="Seconds a frame label, for raw responses.")
@click.option("--train", type=_PATH, help="Annotations to fit the floors on.")
def evaluate_moment_retrieval(predictions, annotations, train, **options) -> None:
    """Score moments: mIoU and R@1 in percent, with 95 % intervals, floors and the ceiling."""
    paths = _here(predictions), _here(annotations)
    scores = metrics.evaluate_moment_predictions(*paths, train=_here(train), **options)
    given = scores["intervals"].items()
    lines = [f"{name:<6}  {report.format_score([scores[name], *v])}" for name, v in given]
    if reversed_truth := scores["reversed_truth"]:
        lines.append(f"{reversed_truth} true spans end before they start: nothing overlaps them")
    for name, row in scores.get("beside", {}).items():
        told = ", ".join(f"{metric} {value:.1f}" for metric, value in row.items())
        lines.append(f"{report.role(name)}: {name}: {told}")
    if fitted := scores.get("train"):
        lines.append("floors are fitted on {n} of {of} training queries".format(**fitted))
    _say(scores, _counted(scores), *lines)


_HIGHLIGHTS = "evaluate highlight-detection predictions.jsonl highlight_val_release.jsonl"


@evaluate.command("highlight-detection", example=_HIGHLIGHTS)
@click.argument("predictions", type=_PATH)
@click.argument("annotations", type=_PATH)
@click.option("--moment-detr", "out", type=_PATH, help="Write them for the official script, too.")
def evaluate_highlight_detection(predictions, annotations, out) -> None:
    """Score saliency, and windows, as the official QVHighlights scorer does, in percent."""
    paths = _here(predictions), _here(annotations)
    scores = metrics.evaluate_highlight_predictions(*paths, beside=True)
    given = ((k, v, scores["intervals"][k] or (v, v)) for k, v in scores["brief"].items())
    lines = [f"{k:<24}{v:6.2f} [{a:.2f}, {b:.2f}]" for k, v, (a, b) in given if v is not None]
    for name, row in scores.get("beside", {}).items():
        told = ", ".join(f"{metric} {value:.2f}" for metric, value in row.items())
        lines.append(f"beside: {name}: {told}")
    if out:
        from numpro.predict import read_rows

        metrics.write_moment_detr(read_rows(_here(predictions)), Path(out).absolute())
        lines.append(f"wrote {out}")
    _say(scores, _counted(scores), *lines)


_TEACH = """instructions --format ms-swift --out train.jsonl --videos numbered
instructions --dataset didemo --data-root data/didemo --format llama-factory --out didemo.json"""
_FORMS, _RULES = click.Choice(tuple(teaching.FORMATS)), click.Choice(ROUNDINGS)


@main.command(example=_TEACH)
@_dataset_options
@click.option("--split", default="train", help="Part of the dataset.")
@click.option("--task", type=click.Choice(TASKS), default=TASKS[0])
@encoding_option
@sampling
@click.option("--rounding", type=_RULES, default="nearest", help="How seconds become labels.")
@click.option("--format", "form", type=_FORMS, default="ms-swift", help="What it is written for.")
@click.option("--videos", type=_PATH, help="Write the videos, numbered, to this folder.")
@click.option("--absent-too", "absent", is_flag=True, help="Take videos that are not there, too.")
@click.option("--out", type=_PATH, required=True, help="JSON, for ms-swift JSON Lines.")
def instructions(dataset, data_root, limit, split, task, form, videos, absent, out, **how) -> None:
    """Write questions with true answers for fine-tuning with another trainer.

    It also says what rounding seconds to labels costs: the mean IoU that is lost.
    """
    loaded = datasets.load_dataset(dataset, split, _here(data_root), limit=limit)
    config = teaching.InstructionConfig(**how, highlight_fps=how["fps"])
    folder = Path(videos).absolute() if videos else None
    samples, told = teaching.build_samples(loaded, task, config, folder, not absent)
    gone = [f"left out: {row['video']}: {row['reason']}" for row in told["skipped"]]
    if not samples:
        raise ValueError(f"no samples in {len(loaded)} videos; {(gone or ['no queries'])[0]}")
    teaching.export(samples, Path(out).absolute(), form)
    lines = [f"wrote {out}: {told['samples']} samples of {told['videos']} videos for {form}"]
    costs = ", ".join(f"{rule} {lost:.2f}" for rule, lost in told["cost"].items())
    lines += [f"mean IoU lost by rounding, in %: {costs}; used: {how['rounding']}"] if costs else []
    lines += gone[:10] + [f"left out: {len(gone) - 10} more, listed by --json"] * (len(gone) > 10)
    if how["time_encoding"].startswith("overlay") and not videos:
        lines.append("the videos have no numbers on them yet: --videos writes them numbered")
    _say({"out": str(out), "format": form} | told, *lines)


_TUNE = """finetune --dataset flipbook --out adapters/mine --steps 50
finetune --preset paper -p learning_rate 5e-5 --validation val --out adapters/mine --dry-run"""


@main.command(example=_TUNE)
@_dataset_options
@click.option("--split", default="train", help="Part of the dataset.")
@model_option
@encoding_option
@click.option("--fps", type=float, help="Frames a second [the preset's].")
@click.option("--preset", type=_PRESETS, default="laptop", help="Batch, epochs and so on.")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps, if not the preset's.")
@click.option("--seed", type=int, default=0)
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="Any other value.")
@click.option("--validation", help="Split that is asked while training; the best weights stay.")
@click.option("--validation-limit", type=click.IntRange(1), help="Only so many of its videos.")
@click.option("--question", help="What is asked, with {query} [as published].")
@click.option("--dry-run", is_flag=True, help="Say what it would do and need, and stop.")
@click.option("--overwrite", is_flag=True, help="Train anew where OUT holds a finished adapter.")
@click.option("--out", type=_PATH, required=True, help="Folder of the new adapter.")
def finetune(
    dataset, data_root, limit, split, model, preset, pairs, validation, validation_limit,
    question, dry_run, overwrite, out, **changes,
) -> None:  # fmt: skip
    """Fine-tune a model with LoRA on numbered clips; writes an adapter and its log.

    The same command goes on with a broken run: with save_every there are checkpoints in OUT. Of a
    finished one it says so, and trains nothing.
    On several GPUs: accelerate launch --num_processes 8 -m numpro finetune ...; for FSDP and
    ZeRO-2 with --config_file and one of numpro/configs.
    """
    from .training_run import finished, first_process, prepare, train

    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {"templates": {TASKS[0]: question}} if question else {}
    root, out = _here(data_root), Path(out).absolute()
    videos = datasets.load_dataset(dataset, split, root, limit=limit)
    held_out = validation and datasets.load_dataset(dataset, validation, root, validation_limit)
    config = training.TrainingConfig.of(training.PRESETS[preset], **changes | parse_values(pairs))
    name, anew = _here(model), dry_run or overwrite
    if not anew and (done := finished(name, videos, out, config, held_out or ())):
        said = f"{out} is finished, with these values and data: nothing to do"
        if first_process():
            done |= {"out": str(out), "config": config.as_json(), "finished": True}
            _say(done, f"{said}; --overwrite trains it anew")
        return
    base, samples, told = prepare(name, videos, config)
    for title, rows in told.items() if first_process() else ():
        click.echo(f"{title}: " + ", ".join(f"{k} {v}" for k, v in rows.items()), err=True)
    if dry_run:
        return _say(told, *(f"{k}: {v}" for k, v in told["plan"].items()))
    wrote = train(base, videos, out, config, held_out or (), samples)
    if wrote is not None:  # of several processes one speaks
        _say({"out": str(out)} | told | wrote, f"wrote {out}: adapter, log.csv and log.png")


@main.group()
def adapter() -> None:
    """Do something with an adapter that was fine-tuned."""


_BASE = click.option("--model", help="Its base, if not where its notes say.")


@adapter.command(example="adapter merge flipbook/numpro-ft --out models/numpro-merged")
@click.argument("adapter")
@_BASE
@click.option("--out", type=_PATH, required=True, help="A new or empty folder.")
def merge(adapter, model, out) -> None:
    """Add ADAPTER to its base and write a plain model, which is loaded without adapter."""
    from .merging import merge

    merge(_here(adapter), Path(out).absolute(), _here(model))
    _say({"out": str(out)}, f"wrote {out}: a plain model")


@adapter.command(example="adapter export adapters/mine --out served/mine")
@click.argument("adapter")
@_BASE
@click.option("--out", type=_PATH, required=True, help="The folder to write.")
def export(adapter, model, out) -> None:
    """Write ADAPTER as vLLM loads it; refused, with the reason, where vLLM would."""
    from .merging import export_for_vllm

    rank = export_for_vllm(_here(adapter), Path(out).absolute(), _here(model))
    serve = f"--enable-lora --max-lora-rank {rank} --lora-modules NAME={out}"
    _say({"out": str(out), "rank": rank}, f"wrote {out}", f"vllm serve MODEL {serve}")


_CONVERT = """convert pretrained/LongVA-7B-DPO models/longva-7b-dpo
convert checkpoints/longva_7b_dpo_NumPro_FT models/numpro-ft"""


@main.command(example=_CONVERT)
@click.argument("source", metavar="IN")
@click.argument("out", type=_PATH)
@click.option("--vision-tower", help="Where the CLIP tower is, if not where IN says.")
def convert(source, out, vision_tower) -> None:
    """Write LongVA-7B-DPO, or the released NumPro-FT adapter, in our format to the folder OUT.

    IN is a folder, or for the model a hub id. Both can also be used without this, as they are.
    """
    from .convert import convert as written

    made = written(_here(source), out, _here(vision_tower))
    told = f"{made['kind']}, {made['tensors']} tensors, {made['bytes'] / 1e9:.2f} GB"
    _say(made, f"wrote {out}: {told}")


_RUN = "run\nrun papermill_runs/recipes/flipbook_full.yaml -p seed 1\nrun --run mine --resume"


@main.command(example=_RUN)
@click.argument("recipe", type=_PATH, required=False)
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter.")
@click.option("--run", "name", help="Name of the run [flipbook, or the recipe's and the time].")
@click.option("--resume", is_flag=True, help="Go on where a broken run stopped.")
@click.option("--only", multiple=True, metavar="05", help="Only this notebook (may be repeated).")
def run(recipe, pairs, name, resume, only) -> None:
    """Run every notebook in order, headless, into papermill_runs/<run>/.

    RECIPE is a papermill parameter file (YAML: name: value). Only parameters that the notebooks
    declare are taken, of the declared type.
    """
    parameters = parse_pairs(pairs, runs.known_parameters(runs.find_notebooks()))
    folder = runs.run_workbook(recipe, parameters, name, resume, only)
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


@main.command(example="compare papermill_runs/flipbook papermill_runs/mine --out sweep.png")
@click.argument("folders", metavar="RUN...", type=_PATH, nargs=-1, required=True)
@click.option("--metric", help="The score to compare [mIoU, and mAP for highlights].")
@click.option("--out", type=_PATH, help="Picture to write (png, pdf, svg).")
def compare(folders, metric, out) -> None:
    """Put runs beside each other: what was set otherwise, and what came of it."""
    from numpro import compare as compared
    from numpro.plots import run_scores

    results = [runs.Run(Path(folder).absolute()).results() for folder in folders]
    rows = compared.compare(results, metric)
    names, told = [Path(folder).name for folder in folders], [f"picture: {out}"] * bool(out)
    if out:
        run_scores(rows, names).savefig(out)
    differs = compared.differing(results)
    _say({"runs": names, "differs": differs, "scores": rows}, *compared.lines(results, rows), *told)
