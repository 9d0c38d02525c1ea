"""Validation while fine-tuning: moments are asked about other videos and scored."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState

from numpro.datasets import VideoQueries, label_end
from numpro.metrics import moment_retrieval
from numpro.models import Question
from numpro.paths import write_whole
from numpro.spans import to_seconds
from numpro.training.processes import rank, rows_of_all, world_size
from numpro.video import Clip, Request, VideoError, probe, read_many, run_many

CLIPS_KEPT = 2**30  # bytes of frames that stay in memory from one validation to the next


class Validation(TrainerCallback):
    """Scores the model every so many steps, keeps the best weights, stops on a plateau.

    Several processes share the videos. A video that cannot be read, at the beginning or at a later
    validation, is left out from then on and listed in `skipped`; so is one that a worker process
    (``workers``) does not read within ``video_limit`` seconds. What was scored, and the best
    weights, go into each checkpoint. Without videos nothing is scored.

    Parameters
    ----------
    model : numpro.models.VideoModel
        What is trained, wrapped by peft by the time training starts.
    videos
        With their truth; none of them is trained on.
    config : numpro.training.presets.FinetuneConfig
        ``validate_every`` steps; ``patience`` validations without a new best end the training
        (0: never).

    Raises
    ------
    ValueError
        When none of the videos can be read.
    """

    def __init__(self, model, videos: Sequence[VideoQueries], config):
        self.model, self.config, self.count = model, config, len(videos)
        self.videos, self.skipped = [], []
        self.scores: dict[int, float] = {}
        self.best: dict[str, torch.Tensor] = {}
        self._clips: dict[Path, Clip] = {}
        requests = (Request(video.path) for video in videos)
        probed = run_many(probe, requests, config.workers, config.video_limit)
        for video, (_, found) in zip(videos, probed, strict=True):
            if isinstance(found, VideoError):
                self.skipped.append({"video": video.video, "reason": found.reason})
            else:
                self.videos.append(video)
        if videos:
            self._check_any(self.videos)

    def _check_any(self, found: Sequence) -> None:
        if not found:
            lines = [f"{row['video']}: {row['reason']}" for row in self.skipped] + ["no queries"]
            raise ValueError(f"none of the {self.count} validation videos can be read; {lines[0]}")

    def score(self) -> float:
        """Return the mIoU (percent) of the model as it is now.

        Raises
        ------
        ValueError
            When none of the videos can be read any more.
        """
        with closing(self._read(self.videos[rank() :: world_size()])) as read:
            rows = [row for video, clip in read for row in self._ask(video, clip)]
        rows = rows_of_all(rows)
        self._check_any(rows)
        predicted, truth = zip(*rows, strict=True)
        return moment_retrieval(predicted, truth, resamples=1)["mIoU"][0]

    def _ask(self, video: VideoQueries, clip: Clip) -> list[tuple]:
        """Return the predicted span (or None) and the true ones of each query of a video."""
        config, texts = self.config, [query.text for query in video.queries]
        template = config.templates.get("moment_retrieval")
        put = config.time_encoding, config.style, template, config.max_new_tokens
        question = Question("moment_retrieval", *put)
        half = config.precision == "bfloat16"
        with torch.autocast(self.model.device.type, torch.bfloat16, half):
            answers = self.model.answer(clip, texts, question)
        unit, labels = self.model.answer_unit(question, len(clip))
        end = label_end([video])
        spans = (to_seconds(answer, clip, labels, end, unit) for answer in answers)
        truth = [query.spans for query in video.queries]
        return [(next(iter(s), None), true) for s, true in zip(spans, truth, strict=True)]

    def _read(self, videos: Sequence[VideoQueries]) -> Iterator[tuple[VideoQueries, Clip]]:
        """Yield the videos with their clips; what is not in memory is decoded ahead of use."""
        skipped, kept = {row["video"] for row in self.skipped}, self._clips
        wanted = [video for video in videos if video.video not in skipped]
        sampling = {"size": self.config.size} | self.config.sampling("moment_retrieval")
        requests = [Request(video.path, sampling) for video in wanted if video.path not in kept]
        with closing(read_many(requests, self.config.workers, self.config.video_limit)) as read:
            for video in wanted:
                clip = kept.get(video.path) or next(read)[1]
                if isinstance(clip, VideoError):
                    self.skipped.append({"video": video.video, "reason": clip.reason})
                    continue
                clips = self._clips | {video.path: clip}
                if sum(each.frames.nbytes for each in clips.values()) <= CLIPS_KEPT:
                    self._clips = clips
                yield video, clip

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **kw) -> None:
        """Validate when it is time; called by the Trainer."""
        due = state.global_step % self.config.validate_every == 0
        if not self.videos or not (due or state.global_step >= state.max_steps):
            return
        self.model.model = model = kw["model"].eval()
        self.scores[state.global_step] = self.score()
        model.train()
        if self.best_step == state.global_step:
            self.best = {n: p.detach().cpu().clone() for n, p in _trained(model)}
        control.should_training_stop |= self.plateau

    @property
    def plateau(self) -> bool:
        """Whether as many validations as are waited for brought no new best."""
        since = sum(step > self.best_step for step in self.scores)
        return bool(self.config.patience and since >= self.config.patience)

    @property
    def best_step(self) -> int | None:
        """The step of the best mIoU, the first of equals; None without scores."""
        return max(self.scores, key=self.scores.get, default=None)

    def restore(self, model: torch.nn.Module) -> None:
        """Give the model back the weights of its best validation, where there was one."""
        if self.scores:
            for name, parameter in _trained(model):
                parameter.data.copy_(self.best[name])

    def save(self, folder: Path) -> None:
        """Write what was scored and the best weights into a checkpoint."""
        if self.best:
            save_file(self.best, folder / "best.safetensors")
        write_whole(folder / "validation.json", json.dumps(self.scores) + "\n")

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint: what was scored until then counts."""
        file = folder / "validation.json"
        scores = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.scores = {int(step): score for step, score in scores.items()}
        self.best = load_file(folder / "best.safetensors") if self.scores else {}


def _trained(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]
