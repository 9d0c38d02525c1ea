"""Every value of a fine-tuning, and the presets: a laptop's, one 24 GB card's, the paper's."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import ceil

from numpro.datasets.instructions import InstructionConfig
from numpro.parameters import Parameter, parse_pairs
from numpro.paths import yaml_beside
from numpro.spans import one_of

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class FinetuneConfig(InstructionConfig):
    """Every value of a fine-tuning run; the defaults are the laptop preset without checkpoints.

    LoRA rank, alpha, targets, scheduler, warm-up and what is trained are the paper's
    (section 4.1) in every preset.

    Attributes
    ----------
    largest_first : int
        The numbers of every second film start at a random one up to this.
    feature_cache_gib : float
        Vision features that are kept in memory (LongVA).
    cache : str or None
        Folder for what is computed once: vision features, or decoded clips where the model's
        features are not kept. `cache_gib` bounds it.
    workers : int
        Processes that decode videos ahead of use; 0: the training process decodes.
    video_limit : float
        Seconds after which a worker gives a video up; without workers there is no limit.
    max_tokens : int or None
        Of a sequence. A video that needs more is shown with fewer frames, further apart in time.
    validate_every : int
        Steps from one validation to the next.
    max_new_tokens : int or None
        Where a validation's answer is cut (`numpro.models.Question`).
    patience : int
        Validations without a new best that end the training; 0: it runs to its last step.
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
    report_to : tuple of str
        Where the Trainer reports beside ``log.csv``, such as ``("tensorboard",)``.
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
    largest_first: int = 0
    log_every: int = 10
    save_every: int | None = None
    feature_cache_gib: float = 1.0
    cache: str | None = None
    cache_gib: float = 20.0
    workers: int = 0
    video_limit: float = 300.0
    max_tokens: int | None = None
    validate_every: int = 25
    max_new_tokens: int | None = None
    patience: int = 0
    total_batch: int | None = None
    precision: str = "float32"
    quantization: str | None = None
    train_projector: bool = True
    weight_decay: float = 0.0
    report_to: tuple[str, ...] = ()

    def __post_init__(self):
        one_of("precision", self.precision, PRECISIONS)
        if self.quantization and self.precision != "bfloat16":
            found = f"quantization {self.quantization!r}; got {self.precision!r}"
            raise ValueError(f"precision must be bfloat16 with {found}")

    @classmethod
    def of(cls, config: "FinetuneConfig | None", **changes) -> "FinetuneConfig":
        """Return `config` (default: the laptop preset) with `changes`.

        Raises
        ------
        ValueError
            For a value that there is not.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(changes) - set(known)):
            raise ValueError(f"no such value: {', '.join(unknown)}; there are {', '.join(known)}")
        return replace(config or PRESETS["laptop"], **changes)

    def schedule(self, samples: int, processes: int = 1) -> dict:
        """Return what a run of so many samples will do.

        Returns
        -------
        dict
            ``samples``, ``steps`` of the optimiser, ``batch`` (samples a step, over all
            processes), ``warm-up steps`` and ``epochs``.

        Raises
        ------
        ValueError
            When `total_batch` is no multiple of what the processes take at once.
        """
        at_once = self.batch_size * processes
        batch = self.total_batch or at_once * self.accumulation
        if batch % at_once:
            product = f"batch_size x processes = {self.batch_size} x {processes}"
            raise ValueError(f"total_batch must be a multiple of {product}; got {batch}")
        steps = self.steps or max(1, ceil(self.epochs * samples / batch))
        warmup, epochs = ceil(self.warmup * steps), round(steps * batch / max(1, samples), 2)
        counts = {"samples": samples, "steps": steps, "batch": batch}
        return counts | {"warm-up steps": warmup, "epochs": epochs}

    def as_json(self) -> dict:
        """Return the values as JSON holds them (a tuple becomes a list)."""
        return json.loads(json.dumps(asdict(self)))


_RECIPES = yaml_beside(__file__)
PRESETS = {name: FinetuneConfig(**_RECIPES[name]) for name in ("laptop", "24gb", "paper")}
TRAINER = _RECIPES["trainer"]  # its arguments that are the same in every run

TrainingConfig = FinetuneConfig  # its name in version 0.1


def parse_values(pairs: Sequence[tuple[str, str]]) -> dict:
    """Turn pairs of a name and its text (``-p NAME VALUE``) into values of a `FinetuneConfig`.

    Examples
    --------
    >>> parse_values([("learning_rate", "1e-4"), ("tasks", "highlight_detection")])
    {'learning_rate': 0.0001, 'tasks': ('highlight_detection',)}

    Raises
    ------
    ValueError
        For a name there is not, or a text that says no value of its type.
    """
    known = {}
    for field in fields(FinetuneConfig):
        kind = str(field.type).removeprefix("<class '").removesuffix("'>")
        kind = re.sub(r"tuple\[(\w+), [\w.]+\]", r"list[\1]", kind)
        if field.name not in ("style", "templates"):  # these have options of their own
            known[field.name] = Parameter(field.name, kind, field.default)
    parsed = parse_pairs(pairs, known)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in parsed.items()}
