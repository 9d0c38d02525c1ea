"""Where the datasets come from: what to download, how large, under which licence.

The facts stand in ``sources.yaml``; ``numpro check-data`` and ``data/README.md`` print them.
"""

from functools import cache
from pathlib import Path


@cache
def sources() -> dict[str, dict]:
    """Return for each public dataset its title, published counts and downloads."""
    import yaml

    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def downloads(name: str) -> list[str]:
    """Return what there is to download of a dataset, the annotations first; one line each."""
    line = "{what}: {url} (size: {size}; licence: {licence})"
    return [line.format(**file) for file in sources().get(name, {}).get("get", [])]
