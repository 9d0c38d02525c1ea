"""The embedded flipbook films as a dataset; they are drawn when first asked for.

Rows have the format of QVHighlights, so that scorers for it read them too.
"""

from pathlib import Path

from numpro.datasets.qvhighlights import Qvhighlights
from numpro.flipbook.films import ABSENT, ANNOTATIONS, make_films
from numpro.flipbook.world import SPLITS
from numpro.paths import find


class Flipbook(Qvhighlights):
    """The flipbook films (by default in ``data/flipbook/films``; under a minute for all).

    ``val_absent`` and ``test_absent`` ask the films of ``val`` and ``test`` for what is not there.
    """

    files = {split: (ANNOTATIONS,) for split in SPLITS}
    files |= {f"{split}_absent": (ABSENT,) for split in ("val", "test")}
    folders = (".",)
    end = "halfway"  # events begin and end anywhere between two frames

    def find(self, split: str, data_root: str | Path | None, limit: int | None) -> Path:
        """Draw what is not there yet, and return the annotations."""
        if data_root is not None and find(data_root).is_file():
            return super().find(split, data_root, limit)
        drawn = make_films(split.removesuffix("_absent"), data_root, limit)
        self.root, self.split = drawn, split
        return self.root / self.files[split][0]
