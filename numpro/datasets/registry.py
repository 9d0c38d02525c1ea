"""The datasets by name, and how one is loaded."""

from importlib import import_module
from pathlib import Path

from numpro.datasets.loading import Loader
from numpro.datasets.records import VideoQueries
from numpro.spans import one_of

# Name -> the module and in it the `Loader`; named by text, so that a room above can add its own.
DATASETS = {
    "flipbook": "numpro.flipbook.dataset.Flipbook",
    "charades-sta": "numpro.datasets.charades_sta.CharadesSta",
    "activitynet-captions": "numpro.datasets.activitynet_captions.ActivitynetCaptions",
    "didemo": "numpro.datasets.didemo.Didemo",
    "qvhighlights": "numpro.datasets.qvhighlights.Qvhighlights",
    "timelens-bench": "numpro.datasets.timelens_bench.TimelensBench",
    "grouped-json": "numpro.datasets.grouped_json.GroupedJson",
    "numpro-json": "numpro.datasets.numpro_json.NumproJson",
    "numpro-instructions": "numpro.datasets.conversations.NumproInstructions",
    "vtimellm": "numpro.datasets.conversations.Vtimellm",
    "vue-tr": "numpro.datasets.by_keys.ByKeys",
    "momentseeker": "numpro.datasets.by_keys.ByKeys",
    "ego4d-nlq": "numpro.datasets.by_keys.ByKeys",
    "extremewhenbench": "numpro.datasets.by_keys.ByKeys",
    "tacos": "numpro.datasets.grouped_json.Tacos",
    "youcook2": "numpro.datasets.by_keys.ByKeys",
    "hirest": "numpro.datasets.by_keys.Hirest",
    "timelens-jsonl": "numpro.datasets.by_keys.ByKeys",
    "messages-jsonl": "numpro.datasets.messages.Messages",
    "moments-jsonl": "numpro.datasets.by_keys.ByKeys",
    "folder": "numpro.datasets.folder.Folder",
}


def loader(name: str) -> Loader:
    """Return the loader of a dataset."""
    module, _, kind = DATASETS[one_of("dataset", name, DATASETS)].rpartition(".")
    return getattr(import_module(module), kind)(name)


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
