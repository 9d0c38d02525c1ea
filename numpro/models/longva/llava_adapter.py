"""LoRA adapters of LLaVA's trainer, such as the released NumPro-FT, on our LongVA class.

Such a folder holds ``adapter_config.json``, ``adapter_model.safetensors`` (or ``.bin``) and
``non_lora_trainables.bin`` with the trained projector. The trainer takes LoRA's targets by the
last part of their names, and the vision tower's projections are called like the language
model's: an adapter may hold LoRA weights for the tower too, and they count.
"""

import re
from collections import Counter
from pathlib import Path

import torch
from peft import LoraConfig

from numpro.models.adapter_names import IN_FILES, bare_parts
from numpro.models.files import read_json, read_notes
from numpro.models.longva.llava_format import FACTS, rename
from numpro.models.longva.modeling import PROJECTOR
from numpro.models.weights import load_tensors, shorten, weight_files
from numpro.numbers import NumberStyle
from numpro.prompting import HIGHLIGHTS_FT, MOMENT

_SETTINGS = ("r", "lora_alpha", "lora_dropout", "use_rslora")  # what the trainer sets of peft's
TRAINED = "non_lora_trainables.bin"
_LORA = re.compile(r"(.+)\.lora_[AB]\.weight")


def is_llava_adapter(folder: str | Path) -> bool:
    """Tell whether a folder holds an adapter of LLaVA's trainer, and not one of peft's own."""
    return all((Path(folder) / name).is_file() for name in ("adapter_config.json", TRAINED))


def read_adapter(folder: str | Path) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """Read an adapter of LLaVA's trainer.

    Returns
    -------
    config : peft.LoraConfig
        With our names of the modules.
    tensors : dict of str to torch.Tensor
        As peft stores them, with our names.

    Raises
    ------
    ValueError
        For another kind of adapter, tensors not known, or half of a pair.
    FileNotFoundError
        When a file is not there.
    """
    folder, stored = Path(folder), {}
    raw = read_json(folder / "adapter_config.json")
    for key, accepted in {"peft_type": ["LORA"], "bias": ["none", None]}.items():
        if raw.get(key) not in accepted:
            raise ValueError(f"{folder}: {key} must be {accepted[0]!r}; got {raw.get(key)!r}")
    for key in ("r", "lora_alpha"):
        if not isinstance(raw.get(key), int):
            raise ValueError(f"{folder}: {key} must be a whole number; got {raw.get(key)!r}")
    lora = weight_files(folder, ("adapter_model.safetensors", "adapter_model.bin"))
    for file in [*lora, folder / TRAINED]:
        stored |= load_tensors(file)
    tensors, modules = _by_our_names(folder, stored)
    whole = any(name.startswith(IN_FILES + PROJECTOR) for name in tensors)
    settings = {name: raw[name] for name in _SETTINGS if name in raw}
    settings |= {"target_modules": modules, "modules_to_save": [PROJECTOR] if whole else None}
    settings |= {"task_type": "CAUSAL_LM", "inference_mode": True}
    config = LoraConfig(base_model_name_or_path=adapter_notes(folder)["base_model"], **settings)
    return config, tensors


def _by_our_names(folder: Path, stored: dict) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors under our names, and the modules that LoRA is on."""
    tensors, halves, unknown = {}, Counter(), []
    for name, tensor in stored.items():
        ours = rename(".".join(("model", *bare_parts(name))))
        lora = _LORA.fullmatch(ours)
        if lora and ours.startswith(("language_model.", "vision_tower.")):
            halves[lora[1]] += 1
        elif lora or not ours.startswith(f"{PROJECTOR}."):
            unknown.append(name)
            continue
        tensors[IN_FILES + ours] = tensor
    single = [name for name, count in halves.items() if count != 2]
    projector = len(tensors) - halves.total()
    faults = [f"tensors not known: {shorten(unknown)}"] * bool(unknown)
    faults += [f"one half is missing of {shorten(single)}"] * bool(single)
    faults += ["it has no LoRA weights"] * (not halves)
    faults += [f"{projector} of 4 tensors of the projector"] * (projector not in (0, 4))
    if faults:
        needed = "LoRA weights A and B and the projector"
        raise ValueError(f"{folder} must hold {needed}; {'; '.join(faults)}")
    return tensors, sorted(halves)


def adapter_notes(folder: str | Path) -> dict:
    """Return how the adapter must be asked: as published for NumPro-FT, but its own notes win."""
    published = {
        "style": NumberStyle().as_dict(),
        "templates": {"moment_retrieval": MOMENT, "highlight_detection": HIGHLIGHTS_FT},
    }
    return FACTS["adapter"] | published | read_notes(folder)
