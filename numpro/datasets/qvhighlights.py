"""QVHighlights (Lei et al. 2021): moments and graded highlights of 150-second YouTube films.

JSON lines, one query each (``highlight_train_release.jsonl`` and so on, from ``data/`` of
jayleicn/moment_detr, whose README describes them)::

    {"qid": 8737, "query": "...", "duration": 126, "vid": "bP5KfdFJzC4_660.0_810.0",
     "relevant_windows": [[0, 16]], "relevant_clip_ids": [0, 1, 2],
     "saliency_scores": [[4, 1, 1], [4, 1, 1], [4, 2, 1]]}

Windows are seconds; clip i is second 2i to 2i + 2 and has a score from 0 (very bad) to 4 (very
good) by each of three annotators. A row without windows has no spans, and one without scores no
saliency: so the test split loads with its truth (``highlight_test_with_gt.jsonl``) and without
(``highlight_test_release.jsonl``), and other datasets in this form do too.
"""

from numpro.datasets import Loader, Query, Row, Saliency
from numpro.datasets.rows import fields, items, need, number, positive, spans, text

_TRUTH, _CLIPS, _SCORES = "relevant_windows", "relevant_clip_ids", "saliency_scores"


def saliency(row: dict) -> Saliency:
    """Return the saliency of a row, as it is."""
    ids, rated = fields(row, **{_CLIPS: items, _SCORES: items})
    if any(number(i, _CLIPS, "whole numbers") % 1 for i in ids):
        raise ValueError(f"{_CLIPS} must be whole numbers; got {ids!r:.80}")
    if len(ids) != len(rated) or any(not isinstance(s, list) or len(s) != 3 for s in rated):
        got = f"got {rated!r:.80} for {len(ids)}"
        raise ValueError(f"{_SCORES} must hold three scores for each relevant clip; {got}")
    for score in (score for scores in rated for score in scores):
        number(score, _SCORES)
    return Saliency(tuple(map(int, ids)), tuple(map(tuple, rated)))


class Qvhighlights(Loader):
    """QVHighlights as published, with or without truth."""

    def read(self, key: int, row: dict) -> list[Row]:
        """Read one query."""
        (qid,) = need(row, "qid")
        query, video, length = fields(row, query=text, vid=text, duration=positive)
        windows = spans(row[_TRUTH], _TRUTH) if _TRUTH in row else ()
        graded = saliency(row) if _CLIPS in row or _SCORES in row else None
        return [Row(video, length, Query(str(qid), query, windows, graded))]
