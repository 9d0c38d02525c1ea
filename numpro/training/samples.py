"""What fine-tuning learns from: questions with answers about numbered clips, encoded on demand."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import numpy as np

from numpro.datasets import Query, VideoQueries
from numpro.datasets.instructions import Shown, answer_text, question, unlearnable
from numpro.models.local import LocalModel
from numpro.models.training_batches import IGNORED, answers_only
from numpro.numbers import number_frames
from numpro.paths import relative
from numpro.prompting import Prompt
from numpro.prompting.encodings import NUMBERED
from numpro.training.features import FeatureCache, feature_key, tower_fingerprint
from numpro.training.prefetch import Prefetcher
from numpro.training.presets import FinetuneConfig
from numpro.training.processes import rank
from numpro.video import ClipCache, Request, VideoError, VideoInfo, probe, run_many, sampling_times

Videos = Sequence[VideoQueries]
_PRINTED = 20  # lines of what is left out; `Samples.skipped` has them all


class Item(NamedTuple):
    """One sequence: the questions that are asked of one video, and how it is sampled for them."""

    video: VideoQueries
    queries: list[Query]
    task: str
    shown: Shown
    sampling: dict
    size: tuple[int, int]  # width and height of the frames


class Samples:
    """Fine-tuning samples: one per query and task, encoded when they are used.

    With ``share_frames`` one per video and task: its questions follow each other in one
    sequence, and each attends to the video and to itself only, at the positions it would have
    alone. The loss is that of separate samples; the frames are run once.

    What cannot be learned is left out, printed to stderr and listed in `skipped` (rows ``video,
    qid, reason``, no qid where the video is at fault); nothing is put in its place. A video that
    turns out to be broken only when it is decoded is a black frame and a question without labels:
    the batch keeps its shape, and nothing is learned of it.

    Parameters
    ----------
    videos
        From `numpro.datasets.load_dataset`; each file is looked into, none is decoded.
    model : numpro.models.local.LocalModel
        With ``prompt_ids``, ``training_example`` and ``collate``.
    config
        How the videos are shown and asked about, and what is kept.

    Raises
    ------
    ValueError
        When nothing is left to learn from, or the model cannot be trained, or not so.
    """

    def __init__(self, videos: Videos, model, config: FinetuneConfig):
        _check(model, config)
        config = replace(config, time_encoding=model.resolve_encoding(config.time_encoding))
        self.videos, self.model, self.config, self.epoch = videos, model, config, 0
        self._features, clips = None, None
        if hasattr(model, "patch_features"):
            folder = Path(config.cache) / "features" if config.cache else None
            self._features = FeatureCache(config.feature_cache_gib, folder, config.cache_gib)
        elif config.cache:
            clips = ClipCache(Path(config.cache) / "clips", int(config.cache_gib * 2**30))
        self._clips = Prefetcher(self, clips)
        self._unread: dict[str, str] = {}  # what failed once is not tried in every epoch
        self._coming: set[str] = set()  # keys of features whose clips are being decoded
        self.items: list[Item] = []
        self.skipped: list[dict] = []
        self._left_out: set[tuple] = set()
        self._find_items()

    def _find_items(self) -> None:
        """Look into the videos, and list what can be learned of them and what is left out."""
        self._quiet = rank() != 0  # of several processes one prints
        requests = (Request(video.path) for video in self.videos)
        found = run_many(probe, requests, self.config.workers, self.config.video_limit)
        for video, (_, info) in zip(self.videos, found, strict=True):
            if isinstance(info, VideoError):
                # a wrong source shows in where the file was looked for
                where = "" if video.path.exists() else f" at {relative(video.path)}"
                self._leave_out(video.video, None, info.reason, where)
            else:
                self.items += self._of(video, info)
        if len(self.skipped) > _PRINTED and not self._quiet:
            print(f"left out: {len(self.skipped)} in all, listed in the notes", file=sys.stderr)
        if not self.items:
            unread = sum(row["qid"] is None for row in self.skipped)
            counts = f"{unread} unreadable, {len(self.skipped) - unread} queries left out"
            raise ValueError(f"nothing to learn from: {len(self.videos)} videos, {counts}")
        self._quiet = False

    def __len__(self) -> int:
        return len(self.items)

    @property
    def thinned(self) -> int:
        """How many are shown with fewer frames than the rate asks for, to fit `max_tokens`."""
        return sum(item.sampling["max_frames"] != self.config.max_frames for item in self.items)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each sample, known before anything is decoded."""
        return [self._length(item) for item in self.items]

    def _of(self, video: VideoQueries, info: VideoInfo) -> Iterator[Item]:
        """Yield what can be learned of a video."""
        size = self.config.size or (info.width, info.height)
        for task in self.config.tasks:
            sampling, first = self.config.sampling(task), self._first_number(video.video, task)
            shown = Shown(sampling_times(info.duration, **sampling), info.duration, first)
            whole = Item(video, list(video.queries), task, shown, sampling, size)
            reasons = [unlearnable(query, task, info.duration) for query in whole.queries]
            queries = self._without(whole, reasons).queries
            for group in [queries] if self.config.share_frames else [[query] for query in queries]:
                item = self._graded(self._fitted(whole._replace(queries=group)))
                if item.queries:
                    yield item

    def _first_number(self, video: str, task: str) -> int:
        """Return the number of a video's first frame: 0, or for every second one up to the largest.

        Numbers start at 0, too, where none are shown. The draw is the same in every epoch, and
        another with another seed.
        """
        if not self.config.largest_first or self.config.time_encoding not in NUMBERED:
            return 0
        draw = f"{video} {task} first {self.config.seed}".encode()
        rng = np.random.default_rng(list(hashlib.sha256(draw).digest()))
        return int(rng.integers(1, self.config.largest_first + 1)) * int(rng.integers(2))

    def _fitted(self, item: Item) -> Item:
        """Return an item with as many frames as fit into `max_tokens`.

        Where not one does it has no queries.
        """
        most = self.config.max_tokens
        while most and (length := self._length(item)) > most:
            count = len(item.shown.seconds)
            # never too few: the text is counted as if frames made it, too
            fewer = min(count - 1, count - (length - most) * count // length)
            if fewer < 1:
                reason = f"needs {length} tokens with one frame, max_tokens is {most}"
                return self._without(item, [reason] * len(item.queries))
            sampling = item.sampling | {"max_frames": fewer}
            seconds = sampling_times(item.shown.duration, **sampling)
            item = item._replace(shown=item.shown._replace(seconds=seconds), sampling=sampling)
        return item

    def _graded(self, item: Item) -> Item:
        """Return an item without the queries whose answer would name no frame."""
        if item.task == "moment_retrieval":
            return item
        clips = {int(second // 2) for second in item.shown.seconds}
        missing = "has no saliency at any of the sampled frames"
        reasons = [None if clips & {*q.saliency.clip_ids} else missing for q in item.queries]
        return self._without(item, reasons)

    def _without(self, item: Item, reasons: Sequence[str | None]) -> Item:
        """Return an item without the queries for which there is a reason to leave them out."""
        for query, reason in zip(item.queries, reasons, strict=True):
            if reason:
                self._leave_out(item.video.video, query.qid, reason)
        rest = [q for q, reason in zip(item.queries, reasons, strict=True) if not reason]
        return item._replace(queries=rest)

    def _leave_out(self, video: str, qid: str | None, reason: str, where: str = "") -> None:
        """List what is left out, once, and print it, with the file's place."""
        if (video, qid, reason) in self._left_out:
            return
        self._left_out.add((video, qid, reason))
        self.skipped.append({"video": video, "qid": qid, "reason": reason})
        if len(self.skipped) <= _PRINTED and not self._quiet:
            which = f"{video}, query {qid}" if qid else video
            print(f"left out: {which}: {reason}{where}", file=sys.stderr)

    def prompts(self, item: Item) -> list[Prompt]:
        """Return an item's questions as the model is asked them."""
        return [question(query, item.shown, item.task, self.config) for query in item.queries]

    def _answers(self, item: Item) -> list[str]:
        return [answer_text(query, item.shown, item.task, self.config) for query in item.queries]

    def _length(self, item: Item) -> int:
        """Return the tokens of an item, known without its frames."""
        prompts, shape = self.prompts(item), (len(item.shown.seconds), *item.size[::-1], 3)
        length = sum(len(self.model.prompt_ids(shape, prompt)) for prompt in prompts)
        if len(prompts) > 1:  # they share the video's tokens
            video = self.model.video_ids(shape[0], prompts[0].frame_texts)
            length -= len(video) * (len(prompts) - 1)
        return length + self.learned(item)

    def __getitem__(self, index: int) -> dict:
        item, key = self.items[index], self._key(index)
        if key not in self._unread:
            try:
                frames, features = self._visible(index, key)
                return self._encode(frames, self.prompts(item), self._answers(item), **features)
            except VideoError as error:
                self._unread[key] = error.reason
            finally:
                self._coming.discard(key)
        self._leave_out(item.video.video, None, self._unread[key])
        return self._blank(item)

    def learned(self, item: Item) -> int:
        """Return how many of an item's tokens are learned: its answers' and those that end them."""
        return sum(len(self.model.encode(answer)) + 1 for answer in self._answers(item))

    def set_epoch(self, epoch: int) -> None:
        """Take the number of the next epoch from accelerate's data loader: it has another order."""
        self.epoch = epoch

    def look_ahead(self, order: Sequence[int]) -> None:
        """Take the order in which samples will be used, to decode their clips ahead of use."""
        self._coming.clear()
        self._clips.begin(order)

    def close(self) -> None:
        """End the worker processes."""
        self._clips.begin([])

    def _encode(self, frames, prompts: list[Prompt], answers: list[str], **features) -> dict:
        turns = (prompts, answers) if self.config.share_frames else (prompts[0], answers[0])
        return self.model.training_example(frames, *turns, **features)

    def _blank(self, item: Item) -> dict:
        """Return an item as two black frames (some classes take no fewer); it teaches nothing."""
        prompts = self.prompts(item._replace(shown=Shown(np.arange(2.0), item.shown.duration)))
        black = np.zeros((2, *item.size[::-1], 3), np.uint8)
        sample = self._encode(black, prompts, [""] * len(prompts))
        return sample | {"labels": [IGNORED] * len(sample["labels"])}

    def _visible(self, index: int, key: str) -> tuple[np.ndarray, dict]:
        """Return an item's frames as the model sees them, and their features as ``patches``.

        Where the model has features, times stand for the frames: only how many there are counts.
        """
        if self._features is None:
            return self._numbered(index), {}
        patches = self._features.get(key)
        if patches is None:
            patches = self.model.patch_features(self._numbered(index)).cpu()
            self._features.put(key, patches)
        return self.items[index].shown.seconds, {"patches": patches}

    def _numbered(self, index: int) -> np.ndarray:
        """Return an item's frames with what is drawn on them."""
        item, clip = self.items[index], self._clips.clip(index)
        if len(clip) != len(item.shown.seconds):
            raise VideoError(item.video.path, "was changed after training began")
        labels = self.prompts(item)[0].frame_labels
        if labels is None:
            return clip.frames
        return number_frames(clip.frames, style=self.config.style, labels=labels)

    def _key(self, index: int) -> str:
        """Return what tells an item's frames, and the features of them, from all others."""
        item = self.items[index]
        labels = self.prompts(item)[0].frame_labels
        style = {} if labels is None else {"style": repr(self.config.style)}
        shown = item.sampling | style | {"size": self.config.size, "labels": labels}
        return feature_key(item.video.path, self._tower, **shown)

    @cached_property
    def _tower(self) -> str:
        """The tower's fingerprint, for features on disk; those in memory are all of one tower."""
        return tower_fingerprint(self.model) if self._features and self.config.cache else ""

    def request(self, index: int) -> Request:
        """Return what is to be read for a sample."""
        item = self.items[index]
        return Request(item.video.path, {"size": self.config.size, **item.sampling})

    def needs_clip(self, index: int) -> bool:
        """Tell whether a sample's clip has to be decoded, and will not be for another one."""
        key = self._key(index)
        if key in self._unread or key in self._coming or key in (self._features or ()):
            return False
        if self._features:
            self._coming.add(key)
        return True


def _check(model, config: FinetuneConfig) -> None:
    """Raise a ValueError for a model that cannot be trained as it is asked."""
    kind = type(model).__name__
    if not hasattr(model, "training_example"):
        raise ValueError(f"{kind} cannot be fine-tuned here: its weights are elsewhere")
    if config.share_frames and not hasattr(model, "patch_features"):
        why = f"{kind} takes one question a sequence"
        raise ValueError(f"share_frames is for LongVA; {why}: leave it off")
    if config.share_frames and (attention := model.model.config._attn_implementation) != "sdpa":
        needed = "a model loaded with attention='sdpa', which takes a mask of who sees whom"
        raise ValueError(f"share_frames needs {needed}; got {attention!r}")


def collate(model: LocalModel, samples: Sequence[dict]) -> dict:
    """Return a model's batch of samples, with logits only where the loss needs them.

    VideoLLaMA 3 and MiniCPM-V 4.6 give all the same, so they keep all labels.
    """
    batch = model.collate(samples)
    base = getattr(model.model, "get_base_model", lambda: model.model)()
    return answers_only(batch) if "logits_to_keep" in signature(base.forward).parameters else batch
