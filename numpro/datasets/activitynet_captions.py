"""ActivityNet Captions (Krishna et al. 2017): several sentences with their times for each video.

``train.json``, ``val_1.json`` and ``val_2.json`` from ``captions.zip`` have the form of
`numpro.datasets.grouped_json`. ``val_2`` is the set on which moment retrieval is reported
(2D-TAN calls it test, and val_1 val). A video's name is its YouTube id after ``v_``, and its
file is called so. Sentences keep all but the white space at their ends; spans stay as they are
(111 of val_2 end after their video does, by 0.01 s at most).
"""

from numpro.datasets.grouped_json import GroupedJson


class ActivitynetCaptions(GroupedJson):
    """ActivityNet Captions as published."""

    files = {split: (f"{split}.json",) for split in ("train", "val_1", "val_2")}
