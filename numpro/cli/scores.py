"""``numpro predict`` and ``numpro evaluate``: a dataset through a model, and what that scores."""

import json
from pathlib import Path

import click

from numpro import datasets, inference, metrics, models
from numpro.cli import base
from numpro.cli.base import here, main, say
from numpro.inference import prediction_files
from numpro.paths import write_whole
from numpro.prompting.prompts import read_template
from numpro.video import Sampling


@main.command()
def predict(
    dataset, data_root, limit, split, model, adapter, time_encoding, fps, origin, settings, task,
    template, max_new_tokens, windows, seconds, cache, shard, merge, out, read, top, **execution,
) -> None:  # fmt: skip
    r"""Run a dataset through a model; one row a query, answered or with the reason why not.

    The same command goes on with a broken run and asks again what failed. A shard, or a process
    of accelerate launch, writes OUT.shard-i-of-n; the last one to end puts them together.

    Example:
      numpro predict --dataset flipbook --split test --out predictions.jsonl --limit 5
      numpro predict --split val --read ranked --out ranked.jsonl
      numpro predict --split test_long --read ranked --windows 16,4 --out long.jsonl
      numpro predict --model Qwen/Qwen2-VL-7B-Instruct -o frames_as video -o max_pixels 50176 \
        --out a.jsonl
      numpro predict --model openai:Qwen/Qwen3-VL-8B-Instruct \
        -o base_url http://127.0.0.1:8000/v1 --out b.jsonl
      numpro predict --dataset qvhighlights --data-root data/qvh --shard 2/4 --out predictions.jsonl
      numpro predict --dataset qvhighlights --data-root data/qvh --merge --out predictions.jsonl
    """
    named, out, (process, device) = Path(out), Path(out).absolute(), prediction_files.launched()
    if (shard or process) and merge:
        raise click.UsageError("--merge goes without --shard, in one process")
    shard = shard or process
    videos = datasets.load_dataset(dataset, split, data_root, limit=limit)
    if merge:
        rows = prediction_files.merge_shards(videos, out)
    else:
        template = read_template(template, task) if template else None
        words = {"template": template, "max_new_tokens": max_new_tokens, "windows": windows}
        question = models.Question(task, time_encoding, **words)
        execution |= {"cache": cache and Path(cache).absolute(), "shard": shard, "tell": base.tell}
        settings = {"device": device} | settings if process else settings
        loaded = models.load_model(here(model), adapter=here(adapter), **settings)
        execution = inference.Execution(limit=seconds, **execution)
        sampling = Sampling(fps, origin=origin)
        ranking = {"read": read, "top": top}
        rows = inference.predict(videos, loaded, out, sampling, question, execution, **ranking)
    lines = []
    if shard and prediction_files.missing_queries(videos, out):
        named = prediction_files.shard_path(named, shard)
        lines = ["the shards are put together when all have ended; or now, by --merge"]
    elif shard:
        rows = prediction_files.merge_shards(videos, out)
    unread = sum(row["reason"] is not None for row in rows)
    counts = f"{len(rows)} queries of {len({r['video'] for r in rows})} videos"
    result = {"out": str(named), "n": len(rows), "unparsed": unread}
    say(result, f"wrote {named}: {counts}, {unread} without an answer", *lines)


@main.command("calibrate")
def calibrate_confidence(predictions, out) -> None:
    """Fit one temperature that makes confidences true, on ranked moments of validation films.

    Example:
      numpro calibrate val.jsonl --out calibration.json
      numpro evaluate moment-retrieval ranked.jsonl --calibration calibration.json
    """
    predictions = Path(here(predictions))
    found = _asking(predictions)  # a temperature is one way of asking's
    found |= metrics.fit_calibration(inference.read_rows(predictions))
    out = Path(out or f"{predictions}.calibration.json")
    write_whole(out.absolute(), json.dumps(found, indent=1) + "\n")
    fitted = "temperature {temperature:.2f} from {n} queries; error {calibration_error[0]:.3f}, "
    fitted += "with it {calibration_error[1]:.3f}"
    say(found, f"wrote {out}: {fitted.format(**found)}")


def _asking(predictions: str | Path) -> dict:
    """Return by what model, adapter and time encoding rows were asked for, where that is known."""
    config = prediction_files.read_config(Path(predictions))
    return {key: config[key] for key in ("model", "adapter", "time_encoding") if key in config}


@main.group()
def evaluate() -> None:
    """Score a file of predictions."""


@evaluate.command("moment-retrieval")
def evaluate_moment_retrieval(predictions, annotations, train, calibration, **options) -> None:
    """Score moments: mIoU and R@1 in percent, with 95 % intervals, floors and the ceiling.

    --convention says by whose rules; all puts them beside each other, says what each does
    otherwise, and in how many queries that shows.

    Example:
      numpro evaluate moment-retrieval predictions.jsonl
      numpro evaluate moment-retrieval timechat.json --annotations charades_sta_test.txt
      numpro evaluate moment-retrieval results.json --convention published --label-seconds 2 --json
      numpro evaluate moment-retrieval predictions.jsonl --convention all
      numpro evaluate moment-retrieval ranked.jsonl --calibration calibration.json
    """
    options["calibration"] = base.read_calibration(calibration, _asking(here(predictions)))
    scores = metrics.evaluate_moment_predictions(predictions, annotations, train=train, **options)
    if "conventions" in scores:
        cells = metrics.convention_cells(scores["conventions"])
        return base.show(scores, "conventions", cells=cells)
    base.show(scores, "moment_retrieval", least=options["min_confidence"])


@evaluate.command("highlight-detection")
def evaluate_highlight_detection(predictions, annotations, out) -> None:
    """Score saliency, and windows, as the official QVHighlights scorer does, in percent.

    Example:
      numpro evaluate highlight-detection predictions.jsonl highlight_val_release.jsonl
    """
    scores = metrics.evaluate_highlight_predictions(predictions, annotations, beside=True)
    if out:
        metrics.write_moment_detr(inference.read_rows(here(predictions)), Path(out).absolute())
    base.show(scores, "highlight_detection", out=out)
