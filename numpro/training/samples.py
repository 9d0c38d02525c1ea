"""What fine-tuning learns from: samples of numbered clips, encoded when asked for, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from numpro.datasets import VideoQueries
from numpro.datasets.instructions import InstructionConfig, Shown, question
from numpro.models.training_batches import IGNORED, answers_only, pad_batch
from numpro.numbers.overlay import number_frames
from numpro.prompting.prompts import Prompt
from numpro.training.ahead import Ahead, ByLength
from numpro.training.features import FeatureCache, feature_key, tower_fingerprint
from numpro.training.items import Item, Items
from numpro.video import VideoError
from numpro.video.cache import ClipCache
from numpro.video.workers import Request

__all__ = ["IGNORED", "ByLength", "Collator", "FinetuneConfig", "Samples"]


@dataclass(frozen=True)
class FinetuneConfig(InstructionConfig):
    """Every value of a fine-tuning run; the defaults are the laptop preset.

    LoRA rank, alpha, targets, scheduler, warm-up and what is trained are the paper's
    (section 4.1) in every preset.
    """

    tasks: tuple[str, ...] = ("moment_retrieval",)
    lora_rank: int = 64
    lora_alpha: int = 128
    lora_dropout: float = 0.0
    learning_rate: float = 5e-4
    warmup: float = 0.05
    epochs: float = 3.0
    steps: int | None = None
    batch_size: int = 8
    accumulation: int = 1
    gradient_checkpointing: bool = False
    share_frames: bool = False
    seed: int = 0
    largest_first: int = 0  # every second film's numbers start at a random one up to this
    log_every: int = 10
    save_every: int | None = None
    feature_cache_gib: float = 1.0  # of vision features in memory (LongVA)
    cache: str | None = None  # folder for what is computed once: features, else decoded clips
    cache_gib: float = 20.0  # of it
    workers: int = 0  # processes that decode ahead of use; 0: decoded when asked for
    video_limit: float = 300.0  # seconds until a worker gives a video up; none without workers
    # of a sequence; a video that needs more is shown with fewer frames, further apart in time
    max_tokens: int | None = None
    validate_every: int = 25
    patience: int = 0


class Samples(Items):
    """Fine-tuning samples: one per query and task, encoded when asked for.

    With ``share_frames`` one per video and task: its questions follow each other in one
    sequence, and each attends to the video and to itself only, at the positions it would have
    alone. The loss is that of separate samples; the frames are run once.

    What cannot be learned is left out and listed (see `Items`). A video that turns out to be
    broken only when it is decoded is a black frame and a question without labels: the batch keeps
    its shape, and nothing is learned of it.

    Parameters
    ----------
    videos
        From `numpro.datasets.load_dataset`.
    model : numpro.models.local.LocalModel
        With ``prompt_ids``, ``training_example`` and ``collate``.
    config
        How the videos are shown, and what is kept.

    Raises
    ------
    ValueError
        When nothing is left to learn from, or the model cannot be trained, or not so.
    """

    def __init__(self, videos: Sequence[VideoQueries], model, config: FinetuneConfig):
        self.epoch = 0
        self._features, clips = None, None
        _check(model, config)
        if hasattr(model, "patch_features"):
            folder = Path(config.cache) / "features" if config.cache else None
            self._features = FeatureCache(config.feature_cache_gib, folder, config.cache_gib)
        elif config.cache:
            clips = ClipCache(Path(config.cache) / "clips", int(config.cache_gib * 2**30))
        self._unread: dict[str, str] = {}  # what failed once is not tried in every epoch
        self._coming: set[str] = set()  # keys of features whose clips are being decoded
        workers, limit = config.workers, config.video_limit
        self._clips = Ahead(self._request, self._needed, workers, limit, config.batch_size, clips)
        super().__init__(videos, model, config)

    def __getitem__(self, index: int) -> dict:
        item = self.items[index]
        try:
            frames, patches = self._seen(index)
        except VideoError as error:
            self._leave_out(item.video.video, None, error.reason)
            return self._blank(item)
        return self._encode(frames, *self._turns(item), patches)

    def learned(self, index: int) -> int:
        """Return how many of a sample's tokens are learned."""
        _, answers = self._turns(self.items[index])
        return sum(len(self.model.encode(answer)) + 1 for answer in answers)

    def set_epoch(self, epoch: int) -> None:
        """Hear of the next epoch, from accelerate's data loader: it has another order."""
        self.epoch = epoch

    def look_ahead(self, order: Sequence[int]) -> None:
        """Hear in which order samples will be asked for, so that clips are decoded ahead of use."""
        self._coming.clear()
        self._clips.begin(order)

    def close(self) -> None:
        """End the worker processes."""
        self._clips.close()

    def _encode(self, frames, prompts: list[Prompt], answers: list[str], patches=None) -> dict:
        more = {} if self._features is None else {"patches": patches}
        if self.config.share_frames:
            return self.model.training_example(frames, prompts, answers, **more)
        return self.model.training_example(frames, prompts[0], answers[0], **more)

    def _blank(self, item: Item) -> dict:
        """Return an item as one black frame, of which nothing is learned."""
        width, height = item.size
        shown = Shown(np.zeros(1), item.shown.duration)
        prompts = self._prompts(item.queries, item.task, shown)
        black = np.zeros((1, height, width, 3), np.uint8)
        sample = self._encode(black, prompts, [""] * len(prompts))
        labels = sample["labels"]
        ignored = [IGNORED] * len(labels) if isinstance(labels, list) else labels * 0 + IGNORED
        return sample | {"labels": ignored}

    def _seen(self, index: int) -> tuple:
        """Return an item's frames as the model sees them, and their features where it has any."""
        item, key = self.items[index], self._key(index)
        if key in self._unread:
            raise VideoError(item.video.path, self._unread[key])
        patches = None if self._features is None else self._features.get(key)
        if patches is None:
            try:
                frames = self._numbered(index)
            except VideoError as error:
                self._unread[key] = error.reason
                raise
            finally:
                self._coming.discard(key)
            if self._features is None:
                return frames, None
            patches = self.model.patch_features(frames).cpu()
            self._features.put(key, patches)
        return item.shown.seconds, patches

    def _numbered(self, index: int) -> np.ndarray:
        """Return an item's frames with what is drawn on them."""
        item, clip = self.items[index], self._clips.clip(index)
        if len(clip) != len(item.shown.seconds):
            raise VideoError(item.video.path, "was changed after training began")
        labels = self._labels(item)
        if labels is None:
            return clip.frames
        return number_frames(clip.frames, style=self.config.style, labels=labels)

    def _labels(self, item: Item) -> tuple[str, ...] | None:
        return question(item.queries[0], item.shown, item.task, self.config).frame_labels

    def _key(self, index: int) -> str:
        """Return what tells an item's frames, and the features of them, from all others."""
        item = self.items[index]
        shown = item.sampling | {"size": self.config.size, "labels": self._labels(item)}
        if shown["labels"] is not None:
            shown["style"] = repr(self.config.style)
        return feature_key(item.video.path, self._tower, **shown)

    @cached_property
    def _tower(self) -> str:
        """What tells the tower from others on disk; in memory there is but one."""
        kept = self._features is not None and self.config.cache
        return tower_fingerprint(self.model) if kept else ""

    def _request(self, index: int) -> Request:
        """Return what is to be read for a sample."""
        item = self.items[index]
        return Request(item.video.path, {"size": self.config.size, **item.sampling})

    def _needed(self, index: int) -> bool:
        """Tell whether a sample's clip has to be decoded, and will not be for another one."""
        key = self._key(index)
        if key in self._unread:
            return False
        if self._features is None:
            return True
        if key in self._coming or key in self._features:
            return False
        self._coming.add(key)
        return True


def _check(model, config: FinetuneConfig) -> None:
    """Raise a ValueError for a model that cannot be trained as it is asked."""
    kind = type(model).__name__
    if not hasattr(model, "training_example"):
        raise ValueError(f"{kind} cannot be fine-tuned here: its weights are elsewhere")
    if not config.share_frames:
        return
    if not hasattr(model, "patch_features"):
        raise ValueError(
            f"share_frames is for LongVA; {kind} takes one question a sequence: leave it off"
        )
    if (attention := model.model.config._attn_implementation) != "sdpa":
        raise ValueError(
            f"share_frames needs a model loaded with attention='sdpa', which takes a mask of "
            f"who sees whom; got {attention!r}"
        )


class Collator:
    """Makes batches as a model wants them.

    Parameters
    ----------
    pad
        The token to fill up with; not asked where the model pads by itself.
    model
        A model with ``collate``; without one LongVA's samples are padded.
    """

    def __init__(self, pad: int = 0, model=None):
        self.pad, self.model = pad, model

    def __call__(self, samples: list[dict]) -> dict:
        """Return the batch of samples, with logits only where the loss needs them."""
        found = self.model.collate(samples) if self.model else pad_batch(samples, self.pad)
        return answers_only(found)
