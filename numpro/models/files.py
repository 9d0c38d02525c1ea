"""Where the files of a checkpoint or adapter lie, and a hash that tells their weights apart."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from numpro.paths import find_model


def weights_folder(name: str) -> Path:
    """Return the folder a checkpoint lies in: its own, or the hub cache's for a hub id."""
    found = Path(find_model(name))
    if found.is_dir():
        return found
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "adapter_config.json"):
        cached = try_to_load_from_cache(name, file)
        if isinstance(cached, str):
            return Path(cached).parent
    return found


def fingerprint_files(names: Iterable[str]) -> str:
    """Hash the weight files in folders: their names, sizes and both ends of their content."""
    digest = hashlib.sha256()
    for name in names:
        folder = weights_folder(name)
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}".encode())
            with open(path, "rb") as file:
                digest.update(file.read(1 << 20))
                file.seek(max(0, size - (1 << 20)))
                digest.update(file.read())
    return digest.hexdigest()[:16]
