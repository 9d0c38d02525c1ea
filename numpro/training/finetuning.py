"""NumPro-FT: LoRA on the language model and a trained projector, on numbered clips.

The loop is `transformers.Trainer`, the adapter peft's. The vision tower is frozen. `plan` says
before a run what it will do and need; a broken run goes on at its last whole checkpoint.
"""

import os
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
from transformers import Trainer, TrainerState

from numpro import __version__
from numpro.datasets import Query, fingerprint
from numpro.datasets.instructions import Shown, question
from numpro.models import load_model, read_notes
from numpro.models.adapters import base_fingerprint, quiet_peft, read_log, save_adapter
from numpro.models.local import LocalModel
from numpro.plots import save, training_curves
from numpro.training import checkpoints
from numpro.training.memory import give_back_freed, predict_memory, trainable_parameters
from numpro.training.presets import PRESETS, FinetuneConfig
from numpro.training.processes import rank, rows_of_all, world_size
from numpro.training.samples import Samples, Videos
from numpro.training.trainer import lora_config, make_trainer
from numpro.training.validation import Validation
from numpro.video.container import ORIGINS

__all__ = ["PRESETS", "finetune", "lora_config", "plan", "read_log", "save_adapter"]


def finetune(
    model: LocalModel, videos: Videos, out: str | os.PathLike, config: FinetuneConfig | None = None,
    progress: bool | None = None, validation: Videos = (), samples: Samples | None = None,
    **changes,
) -> list[dict]:  # fmt: skip
    """Fine-tune a video LLM with LoRA and write the adapter.

    Parameters
    ----------
    model : numpro.models.VideoModel
        The base, without adapter; afterwards it carries the trained one.
    videos
        What to learn from (`numpro.datasets.load_dataset`).
    out
        Adapter folder: peft's files, ``numpro.json`` (how it was trained and must be asked)
        and ``log.csv`` (step, epoch, loss, learning rate, gradient norm, validation mIoU; the
        command draws it to ``log.png`` by `numpro.plots.training.training_curves`). With
        ``save_every`` its ``checkpoints`` are there until the adapter is whole; the same call on
        such a folder goes on at the last of them, and its curve is that of an unbroken run.
        A finished adapter that is there is replaced when the new one is whole; the command
        does that only with ``--overwrite`` (`finished`).
    config
        Defaults to ``PRESETS["laptop"]``; `changes` replace single values of it.
    progress
        Show the Trainer's bar; default: when stderr is a terminal.
    validation
        Other videos: every ``validate_every`` steps the model is asked about their moments, the
        weights of the best mIoU are kept, and ``patience`` validations without a new best end the
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
    config = FinetuneConfig.of(config, **changes)
    if model.adapter:
        raise ValueError(f"fine-tuning starts from a base model; {model.adapter!r} is loaded on it")
    out, base_dtype = Path(out), model.dtype
    facts = facts_of(model.name, videos, validation, config)
    checkpoint = checkpoints.last_checkpoint(out / "checkpoints", facts)
    if model.device.type == "cpu" and config.gradient_checkpointing:
        give_back_freed()
    if samples is None or samples.config != config:
        samples = Samples(videos, model, config)
    peft_model = _with_lora(model, config)
    trainer = make_trainer(peft_model, samples, out, progress)
    validated = _validate(trainer, samples, validation)
    trainer.add_callback(checkpoints.Bookkeeper(out, facts, validated))
    began = time.monotonic()
    with checkpoints.one_line_when_full(out):
        _train_from(checkpoint, trainer, validated)
    validated.restore(peft_model)
    log = checkpoints.log_rows(trainer.state.log_history, validated.scores)
    sharded = trainer.is_fsdp_enabled  # each process has but a piece of the weights
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    _to_dtype(peft_model, base_dtype)
    samples.close()
    for part in (samples, validated):  # each process decoded videos of its own
        rows = rows_of_all(part.skipped)
        part.skipped = list({tuple(row.items()): row for row in rows}.values())
    notes = _notes(samples, validated, facts, log, time.monotonic() - began)
    if trainer.is_world_process_zero():
        with checkpoints.one_line_when_full(out):
            save_adapter(peft_model, out, notes, log, state)
            if (out / "checkpoints").is_dir():
                shutil.rmtree(out / "checkpoints")
    trainer.accelerator.wait_for_everyone()
    model.model, model.adapter, model.notes = peft_model, str(out), notes
    return log


def facts_of(base: str, videos: Videos, validation: Videos, config: FinetuneConfig) -> dict:
    """Return what tells a run from others (`checkpoints.run_facts`); `base` by its name."""
    validated = fingerprint(validation) if validation else "none"
    data = fingerprint(videos), validated, base_fingerprint(base)
    return checkpoints.run_facts(config.as_json(), *data, world_size())


def _with_lora(model: LocalModel, config: FinetuneConfig) -> PeftModel:
    """Return the model with fresh LoRA weights, all weights in the types they train in."""
    if config.precision == "float32":
        if getattr(model.model, "is_quantized", False):
            raise ValueError("a quantized base is trained with precision bfloat16; got float32")
        model.model.float()
    torch.manual_seed(config.seed)
    with quiet_peft():
        peft_model = get_peft_model(model.model, lora_config(config, model))
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return peft_model


def _validate(trainer: Trainer, samples: Samples, videos: Videos) -> Validation:
    """Have the Trainer validate on these videos."""
    if videos and trainer.is_fsdp_enabled:
        remedy = "train without validation and score checkpoints with numpro predict"
        raise ValueError(f"FSDP cuts the model in pieces, and validation asks it whole: {remedy}")
    validated = Validation(samples.model, videos, samples.config)
    trainer.add_callback(validated)
    return validated


def _train_from(checkpoint: Path | None, trainer: Trainer, validated: Validation) -> None:
    """Train from a checkpoint on, or from the start; broken checkpoints are deleted."""
    if trainer.is_world_process_zero():
        checkpoints.drop_broken(Path(trainer.args.output_dir))
    if checkpoint:
        validated.load(checkpoint)
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= trainer.args.max_steps or validated.plateau:
            # no step is left; the Trainer would make one more
            weights = load_peft_weights(str(checkpoint), device=str(trainer.args.device))
            set_peft_model_state_dict(trainer.model, weights)
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _to_dtype(peft_model: PeftModel, dtype: torch.dtype) -> None:
    """Give the weights the type the base was loaded in; quantized ones keep theirs."""
    peft_model.eval()
    for parameter in peft_model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def plan(videos: Videos, config: FinetuneConfig, model: LocalModel | None = None) -> dict:
    """Return what a run will do and need, to be shown before it.

    Parameters
    ----------
    videos, config
        As `finetune` takes them.
    model : numpro.models.VideoModel, optional
        The base, loaded as it will be trained. With it the tokens of a sample (the median and the
        most), the trainable parameters and the memory are given, too; the model stays as it is.

    Returns
    -------
    dict
        ``samples``, ``steps``, ``batch`` (samples a step), ``warm-up steps``, ``epochs``; with a
        model also ``left out``, ``with fewer frames`` (samples that ``max_tokens`` thinned out),
        ``tokens a sample``, ``most tokens``, ``trainable parameters`` and ``memory, GiB``
        (predicted, of one process; see `numpro.training.memory`).
    """
    if model is not None:
        return plan_of(Samples(videos, model, FinetuneConfig.of(config)))
    sequences = sum(1 if config.share_frames else len(video.queries) for video in videos)
    return config.schedule(sequences * len(config.tasks), world_size())


def plan_of(samples: Samples) -> dict:
    """Return the `plan` of a run with these samples."""
    model, config, longest = samples.model, samples.config, max(samples.lengths)
    answers = samples.learned(samples.items[samples.lengths.index(longest)])
    memory = predict_memory(model, config, longest, answers)
    return config.schedule(len(samples), world_size()) | {
        "left out": len(samples.skipped),
        "with fewer frames": samples.thinned,
        "tokens a sample": int(np.median(samples.lengths)),
        "most tokens": longest,
        "trainable parameters": sum(trainable_parameters(model, config).values()),
        "memory, GiB": float(f"{sum(memory.values()):.3g}"),
    }


def _notes(samples: Samples, validated: Validation, facts: dict, log: list, seconds: float) -> dict:
    """Return what an adapter's folder notes of its training."""
    model, config, step = samples.model, samples.config, validated.best_step
    shared = "time_encoding", "rounding", "fps", "highlight_fps", "max_frames", "templates"
    query, shown = Query("", "{query}", ()), Shown(np.arange(2.0), 2.0)
    losses = [row["loss"] for row in log if row["loss"] is not None]
    return {
        "base_model": model.name,
        "base_fingerprint": facts["base model"],
        **{name: getattr(config, name) for name in shared},
        "style": config.style.as_dict(),
        "origin": ORIGINS[0],
        "prompt": {task: question(query, shown, task, config).text for task in config.tasks},
        "longest": max(len(item.shown.seconds) for item in samples.items),
        "data": {
            "fingerprint": facts["training data"],
            "samples": len(samples),
            "with_fewer_frames": samples.thinned,
            "parts": sorted({f"{v.dataset}/{v.split}" for v in samples.videos}),
            "skipped": samples.skipped,
            "validation": facts["validation data"],
        },
        "config": config.as_json(),
        "processes": facts["processes"],
        "last_loss": losses[-1] if losses else None,
        "val_mIoU": validated.scores.get(step),
        "best_step": step,
        "validation_skipped": validated.skipped,
        "seconds": round(seconds, 1),
        "numpro": __version__,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device}",
    }


def load_base(name: str, config: FinetuneConfig) -> LocalModel:
    """Load the base as a configuration trains it; each process of a node takes its own GPU."""
    if torch.cuda.is_available():
        torch.cuda.set_device(rank("LOCAL_RANK"))
    options = {"quantization": config.quantization} if config.quantization else {}
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true"):
        options["device"] = "cpu"
    # not "auto": what is trained in float32 must not be rounded when it is loaded
    return load_model(name, dtype=config.precision, **options)


def finished(
    name: str, videos: Videos, out: Path, config: FinetuneConfig, validation: Videos = ()
) -> dict | None:
    """Return a run's result where it is there already, as `train` does; None where it is not.

    Parameters
    ----------
    name
        Of the base, which is not loaded for this.
    videos, out, config, validation
        As `train` takes them.

    Raises
    ------
    ValueError
        When `out` holds another run's adapter or checkpoints; what differs is named.
    """
    if not checkpoints.is_finished(out, facts_of(name, videos, validation, config)):
        return None
    log = read_log(out)
    if rank() == 0 and not (out / "log.png").is_file():
        save(training_curves(log, out.name), out / "log.png")
    return {"log": log, "notes": read_notes(out)}


def prepare(name: str, videos: Videos, config: FinetuneConfig) -> tuple[Samples, dict]:
    """Load the base and look into the videos; return what is to be shown before training.

    Returns
    -------
    numpro.training.samples.Samples, dict
        What the base will learn, and ``config`` (every value) and ``plan`` (see `plan`).
    """
    samples = Samples(videos, load_base(name, config), config)
    return samples, {"config": config.as_json(), "plan": plan_of(samples)}


def train(samples: Samples, out: Path, validation: Videos = ()) -> dict:
    """Fine-tune on what `prepare` returned, and draw the log to ``log.png``.

    Returns
    -------
    dict
        The log's rows as ``log`` and the adapter's ``notes``.
    """
    model, how = samples.model, {"validation": validation, "samples": samples}
    log = finetune(model, samples.videos, out, samples.config, **how)
    if rank() == 0:
        save(training_curves(log, out.name), out / "log.png")
    return {"log": log, "notes": model.notes}


def train_or_take(
    name: str, videos: Videos, out: Path, config: FinetuneConfig, validation: Videos = (),
    resume: bool = True,
) -> tuple[LocalModel, list[dict]]:  # fmt: skip
    """Fine-tune, or take the adapter that the same call has made, so that many can be resumed.

    Parameters
    ----------
    name, videos, out, config, validation
        As `finished` takes them. An adapter of another configuration in `out` is replaced.
    resume
        False trains anew in any case.

    Returns
    -------
    numpro.models.VideoModel, list of dict
        The base with the adapter, and the rows of its log.

    Raises
    ------
    ValueError
        When `out` holds checkpoints of another run that was broken off.
    """
    facts = facts_of(name, videos, validation, config)
    if resume and checkpoints.is_finished(out, facts, replace=True):
        return load_model(name, adapter=str(out), dtype=config.precision), read_log(out)
    base = load_base(name, config)
    return base, finetune(base, videos, out, config, validation=validation)
