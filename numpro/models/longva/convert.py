"""Published checkpoints and adapters written in this project's own format.

``numpro convert IN OUT``: LongVA in LLaVA's format, or an adapter of LLaVA's trainer. A
checkpoint goes shard by shard, so that one shard is in memory at a time. The new folder
appears whole or not at all.
"""

import json
import os
import shutil
from pathlib import Path

from numpro import __version__

WEIGHTS = "model.safetensors"


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
    from numpro.models.longva.llava_adapter import is_llava_adapter
    from numpro.models.longva.original import fetch
    from numpro.models.longva.tensor_files import read_json

    out, folder = Path(out).absolute(), fetch(source)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} must be a new or an empty folder; it holds something")
    if is_llava_adapter(folder):
        kind, write = "adapter", lambda to: _adapter(folder, to)
    elif (folder / "adapter_config.json").is_file():
        raise ValueError(f"{source} is an adapter in the library's own format; use it as it is")
    elif (model_type := read_json(folder / "config.json").get("model_type")) == "llava_qwen":
        kind, write = "checkpoint", lambda to: _checkpoint(folder, to, vision_tower)
    else:
        accepted = "a checkpoint of model_type 'llava_qwen' or an adapter of LLaVA's trainer"
        raise ValueError(f"{source} must be {accepted}; got model_type {model_type!r}")
    half = out.with_name(f".{out.name}.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        tensors, contents = write(half)
        whence = Path(source).name if Path(source).exists() else source  # no path of this machine
        card = f"# {out.name}\n\nConverted from {whence} by numpro {__version__}. {contents}\n"
        (half / "README.md").write_text(card, encoding="utf-8")
        size = sum(file.stat().st_size for file in half.iterdir())
        if out.is_dir():
            out.rmdir()
        os.replace(half, out)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return {"kind": kind, "out": str(out), "tensors": tensors, "bytes": size}


def _checkpoint(folder: Path, out: Path, vision_tower: str | None) -> tuple[int, str]:
    from transformers import GenerationConfig

    from numpro.models.files import fingerprint_files
    from numpro.models.longva import llava_format as llava
    from numpro.models.longva.original import load_tower
    from numpro.models.longva.tensor_files import tensor_shapes, weight_files

    config, tower = llava.read_config(folder, vision_tower)
    files = weight_files(folder)
    inside = llava.check_tensors(folder, tensor_shapes(files), config)
    parts = [lambda file=file: _renamed(file) for file in files]
    if not inside:
        parts.append(
            lambda: {f"vision_tower.{k}": v for k, v in load_tower(tower).state_dict().items()}
        )
    written, total, dtype = {}, 0, None
    for number, read in enumerate(parts, 1):
        shard = read()
        name = WEIGHTS
        if len(parts) > 1:
            name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        _save(shard, out / name)
        written |= dict.fromkeys(shard, name)
        total += sum(tensor.nbytes for tensor in shard.values())
        dtype = dtype or next(t.dtype for t in shard.values())
    if len(parts) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(written.items()))}
        (out / f"{WEIGHTS}.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    config.dtype = dtype
    config.save_pretrained(out)
    ends = {"eos_token_id": config.text_config.eos_token_id}
    GenerationConfig(**ends, pad_token_id=config.text_config.pad_token_id).save_pretrained(out)
    llava.read_tokenizer(folder).save_pretrained(out)
    llava.image_processor(config, tower).save_pretrained(out)
    same = {"source": fingerprint_files([str(folder)]), "weights": fingerprint_files([str(out)])}
    _write_notes(out, {"converted": same})  # so that adapters of the one fit the other
    return len(written), "The weights are unchanged; their names are those of our LongVA class."


def _renamed(file: Path) -> dict:
    """Return the tensors of one weight file under our names."""
    from safetensors.torch import load_file

    from numpro.models.longva.llava_format import UNUSED, rename
    from numpro.models.longva.tensor_files import load_tensors

    found = load_file(file) if file.suffix == ".safetensors" else load_tensors(file)
    return {rename(name): tensor for name, tensor in found.items() if not UNUSED.search(name)}


def _save(tensors: dict, file: Path) -> None:
    from safetensors.torch import save_file

    kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(kept, file, {"format": "pt"})


def _write_notes(out: Path, notes: dict) -> str:
    """Write what is known of the weights in a folder; return the name of the file."""
    from numpro.models.notes import ADAPTER_NOTES

    (out / ADAPTER_NOTES).write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    return ADAPTER_NOTES


def _adapter(folder: Path, out: Path) -> tuple[int, str]:
    from numpro.models.longva.llava_adapter import adapter_notes, read_adapter

    config, tensors = read_adapter(folder)
    config.save_pretrained(out)
    _save(tensors, out / "adapter_model.safetensors")
    notes = _write_notes(out, adapter_notes(folder))
    tower = sum("vision_tower" in name for name in config.target_modules)
    contents = f"LoRA on {len(config.target_modules)} layers, {tower} of them in the vision tower; "
    return len(tensors), f"{contents}how it must be asked is in `{notes}`."
