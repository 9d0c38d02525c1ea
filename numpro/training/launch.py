"""A fine-tuning as the command line runs it: told before, trained, drawn; on one GPU or several."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numpro.datasets import VideoQueries
from numpro.models import load_model, read_notes
from numpro.training import finetuning as training
from numpro.training.checkpoints import holds_adapter_of, is_finished
from numpro.training.presets import TrainingConfig
from numpro.training.samples import FinetuneConfig, Samples

if TYPE_CHECKING:
    from numpro.models.local import LocalModel


def first_process() -> bool:
    """Tell whether this is the process that speaks, of those that train together."""
    return os.environ.get("RANK", "0") == "0"


def load_base(name: str, config: TrainingConfig) -> "LocalModel":
    """Load the base as a configuration trains it; each process of a node takes its own GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # not "auto": what is trained in float32 must not be rounded when it is loaded
    options = {"dtype": config.precision}
    options |= {"quantization": config.quantization} if config.quantization else {}
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true"):
        options["device"] = "cpu"
    try:
        return load_model(name, **options)
    except ImportError as error:  # bitsandbytes is not there
        raise ValueError(str(error)) from error


def finished(
    name: str,
    videos: Sequence[VideoQueries],
    out: Path,
    config: TrainingConfig,
    validation: Sequence[VideoQueries] = (),
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
    if not is_finished(out, training.facts_of(name, videos, validation, config)):
        return None
    log = training.read_log(out)
    if first_process() and not (out / "log.png").is_file():
        _draw(log, out)
    return {"log": log, "notes": read_notes(out)}


def prepare(name: str, videos: Sequence[VideoQueries], config: TrainingConfig) -> tuple:
    """Load the base; return it with what is to be told before training.

    Returns
    -------
    numpro.models.VideoModel, numpro.training.samples.Samples, dict
        The base, what it will learn, and ``config`` (every value) and ``plan`` (see
        `numpro.training.finetuning.plan`).
    """
    base = load_base(name, config)
    samples = Samples(videos, base, config)  # videos are looked into, and bad ones told of, once
    plan = training.plan(videos, config, base, samples)
    return base, samples, {"config": config.as_json(), "plan": plan}


def train(
    base: "LocalModel",
    videos: Sequence[VideoQueries],
    out: Path,
    config: TrainingConfig,
    validation: Sequence[VideoQueries] = (),
    samples: Samples | None = None,
) -> dict | None:
    """Fine-tune, and draw the log to ``log.png``.

    Returns
    -------
    dict or None
        The log's rows as ``log`` and the adapter's ``notes``; None in all processes but the first.
    """
    log = training.finetune(base, videos, out, config, validation=validation, samples=samples)
    if not first_process():
        return None
    _draw(log, out)
    return {"log": log, "notes": base.notes}


def train_or_take(
    name: str,
    videos: Sequence[VideoQueries],
    out: Path,
    config: FinetuneConfig,
    validation: Sequence[VideoQueries] = (),
    resume: bool = True,
) -> tuple["LocalModel", list[dict]]:
    """Fine-tune, or take the adapter that the same call has left, so that many can be resumed.

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
    config = TrainingConfig.of(config)
    facts = training.facts_of(name, videos, validation, config)
    if resume and holds_adapter_of(out, facts):
        tuned = load_model(name, adapter=str(out), dtype=config.precision)
        return tuned, training.read_log(out)
    base = load_base(name, config)
    return base, training.finetune(base, videos, out, config, validation=validation)


def _draw(log: list[dict], out: Path) -> None:
    from numpro.plots.training import training_curves

    training_curves(log, out.name).savefig(out / "log.png")
