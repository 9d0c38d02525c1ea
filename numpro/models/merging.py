"""An adapter merged into its base as a plain model, or written as vLLM loads it."""

import os
import shutil
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from numpro.models import files
from numpro.models.adapter_names import IN_FILES, fit_adapter, read_weights
from numpro.models.registry import load_model
from numpro.models.weights import shorten
from numpro.paths import find_model

_LANGUAGE = IN_FILES + "model.language_model."


def merge(adapter: str, out: str | os.PathLike, base: str | None = None) -> Path:
    """Add an adapter to its base and write a plain model, in the base's own number type.

    Parameters
    ----------
    adapter
        Its name or folder.
    out
        A new or empty folder.
    base
        The base, where it is not to be found under the name in the notes.

    Returns
    -------
    pathlib.Path
        `out`: weights, configuration, tokenizer and processor of a model that is loaded without
        adapter, and ``numpro.json``, which says how it must be asked.

    Raises
    ------
    FileNotFoundError, ValueError
        When adapter or base are not there or do not fit, or `out` holds something.
    """
    out, where = Path(out), files.weights_folder(adapter)
    files.need_new(out)
    base = base or base_of(adapter)
    source, config = files.weights_folder(base), _settings("model", base)
    if config["model_type"] == "llava_qwen":
        raise ValueError(f"{base!r} is in the published format; numpro convert writes it in ours")
    kind = config.get("dtype") or config.get("torch_dtype") or "float32"
    loaded = load_model(base, adapter=str(adapter), device="cpu", dtype=kind)
    merged = loaded.model.merge_and_unload()
    out.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():  # tokenizer, processor, chat template
        if path.suffix in (".json", ".jinja", ".txt", ".model") and ".index." not in path.name:
            shutil.copyfile(path, out / path.name)
    merged.save_pretrained(out)
    files.write_notes(out, files.read_notes(where) | {"merged_from": [base, str(adapter)]})
    return out


def _settings(kind: str, name: str) -> dict:
    """Return the configuration of a "model" or an "adapter"."""
    file = {"model": "config.json", "adapter": "adapter_config.json"}[kind]
    path = files.weights_folder(name) / file
    if not path.is_file():
        raise FileNotFoundError(f"no {kind} at {name!r}; name its folder")
    return files.read_json(path)


def base_of(adapter: str) -> str:
    """Return the name of the model an adapter belongs to.

    Raises
    ------
    FileNotFoundError
        When there is no adapter.
    """
    peft, notes = _settings("adapter", adapter), files.read_notes(files.weights_folder(adapter))
    return notes.get("base_model") or peft["base_model_name_or_path"]


def export_for_vllm(adapter: str, out: str | os.PathLike, base: str | None = None) -> int:
    """Write an adapter as vLLM loads it (``--enable-lora --lora-modules name=OUT``).

    vLLM takes LoRA weights on the language model, in safetensors, with the names transformers
    gives the modules, and nothing trained in full (``vllm/lora/peft_helper.py``).

    Parameters
    ----------
    adapter, base
        As in `merge`.
    out
        The folder to write.

    Returns
    -------
    int
        Its rank: vLLM is to be started with ``--max-lora-rank`` of at least this.

    Raises
    ------
    ValueError
        When vLLM would refuse it or compute another thing: another class of model, a projector
        trained in full, weights outside the language model or beside the adapter, DoRA, a start
        that changes the base, several ranks. Merge such an adapter and serve the merged model.
    """
    where, out = files.weights_folder(adapter), Path(out)
    base = base or base_of(adapter)
    kind, peft = _settings("model", base)["model_type"], _settings("adapter", adapter)
    if kind not in (served := files.FACTS["vllm"]["served"]):
        _refuse(adapter, f"vLLM serves adapters of {', '.join(served)}; {base!r} is {kind!r}")
    for key, plain in files.FACTS["vllm"]["plain"].items():
        if (value := peft.get(key)) not in plain:
            whole = key == "modules_to_save" and f"{', '.join(value)} was trained in full"
            _refuse(adapter, f"{whole or f'{key} is {value!r}'}, and vLLM takes LoRA weights only")
    with torch.device("meta"):  # the names of its modules are needed, no weights
        config = AutoConfig.from_pretrained(find_model(base), trust_remote_code=False)
        model = AutoModelForImageTextToText.from_config(config)
    fitted = fit_adapter(model, LoraConfig.from_pretrained(str(where)), *read_weights(where))
    weights = fitted.tensors | {IN_FILES + name: value for name, value in fitted.whole.items()}
    if strange := [n for n in weights if not n.startswith(_LANGUAGE) or ".lora_" not in n]:
        _refuse(adapter, f"{strange[0]} is no LoRA weight of the language model")
    for name in ("rank_pattern", "alpha_pattern"):
        if others := getattr(fitted.config, name):
            _refuse(adapter, f"{name} has {shorten(map(str, others.items()), 2)}; vLLM takes one")
    out.mkdir(parents=True, exist_ok=True)
    fitted.config.target_modules = sorted({name.split(".")[-3] for name in weights})
    fitted.config.modules_to_save, fitted.config.inference_mode = None, True
    fitted.config.save_pretrained(out)
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})
    if (where / files.ADAPTER_NOTES).is_file():
        shutil.copyfile(where / files.ADAPTER_NOTES, out / files.ADAPTER_NOTES)
    return fitted.config.r


def _refuse(adapter: str, reason: str) -> None:
    raise ValueError(f"{adapter!r} cannot be exported for vLLM: {reason}; merge it instead")
