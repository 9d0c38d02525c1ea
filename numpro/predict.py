"""A dataset through a model: one row a query, appended as it is answered, resumable.

A row that failed carries its reason and is asked again when the run is resumed. The run's
configuration lies beside the rows; rows of two configurations are never mixed in one file.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from numpro import __version__
from numpro.answers import HighlightAnswer
from numpro.datasets import VideoQueries
from numpro.models.base import VideoModel, as_dict
from numpro.overlay import NumberStyle
from numpro.paths import write_whole
from numpro.prompts import asked_unit
from numpro.spans import highlight_scores, to_seconds
from numpro.video import Clip, VideoError, read_clip


def predict(
    videos: Sequence[VideoQueries],
    model: VideoModel,
    out: str | os.PathLike,
    task: str = "moment_retrieval",
    time_encoding: str = "overlay-index",
    fps: float = 1.0,
    size: tuple[int, int] | None = (336, 336),
    style: NumberStyle | None = None,
    max_frames: int | None = 240,
    template: str | None = None,
    end: str = "instant",
    progress: bool | None = None,
) -> list[dict]:
    """Ask a model every query of a dataset.

    Parameters
    ----------
    videos
        From `numpro.datasets.load_dataset`.
    model
        From `numpro.models.load_model`.
    out
        JSON Lines file; rows that are there and did not fail are not asked again. Its
        configuration is written to ``<out>.config.json``.
    task, time_encoding, style, template
        As in `VideoModel.answer`.
    fps, size, max_frames
        How videos are sampled (the paper: 1 fps, 336 x 336, at most 240 frames).
    end : {"instant", "inclusive"}
        What the last label of a span means (see `numpro.spans.labels_to_seconds`).
    progress
        Show a bar on stderr; default: when it is a terminal.

    Returns
    -------
    list of dict
        Rows in the order of the dataset. Moments have ``pred`` ([[start, end], ...] in
        seconds); highlights ``pred_saliency_scores`` (one per 2-s clip); both ``response``,
        ``reason`` (None, or why there is no prediction), ``spans``/``labels`` as said.

    Raises
    ------
    ValueError
        When `out` holds rows of another configuration.
    """
    from filelock import FileLock
    from tqdm import tqdm

    out = Path(out)
    config = {
        "task": task,
        "time_encoding": time_encoding,
        "fps": fps,
        "size": list(size) if size else None,
        "style": as_dict(style or NumberStyle()),
        "max_frames": max_frames,
        "template": template,
        "end": end,
        "model": model.name,
        "adapter": model.adapter,
        "weights": model.fingerprint,
        "numpro": __version__,
        "dataset": sorted({f"{v.dataset}/{v.split}" for v in videos}),
    }
    hidden = None if progress is None else not progress
    bar = tqdm(
        total=sum(len(v.queries) for v in videos), unit="query", disable=hidden,
        desc=f"{model.name} {time_encoding}",
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    with bar, FileLock(out.with_name(f".{out.name}.lock")):  # two writers: one waits, then reads
        return _predict(videos, model, out, config, style, bar)


def _predict(videos, model: VideoModel, out: Path, config: dict, style, bar) -> list[dict]:
    _keep_config(out, config)
    done = {row["qid"]: row for row in read_rows(out) if row["reason"] is None or row["response"]}
    _write_rows(out, list(done.values()))  # without what failed and what a kill cut
    with open(out, "a", encoding="utf-8") as rows_out:
        for video in videos:
            open_queries = [q for q in video.queries if q.qid not in done]
            if open_queries:
                for row in _ask(video, open_queries, model, config, style):
                    rows_out.write(json.dumps(row) + "\n")
                    rows_out.flush()
                    done[row["qid"]] = row
            bar.update(len(video.queries))
    rows = [done.pop(q.qid) for v in videos for q in v.queries]
    _write_rows(out, [*rows, *done.values()])  # in the order of the dataset
    return rows


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Read prediction rows; a later row of a query replaces an earlier one.

    A last line that a kill cut in the middle is left out (its query is asked again).

    Raises
    ------
    ValueError
        For any other line that is not a row, with file and line number.
    """
    path = Path(path)
    if not path.is_file():
        return []
    rows: dict[str, dict] = {}
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[row["qid"]] = row
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise ValueError(f"{path} line {number} is not a prediction row: {error}") from error
    return list(rows.values())


def _ask(video: VideoQueries, queries, model: VideoModel, config: dict, style) -> Iterator[dict]:
    size = tuple(config["size"]) if config["size"] else None
    sampling = {"fps": config["fps"], "size": size, "max_frames": config["max_frames"]}
    try:
        clip = read_clip(video.path, **sampling)
        answers = model.answer(
            clip,
            [q.text for q in queries],
            config["task"],
            config["time_encoding"],
            style=style,
            template=config["template"],
        )
    except VideoError as error:
        yield from (_row(video, q, config, "", f"video: {error}") for q in queries)
        return
    for query, answer in zip(queries, answers, strict=True):
        row = _row(video, query, config, answer.text, answer.reason)
        row |= _prediction(answer, clip, config)
        yield row


def _row(video: VideoQueries, query, config: dict, response: str, reason: str | None) -> dict:
    return {
        "qid": query.qid,
        "video": video.video,
        "vid": video.video,
        "query": query.text,
        "duration": video.duration,
        "dataset": video.dataset,
        "split": video.split,
        "task": config["task"],
        "response": response,
        "reason": reason,
        "unit": None,
        "truth": [list(span) for span in query.spans],
        **(
            {"pred": []} if config["task"] == "moment_retrieval" else {"pred_saliency_scores": None}
        ),
    }


def _prediction(answer, clip: Clip, config: dict) -> dict:
    unit = asked_unit(config["time_encoding"])
    if isinstance(answer, HighlightAnswer):
        scores = None if answer.reason else highlight_scores(answer, clip, unit=unit).tolist()
        return {
            "unit": answer.unit,
            "labels": list(answer.labels),
            "scores": list(answer.scores),
            "pred_saliency_scores": scores,
        }
    spans = () if answer.reason else to_seconds(answer, clip, end=config["end"], unit=unit)
    return {
        "unit": answer.unit,
        "spans": [list(s) for s in answer.spans],
        "pred": [list(s) for s in spans],
    }


def _keep_config(out: Path, config: dict) -> None:
    path = out.with_name(out.name + ".config.json")
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        differs = sorted(k for k in config if before.get(k) != config[k])
        if differs and out.is_file():
            told = "; ".join(f"{k}: {before.get(k)!r} there, {config[k]!r} now" for k in differs)
            raise ValueError(
                f"{out} holds rows of another configuration ({told}); give another file"
            )
    elif out.is_file() and out.stat().st_size:
        raise ValueError(f"{out} holds rows of an unknown configuration ({path.name} is missing)")
    write_whole(path, json.dumps(config, indent=1) + "\n")


def _write_rows(out: Path, rows: Sequence[dict]) -> None:
    write_whole(out, "".join(json.dumps(row) + "\n" for row in rows))
