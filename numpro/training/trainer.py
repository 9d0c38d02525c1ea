"""The Trainer of a fine-tuning: what is trained, and its arguments."""

import os
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from peft import LoraConfig, PeftModel
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerState, TrainingArguments

from numpro.models.files import weights_folder
from numpro.models.loading import PROJECTORS
from numpro.models.local import LORA_TARGETS, LocalModel
from numpro.plots import loss_curves
from numpro.plots.style import Figure, close, small_png
from numpro.progress import in_live_notebook, progress_bar
from numpro.training.prefetch import ByLength
from numpro.training.presets import TRAINER, FinetuneConfig
from numpro.training.processes import world_size
from numpro.training.samples import Samples, collate


def lora_config(config: FinetuneConfig, model: LocalModel) -> LoraConfig:
    """Return peft's configuration: LoRA on the language model's linear layers, projector whole.

    Parameters
    ----------
    config
    model : numpro.models.VideoModel
        Whose modules are meant.
    """
    names = {name.rpartition(".")[2] for name, _ in model.model.named_modules()}
    projector = [name for name in PROJECTORS if name in names]
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=model.lora_targets() if hasattr(model, "lora_targets") else LORA_TARGETS,
        modules_to_save=projector if projector and config.train_projector else None,
        task_type="CAUSAL_LM",
    )


class LengthGroupedTrainer(Trainer):
    """The Trainer, with batches of like length."""

    def _get_train_sampler(self, train_dataset=None):
        batch = self.args.per_device_train_batch_size * max(1, self.args.world_size)
        return ByLength(self.train_dataset, batch, self.args.seed)

    def _get_num_items_in_batch(self, batch_samples, device):
        count = super()._get_num_items_in_batch(batch_samples, device)
        # a step in which every video broke has nothing to learn, and must not divide by it
        return count if count is None else count.clamp(min=1)


class Watch(ProgressCallback):
    """The Trainer's bar where it can be seen, and in a notebook that is open the falling loss."""

    def __init__(self, progress: bool | None):
        super().__init__()
        self.progress, self.drawn = progress, False

    def on_train_begin(self, args: object, state: TrainerState, control: object, **_) -> None:
        """Begin the bar."""
        done = self.current_step = state.global_step
        if state.is_world_process_zero:
            more = state.max_steps, "step", self.progress, done
            self.training_bar = progress_bar(None, "training", *more)

    def on_log(self, args: object, state: TrainerState, control: object, **_) -> None:
        """Show the newest loss, and in a notebook the curve so far."""
        log = [row for row in state.log_history if "loss" in row]
        if log and self.training_bar is not None and not self.training_bar.disable:
            self.training_bar.set_postfix_str(f"loss {log[-1]['loss']:.3f}", refresh=False)
            if in_live_notebook():
                self._draw(loss_curves({"this training": log}, "Loss on the answer, as it falls"))

    def _draw(self, figure: Figure) -> None:
        from IPython.display import Image, display

        display(Image(small_png(figure)), display_id=f"loss {id(self)}", update=self.drawn)
        self.drawn = True
        close(figure)


def make_trainer(
    peft_model: PeftModel, samples: Samples, out: Path, progress: bool | None
) -> Trainer:
    """Return the Trainer of a model wrapped by peft.

    Parameters
    ----------
    peft_model
        What is trained.
    samples
        What it learns, with the base model (its ``collate`` makes the batches) and the
        configuration.
    out
        The adapter's folder.
    progress
        Show a bar; default: in notebooks and on terminals (`progress_bar`).

    Raises
    ------
    ValueError
        For a place to report to that is not installed, or a `total_batch` that cannot be.
    """
    # where its configuration lies: peft looks there, and else on the hub, at each checkpoint
    folder = weights_folder(samples.model.name)
    peft_model.peft_config["default"].base_model_name_or_path = str(folder)
    trainer = LengthGroupedTrainer(
        model=peft_model,
        args=_arguments(samples, out),
        train_dataset=samples,
        data_collator=partial(collate, samples.model),
    )
    # all batches of a step are fetched before it: they wait on the host, not on the GPU
    trainer.accelerator.device_placement = False
    trainer.remove_callback(PrinterCallback)  # there where the Trainer shows no bar
    trainer.add_callback(Watch(progress))
    return trainer


def _arguments(samples: Samples, out: Path) -> TrainingArguments:
    config, on_cpu = samples.config, samples.model.device.type == "cpu"
    schedule = config.schedule(len(samples), world_size())
    _check_reports(config.report_to, out)
    names = ("activation_checkpointing", "gradient_checkpointing")
    name = next(n for n in names if n in TrainingArguments.__dataclass_fields__)
    arguments = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=schedule["steps"],
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=schedule["batch"] // (config.batch_size * world_size()),
        learning_rate=config.learning_rate,
        warmup_steps=schedule["warm-up steps"],
        weight_decay=config.weight_decay,
        bf16=config.precision == "bfloat16",
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 1,
        logging_steps=config.log_every,
        report_to=list(config.report_to),
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and world_size() > 1 else None,
        # activations that are computed anew: renamed between transformers 5.17 and 5.23
        **{name: config.gradient_checkpointing, f"{name}_kwargs": {"use_reentrant": False}},
        **TRAINER,
    )
    # with more DataParallel would cut each batch, and frames and questions differently
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _check_reports(names: Sequence[str], out: Path) -> None:
    """Raise a ValueError for a place to report to that is not installed."""
    if names:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    for name in names:
        if not (find_spec(name) or (name == "tensorboard" and find_spec("tensorboardX"))):
            remedy = f"pip install {name}, or leave it out: log.csv holds the same figures"
            raise ValueError(f"report_to: {name} is not installed; {remedy}")
