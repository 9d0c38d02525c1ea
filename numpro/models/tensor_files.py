"""Files of weights, whoever wrote them: found, fetched, and read without running code in them."""

import pickle
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from numpro.models.files import read_json
from numpro.paths import find_model

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


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
    try:
        return Path(snapshot_download(where, allow_patterns=wanted))
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(f"no {kind} at {name!r}: {error}") from error
