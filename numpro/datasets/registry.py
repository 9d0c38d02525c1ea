"""The datasets by name, and how one is loaded."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from numpro.datasets.loading import Loader
from numpro.datasets.records import VideoQueries
from numpro.paths import yaml_beside
from numpro.spans import one_of

FORMATS = yaml_beside(__file__, "formats.yaml")
# name -> the class of its `Loader`
DATASETS = {k: v.get("loader", "numpro.datasets.by_keys.ByKeys") for k, v in FORMATS.items()}


def loader(name: str) -> Loader:
    """Return the loader of a dataset."""
    module, _, kind = DATASETS[one_of("dataset", name, DATASETS)].rpartition(".")
    return getattr(import_module(module), kind)(name, **FORMATS.get(name, {}))


def label_end(videos: Sequence[VideoQueries]) -> str:
    """Return what a label means in seconds for these videos: one of `numpro.spans.ENDS`."""
    name = videos[0].dataset if videos else None
    return loader(name).end if name in DATASETS else "instant"


def load_dataset(
    name: str, split: str, data_root: str | Path | None = None, limit: int | None = None
) -> list[VideoQueries]:
    """Load the annotations of one split.

    Parameters
    ----------
    name
        One of `DATASETS`.
    split
        One of the dataset's splits.
    data_root
        Folder of the dataset, or an annotation file in it (not needed for what is embedded).
    limit
        At most this many videos, from the start; None is all.

    Raises
    ------
    ValueError
        For an unknown name or split, a limit below 1, or malformed annotations; the message
        names the file and the row.
    FileNotFoundError
        When the annotations are not there; the message says where to get them.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 video, or None for all; got {limit!r}")
    return loader(name).load(split, data_root, limit)
