"""JSON grouped by video, the form that papers after ActivityNet Captions use for many datasets.

One object of videos, each with its duration, its spans in seconds and as many sentences::

    {"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0, 4.14], [4.14, 33.36]],
                       "sentences": ["Two men ...", " One man ..."]}}

``timestamps`` and ``sentences`` (ActivityNet Captions, 2D-TAN, TFVTG, T2SGrid) may also be called
``spans`` and ``queries`` (TimeLens-Bench); other keys are passed over. In the place of a span
there may be a list of them: then the query has several. ``qid`` is the video and the place in
its list, from 0, as in ``v_uqiMw7tQ1Cc_1``. A video without ``duration`` has that of
``durations.csv`` or of its file.

TACoS (Regneri et al. 2013), as 2D-TAN writes it, counts frames: ``num_frames`` and ``fps`` stand
in the place of ``duration``, and times are divided by ``fps``. Frames that nothing declares, all
spans of a video far behind its end, are refused.
"""

from collections.abc import Iterable
from functools import partial

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import fields, items, json_rows, moments, need, positive, text
from numpro.spans import Span

_KEYS = {"timestamps": "sentences", "spans": "queries"}


def _length(row: dict) -> tuple[float | None, float | None]:
    """Return the seconds of a video; and where its times count frames, their rate."""
    need(row)
    if "num_frames" not in row or "duration" in row:
        return positive(row["duration"], "duration") if "duration" in row else None, None
    if "fps" not in row:
        raise ValueError("counts frames (num_frames) and states no fps to make them seconds")
    frames, fps = fields(row, num_frames=positive, fps=positive)
    return frames / fps, fps


def _refuse_frames(found: list[tuple[Span, ...]], length: float | None) -> None:
    """Refuse times that must be frames: all spans of a video end after twice its length."""
    ends = [span.end for spans in found for span in spans]
    if length and ends and min(ends) > 2 * length:
        where = f"all {len(ends)} spans end after {min(ends):g}, the video after {length:g} s"
        raise ValueError(f"{where}: frames need num_frames and fps in the place of duration")


class GroupedJson(Loader):
    """Any dataset in this form, ActivityNet Captions, TimeLens-Bench and TACoS among them."""

    rows = staticmethod(partial(json_rows, keyed=True))

    def read(self, key: str, row: dict) -> Iterable[Row]:
        """Read a video with its spans and sentences."""
        length, fps = _length(row)
        times = next((name for name in _KEYS if name in row), "timestamps")
        sentences = _KEYS[times]
        timed, queries = fields(row, **{times: items, sentences: items})
        if len(timed) != len(queries):
            raise ValueError(f"has {len(timed)} {times} and {len(queries)} {sentences}")
        yield Row(key, length, None)
        found = [moments(moment or [moment], times) for moment in timed]
        if not fps:
            _refuse_frames(found, length)
        for i, (spans, query) in enumerate(zip(found, queries, strict=True)):
            spans = tuple(Span(start / fps, end / fps) for start, end in spans) if fps else spans
            # an empty sentence of a published file is a query all the same
            yield Row(key, length, Query(f"{key}_{i}", text(query, sentences, empty=True), spans))
