"""Datasets whose rows differ in the names of their keys only; ``formats.yaml`` names them.

A row is about one query, or about a video with a list of events. Where it has no ``qid`` the query
is called by its row (from 1) or its video, with its place among the events (from 0) behind it.
Where it states no duration, that of ``durations.csv`` or of the film is taken.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import items, json_rows, moments, need, positive, text

_PLACE = re.compile(r"^(?:\./)*(?:videos/)?")  # of a path: where all videos are looked for


class ByKeys(Loader):
    """A dataset that ``formats.yaml`` describes under its name."""

    keys: dict[str, str]
    inside: str | None = None
    subset: str | None = None

    def rows(self, path: Path) -> Iterator[tuple[int | str, Any]]:
        """Yield the rows of a file, of one that holds several splits those of this one."""
        if self.inside:
            whole = dict(json_rows(path, keyed=True))
            (found,) = need(whole, self.inside)
            need(found)
            yield from found.items()
        else:
            yield from json_rows(path)

    def read(self, key: int | str, row: dict) -> Iterable[Row]:
        """Read one row; one of another split gives nothing."""
        keys = self.keys
        if self.subset and need(row, self.subset)[0] != self.split:
            return
        about = {name: need(row, keys[name])[0] for name in ("video", "events") if name in keys}
        video = _PLACE.sub("", text(about.get("video", key), keys.get("video", "video")))
        length = row.get(keys.get("duration"))
        length = length if length is None else positive(length, keys["duration"])
        source = row.get(keys.get("source"))
        about["source"] = text(source, keys["source"]) if source else ""
        events = items(about["events"], keys["events"]) if "events" in about else [row]
        yield Row(video, length, None, about["source"])
        for i, event in enumerate(events):
            query, moment = need(event, keys["query"], keys["spans"])
            qid = event.get(keys.get("qid"))
            qid = qid if qid is not None else f"{key}_{i}" if "events" in about else key
            found = Query(str(qid), text(query, keys["query"]), moments(moment, keys["spans"]))
            yield Row(video, length, found, about["source"])


class Hirest(Loader):
    """HiREST (Zala et al. 2023, arXiv 2303.16406): ``{query: {video: {...}}}``.

    A video has a moment for a query where ``clip`` says so: ``bounds``, in seconds. One that is
    relevant as a whole, or not at all, makes no query. ``qid`` is the query and the video.
    """

    rows = staticmethod(lambda path: json_rows(path, keyed=True))

    def read(self, key: str, row: dict) -> Iterable[Row]:
        """Read the videos of one query."""
        need(row)
        for video, about in row.items():
            length, clip = need(about, "v_duration", "clip")
            query = None
            if clip:
                (bounds,) = need(about, "bounds")
                query = Query(f"{key}/{video}", text(key, "query"), moments(bounds, "bounds"))
            yield Row(video, positive(length, "v_duration"), query)
