"""What there is to learn of videos: their questions with answers, and what had to be left out."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from numpro.datasets import Query, VideoQueries
from numpro.datasets.instructions import Shown, answer_text, question, unlearnable
from numpro.paths import relative
from numpro.prompting.prompts import Prompt
from numpro.video import VideoError, VideoInfo, probe, sampling_times
from numpro.video.workers import Request, run_many

NUMBERED = ("overlay-index", "text-index")  # time encodings that show each frame's number
_TOLD = 20  # of what is left out so many are told on stderr; `Items.skipped` has them all


class Item(NamedTuple):
    """One sequence: the questions that are asked of one video, and how it is sampled for them."""

    video: VideoQueries
    queries: list[Query]
    task: str
    shown: Shown
    sampling: dict
    size: tuple[int, int]  # width and height of the frames


class Items:
    """Sequences to learn: one per query and task, or per video and task with ``share_frames``.

    What cannot be learned is left out, told on stderr and listed in `skipped` (rows ``video, qid,
    reason``, no qid where the video is at fault); nothing is put in its place.

    Parameters
    ----------
    videos
        From `numpro.datasets.load_dataset`; each file is looked into, none is decoded.
    model : numpro.models.local.LocalModel
        Whose tokens count.
    config : numpro.training.samples.FinetuneConfig
        How the videos are shown and asked about.

    Raises
    ------
    ValueError
        When nothing is left to learn from.
    """

    def __init__(self, videos: Sequence[VideoQueries], model, config):
        self.model, self.config = model, config
        self.skipped: list[dict] = []
        self.items: list[Item] = []
        self._left_out: set[tuple] = set()
        self._quiet = os.environ.get("RANK", "0") != "0"  # of several processes one tells
        asked = (Request(video.path) for video in videos)
        found = run_many(probe, asked, config.workers, config.video_limit)
        for video, (_, info) in zip(videos, found, strict=True):
            if isinstance(info, VideoError):
                # a wrong source shows in where the file was looked for
                where = "" if video.path.exists() else f" at {relative(video.path)}"
                self._leave_out(video.video, None, info.reason, where)
            else:
                self.items += self._of(video, info)
        self._tell_all(len(videos))
        self._quiet = False

    def __len__(self) -> int:
        return len(self.items)

    @property
    def thinned(self) -> int:
        """How many are shown with fewer frames than the rate asks for, to fit `max_tokens`."""
        most = self.config.max_frames
        return sum(item.sampling["max_frames"] != most for item in self.items)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each sample, known before anything is decoded."""
        return [self._length(item) for item in self.items]

    def _of(self, video: VideoQueries, info: VideoInfo) -> Iterator[Item]:
        """Yield what can be learned of a video."""
        size = self.config.size or (info.width, info.height)
        for task in self.config.tasks:
            asked, sampling = [], self.config.sampling(task)
            for query in video.queries:
                if reason := unlearnable(query, task, info.duration):
                    self._leave_out(video.video, query.qid, reason)
                else:
                    asked.append(query)
            first = self._first_number(video.video, task)
            shown = Shown(sampling_times(info.duration, **sampling), info.duration, first)
            for group in [asked] if self.config.share_frames else [[query] for query in asked]:
                if group:
                    yield from self._fitted(Item(video, group, task, shown, sampling, size))

    def _first_number(self, video: str, task: str) -> int:
        """Return the number of a video's first frame: 0, or for every second one up to the largest.

        Numbers start at 0, too, where none are shown. The draw is the same in every epoch, and
        another with another seed.
        """
        if not self.config.largest_first or self.config.time_encoding not in NUMBERED:
            return 0
        told = f"{video} {task} first {self.config.seed}".encode()
        rng = np.random.default_rng(list(hashlib.sha256(told).digest()))
        return int(rng.integers(1, self.config.largest_first + 1)) * int(rng.integers(2))

    def _fitted(self, item: Item) -> Iterator[Item]:
        """Yield an item with as many of its frames as `max_tokens` has room for."""
        most, shown = self.config.max_tokens, item.shown
        while most and (excess := self._length(item) - most) > 0:
            count = len(item.shown.seconds)
            # never too few: the text is counted as if frames made it, too
            fewer = min(count - 1, count - excess * count // self._length(item))
            if fewer < 1:
                said = f"needs {most + excess} tokens with one frame, max_tokens is {most}"
                for query in item.queries:
                    self._leave_out(item.video.video, query.qid, said)
                return
            sampling = item.sampling | {"max_frames": fewer}
            seconds = sampling_times(shown.duration, **sampling)
            item = item._replace(shown=shown._replace(seconds=seconds), sampling=sampling)
        yield from self._graded(item)

    def _graded(self, item: Item) -> Iterator[Item]:
        """Yield an item without the questions whose answer would name no frame."""
        kept, clips = [], {int(second // 2) for second in item.shown.seconds}
        for query in item.queries:
            if item.task == "moment_retrieval" or clips & set(query.saliency.clip_ids):
                kept.append(query)
            else:
                said = "has no saliency at any of the sampled frames"
                self._leave_out(item.video.video, query.qid, said)
        if kept:
            yield item._replace(queries=kept)

    def _leave_out(self, video: str, qid: str | None, reason: str, where: str = "") -> None:
        """List what is left out, once; tell it, with the file's place."""
        if (video, qid, reason) in self._left_out:
            return
        self._left_out.add((video, qid, reason))
        self.skipped.append({"video": video, "qid": qid, "reason": reason})
        if len(self.skipped) <= _TOLD and not self._quiet:
            which = f"{video}, query {qid}" if qid else video
            print(f"left out: {which}: {reason}{where}", file=sys.stderr)

    def _tell_all(self, videos: int) -> None:
        """Say how much is left out, and raise where nothing is left."""
        if len(self.skipped) > _TOLD and not self._quiet:
            print(f"left out: {len(self.skipped)} in all, listed in the notes", file=sys.stderr)
        if not self.items:
            unread = sum(row["qid"] is None for row in self.skipped)
            raise ValueError(
                f"nothing to learn from: {videos} videos, {unread} unreadable, "
                f"{len(self.skipped) - unread} queries left out"
            )

    def _turns(self, item: Item) -> tuple[list[Prompt], list[str]]:
        """Return an item's questions and answers."""
        shown, task = item.shown, item.task
        answers = [answer_text(q, shown, task, self.config) for q in item.queries]
        return self._prompts(item.queries, task, shown), answers

    def _prompts(self, queries: Sequence[Query], task: str, shown: Shown) -> list[Prompt]:
        """Return questions as models are asked them."""
        return [question(query, shown, task, self.config) for query in queries]

    def _length(self, item: Item) -> int:
        """Return the tokens of an item, without its frames."""
        prompts, answers = self._turns(item)
        shape = (len(item.shown.seconds), *item.size[::-1], 3)
        asked = [len(self.model.prompt_ids(shape, prompt)) for prompt in prompts]
        said = [len(self.model.encode(answer)) + 1 for answer in answers]
        if len(asked) == 1:
            return asked[0] + said[0]
        video = len(self.model.video_ids(shape[0], prompts[0].frame_texts))
        return video + sum(asked) - video * len(asked) + sum(said)
