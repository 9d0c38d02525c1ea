"""The weights of an adapter, as people saved them, under the names of the model they go on.

A weight is named after the place its module had in training, and one module has had several:
``model.layers`` (transformers up to 4.51, and adapters of a language model alone),
``language_model.model.layers``, ``model.language_model.layers`` (since 4.52), each behind what
wrapped the model. So names are compared without the parts that only wrap. What LoRA is on is read
off the file: the patterns in its configuration are written for the names of its time.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from torch import nn

from numpro.models.files import FACTS
from numpro.models.weights import load_tensors, shorten, weight_files

IN_FILES = "base_model.model."  # what peft puts in front of the names in a file


class FittedAdapter(NamedTuple):
    """An adapter under the names of one model.

    Attributes
    ----------
    config
        peft's, with the targets, ranks and alphas of the file.
    tensors
        The adapter's own, by name as peft stores them.
    whole
        Weights of the model itself that were trained in full, by the model's names.
    """

    config: PeftConfig
    tensors: dict[str, torch.Tensor]
    whole: dict[str, torch.Tensor]


def read_weights(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Read the weights of an adapter, and those trained in full that were saved beside it.

    Beside it lie ``non_lora_state_dict.bin`` or ``non_lora_trainables.bin`` of LLaVA's and
    Qwen-VL's trainers, ``vit.safetensors`` of ms-swift's, or a file of any other name.

    Raises
    ------
    ValueError
        For a file without weights, or with empty ones.
    FileNotFoundError
        When the folder holds no weights of an adapter.
    """
    files = weight_files(folder, ("adapter_model.safetensors", "adapter_model.bin"))
    beside = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    beside = [file for file in beside if not file.name.startswith(tuple(FACTS["not_beside"]))]
    return _read_full(files), _read_full(beside)


def _read_full(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the tensors of files, which are not empty."""
    stored = {}
    for file in files:
        tensors = load_tensors(file)
        empty = shorten(name for name, tensor in tensors.items() if not tensor.numel())
        if empty or not tensors:
            fault = f"empty tensors: {empty}" if empty else "no tensor"
            size = f"{file} ({file.stat().st_size:,} bytes)"
            raise ValueError(f"{size} holds {fault}; {FACTS['ungathered']}")
        stored |= tensors
    return stored


def fit_adapter(
    model: nn.Module, config: PeftConfig, stored: Mapping, beside: Mapping
) -> FittedAdapter:
    """Put the weights of `read_weights` under the names of a model.

    Raises
    ------
    ValueError
        For a weight that the model has no place for, and one that would count twice.
    """
    find = _finder(model)
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in model.named_buffers()}
    apart = tuple(getattr(config, "modules_to_save", None) or ())
    places = {name: find(name) for name in (*stored, *beside)}
    lora = {module for module, rest in places.values() if rest.startswith("lora_")}
    made = FittedAdapter(config, {}, {})
    for name, tensor in (*stored.items(), *beside.items()):
        module = places[name][0]
        ours = ".".join(filter(None, places[name]))
        above = accumulate(ours.split("."), "{}.{}".format)
        if name in beside and (ours not in known or module in lora):
            reason = "LoRA is on that layer, too" if ours in known else "the model has none"
            raise ValueError(f"{name}, saved beside the adapter, has no place: {reason}")
        if ours in known and (name in beside or not any(m.endswith(apart) for m in above)):
            made.whole[ours] = tensor
        else:  # what of these has no place peft tells
            made.tensors[IN_FILES + ours if module else name] = tensor
    if isinstance(config, LoraConfig) and not config.target_parameters:
        _read_targets(config, places, stored)
    return made


def _read_targets(config: LoraConfig, places: Mapping, stored: Mapping) -> None:
    """Set targets, ranks and alphas of a configuration to those of the file."""
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.target_modules = {m for m, rest in places.values() if m and rest.startswith("lora_")}
    given, ranks, alphas = config.alpha_pattern or {}, {}, {}
    for name, tensor in stored.items():
        module, rest = places[name]
        if rest.startswith(("lora_A", "lora_embedding_A")):
            theirs = name.removeprefix(IN_FILES).split(".lora_")[0]
            ranks[module] = len(tensor)
            alphas[module] = given.get(get_pattern_key(given, theirs), config.lora_alpha)
    if not ranks:
        raise ValueError(f"none of its LoRA weights has a place: {shorten(stored)}")
    for field, pattern, values in (("r", "rank", ranks), ("lora_alpha", "alpha", alphas)):
        ((most, _),) = Counter(values.values()).most_common(1)
        setattr(config, field, most)  # and only the others as patterns, each of which is searched
        setattr(config, f"{pattern}_pattern", {m: v for m, v in values.items() if v != most})


def _finder(model: nn.Module) -> Callable[[str], tuple[str, str]]:
    """Return what gives, for a stored name, the model's module and the rest of the name."""
    names = [name for name, _ in model.named_modules()]
    count = Counter(map(bare_parts, names))
    by_parts = {bare_parts(name): name for name in names if count[bare_parts(name)] == 1}

    def find(stored: str) -> tuple[str, str]:
        parts = bare_parts(stored)
        end = next((end for end in range(len(parts), 0, -1) if parts[:end] in by_parts), 0)
        return by_parts.get(parts[:end], ""), ".".join(parts[end:])

    return find


def bare_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a name without those that only wrap."""
    return tuple(part for part in name.split(".") if part not in FACTS["wrappers"])
