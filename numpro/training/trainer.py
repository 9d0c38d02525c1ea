"""The Trainer of a fine-tuning: what is trained, its arguments, and who looks on."""

import os
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numpro.models.files import weights_folder
from numpro.models.loading import PROJECTORS
from numpro.training.ahead import ByLength
from numpro.training.presets import TrainingConfig
from numpro.training.samples import Collator, FinetuneConfig

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import Trainer, TrainingArguments

    from numpro.models.local import LocalModel
    from numpro.training.samples import Samples


def lora_config(config: FinetuneConfig, model: "LocalModel | None" = None) -> "LoraConfig":
    """Return peft's configuration: LoRA on the language model's linear layers, projector whole.

    Parameters
    ----------
    config
    model : numpro.models.VideoModel, optional
        Whose modules are meant; default: LongVA's.
    """
    from peft import LoraConfig

    from numpro.models.local import LORA_TARGETS
    from numpro.models.longva.modeling import PROJECTOR

    projector = [PROJECTOR]
    if model is not None:
        names = {name.rpartition(".")[2] for name, _ in model.model.named_modules()}
        projector = [name for name in PROJECTORS if name in names]
    whole = projector and getattr(config, "train_projector", True)
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=model.lora_targets() if hasattr(model, "lora_targets") else LORA_TARGETS,
        modules_to_save=projector if whole else None,
        task_type="CAUSAL_LM",
    )


def make_trainer(
    model: "LocalModel",
    peft_model: "PeftModel",
    samples: "Samples",
    config: TrainingConfig,
    args: "TrainingArguments",
) -> "Trainer":
    """Return the Trainer of a model wrapped by peft.

    Parameters
    ----------
    model : numpro.models.VideoModel
        Whose `collate` makes the batches.
    peft_model
        What is trained.
    samples : numpro.training.samples.Samples
    config, args
        `args` as `trainer_arguments` gives them.
    """
    from transformers import Trainer

    class LikeLengths(Trainer):
        """The Trainer, batches of like length."""

        def _get_train_sampler(self, train_dataset=None):
            together = config.batch_size * max(1, self.args.world_size)
            return ByLength(self.train_dataset, together, config.seed)

        def _get_num_items_in_batch(self, batch_samples, device):
            count = super()._get_num_items_in_batch(batch_samples, device)
            # a step in which every video broke has nothing to learn, and must not divide by it
            return count if count is None else count.clamp(min=1)

    # where its configuration lies: peft looks there, and else on the hub, at each checkpoint
    folder = str(weights_folder(model.name))
    peft_model.peft_config["default"].base_model_name_or_path = folder
    trainer = LikeLengths(
        model=peft_model, args=args, train_dataset=samples, data_collator=Collator(model=model)
    )
    # all batches of a step are fetched before it: they wait on the host, not on the GPU
    trainer.accelerator.device_placement = False
    for callback in ("PrinterCallback", "ProgressCallback")[: 2 if args.disable_tqdm else 1]:
        _drop_callback(trainer, callback)
    return trainer


def is_sharded(trainer: "Trainer") -> bool:
    """Tell whether each process holds but a piece of the model (FSDP)."""
    return bool(getattr(trainer, "is_fsdp_enabled", False))


def trainer_arguments(
    config: TrainingConfig, count: int, out: Path, device: str, progress: bool | None = None
) -> "TrainingArguments":
    """Return the Trainer's arguments for so many samples.

    Raises
    ------
    ValueError
        For a place to report to that is not installed, or a `total_batch` that cannot be.
    """
    from transformers import TrainingArguments

    processes = processes_together()
    steps = config.steps_for(count, processes)
    progress = sys.stderr.isatty() if progress is None else progress
    _check_reports(config.report_to, out)
    arguments = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation_on(processes),
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(np.ceil(config.warmup * steps)),
        weight_decay=config.weight_decay,
        bf16=config.precision == "bfloat16",
        **_optional(config, TrainingArguments.__dataclass_fields__),
        logging_steps=config.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a training that broke down must be seen in its log
        remove_unused_columns=False,
        report_to=list(config.report_to),
        seed=config.seed,
        data_seed=config.seed,
        disable_tqdm=not progress,
        dataloader_pin_memory=False,
        label_names=["labels"],
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and processes > 1 else None,
        ddp_find_unused_parameters=False,
    )
    if arguments.n_gpu > 1:
        # otherwise DataParallel would cut each batch, and frames and questions differently
        arguments._n_gpu = 1
    return arguments


def _optional(config: TrainingConfig, known: Container[str]) -> dict:
    """Return the arguments of checkpoints and of activations that are computed anew."""
    options = {"save_strategy": "no"}
    if config.save_every:
        options = {"save_strategy": "steps", "save_steps": config.save_every, "save_total_limit": 2}
    # renamed between transformers 5.17 and 5.23
    names = ("activation_checkpointing", "gradient_checkpointing")
    name = next(n for n in names if n in known)
    options[name] = config.gradient_checkpointing
    if config.gradient_checkpointing:
        options[f"{name}_kwargs"] = {"use_reentrant": False}
    return options


def _check_reports(names: Sequence[str], out: Path) -> None:
    """Raise a ValueError for a place to report to that is not installed."""
    from importlib.util import find_spec

    if names:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    for name in names:
        if not (find_spec(name) or (name == "tensorboard" and find_spec("tensorboardX"))):
            raise ValueError(
                f"report_to: {name} is not installed; pip install {name}, or leave it out: "
                "log.csv holds the same figures"
            )


def _drop_callback(trainer, name: str) -> None:
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ == name:
            trainer.remove_callback(callback)


def processes_together() -> int:
    """Return how many processes train together (accelerate and torchrun say it so)."""
    return int(os.environ.get("WORLD_SIZE", "1"))
