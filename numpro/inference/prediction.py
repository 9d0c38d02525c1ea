"""A dataset through a model: one row a query, appended as it is answered, resumable.

The next videos are decoded while the model answers. A row that failed carries its reason and is
asked again when the run is taken up. What the answers depend on lies beside the rows; rows of two
configurations are never mixed in one file (`numpro.inference.prediction_files`).
"""

import hashlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from numpro import __version__
from numpro.datasets import VideoQueries, fingerprint
from numpro.datasets.check import other_duration
from numpro.inference.prediction_files import (
    RowsFile,
    answered,
    begin_session,
    check_config,
    check_questions,
    read_rows,
    shard_path,
    write_config,
    write_rows,
)
from numpro.models.base import VideoModel
from numpro.numbers.controls import disturb
from numpro.numbers.overlay import NumberStyle
from numpro.prompting.answers import HighlightAnswer
from numpro.prompting.prompts import asked_unit, render_prompt
from numpro.provenance import provenance
from numpro.spans import highlight_scores, to_seconds
from numpro.video import Clip, VideoError
from numpro.video.cache import ClipCache
from numpro.video.workers import LIMIT, Request, read_many

__all__ = ["predict", "read_rows"]


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
    control: str | None = None,
    progress: bool | None = None,
    seed: int = 0,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    limit: float = LIMIT,
    cache: ClipCache | str | os.PathLike | None = None,
    tell: Callable[[str], None] = lambda line: None,
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
    control
        Disturb the numbers or the frames (`numpro.numbers.controls`); None asks plainly.
    progress
        Show a bar on stderr; default: when it is a terminal.
    seed
        Torch's random numbers are seeded with it and the video's name before each video, so
        that a run in parts draws what a whole one draws.
    shard : (i, n)
        Ask every n-th video only, from the i-th (1 to n); the rows go to a file of their own
        (`numpro.inference.prediction_files.shard_path`) until `merge_shards`.
    workers, limit
        Processes that decode ahead, and seconds for one video (`numpro.video.workers.read_many`).
    cache
        Where sampled clips are kept from run to run: a `ClipCache` or a folder for one.
    tell
        Gets one line before the first video is asked: what it costs, of a local model.

    Returns
    -------
    list of dict
        Rows in the order of the dataset. Moments have ``pred`` ([[start, end], ...] in
        seconds); highlights ``pred_saliency_scores`` (one per 2-s clip); both ``response``,
        ``reason`` (None, or why there is no prediction), ``spans``/``labels`` as said, and
        ``warnings`` where the video is damaged or not as long as annotated.

    Raises
    ------
    ValueError
        When `out` holds rows of another configuration, or of other annotations.
    OSError
        When a row cannot be written (a full disk); all rows before it are kept.
    """
    from filelock import FileLock

    out, whole = Path(out), videos
    if shard:
        out, videos = shard_path(out, shard), videos[shard[0] - 1 :: shard[1]]
    config = {
        "task": task,
        "time_encoding": time_encoding,
        "fps": fps,
        "size": list(size) if size else None,
        "style": (style or NumberStyle()).as_dict(),
        "max_frames": max_frames,
        "template": template,
        "end": end,
        "control": control,
        "seed": seed,
        "model": model.name,
        "adapter": model.adapter,
        "weights": model.fingerprint,
        "state": model.state(),
        "numpro": __version__,
        "dataset": sorted({f"{v.dataset}/{v.split}" for v in whole}),
    }
    cache = ClipCache(cache) if isinstance(cache, str | os.PathLike) else cache
    decoding = {"workers": workers, "limit": limit, "cache": cache}
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_name(f".{out.name}.lock")):  # two writers: one waits, then reads
        told = {"annotations": fingerprint(whole)} | ({"shard": list(shard)} if shard else {})
        hidden = None if progress is None else not progress
        return _Run(out, model, config, style, told, tell).ask(videos, decoding, hidden)


class _Run:
    """One session of asking: what it writes where, and what it counts."""

    def __init__(self, out: Path, model: VideoModel, config: dict, style, told: dict, tell):
        self.out, self.model, self.config, self.style = out, model, config, style
        self.told, self.tell, self.failed, self.asked = told, tell, 0, 0
        self.began, self.used = time.monotonic(), dict(model.usage)

    def ask(self, videos: Sequence[VideoQueries], decoding: dict, hidden) -> list[dict]:
        """Ask what is open; return all rows of these videos."""
        done = {row["qid"]: row for row in read_rows(self.out) if answered(row)}
        todo = [(v, [q for q in v.queries if q.qid not in done]) for v in videos]
        todo = [(video, queries) for video, queries in todo if queries]
        about = check_config(self.out, self.config, asking=bool(todo))
        check_questions(self.out, done.values(), videos)
        if todo:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.about = begin_session(about, now, provenance()) | self.told
            write_config(self.out, self.config, self.about)
            write_rows(self.out, done.values())  # without what failed and what a kill cut
            try:
                self._ask_open(todo, done, decoding, hidden)
            except BaseException:
                with suppress(OSError):  # of a full disk the row has said more
                    self._count()
                raise
            self._count()
        rows = [done.pop(q.qid) for v in videos for q in v.queries]
        write_rows(self.out, [*rows, *done.values()])  # in the order of the dataset
        return rows

    def _ask_open(self, todo: list[tuple], done: dict, decoding: dict, hidden) -> None:
        from tqdm import tqdm

        config = self.config
        size = tuple(config["size"]) if config["size"] else None
        sampling = {"fps": config["fps"], "size": size, "max_frames": config["max_frames"]}
        requests = [Request(video.path, sampling) for video, _ in todo]
        clips = read_many(requests, **decoding)
        total = sum(len(queries) for _, queries in todo)
        bar = tqdm(
            desc=f"{self.model.name} {config['time_encoding']}", unit="query", disable=hidden,
            total=len(done) + total, initial=len(done),
        )  # fmt: skip
        with bar, RowsFile(self.out) as file, closing(clips):
            for (video, queries), (_, clip) in zip(todo, clips, strict=True):
                for row in self._rows(video, queries, clip):
                    file.add(row)
                    done[row["qid"]] = row
                    self.failed += not answered(row)
                file.sync()
                self.asked += len(queries)
                bar.set_postfix_str(self._progress(), refresh=False)
                bar.update(len(queries))

    def _rows(self, video: VideoQueries, queries, clip: Clip | VideoError) -> Iterator[dict]:
        """Yield the rows of one video."""
        config = self.config
        if isinstance(clip, VideoError):
            yield from (_row(video, q, config, "", f"video: {clip}") for q in queries)
            return
        said = list(clip.source["warnings"])
        if differs := other_duration(video, clip.duration):
            warnings.warn(f"{video.path}: {differs}", stacklevel=5)
            said.append(differs)
        clip, labels = disturb(clip, config["control"], video.video)
        asked = {"task": config["task"], "time_encoding": config["time_encoding"]}
        asked |= {"style": self.style, "labels": labels, "template": config["template"]}
        texts = [q.text for q in queries]
        self._before(clip, texts, asked)
        _seed_torch(config["seed"], video.video)
        answers = self.model.answer(clip, texts, **asked)
        for query, answer in zip(queries, answers, strict=True):
            row = _row(video, query, config, answer.text, answer.reason)
            row |= _prediction(answer, clip, config, labels)
            yield row | ({"warnings": said} if said else {})

    def _before(self, clip: Clip, texts: list[str], asked: dict) -> None:
        """Keep the first question whole, and what a video costs; tell it once a session."""
        session = self.about["sessions"][-1]
        if "cost" in session:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `answer` will say it
            frames, prompts = self.model.prepare(clip, texts[:1], **asked)
            cost = getattr(self.model, "cost", None)
            session["cost"] = cost and str(cost(clip, texts, **asked))
        self.about.setdefault("prompt", render_prompt(prompts[0], len(clip)))
        if written := getattr(self.model, "written", None):
            self.about.setdefault("prompt_in_chat", written(frames.shape, prompts[0]))
        write_config(self.out, self.config, self.about)
        if session["cost"]:
            self.tell(f"first video: {session['cost']}")

    def _usage(self) -> dict[str, int]:
        return {k: n - self.used.get(k, 0) for k, n in self.model.usage.items()}

    def _progress(self) -> str:
        usage = self._usage()
        tokens = usage.get("prompt_tokens", 0) + usage.get("answer_tokens", 0)
        return f"{self.failed} failed" + (f", {tokens:,} tokens" if tokens else "")

    def _count(self) -> None:
        """Write what this session did."""
        counts = {"asked": self.asked, "failed": self.failed, "usage": self._usage()}
        counts["seconds"] = round(time.monotonic() - self.began, 1)
        self.about["sessions"][-1] |= counts
        write_config(self.out, self.config, self.about)


def _seed_torch(seed: int, name: str) -> None:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    if torch := sys.modules.get("torch"):  # a served model has none
        torch.manual_seed(int.from_bytes(digest[:4], "little"))


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


def _prediction(answer, clip: Clip, config: dict, labels: list[int] | None) -> dict:
    unit = asked_unit(config["time_encoding"])
    if isinstance(answer, HighlightAnswer):
        scores = (
            None if answer.reason else highlight_scores(answer, clip, labels, unit=unit).tolist()
        )
        return {
            "unit": answer.unit,
            "labels": list(answer.labels),
            "scores": list(answer.scores),
            "pred_saliency_scores": scores,
        }
    spans = () if answer.reason else to_seconds(answer, clip, labels, config["end"], unit)
    return {
        "unit": answer.unit,
        "spans": [list(s) for s in answer.spans],
        "pred": [list(s) for s in spans],
    }
