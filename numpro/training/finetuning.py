"""NumPro-FT: LoRA on the language model and a trained projector, on numbered clips.

The loop is `transformers.Trainer`, the adapter peft's. The vision tower is frozen. What a run will
do and need is told before it (`plan`); a broken run goes on at its last whole checkpoint.
"""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numpro import __version__
from numpro.datasets import Query, VideoQueries, fingerprint
from numpro.datasets.instructions import Shown, question
from numpro.models.adapters import (
    LOG_COLUMNS,
    base_fingerprint,
    quiet_peft,
    read_log,
    save_adapter,
    write_log,
)
from numpro.training.memory import give_back_freed, predict_memory, trainable_parameters
from numpro.training.presets import PRESETS, TrainingConfig
from numpro.training.samples import FinetuneConfig, Samples
from numpro.training.trainer import (
    is_sharded,
    lora_config,
    make_trainer,
    processes_together,
    trainer_arguments,
)

if TYPE_CHECKING:
    from numpro.models.local import LocalModel

__all__ = ["PRESETS", "finetune", "lora_config", "plan", "read_log", "save_adapter"]


def finetune(
    model: "LocalModel",
    videos: Sequence[VideoQueries],
    out: str | os.PathLike,
    config: FinetuneConfig | None = None,
    progress: bool | None = None,
    validation: Sequence[VideoQueries] = (),
    samples: Samples | None = None,
    **changes,
) -> list[dict]:
    """Fine-tune a video LLM with LoRA and write the adapter.

    Parameters
    ----------
    model : numpro.models.VideoModel
        The base, without adapter; afterwards it carries the trained one.
    videos
        What to learn from (`numpro.datasets.load_dataset`).
    out
        Adapter folder: peft's files, ``numpro.json`` (how it was trained and must be asked)
        and ``log.csv`` (step, epoch, loss, learning rate, gradient norm, validation mIoU; drawn
        by `numpro.plots.training.training_curves`, as the command does to ``log.png``). With
        ``save_every`` its ``checkpoints`` are there until the adapter is whole; the same call on
        such a folder goes on at the last of them, and its curve is that of an unbroken run.
        A finished adapter that is there is replaced when the new one is whole; the command asks
        before (`numpro.training.launch.finished`).
    config
        Defaults to ``PRESETS["laptop"]``; `changes` replace single values of it.
    progress
        Show the Trainer's bar; default: when stderr is a terminal.
    validation
        Held-out videos: every ``validate_every`` steps moments are asked of them, the weights of
        the best mIoU are the ones kept, and ``patience`` validations without a new best end the
        training. Empty: the last weights are kept.
    samples
        Of the same `videos`, `model` and `config`, where they were made for `plan` already.

    Returns
    -------
    list of dict
        The rows of ``log.csv``.

    Raises
    ------
    ValueError
        For a model that carries an adapter already, nothing to learn from, checkpoints of another
        run in `out`, or a value that cannot be.
    OSError
        When the disk is full; the last whole checkpoint is still there.
    """
    from numpro.training.checkpoints import drop_broken, last_checkpoint, one_line_when_full

    config = TrainingConfig.of(config, **changes)
    if model.adapter:
        raise ValueError(f"fine-tuning starts from a base model; {model.adapter!r} is loaded on it")
    out, base_dtype = Path(out), model.dtype
    facts = facts_of(model.name, videos, validation, config)
    checkpoint = last_checkpoint(out / "checkpoints", facts)
    if model.device.type == "cpu" and config.gradient_checkpointing:
        give_back_freed()
    samples, peft_model = _prepare(model, videos, config, samples)
    args = trainer_arguments(config, len(samples), out, str(model.device), progress)
    trainer = make_trainer(model, peft_model, samples, config, args)
    held_out = _look_on(trainer, model, validation, config, out, facts)
    if checkpoint and held_out:
        held_out.load(checkpoint)
    if trainer.is_world_process_zero():
        drop_broken(out / "checkpoints")
    began = time.monotonic()
    with one_line_when_full(out):
        if not _take_finished(trainer, checkpoint, held_out):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if held_out and held_out.scores:
        held_out.restore(peft_model)
    log = _log(trainer.state.log_history, held_out.scores if held_out else {})
    state = _whole_weights(trainer)
    _leave(peft_model, base_dtype)
    samples.close()
    if trainer.args.world_size > 1:  # each process decoded videos of its own
        for part in filter(None, (samples, held_out)):
            part.skipped = _of_all(part.skipped)
    notes = _notes(model, videos, samples, config, log, time.monotonic() - began, held_out)
    notes["data"]["validation"] = _held_out(validation)
    if trainer.is_world_process_zero():
        with one_line_when_full(out):
            save_adapter(peft_model, out, notes, log, state)
            _forget_checkpoints(out / "checkpoints")
    trainer.accelerator.wait_for_everyone()
    model.model, model.adapter, model.notes = peft_model, str(out), notes
    return log


def _whole_weights(trainer) -> dict | None:
    """Gather the weights that each process holds a piece of; None where one holds them all."""
    if not is_sharded(trainer):
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


def _of_all(skipped: list[dict]) -> list[dict]:
    """Return what any of the processes left out, once."""
    from accelerate.utils import gather_object

    rows = gather_object(skipped)
    return [row for n, row in enumerate(rows) if row not in rows[:n]]


def facts_of(
    base: str,
    videos: Sequence[VideoQueries],
    validation: Sequence[VideoQueries],
    config: TrainingConfig,
) -> dict:
    """Return what tells a run from others (`checkpoints.run_facts`); `base` by its name."""
    from numpro.training.checkpoints import run_facts

    told = config.as_json(), fingerprint(videos), _held_out(validation)
    return run_facts(*told, base_fingerprint(base), processes_together())


def _held_out(validation: Sequence[VideoQueries]) -> str:
    return fingerprint(validation) if validation else "none"


def _prepare(model, videos, config: TrainingConfig, samples: Samples | None = None) -> tuple:
    """Return the samples, and the model with fresh LoRA weights in the types they train in."""
    import torch
    from peft import get_peft_model

    quantized = getattr(model.model, "is_quantized", False)
    if config.precision == "float32":
        if quantized:
            raise ValueError("a quantized base is trained with precision bfloat16; got float32")
        model.model.float()
    samples = samples or Samples(videos, model, config)
    torch.manual_seed(config.seed)
    with quiet_peft():
        peft_model = get_peft_model(model.model, lora_config(config, model))
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return samples, peft_model


def _take_finished(trainer, checkpoint: Path | None, held_out) -> bool:
    """Take a checkpoint that has no step to go; the Trainer would make one more."""
    from peft import load_peft_weights, set_peft_model_state_dict
    from transformers import TrainerState

    if not checkpoint:
        return False
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < trainer.args.max_steps and not (held_out and held_out.plateau):
        return False
    weights = load_peft_weights(str(checkpoint), device=str(trainer.args.device))
    set_peft_model_state_dict(trainer.model, weights)
    trainer.state = state
    return True


def _look_on(trainer, model, validation, config: TrainingConfig, out: Path, facts: dict):
    """Have the run validated, logged and marked; return the validation, None without."""
    from numpro.training.checkpoints import Bookkeeper
    from numpro.training.validation import Validation

    if validation and is_sharded(trainer):
        raise ValueError(
            "FSDP cuts the model in pieces, and validation asks it whole: train without "
            "validation and score checkpoints with numpro predict"
        )
    held_out = Validation(model, validation, config) if validation else None
    if held_out:
        trainer.add_callback(held_out)

    def told(history: list[dict]) -> None:
        write_log(out, _log(history, held_out.scores if held_out else {}))

    trainer.add_callback(Bookkeeper(facts, held_out, told))
    return held_out


def _log(history: list[dict], scores: dict[int, float]) -> list[dict]:
    """Return the rows of ``log.csv``: what the Trainer told, and the validations, by step."""
    rows = {h["step"]: {k: h.get(k) for k in LOG_COLUMNS} for h in history if "loss" in h}
    for step, score in scores.items():
        rows.setdefault(step, dict.fromkeys(LOG_COLUMNS) | {"step": step})["val_mIoU"] = score
    return [rows[step] for step in sorted(rows)]


def _leave(peft_model, dtype) -> None:
    """Give the weights the type the base was loaded in; quantized ones keep theirs."""
    peft_model.eval()
    for parameter in peft_model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def _forget_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run whose adapter is whole."""
    import shutil

    if folder.is_dir():
        shutil.rmtree(folder)


def plan(
    videos: Sequence[VideoQueries],
    config: FinetuneConfig,
    model: "LocalModel | None" = None,
    samples: Samples | None = None,
) -> dict:
    """Return what a run will do and need, to be shown before it.

    Parameters
    ----------
    videos, config
        As `finetune` takes them.
    model : numpro.models.VideoModel, optional
        The base, loaded as it will be trained. With it the tokens of a sample (the median and the
        most), the trainable parameters and the memory are told, too; the model is left as it was.
    samples : numpro.training.samples.Samples, optional
        Of these three, where they are there already; `finetune` can take them over.

    Returns
    -------
    dict
        ``samples``, ``steps``, ``batch`` (samples a step), ``warm-up steps``, ``epochs``; with a
        model also ``left out``, ``with fewer frames`` (samples that ``max_tokens`` thinned out),
        ``tokens a sample``, ``most tokens``, ``trainable parameters`` and ``memory, GiB``
        (predicted, of one process; see `numpro.training.memory`).
    """
    config = TrainingConfig.of(config)
    told = {}
    if model is None:
        each = 1 if config.share_frames else None
        count = sum(each or len(v.queries) for v in videos) * len(config.tasks)
    else:
        samples = samples or Samples(videos, model, config)
        count, longest = len(samples), max(samples.lengths)
        answers = samples.learned(samples.lengths.index(longest))
        memory = predict_memory(model, config, longest, answers)
        trained = trainable_parameters(model, config)
        told = {
            "left out": len(samples.skipped),
            "with fewer frames": samples.thinned,
            "tokens a sample": int(np.median(samples.lengths)),
            "most tokens": longest,
            "trainable parameters": sum(trained.values()),
            "memory, GiB": float(f"{sum(memory.values()):.3g}"),
        }
    processes = processes_together()
    steps = config.steps_for(count, processes)
    batch = config.batch_size * config.accumulation_on(processes) * processes
    return {
        "samples": count,
        "steps": steps,
        "batch": batch,
        "warm-up steps": int(np.ceil(config.warmup * steps)),
        "epochs": round(steps * batch / max(1, count), 2),
    } | told


def _notes(model, videos, samples, config: TrainingConfig, log, seconds, held_out) -> dict:
    import torch

    scored = [(row["val_mIoU"], row["step"]) for row in log if row["val_mIoU"] is not None]
    best = max(scored, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    shown = Shown(np.arange(2.0), 2.0)
    asked = {t: question(Query("", "{query}", ()), shown, t, config).text for t in config.tasks}
    return {
        "base_model": model.name,
        "base_fingerprint": base_fingerprint(model.name),
        "time_encoding": config.time_encoding,
        "style": config.style.as_dict(),
        "fps": config.fps,
        "highlight_fps": config.highlight_fps,
        "max_frames": config.max_frames,
        "templates": config.templates,
        "prompt": asked,
        "rounding": config.rounding,
        "data": {
            "fingerprint": fingerprint(videos),
            "samples": len(samples),
            "with_fewer_frames": samples.thinned,
            "parts": sorted({f"{v.dataset}/{v.split}" for v in videos}),
            "skipped": samples.skipped,
        },
        "config": config.as_json(),
        "processes": processes_together(),
        "last_loss": next((r["loss"] for r in reversed(log) if r["loss"] is not None), None),
        "val_mIoU": best[0],
        "best_step": best[1],
        "validation_skipped": held_out.skipped if held_out else [],
        "seconds": round(seconds, 1),
        "numpro": __version__,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device}",
    }
