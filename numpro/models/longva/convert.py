"""Published checkpoints and adapters written in this project's own format.

``numpro convert IN OUT``: LongVA in LLaVA's format, or an adapter of LLaVA's trainer. The tensors
of a checkpoint are read from its files while they are written, in shards of 5 GB, and so never lie
in memory all at once. The new folder appears whole or not at all.
"""

import os
import shutil
from functools import partial
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from transformers import GenerationConfig

from numpro import __version__
from numpro.models.files import ADAPTER_NOTES, fingerprint_files, need_new, read_json, write_notes
from numpro.models.longva import llava_format as llava
from numpro.models.longva.llava_adapter import adapter_notes, is_llava_adapter, read_adapter
from numpro.models.weights import fetch
from numpro.paths import write_whole


def convert(source: str, out: str | os.PathLike, vision_tower: str | None = None) -> dict:
    """Write a checkpoint or an adapter of LLaVA's format in ours.

    Parameters
    ----------
    source
        Folder, or for a checkpoint also a hub id.
    out
        New folder, or an empty one.
    vision_tower
        Another place of the vision tower than the checkpoint says.

    Returns
    -------
    dict
        ``kind`` (checkpoint or adapter), ``out``, ``tensors``, ``bytes``.

    Raises
    ------
    ValueError
        For an `out` that holds something, or a source that is neither.
    FileNotFoundError
        When a file is not there.
    """
    out, folder = Path(out).absolute(), fetch(source)
    need_new(out)
    if is_llava_adapter(folder):
        kind, write = "adapter", partial(_adapter, folder)
    elif (folder / "adapter_config.json").is_file():
        raise ValueError(f"{source} is an adapter in the library's own format; use it as it is")
    elif (model_type := read_json(folder / "config.json").get("model_type")) == "llava_qwen":
        kind, write = "checkpoint", partial(_checkpoint, folder, vision_tower=vision_tower)
    else:
        accepted = "a checkpoint of model_type 'llava_qwen' or an adapter of LLaVA's trainer"
        raise ValueError(f"{source} must be {accepted}; got model_type {model_type!r}")
    half = out.with_name(f".{out.name}.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        tensors, contents = write(half)
        whence = Path(source).name if Path(source).exists() else source  # no path of this machine
        card = f"# {out.name}\n\nConverted from {whence} by numpro {__version__}. {contents}\n"
        write_whole(half / "README.md", card)
        size = sum(file.stat().st_size for file in half.iterdir())
        if out.is_dir():
            out.rmdir()
        os.replace(half, out)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return {"kind": kind, "out": str(out), "tensors": tensors, "bytes": size}


def _checkpoint(folder: Path, out: Path, vision_tower: str | None) -> tuple[int, str]:
    """Write a checkpoint; return how many tensors it has, and a sentence about it."""
    config, tower = llava.read_config(folder, vision_tower)
    tensors = llava.our_tensors(folder, config, tower)
    config.dtype = config.dtype or next(iter(tensors.values())).dtype
    save_torch_state_dict(tensors, out)
    tokenizer, ends = llava.read_tokenizer(folder), GenerationConfig.from_model_config(config)
    for part in (config, tokenizer, ends, llava.image_processor(config, tower)):
        part.save_pretrained(out)
    same = {"source": fingerprint_files([str(folder)]), "weights": fingerprint_files([str(out)])}
    write_notes(out, {"converted": same})  # so that adapters of the one fit the other
    return len(tensors), "The weights are unchanged; their names are those of our LongVA class."


def _adapter(folder: Path, out: Path) -> tuple[int, str]:
    """Write an adapter; return how many tensors it has, and a sentence about it."""
    config, tensors = read_adapter(folder)
    config.save_pretrained(out)
    save_torch_state_dict(tensors, out, filename_pattern="adapter_model{suffix}.safetensors")
    write_notes(out, adapter_notes(folder))
    tower = sum("vision_tower" in name for name in config.target_modules)
    contents = f"LoRA on {len(config.target_modules)} layers, {tower} of them in the vision tower; "
    return len(tensors), f"{contents}how it must be asked is in `{ADAPTER_NOTES}`."
