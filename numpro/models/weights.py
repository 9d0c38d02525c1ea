"""Files of weights, whoever wrote them: found, read without running code, and read whole.

The library fills what a file lacks with random numbers and leaves out what it does not know, with a
warning. A model that was read so answers, and its answers mean nothing: here it is refused.
"""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.utils import logging as library

from numpro.models.files import FACTS, not_found, read_json
from numpro.paths import find_model

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Computed anew by every version of the library, though some store them.
COMPUTED = re.compile(r"(rotary_emb\.(original_)?inv_freq|position_ids|num_batches_tracked)$")


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Map a file of tensors into memory, of PyTorch or safetensors; values are read when used.

    Code in it is refused, not run.

    Raises
    ------
    ValueError
        When it holds anything else than tensors by name, or is damaged.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is broken: {error}; copy it anew") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no file of tensors alone, it is not read: {reason}") from None
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise ValueError(f"{path} must hold tensors by name; got something else")
    return content


def weight_files(folder: Path, names: tuple[str, str] = WEIGHTS) -> list[Path]:
    """Return the weight files in a folder: the first of the names there is, or its shards.

    Raises
    ------
    FileNotFoundError
        When there is none, or one that the index names is not there.
    """
    for name in names:
        index = folder / f"{name}.index.json"
        if index.is_file():
            files = [folder / n for n in sorted(set(read_json(index)["weight_map"].values()))]
        elif (folder / name).is_file():
            files = [folder / name]
        else:
            continue
        if lacking := [file.name for file in files if not file.is_file()]:
            raise FileNotFoundError(f"{folder}: {', '.join(lacking)} is not there; fetch it again")
        return files
    raise FileNotFoundError(f"{folder} has neither {' nor '.join(names)}")


def fetch(name: str, kind: str = "model") -> Path:
    """Return the folder of a "model" or an "adapter": here, or the hub's, which is fetched.

    Raises
    ------
    FileNotFoundError
        When it is neither.
    """
    where = find_model(name)
    if Path(where).is_dir():
        return Path(where)
    wanted = ["*.json", "*.txt", "*.safetensors", "*.bin"]
    with not_found(f"no {kind} at {name!r}"):
        return Path(snapshot_download(where, allow_patterns=wanted))


def read_weights(auto: type, folder: str, options: Mapping) -> PreTrainedModel:
    """Read a model, and refuse it when its files lack a tensor or hold one that nothing takes.

    Parameters
    ----------
    auto
        What has ``from_pretrained``.
    folder
        The checkpoint: folder or hub id.
    options
        Arguments of ``from_pretrained``.

    Raises
    ------
    ValueError
        Naming the tensors, what their names look like and what to do.
    """
    before = library.get_verbosity()
    library.set_verbosity_error()  # its own table of them is a page long
    try:
        model, found = auto.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    finally:
        library.set_verbosity(before)
    odd = found["mismatched_keys"]
    shapes = {n: f"{n} {tuple(stored)} for {tuple(ours)}" for n, stored, ours in odd}
    missing = {*found["missing_keys"]} - {*shapes}
    faults = {"missing": missing, "left over": found["unexpected_keys"]}
    refuse_weights(folder, faults | {"of another shape": shapes.values()})
    return model


def refuse_weights(folder: str | Path, faults: Mapping[str, Iterable[str]]) -> None:
    """Raise a ValueError when tensors of a checkpoint are at fault.

    Parameters
    ----------
    folder
        The checkpoint.
    faults
        What is wrong, and the names of the tensors it is wrong with.
    """
    faults = {what: {n for n in names if not COMPUTED.search(n)} for what, names in faults.items()}
    lines = [f"{len(names)} {what}: {shorten(names)}" for what, names in faults.items() if names]
    if not lines:
        return
    every = {name for names in faults.values() for name in names}
    advice = "copy what lacks from the base checkpoint, or fetch it again"
    if not faults.get("missing") and not faults.get("of another shape"):
        advice = "the checkpoint is of another class, or remove from it what this one does not have"
    hints = [f"names look like {origin}" for form, origin in FACTS["origins"].items()
             if any(re.search(form, name) for name in every)]  # fmt: skip
    files = Path(folder).glob("*.safetensors")  # one without tensors has 40 bytes
    if any(" (0,) for " in name for name in every) or any(f.stat().st_size < 99 for f in files):
        hints = [FACTS["ungathered"]]
    advice = "; ".join(hints) or advice
    raise ValueError(f"{folder} does not hold the model's weights; tensors {'; '.join(lines)}; "
                     f"{advice}")  # fmt: skip


def shorten(names: Iterable[str], limit: int = 5) -> str:
    """Return the first of the names, in order, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
