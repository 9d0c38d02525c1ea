"""A dataset through a model: one row a query, appended as it is answered, resumable.

The next videos are decoded while the model answers. A row that failed carries its reason and is
asked again when the run is taken up. What the answers depend on lies beside the rows; rows of two
configurations are never mixed in one file (`numpro.inference.prediction_files`).
"""

import hashlib
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from numpro import __version__
from numpro.datasets import Query, VideoQueries, fingerprint, label_end
from numpro.datasets.check import other_duration
from numpro.inference import prediction_files as files
from numpro.inference.embedded import caution
from numpro.inference.execution import Execution
from numpro.models import Question, RankedMoments, VideoModel
from numpro.models.question import WHOLE
from numpro.numbers import disturb
from numpro.progress import progress_bar
from numpro.prompting import TASKS, MomentAnswer, render_prompt
from numpro.provenance import provenance
from numpro.spans import ENDS, Labels, highlight_scores, one_of, to_seconds
from numpro.video import Clip, ClipCache, Request, Sampling, SamplingError, VideoError, read_many
from numpro.video.windows import Windows, open_windows

READS = ("greedy", "ranked")
_FAILING = 3  # videos, from the first on: then it is no one video's fault


def predict(
    videos: Sequence[VideoQueries], model: VideoModel, out: str | os.PathLike,
    sampling: Sampling = Sampling(), question: Question = Question(),
    execution: Execution = Execution(), end: str | None = None, control: str | None = None,
    read: str = READS[0], top: int = 5,
) -> list[dict]:  # fmt: skip
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
    sampling, question, execution
        How videos are sampled, how the question is put, how the run is executed.
    end
        What labels mean in seconds (`numpro.spans.ENDS`). Default: the data set's way, which is
        "instant" as published, and "halfway" for the embedded films.
    control
        Disturb the numbers or the frames (`numpro.numbers.controls`); None asks plainly.
    read : {"greedy", "ranked"}
        Take the likeliest words as the answer, or rank moments by the IoU that the model's
        probabilities expect of them (`VideoModel.moments`).
    top
        At most so many ranked moments a query.

    Returns
    -------
    list of dict
        Rows in the order of the dataset. Moments have ``pred`` ([[start, end], ...] in
        seconds); highlights ``pred_saliency_scores`` (one per 2-s clip); both ``response``,
        ``reason`` (None, or why there is no prediction), ``spans``/``labels`` as in the answer,
        and ``warnings`` where the video is damaged or not as long as annotated. Ranked moments
        stand in ``pred`` best first, and with their confidence in ``pred_relevant_windows``
        ([start, end, confidence], as moment_detr has it), beside the ``greedy`` answer in
        seconds, ``left_out`` (the probability that was not looked at) and ``ranked_reason``
        (why there is one moment only).

    Raises
    ------
    ValueError
        When `out` holds rows of another configuration, or of other annotations; for highlights
        or a `top` below 1 with ranked moments; for windows without them.
    OSError
        When a row cannot be written (a full disk) or the temporary folder has no room; all rows
        before it are kept. When a server refuses every question about the first video.
    Exception
        What asking about the first videos raised, when it did for all or three of them. Where one
        could be asked about, what another raises is the reason in its rows.
    SamplingError
        At the end, when no video can be read as asked (its rate or size takes too much).
    """
    ranked, size = one_of("read", read, READS) == "ranked", None
    if ranked:
        one_of("task of ranked moments", question.task, TASKS[:1])
        if top < 1:
            raise ValueError(f"top must be 1 or more; got {top!r}")
        # a control changes the whole film: by default it is not asked in windows
        size = None if control and not question.windows else question.window_size(model.notes)
        if control and size:
            raise ValueError(f"a control goes without windows; got {control!r} and {size}")
        question = replace(question, windows=size or WHOLE)
    elif question.windows not in (None, WHOLE):
        raise ValueError(f"windows go with ranked moments; got windows={question.windows}")
    out, whole, shard = Path(out), videos, execution.shard
    if shard:
        out, videos = files.shard_path(out, shard), videos[shard[0] - 1 :: shard[1]]
    config = asdict(question) | asdict(sampling) | {"style": question.style.as_dict()}
    config |= {"size": sampling.size and list(sampling.size), "control": control}
    config |= {"end": one_of("end", end or label_end(whole), ENDS)}
    config |= {"seed": execution.seed, "model": model.name, "adapter": model.adapter}
    config |= {"weights": model.fingerprint, "state": model.state(), "numpro": __version__}
    config |= {"read": read, "top": top if ranked else None, "windows": size and list(size)}
    config |= {"dataset": sorted({f"{v.dataset}/{v.split}" for v in whole})}
    about = {"annotations": fingerprint(whole)} | ({"shard": list(shard)} if shard else {})
    with files.locked(out):  # two writers: one waits, then reads
        return _Session(out, model, config, sampling, question, execution).run(videos, about)


class _Session:
    """One session of asking: what it writes where, and what it counts."""

    def __init__(
        self, out: Path, model: VideoModel, config: dict, sampling: Sampling, question: Question,
        execution: Execution,
    ):  # fmt: skip
        self.out, self.model, self.config = out, model, config
        self.sampling, self.question, self.execution = sampling, question, execution
        self.queries, self.failed, self.about = 0, 0, {}
        self.unreadable = 0  # also of earlier sessions
        self.raised: list[Exception] = []
        self.works = False  # a video could be asked about
        self.refused: list[SamplingError] = []
        self.began, self.usage_before = time.monotonic(), dict(model.usage)

    def run(self, videos: Sequence[VideoQueries], about: dict) -> list[dict]:
        """Ask what is open; return all rows of these videos."""
        done = {row["qid"]: row for row in files.read_rows(self.out) if files.answered(row)}
        unanswered = ((v, [q for q in v.queries if q.qid not in done]) for v in videos)
        todo = [(video, queries) for video, queries in unanswered if queries]
        stored = files.check_config(self.out, self.config, asking=bool(todo))
        files.check_questions(self.out, done.values(), videos)
        if todo:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.about = files.begin_session(stored, now, provenance()) | about
            files.write_config(self.out, self.config, self.about)
            files.write_rows(self.out, done.values())  # without what failed and what a kill cut
            try:
                self._ask_open(todo, done)
            except BaseException:
                with suppress(OSError):  # a full disk has raised already, with more to say
                    self._write_counts()
                raise
            self._write_counts()
        rows = [done.pop(q.qid) for v in videos for q in v.queries]
        files.write_rows(self.out, [*rows, *done.values()])  # in the order of the dataset
        return rows

    def _ask_open(self, todo: list[tuple], done: dict) -> None:
        how, cache = self.execution, self.execution.cache
        cache = ClipCache(cache) if isinstance(cache, str | os.PathLike) else cache
        sampling = asdict(self.sampling) | {"max_memory": how.max_memory}
        whole = [] if self.config["windows"] else todo  # windows are read as they are asked
        requests = [Request(video.path, sampling) for video, _ in whole]
        workers = how.workers if whole else 0
        clips = read_many(requests, workers=workers, limit=how.limit, cache=cache)
        self.unreadable = sum(map(_unreadable, done.values()))
        first, total = len(done), len(done) + sum(len(queries) for _, queries in todo)
        self.works = first > 0  # with this configuration
        title = f"{self.model.name} {self.question.time_encoding}"
        bar = progress_bar(None, title, total, "query", how.progress, first)
        with bar, self.out.open("ab", buffering=0) as file, closing(clips):
            doubtful: list[dict] = []  # of videos that could not be asked about, until one could
            for at, (video, queries) in enumerate(todo, 1):
                # no name keeps a clip while the next is read: both would take memory
                doubtful += self._rows_or_reason(video, queries, next(clips, (video, None))[1])
                if self.raised and not self.works:
                    if len(self.raised) == _FAILING or at == len(todo):
                        raise self.raised[-1]
                    continue
                for row in doubtful:
                    if (row["reason"] or "").startswith("error: "):
                        warnings.warn(f"{row['video']}: {row['reason']}", stacklevel=4)
                    files.add_row(file, row)
                    done[row["qid"]] = row
                    self.failed += not files.answered(row)
                    self.unreadable += _unreadable(row)
                os.fsync(file.fileno())  # its rows are on the disk before the next video is asked
                files.windows_path(self.out).unlink(missing_ok=True)
                if not self.queries:
                    _refuse_server([row["reason"] for row in doubtful])
                self.queries += len(doubtful)
                bar.set_postfix_str(self._progress(), refresh=False)
                bar.update(len(doubtful))
                doubtful.clear()
        if len(self.refused) == len(todo) and not self.works:
            raise self.refused[0]

    def _open(self, video: VideoQueries, queries: Sequence[Query]) -> Windows:
        """Open a film to be asked in windows, with what they have answered before a break."""
        about = json.dumps([self.config, video.video, *(q.qid for q in queries)], default=str)
        key = hashlib.sha256(about.encode()).hexdigest()
        answers = files.WindowAnswers(files.windows_path(self.out), key)
        how = tuple(self.config["windows"]), self.sampling, self.execution.max_memory
        return replace(open_windows(video.path, *how), answers=answers)

    def _rows_or_reason(self, video: VideoQueries, queries, clip) -> list[dict]:
        """Return the rows of one video; what it raises is their reason, and stops no other.

        Without a clip it is opened to be asked in windows.
        """
        try:
            if isinstance(clip, VideoError):
                raise clip
            film = self._open(video, queries) if clip is None else clip
            rows = list(self._rows(video, queries, film))
            self.works = True
            return rows
        except OSError:
            raise  # a full disk
        except VideoError as error:  # at once, or in a later window
            self.refused += [error] if isinstance(error, SamplingError) else []
            reason = f"video: {error}"
        except Exception as error:  # noqa: BLE001
            self.raised.append(error)
            reason = f"error: {type(error).__name__}: {error}"
        return [self._row(video, query, "", reason) for query in queries]

    def _rows(self, video: VideoQueries, queries, clip: Clip | Windows) -> Iterator[dict]:
        """Yield the rows of one video."""
        notices = list(clip.source["warnings"])
        if differs := other_duration(video, clip.duration):
            warnings.warn(f"{video.path}: {differs}", stacklevel=5)
            notices.append(differs)
        clip, labels = disturb(clip, self.config["control"], video.video)
        texts = [q.text for q in queries]
        self._note_cost(clip, texts, labels)
        _seed_torch(self.execution.seed, video.video)
        end, ranked = self.config["end"], self.config["read"] == "ranked"
        how = {"top": self.config["top"], "end": end} if ranked else {}
        ask = self.model.moments if ranked else self.model.answer
        found = ask(clip, texts, self.question, labels=labels, **how)
        reading = self.model.answer_unit(self.question, len(clip), labels)
        for query, given in zip(queries, found, strict=True):
            answer = given.answer if ranked else given
            row = self._row(video, query, answer.text, answer.reason)
            row |= _read_off(answer, clip, *reading, end)
            if self.config["control"] == "shuffled" and "pred" in row:
                counted = to_seconds(answer, clip, None, end, reading[0])
                row["pred_by_place"] = [list(span) for span in counted]  # had it counted frames
            row |= _ranked(given, row["pred"]) if ranked else {}
            yield row | ({"warnings": notices} if notices else {})

    def _row(self, video: VideoQueries, query: Query, response: str, reason: str | None) -> dict:
        """Return the row of a query, without a prediction yet."""
        task, ranked = self.question.task, self.config["read"] == "ranked"
        row = {"qid": query.qid, "video": video.video, "vid": video.video, "query": query.text}
        row |= {"duration": video.duration, "dataset": video.dataset, "split": video.split}
        row |= {"task": task, "response": response, "reason": reason, "unit": None}
        row |= {"truth": [list(span) for span in query.spans]}
        row |= {"pred_relevant_windows": [], "greedy": []} if ranked else {}
        return row | ({"pred": []} if task == TASKS[0] else {"pred_saliency_scores": None})

    def _note_cost(self, clip: Clip, texts: list[str], labels: list[int] | None) -> None:
        """Keep the first prompt whole, and what a video costs; tell it once a session."""
        session, windows, parts = self.about["sessions"][-1], "", 1
        if "cost" in session:
            return
        if isinstance(clip, Windows):
            windows, parts, (_, clip) = f"{clip}, each: ", len(clip.starts), next(clip.clips())
        with warnings.catch_warnings(action="ignore"):  # `answer` warns of the same
            frames, prompts = self.model.prepare(clip, texts[:1], self.question, labels)
            cost = getattr(self.model, "cost", None)
            session["cost"] = cost and f"{windows}{cost(clip, texts, self.question, labels, parts)}"
        self.about.setdefault("prompt", render_prompt(prompts[0], len(clip)))
        if written := getattr(self.model, "written", None):
            self.about.setdefault("prompt_in_chat", written(frames.shape, prompts[0]))
        files.write_config(self.out, self.config, self.about)
        if not_its_world := caution(self.model, clip):
            warnings.warn(f"{self.out.name}: {not_its_world}", stacklevel=6)
        if session["cost"] and self.execution.tell:
            self.execution.tell(f"For the first video: {session['cost']}")

    def _usage(self) -> dict[str, int]:
        """Return what this session has used."""
        return {k: n - self.usage_before.get(k, 0) for k, n in self.model.usage.items()}

    def _progress(self) -> str:
        """Return what stands behind the bar."""
        usage = self._usage()
        tokens = usage.get("prompt_tokens", 0) + usage.get("answer_tokens", 0)
        counts = f"{self.unreadable} unreadable, {self.failed} failed"
        return counts + (f", {tokens:,} tokens" if tokens else "")

    def _write_counts(self) -> None:
        """Write what this session did."""
        counts = {"asked": self.queries, "failed": self.failed, "usage": self._usage()}
        counts["seconds"] = round(time.monotonic() - self.began, 1)
        self.about["sessions"][-1] |= counts
        files.write_config(self.out, self.config, self.about)


def _unreadable(row: dict) -> bool:
    """Tell whether a model answered and nothing could be read from it."""
    return files.answered(row) and row["reason"] is not None


def _refuse_server(reasons: Sequence[str | None]) -> None:
    """Raise when a server refused every question about the first video: it will refuse the rest."""
    if reasons and all(re.match(r"server: [45]\d\d: ", reason or "") for reason in reasons):
        raise ConnectionError(f"all {len(reasons)} questions about the first video: {reasons[0]}")


def _seed_torch(seed: int, name: str) -> None:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    if torch := sys.modules.get("torch"):  # a served model has none
        # torch itself notes where it was called from, for a GPU that may come: a millisecond
        seeded = torch if torch.accelerator.is_available() else torch.default_generator
        seeded.manual_seed(int.from_bytes(digest[:4], "little"))


def _read_off(answer, clip: Clip | Windows, unit: str, labels: Labels, end: str) -> dict:
    """Return what a row says of an answer: as the model gave it, and in seconds or 2-s clips."""
    if isinstance(answer, MomentAnswer):
        pred = [list(span) for span in to_seconds(answer, clip, labels, end, unit)]
        return {"unit": answer.unit, "spans": [list(span) for span in answer.spans], "pred": pred}
    scores = None if answer.reason else highlight_scores(answer, clip, labels, unit=unit).tolist()
    row = {"unit": answer.unit, "labels": list(answer.labels), "scores": list(answer.scores)}
    return row | {"pred_saliency_scores": scores}


def _ranked(found: RankedMoments, greedy: list) -> dict:
    """Return what a row says of ranked moments; its greedy answer moves aside."""
    # where the model gives no probabilities there is no confidence either
    windows = [[m.start, m.end, float(np.nan_to_num(m.expected_iou))] for m in found.moments]
    about = {"greedy": greedy, "left_out": found.left_out, "ranked_reason": found.reason}
    row = {"pred": [w[:2] for w in windows], "pred_relevant_windows": windows} | about
    return row | ({"reason": None} if windows else {})
