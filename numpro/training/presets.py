"""The named recipes of fine-tuning: on a laptop, on one 24 GB card, and the paper's."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import ceil

from numpro.parameters import Parameter, parse_pairs
from numpro.training.samples import FinetuneConfig

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig(FinetuneConfig):
    """A `FinetuneConfig` and what only the trainer asks for.

    Attributes
    ----------
    total_batch : int or None
        Samples a step over all processes; `accumulation` then follows from it. None: it is
        ``batch_size * accumulation * processes``.
    precision : str
        ``float32``: all of the model; ``bfloat16``: the frozen weights stay in the type they were
        loaded in, those that are trained are kept in float32, sums run in bfloat16.
    quantization : str or None
        How the frozen base is loaded: ``4bit``, ``8bit`` (needs bitsandbytes), or not at all.
    train_projector : bool
        Train the projector in full, as the paper does. Without, an adapter is LoRA on the
        language model only, which is what vLLM serves.
    weight_decay : float
    report_to : tuple of str
        Where the Trainer reports beside ``log.csv``, such as ``("tensorboard",)``.
    """

    total_batch: int | None = None
    precision: str = "float32"
    quantization: str | None = None
    train_projector: bool = True
    weight_decay: float = 0.0
    report_to: tuple[str, ...] = ()

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise ValueError(f"precision must be one of {known}; got {self.precision!r}")
        if self.quantization and self.precision != "bfloat16":
            raise ValueError(
                f"precision must be bfloat16 with quantization {self.quantization!r}; "
                f"got {self.precision!r}"
            )

    @classmethod
    def of(cls, config: FinetuneConfig | None, **changes) -> "TrainingConfig":
        """Return `config` (default: the laptop preset) with `changes`, the trainer's values added.

        Raises
        ------
        ValueError
            For a value that there is not.
        """
        config = PRESETS["laptop"] if config is None else config
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no such value: {', '.join(unknown)}; there are {', '.join(known)}")
        if not isinstance(config, cls):
            config = cls(**{f.name: getattr(config, f.name) for f in fields(config)})
        return replace(config, **changes)

    def accumulation_on(self, processes: int = 1) -> int:
        """Return how many batches of each process make a step.

        Raises
        ------
        ValueError
            When `total_batch` is no multiple of what the processes take at once.
        """
        if self.total_batch is None:
            return self.accumulation
        at_once = self.batch_size * processes
        if self.total_batch % at_once:
            raise ValueError(
                f"total_batch must be a multiple of batch_size x processes = {self.batch_size} x "
                f"{processes}; got {self.total_batch}"
            )
        return self.total_batch // at_once

    def steps_for(self, samples: int, processes: int = 1) -> int:
        """Return the number of optimiser steps."""
        batch = self.batch_size * self.accumulation_on(processes) * processes
        return self.steps or max(1, ceil(self.epochs * samples / batch))

    def as_json(self) -> dict:
        """Return the values as JSON holds them (a tuple becomes a list)."""
        return json.loads(json.dumps(asdict(self)))


# Section 4.1 of the paper and its training script: rank 64, alpha 128, rate 1e-4 with a cosine
# after 5 % of warm-up, AdamW without decay, 3 epochs of 128 samples a step (8 GPUs x 16 there), 0.5
# frames a second at 336 x 336, at most 240 frames, 4,096 tokens, bfloat16, checkpointed.
# LongVA takes 144 tokens a frame, so 4,096 have room for about 27: a video of more than 54 s is
# shown with fewer than 0.5 a second, spread over all of it. 36,000 tokens would take all 240.
_PAPER = TrainingConfig(
    fps=0.5,
    learning_rate=1e-4,
    batch_size=1,
    total_batch=128,
    gradient_checkpointing=True,
    precision="bfloat16",
    max_tokens=4096,
    workers=4,
    save_every=50,
    validate_every=200,
)
PRESETS = {
    "laptop": TrainingConfig(save_every=25),
    "24gb": replace(_PAPER, quantization="4bit", max_tokens=None, max_frames=64),
    "paper": _PAPER,
}


def values() -> dict[str, Parameter]:
    """Return the values that a command line may set by name (``-p NAME VALUE``)."""
    found = {}
    for field in fields(TrainingConfig):
        kind = str(field.type).removeprefix("<class '").removesuffix("'>")
        kind = re.sub(r"tuple\[(\w+), [\w.]+\]", r"list[\1]", kind)
        if field.name not in ("style", "templates"):  # these have options of their own
            found[field.name] = Parameter(field.name, kind, field.default)
    return found


def parse_values(pairs: Sequence[tuple[str, str]]) -> dict:
    """Turn pairs of a name and its text into values of a `TrainingConfig`.

    Examples
    --------
    >>> parse_values([("learning_rate", "1e-4"), ("tasks", "highlight_detection")])
    {'learning_rate': 0.0001, 'tasks': ('highlight_detection',)}

    Raises
    ------
    ValueError
        For a name there is not, or a text that says no value of its type.
    """
    parsed = parse_pairs(pairs, values())
    return {k: tuple(v) if isinstance(v, list) else v for k, v in parsed.items()}
