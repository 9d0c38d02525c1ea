"""``numpro number``, ``frames``, ``ask`` and ``check-data``: from files and datasets of videos."""

import click
import numpy as np

from numpro import models, plots
from numpro.cli import base
from numpro.cli.base import here, main, say, tell
from numpro.inference import find_moment
from numpro.metrics.ranked import calibrate
from numpro.numbers import number_video, overlay
from numpro.numbers.numbered_video import list_frames
from numpro.prompting.prompts import read_template, render_prompt
from numpro.video import Sampling, probe


@main.command()
def number(video, out, fps, origin, width, height, time_encoding, **style) -> None:
    """Write VIDEO with a number on every frame to OUT (mp4), at the sampled rate.

    Each frame stays on screen for as long as it stands for.

    Example:
      numpro number film.mp4 numbered.mp4 --fps 1 --width 336 --height 336
      numpro number film.mp4 timed.mp4 --time-encoding overlay-seconds --outline white
    """
    if (width is None) != (height is None):
        raise click.UsageError("give --width and --height, or neither")
    size, style = (width, height) if width else None, overlay.NumberStyle(**style)
    wrote = number_video(video, out, fps, size, style, time_encoding, origin)
    say(wrote, "wrote {}: {frames} numbered frames, {seconds:.2f} s".format(out, **wrote))


@main.command()
def frames(video, fps, origin) -> None:
    """List the sampled frames of VIDEO: the label, its second, the frame of the file.

    Example:
      numpro frames film.mp4 --fps 0.5 --json
    """
    rows = list_frames(video, fps, origin)
    lines = [f"{r['label']:5d}  {r['seconds']:9.3f} s  frame {r['source_index']}" for r in rows]
    say(rows, *lines)


@main.command()
def ask(
    video, query, model, adapter, fps, origin, settings, template, picture, top, calibration,
    min_confidence, **wording,
) -> None:  # fmt: skip
    r"""Ask when QUERY happens in VIDEO: the span in seconds, and with --picture a picture.

    A model is a folder, a hub id, or openai:NAME of a server, whose key is read from the
    environment variable OPENAI_API_KEY (or the one that -o key_variable names).

    Example:
      numpro ask film.mp4 "a red star spins" --picture answer.png
      numpro ask film.mp4 "a dog barks" --time-encoding text-seconds --json
      numpro ask film.mp4 "a red star spins" --top 5 --min-confidence 0.5
      numpro ask long_film.mp4 "a red star spins" --windows 16,4 --top 5
      numpro ask film.mp4 "a dog barks" --model openai:Qwen/Qwen3-VL-8B-Instruct \
        -o base_url http://127.0.0.1:8000/v1
    """
    if not query.strip():
        raise click.UsageError("QUERY is empty")
    template = read_template(template) if template else None
    put = {"model": here(model), "adapter": here(adapter)}
    put["time_encoding"] = wording["time_encoding"]
    calibration = base.read_calibration(calibration, put)
    ranks = calibration or min_confidence is not None or wording["windows"]
    top = top or (1 if ranks else None)
    probe(video)  # before the model is loaded: a wrong path is said at once
    loaded = models.load_model(here(model), adapter=here(adapter), **settings)
    question = models.Question(template=template, **wording)
    found = find_moment(video, query, loaded, Sampling(fps, origin=origin), question, tell, top)
    answer = found.answer
    if not answer.text and (answer.reason or "").startswith(("server:", "out of memory:")):
        raise ValueError(f"no answer from {model}: {answer.reason}")
    if picture:
        plots.save(found.figure(), picture, bbox_inches="tight")
    result = {"video": video, "query": query, "model": model, "adapter": adapter}
    result |= {"time_encoding": question.time_encoding, "fps": fps, "text": answer.text}
    result |= {"unit": answer.unit, "spans": found.spans, "reason": answer.reason}
    result |= {"caution": found.caution}
    result |= {"picture": picture, "prompt": render_prompt(found.prompt, len(found.clip))}
    if found.ranked:
        result |= _ranked(found.ranked, calibration, min_confidence or 0)
    base.show(result | {"state": loaded.state()}, "ask", found=found)


def _ranked(ranked: models.RankedMoments, calibration: dict | None, least: float) -> dict:
    """Return ranked moments as rows, whether the first is sure, and why there is one only."""
    heat, rows = calibration["temperature"] if calibration else 1.0, []
    for rank, m in enumerate(ranked.moments, 1):
        # without probabilities there is no confidence: 0
        chance, sure = np.nan_to_num([m.probability, m.expected_iou])
        row = {"rank": rank, "start": m.start, "end": m.end, "probability": float(chance)}
        rows.append(row | {"confidence": float(calibrate(sure, heat))})
    sure = bool(rows) and rows[0]["confidence"] >= least
    found = {"moments": rows, "sure": sure, "min_confidence": least}
    return found | {"ranked_reason": ranked.reason, "left_out": ranked.left_out}


@main.command("check-data")
def check_data(dataset, data_root, splits, limit, workers) -> None:
    """Say for each split of DATASET how many videos are there and can be read.

    Then what is missing or differs from the annotations, and where to get the data.

    Example:
      numpro check-data charades-sta --data-root data/charades
      numpro check-data folder --data-root my_films --split test --json
    """
    from numpro.datasets.check import check_dataset, report_lines

    found = check_dataset(dataset, data_root, splits, limit, workers)
    say(found, *report_lines(found))
    if not found["splits"] or any(r["readable"] < r["videos"] for r in found["splits"]):
        raise click.exceptions.Exit(1)
