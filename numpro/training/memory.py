"""What a training will hold in memory, counted from shapes before; and how it holds no more."""

import ctypes
import sys

from peft.tuners.tuners_utils import check_target_module_exists

from numpro.models.local import LocalModel
from numpro.training.presets import FinetuneConfig
from numpro.training.trainer import lora_config

GIB = 2**30
ANSWER_TOKENS = 24  # about; logits are made for these only
_MMAP_THRESHOLD, _LARGE = -3, 2**20  # glibc's M_MMAP_THRESHOLD; bytes


def give_back_freed() -> None:
    """Have the C library give large freed tensors back to the system at once.

    glibc keeps freed blocks of up to 32 MiB for later, in pieces that often fit no other tensor
    (the row ``freed kept`` of ``benchmarks/training.json``). Blocks of 1 MiB and more then have
    pages of their own, which costs time: only for training on a CPU with checkpointing, which asks
    for less memory at the cost of time. Where the C library is another one, nothing is changed.
    """
    if sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def trainable_parameters(model: LocalModel, config: FinetuneConfig) -> dict[str, int]:
    """Count what is trained: ``lora`` and ``projector``.

    Parameters
    ----------
    model : numpro.models.VideoModel
        The base, without adapter.
    config : numpro.training.presets.FinetuneConfig
    """
    peft = lora_config(config, model)
    counts = {"lora": 0, "projector": 0}
    for name, module in model.model.named_modules():
        last = name.rpartition(".")[2]
        if check_target_module_exists(peft, name) and hasattr(module, "in_features"):
            counts["lora"] += peft.r * (module.in_features + module.out_features)
        if last in (peft.modules_to_save or ()):
            counts["projector"] += sum(p.numel() for p in module.parameters())
    return counts


def predict_memory(
    model: LocalModel, config: FinetuneConfig, tokens: int, answers: int = ANSWER_TOKENS
) -> dict[str, float]:
    """Predict the memory of a training step on one device, in GiB, by part.

    Weights and what AdamW keeps of them are counted exactly. Activations are the tensors that a
    Qwen2-like decoder and the projector keep for the backward pass, added up by hand: close, not
    exact (tests hold them against what torch keeps, and against the peaks of
    ``benchmarks/training.json``). What the driver and the allocator need beside them, the vision
    tower's passing tensors, and vision features kept on the host (``feature_cache_gib``) are not
    counted.

    Parameters
    ----------
    model : numpro.models.VideoModel
        The base, loaded as it will be trained.
    config : numpro.training.presets.FinetuneConfig
    tokens
        Of the longest sample.
    answers
        Of these the tokens that are learned.
    """
    size = 4 if config.precision == "float32" else 2
    sizes = ((p.numel(), 4 if size == 4 else p.element_size()) for p in model.model.parameters())
    trained = sum(trainable_parameters(model, config).values())
    parts = {
        "weights": sum(count * each for count, each in sizes),
        "trained weights, gradients, AdamW": 16 * trained,
        "activations": config.batch_size * _activations(model, config, tokens, answers, size),
    }
    return {name: count / GIB for name, count in parts.items()}


def _activations(model, config, tokens: int, answers: int, size: int) -> float:
    """Return the bytes that one sequence keeps for its backward pass."""
    text = model.model.config.get_text_config()
    width, inner = text.hidden_size, text.intermediate_size
    # norms keep their input in float32; LoRA keeps the inputs of all linear layers
    norms = width * (16 if size == 2 else 8)
    layer = tokens * (norms + size * (8 * width + 4 * inner + 7 * config.lora_rank))
    language = text.num_hidden_layers * layer
    if config.gradient_checkpointing:  # every layer's input, and one layer as it is run again
        language = text.num_hidden_layers * tokens * width * size + layer
    # gradients on their way back through one layer's MLP: of what gate and up gave
    language += tokens * size * 2 * inner
    # a batch has logits wherever any of its sequences is learned, seldom at the same places
    places = min(tokens, answers * config.batch_size)
    # as the head gives them, in float32, their logarithms and the gradient
    logits = places * text.vocab_size * (12 if size == 4 else size + 12)
    if config.share_frames:  # who sees whom, as booleans and as what is added to the scores
        language += tokens**2 * (1 + size)
    # LongVA projects every patch before it pools them
    patches = tokens * getattr(model.model.config, "pool_stride", 1) ** 2
    vision = getattr(model.model.config, "vision_config", None)
    projector = patches * size * (getattr(vision, "hidden_size", width) + 3 * width)
    return language + logits + (projector if config.train_projector else 0)
