"""NumPro-FT: LoRA on the language model and a trained projector, on numbered clips.

The loop is `transformers.Trainer`, the adapter peft's. The vision tower is frozen, so its
patch features are computed once per video and kept (up to a bound of memory).
"""

import csv
import json
import os
import platform
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from numpro import __version__
from numpro.datasets import Query, VideoQueries, fingerprint
from numpro.models.base import ADAPTER_NOTES, as_dict
from numpro.overlay import NumberStyle, number_frames
from numpro.paths import write_whole
from numpro.prompts import asked_unit, build_prompt, format_highlights, format_moment
from numpro.spans import seconds_to_labels
from numpro.video import Clip, VideoError, probe, read_clip

IGNORED = -100
LOG_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm")


@dataclass(frozen=True)
class FinetuneConfig:
    """Every value of a fine-tuning run; the defaults are the laptop preset.

    LoRA rank, alpha, targets, scheduler, warm-up and what is trained are the paper's
    (section 4.1) in every preset.
    """

    time_encoding: str = "overlay-index"
    tasks: tuple[str, ...] = ("moment_retrieval",)
    fps: float = 1.0
    highlight_fps: float = 0.5
    size: tuple[int, int] | None = (336, 336)
    max_frames: int | None = 240
    style: NumberStyle = field(default_factory=NumberStyle)
    rounding: str = "nearest"
    templates: dict = field(default_factory=dict)
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
    seed: int = 0
    log_every: int = 10
    save_every: int | None = None
    feature_cache_gib: float = 1.0


PRESETS = {
    "laptop": FinetuneConfig(),
    # section 4.1: lr 1e-4, batch 128 = 8 x 16, 3 epochs, 0.5 fps, gradient checkpointing
    "paper": FinetuneConfig(
        fps=0.5, learning_rate=1e-4, batch_size=1, accumulation=16, gradient_checkpointing=True
    ),
}


def answer_text(query: Query, clip: Clip, task: str, config: FinetuneConfig) -> str:
    """Return the true answer to a query in the words the model is to learn.

    Raises
    ------
    ValueError
        When the query has no truth for the task.
    """
    if task == "moment_retrieval":
        if not query.spans:
            raise ValueError(f"query {query.qid!r} has no span to learn")
        start, end = query.spans[0]
        if asked_unit(config.time_encoding) == "frame":
            start, end = seconds_to_labels((start, end), clip.seconds, config.rounding)
        return format_moment(start, end, config.time_encoding)
    if query.saliency is None:
        raise ValueError(f"query {query.qid!r} has no saliency to learn")
    graded = dict(zip(query.saliency.clip_ids, query.saliency.scores, strict=True))
    frames = [i for i, t in enumerate(clip.seconds) if int(t // 2) in graded]
    scores = [1 + float(np.mean(graded[int(clip.seconds[i] // 2)])) for i in frames]
    if asked_unit(config.time_encoding) == "second":
        frames = [float(clip.seconds[i]) for i in frames]
    return format_highlights(frames, scores, config.time_encoding)


class Samples:
    """Fine-tuning samples: one per query and task, encoded when asked for.

    A video that cannot be read is left out, counted and listed in `skipped`; it is never
    replaced by another one.
    """

    def __init__(self, videos: Sequence[VideoQueries], model, config: FinetuneConfig):
        self.model, self.config = model, config
        self.skipped: list[dict] = []
        self._features: OrderedDict[tuple, tuple] = OrderedDict()
        self._bytes = 0
        self.items = []
        for video in videos:
            try:
                probe(video.path)
            except VideoError as error:
                self.skipped.append({"video": video.video, "reason": error.reason})
                continue
            self.items += [
                (video, q, task)
                for q in video.queries
                for task in config.tasks
                if (q.spans if task == "moment_retrieval" else q.saliency)
            ]
        if not self.items:
            raise ValueError(
                f"nothing to learn from: {len(videos)} videos, {len(self.skipped)} unreadable"
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict | None:
        video, query, task = self.items[index]
        try:
            clip, patches = self._video(video, task)
        except VideoError as error:
            found = {"video": video.video, "reason": error.reason}
            if found not in self.skipped:
                self.skipped.append(found)
            return None
        prompt = self._prompt(query, clip, task)
        asked = self.model.video_ids(len(clip), prompt.frame_texts)
        asked += self.model.question_ids(prompt.text)
        answer = self.model.encode(answer_text(query, clip, task, self.config))
        answer += [self.model.tokenizer.eos_token_id]
        return {
            "input_ids": asked + answer,
            "labels": [IGNORED] * len(asked) + answer,
            "image_patches": patches,
        }

    def _prompt(self, query: Query, clip: Clip, task: str):
        style = self.config.style
        return build_prompt(
            query.text,
            clip.seconds,
            task,
            self.config.time_encoding,
            duration=clip.duration,
            template=self.config.templates.get(task),
            color=style.color if isinstance(style.color, str) else "small",
        )

    def _video(self, video: VideoQueries, task: str) -> tuple:
        fps = self.config.fps if task == "moment_retrieval" else self.config.highlight_fps
        key = (str(video.path), fps)
        if key in self._features:
            self._features.move_to_end(key)
            return self._features[key]
        clip = read_clip(
            video.path, fps=fps, size=self.config.size, max_frames=self.config.max_frames
        )
        prompt = self._prompt(video.queries[0], clip, task)
        frames = clip.frames
        if prompt.frame_labels is not None:
            frames = number_frames(frames, style=self.config.style, labels=prompt.frame_labels)
        patches = self.model.patch_features(frames)
        kept = (replace(clip, frames=clip.frames[:, :1, :1]), patches)  # only the times are needed
        self._features[key] = kept
        self._bytes += patches.numel() * patches.element_size()
        while self._bytes > self.config.feature_cache_gib * 2**30 and len(self._features) > 1:
            _, (_, old) = self._features.popitem(last=False)
            self._bytes -= old.numel() * old.element_size()
        return kept


class Collator:
    """Pads samples to one batch on the right; left-out samples (None) vanish from it."""

    def __init__(self, pad: int):
        self.pad = pad

    def __call__(self, samples: list[dict | None]) -> dict:
        """Return the batch of samples."""
        import torch

        samples = [s for s in samples if s is not None]
        if not samples:
            raise VideoError("this batch", "none of its videos could be read")
        length = max(len(s["input_ids"]) for s in samples)

        def padded(key: str, fill: int) -> torch.Tensor:
            return torch.tensor([s[key] + [fill] * (length - len(s[key])) for s in samples])

        batch = {"input_ids": padded("input_ids", self.pad), "labels": padded("labels", IGNORED)}
        lengths = torch.tensor([len(s["input_ids"]) for s in samples])
        batch["attention_mask"] = (torch.arange(length)[None] < lengths[:, None]).long()
        batch["image_patches"] = torch.cat([s["image_patches"] for s in samples])
        return batch


def finetune(
    model,
    videos: Sequence[VideoQueries],
    out: str | os.PathLike,
    config: FinetuneConfig | None = None,
    progress: bool | None = None,
    **changes,
) -> list[dict]:
    """Fine-tune a LongVA with LoRA and write the adapter.

    Parameters
    ----------
    model : numpro.models.longva.Longva
        The base, without adapter; afterwards it carries the trained one.
    videos
        What to learn from (`numpro.datasets.load_dataset`).
    out
        Adapter folder: peft's files, ``numpro.json`` (how it was trained and must be asked)
        and ``log.csv`` (step, epoch, loss, learning rate, gradient norm).
    config
        Defaults to ``PRESETS["laptop"]``; `changes` replace single values of it.
    progress
        Show the Trainer's bar; default: when stderr is a terminal.

    Returns
    -------
    list of dict
        The rows of ``log.csv``.

    Raises
    ------
    ValueError
        For a model that carries an adapter already, or nothing to learn from.
    """
    from peft import get_peft_model
    from transformers import Trainer

    config = replace(config or PRESETS["laptop"], **changes)
    if model.adapter:
        raise ValueError(f"fine-tuning starts from a base model; {model.adapter!r} is loaded on it")
    out = Path(out)
    base_dtype = model.dtype
    model.model.float()
    samples = Samples(videos, model, config)
    peft_model = get_peft_model(model.model, lora_config(config))
    peft_model.peft_config["default"].base_model_name_or_path = model.name  # and not a folder
    trainer = Trainer(
        model=peft_model,
        args=_arguments(config, len(samples), out, progress),
        train_dataset=samples,
        data_collator=Collator(model.tokenizer.pad_token_id),
    )
    for callback in ("PrinterCallback", "ProgressCallback")[: 1 if progress else 2]:
        _drop_callback(trainer, callback)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=_last_checkpoint(out))
    log = [
        {"step": h["step"], **{k: h.get(k) for k in LOG_COLUMNS[1:]}}
        for h in trainer.state.log_history
        if "loss" in h
    ]
    peft_model.eval().to(base_dtype)
    notes = _notes(model, videos, samples, config, log, time.monotonic() - began)
    save_adapter(peft_model, out, notes, log)
    model.model, model.adapter, model.notes = peft_model, str(out), notes
    return log


def lora_config(config: FinetuneConfig):
    """Return peft's configuration: LoRA on the language model's linear layers, projector whole."""
    from peft import LoraConfig

    from numpro.models.longva_model import LORA_TARGETS, PROJECTOR

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=LORA_TARGETS,
        modules_to_save=[PROJECTOR],
        task_type="CAUSAL_LM",
    )


def save_adapter(peft_model, out: Path, notes: dict, log: list[dict]) -> None:
    """Write the adapter, its card and log, and last its notes, which appear whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    # the name, not the place on this machine; peft's own card would tell the place again
    peft_model.peft_config["default"].base_model_name_or_path = notes["base_model"]
    # a card of ours from before has no metadata block, which peft's would complain of
    (out / "README.md").unlink(missing_ok=True)
    peft_model.save_pretrained(out, save_embedding_layers=False)
    if (out / "checkpoints").is_dir() and not any((out / "checkpoints").iterdir()):
        (out / "checkpoints").rmdir()
    (out / "README.md").write_text(_card(notes), encoding="utf-8")
    with open(out / "log.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, LOG_COLUMNS)
        writer.writeheader()
        writer.writerows(log)
    write_whole(out / ADAPTER_NOTES, json.dumps(notes, indent=1) + "\n")


def _card(notes: dict) -> str:
    """Return the adapter's model card, in place of peft's empty form."""
    data, config = notes["data"], notes["config"]
    return (
        f"# LoRA adapter for {notes['base_model']}\n\n"
        f"Fine-tuned by numpro {notes['numpro']} (NumPro-FT, arXiv 2411.10332, section 4.1) on "
        f"{data['samples']} samples of {', '.join(data['parts'])}, fingerprint "
        f"{data['fingerprint']}: time encoding `{notes['time_encoding']}`, {notes['fps']:g} fps, "
        f"rank {config['lora_rank']}, alpha {config['lora_alpha']}, learning rate "
        f"{config['learning_rate']:g}, seed {config['seed']}. How it must be asked is in "
        f"`{ADAPTER_NOTES}`, the losses in `log.csv`.\n"
    )


def read_log(adapter: str | os.PathLike) -> list[dict]:
    """Read ``log.csv`` of an adapter folder: rows with step and loss, as `finetune` gave them.

    Raises
    ------
    FileNotFoundError
        When the folder has no log.
    """
    with open(Path(adapter) / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) if v else None for k, v in row.items()} for row in rows]


def plan(videos: Sequence[VideoQueries], config: FinetuneConfig) -> dict:
    """Return what a run will do, to be shown before it: samples, steps, batch, warm-up."""
    count = sum(len(v.queries) for v in videos) * len(config.tasks)
    steps = config.steps or _steps(config, count)
    return {
        "samples": count,
        "steps": steps,
        "batch": config.batch_size * config.accumulation,
        "warm-up steps": int(np.ceil(config.warmup * steps)),
        "epochs": round(steps * config.batch_size * config.accumulation / max(1, count), 2),
    }


def _steps(config: FinetuneConfig, count: int) -> int:
    return max(1, int(np.ceil(config.epochs * count / (config.batch_size * config.accumulation))))


def _arguments(config: FinetuneConfig, count: int, out: Path, progress: bool | None):
    from transformers import TrainingArguments

    steps = config.steps or _steps(config, count)
    saving = {"save_strategy": "no"}
    # renamed between transformers 5.17 and 5.23
    names = ("activation_checkpointing", "gradient_checkpointing")
    name = next(n for n in names if n in TrainingArguments.__dataclass_fields__)
    checkpointing = {name: config.gradient_checkpointing}
    if config.save_every:
        saving = {"save_strategy": "steps", "save_steps": config.save_every, "save_total_limit": 2}
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(np.ceil(config.warmup * steps)),
        weight_decay=0.0,
        **checkpointing,
        logging_steps=config.log_every,
        logging_first_step=True,
        remove_unused_columns=False,
        report_to=[],
        seed=config.seed,
        data_seed=config.seed,
        disable_tqdm=not progress,
        dataloader_pin_memory=False,
        label_names=["labels"],
        **saving,
    )


def _drop_callback(trainer, name: str) -> None:
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ == name:
            trainer.remove_callback(callback)


def _last_checkpoint(out: Path) -> str | None:
    folder = out / "checkpoints"
    if not folder.is_dir():
        return None
    from transformers.trainer_utils import get_last_checkpoint

    return get_last_checkpoint(str(folder))


def _notes(model, videos, samples: Samples, config: FinetuneConfig, log, seconds: float) -> dict:
    import torch

    return {
        "base_model": model.name,
        "time_encoding": config.time_encoding,
        "style": as_dict(config.style),
        "fps": config.fps,
        "highlight_fps": config.highlight_fps,
        "templates": config.templates,
        "rounding": config.rounding,
        "data": {
            "fingerprint": fingerprint(videos),
            "samples": len(samples),
            "parts": sorted({f"{v.dataset}/{v.split}" for v in videos}),
            "skipped": samples.skipped,
        },
        "config": asdict(config),
        "last_loss": log[-1]["loss"] if log else None,
        "seconds": round(seconds, 1),
        "numpro": __version__,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device}",
    }
