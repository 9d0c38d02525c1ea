"""Where the datasets come from: what to download, how large, under which licence.

The facts stand in ``sources.yaml``; ``numpro check-data`` and ``data/README.md`` print them.
"""

from functools import cache

from numpro.paths import yaml_beside


@cache
def sources() -> dict[str, dict]:
    """Return for each public dataset its title, published counts and downloads."""
    return yaml_beside(__file__)


def downloads(name: str) -> list[str]:
    """Return what there is to download of a dataset, the annotations first; one line each."""
    line = "{what}: {url} (size: {size}; licence: {licence})"
    return [line.format(**file) for file in sources().get(name, {}).get("get", [])]
