"""Charades-STA (Gao et al. 2017): moments in the films of Charades (Sigurdsson et al. 2016).

A text file (``charades_sta_train.txt``, ``charades_sta_test.txt``, from the authors'
repository jiyanggao/TALL) has one query a line::

    3MSZA 24.3 30.4##person turn a light on.

that is VIDEO START END##SENTENCE, in seconds. It states no durations: they come from the columns
``id`` and ``length`` of Charades' own ``Charades_v1_train.csv`` and ``Charades_v1_test.csv``
(beside it, or in ``Charades/`` as the archive unpacks), otherwise from the video files.

Spans stay as they are: some 560 of the test set end after their video does (by up to 1.5 s),
four of the training set end before they start. ``qid`` is the line counted from 0, as in
TimeChat's files of predictions.
"""

import re

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import seconds, text, text_rows
from numpro.spans import Span

_LINE = re.compile(r"(\S+)\s+(\S+)\s+(\S+?)\s*##(.*)", re.DOTALL)


class CharadesSta(Loader):
    """Charades-STA as published: text lines, durations from Charades' CSV or the videos."""

    rows = staticmethod(text_rows)

    def read(self, key: int, row: str) -> list[Row]:
        """Read a line VIDEO START END##SENTENCE."""
        if not (line := _LINE.fullmatch(row)):
            raise ValueError(f"must be VIDEO START END##SENTENCE; got {row!r:.80}")
        span = Span(seconds(line[2], "START"), seconds(line[3], "END"))
        return [Row(line[1], None, Query(str(key - 1), text(line[4], "SENTENCE"), (span,)))]
