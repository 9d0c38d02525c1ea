"""Validation while fine-tuning: answers are generated on held-out videos and scored."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import TrainerCallback

from numpro.datasets import VideoQueries
from numpro.metrics import moment_retrieval
from numpro.paths import write_whole
from numpro.spans import to_seconds
from numpro.video import Clip, VideoError, probe
from numpro.video.workers import Request, read_many, run_many

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

CLIPS_KEPT = 2**30  # bytes of frames that stay in memory from one validation to the next


class Validation(TrainerCallback):
    """Scores the model every so many steps, keeps the best weights, stops on a plateau.

    Several processes share the videos. A video that cannot be read, at the beginning or at a later
    validation, is left out from then on and listed in `skipped`; so is one that a worker process
    (``workers``) does not read within ``video_limit`` seconds. What was scored, and the best
    weights, go into each checkpoint.

    Parameters
    ----------
    model : numpro.models.VideoModel
        What is trained, wrapped by peft by the time training starts.
    videos
        Held-out videos with their truth.
    config : numpro.training.presets.TrainingConfig
        ``validate_every`` steps; ``patience`` validations without a new best end the training
        (0: never).

    Raises
    ------
    ValueError
        When none of the videos can be read.
    """

    def __init__(self, model, videos: Sequence[VideoQueries], config):
        self.model, self.config, self.asked = model, config, len(videos)
        self.videos, self.skipped = [], []
        asked = (Request(video.path) for video in videos)
        looked = run_many(probe, asked, config.workers, config.video_limit)
        for video, (_, found) in zip(videos, looked, strict=True):
            if isinstance(found, VideoError):
                self._leave_out(video, found)
            else:
                self.videos.append(video)
        self._check_any(self.videos)
        self.scores: dict[int, float] = {}
        self.best: dict[str, torch.Tensor] = {}
        self._clips: dict = {}

    def _leave_out(self, video: VideoQueries, error: VideoError) -> None:
        self.skipped.append({"video": video.video, "reason": error.reason})

    def _check_any(self, found: Sequence) -> None:
        if not found:
            told = [f"{row['video']}: {row['reason']}" for row in self.skipped] + ["no queries"]
            raise ValueError(f"none of the {self.asked} validation videos can be read; {told[0]}")

    def score(self) -> float:
        """Return the mIoU (percent) of the model as it is now.

        Raises
        ------
        ValueError
            When none of the videos can be read any more.
        """
        import torch.distributed as dist

        rank, processes = 0, 1
        if dist.is_available() and dist.is_initialized():
            rank, processes = dist.get_rank(), dist.get_world_size()
        with closing(self._shown(self.videos[rank::processes])) as shown:
            rows = [row for video, clip in shown for row in self._ask(video, clip)]
        if processes > 1:
            shares = [None] * processes
            dist.all_gather_object(shares, rows)
            rows = [row for share in shares for row in share]
        self._check_any(rows)
        said, truth = zip(*rows, strict=True)
        return moment_retrieval(said, truth, resamples=1)["mIoU"][0]

    def _ask(self, video: VideoQueries, clip: Clip) -> list[tuple]:
        """Return what is said about each query of a video (a span or None), and its truth."""
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.model.device.type, torch.bfloat16, half):
            answers = self.model.answer(
                clip,
                [query.text for query in video.queries],
                time_encoding=self.config.time_encoding,
                style=self.config.style,
                template=self.config.templates.get("moment_retrieval"),
            )
        spans = [() if a.reason else to_seconds(a, clip) for a in answers]
        said = [found[0] if found else None for found in spans]
        return list(zip(said, [query.spans for query in video.queries], strict=True))

    def _shown(self, videos: Sequence[VideoQueries]) -> Iterator[tuple[VideoQueries, Clip]]:
        """Yield the videos with their clips; what is not in memory is decoded ahead of use."""
        out = {row["video"] for row in self.skipped}
        wanted = [(v, self._clips.get(v.path)) for v in videos if v.video not in out]
        how = {"size": self.config.size} | self.config.sampling("moment_retrieval")
        asked = [Request(video.path, how) for video, kept in wanted if kept is None]
        with closing(read_many(asked, self.config.workers, self.config.video_limit)) as read:
            for video, clip in wanted:
                if clip is None:
                    _, clip = next(read)
                    if isinstance(clip, VideoError):
                        self._leave_out(video, clip)
                        continue
                    self._keep(video, clip)
                yield video, clip

    def _keep(self, video: VideoQueries, clip: Clip) -> None:
        held = sum(c.frames.nbytes for p, c in self._clips.items() if p != video.path)
        if held + clip.frames.nbytes <= CLIPS_KEPT:
            self._clips[video.path] = clip

    def on_step_end(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        model: "PreTrainedModel" = None,
        **kwargs,
    ) -> None:
        """Validate when it is time; called by the Trainer."""
        last = state.global_step >= state.max_steps
        if state.global_step % self.config.validate_every and not last:
            return
        self.model.model = model.eval()
        self.scores[state.global_step] = self.score()
        model.train()
        if self.best_step == state.global_step:
            self.best = {n: p.detach().cpu().clone() for n, p in _trained(model)}
        control.should_training_stop |= self.plateau

    @property
    def plateau(self) -> bool:
        """Whether as many validations as are waited for brought no new best."""
        since = sum(step > self.best_step for step in self.scores) if self.scores else 0
        return bool(self.config.patience and since >= self.config.patience)

    @property
    def best_step(self) -> int:
        """The step of the best mIoU, the first of equals."""
        return max(self.scores, key=self.scores.get)

    def restore(self, model: "PreTrainedModel") -> None:
        """Give the model back the weights of its best validation."""
        with torch.no_grad():
            for name, parameter in _trained(model):
                parameter.copy_(self.best[name])

    def save(self, folder: Path) -> None:
        """Write what was scored and the best weights into a checkpoint."""
        from safetensors.torch import save_file

        if self.best:
            save_file(self.best, folder / "best.safetensors")
        write_whole(folder / "validation.json", json.dumps(self.scores) + "\n")

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint: what was scored until then counts."""
        from safetensors.torch import load_file

        scores = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
        self.scores = {int(step): score for step, score in scores.items()}
        self.best = load_file(folder / "best.safetensors") if self.scores else {}


def _trained(model):
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]
