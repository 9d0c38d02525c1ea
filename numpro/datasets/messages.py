r"""Instruction data with several questions about a video, as XTuner and ms-swift write it.

JSON Lines (or a list) of ``messages``, user and assistant in turn. The video is named in the
first of them, or in ``videos``::

    {"messages": [{"role": "user", "content": [
                       {"type": "video_url", "video_url": {"url": "a.mp4", "origin_fps": 30.0,
                                                           "origin_video_length": 14400}},
                       {"type": "text", "text": "Find the segment that answers: \"where?\"."}]},
                  {"role": "assistant", "content": "[[17.3, 27.3]]"}]}

An answer that names spans in seconds makes a query: what stands in quotes in its question, else
the question. ``qid`` is the row from 1 and the place of the turn in it, from 0.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from numpro.datasets import Loader, Query, Row
from numpro.datasets.conversations import PUBLISHED_QUESTION
from numpro.datasets.rows import fields, items, need, positive, text
from numpro.prompting import parse_moment
from numpro.spans import Span

_QUOTED = re.compile(r"[\"“](.+?)[\"”]|'(.+?)'(?!\w)", re.DOTALL)
_MARK = re.compile(r"<\w+>\s*")  # where the video stands: <video>, <VIDEO_CONTEXT>


def query_of(question: str) -> str:
    """Return what a question looks for: as published, what stands in quotes, or all of it.

    Examples
    --------
    >>> query_of("<video>During which frames can we see a dog run? Answer so.")
    'a dog run'
    >>> query_of("Find the event described by the sentence 'a dog runs'.")
    'a dog runs'
    """
    found = PUBLISHED_QUESTION.search(question) or _QUOTED.search(question)
    words = next(filter(None, found.groups())) if found else _MARK.sub("", question)
    return words.strip()


def _parts(content: Any) -> tuple[str, dict]:
    """Return the words of a message, and what it says of a video."""
    parts = [{"text": content}] if isinstance(content, str) else items(content, "content")
    for part in parts:
        need(part)
    video = next((part["video_url"] for part in parts if "video_url" in part), {})
    need(video)
    return "".join(text(part.get("text", ""), "text", empty=True) for part in parts), video


class Messages(Loader):
    """Multi-turn instruction data; the moments that answers name in seconds."""

    def read(self, key: int, row: dict) -> Iterable[Row]:
        """Read one row; a question without a moment in its answer makes no query."""
        (talk,) = fields(row, messages=items)
        turns = [(need(turn, "role")[0], *_parts(need(turn, "content")[0])) for turn in talk]
        film = next((about for *_, about in turns if about), {})
        video = text(film.get("url") or items(row.get("videos") or [None], "videos")[0], "video")
        length = row.get("duration") or None  # 0: not known
        if length is not None:
            positive(length, "duration")
        if length is None and "origin_video_length" in film:  # in frames
            frames, fps = fields(film, origin_video_length=positive, origin_fps=positive)
            length = frames / fps
        yield Row(video, length, None)
        for i, ((asker, question, _), (who, answer, _)) in enumerate(pairwise(turns)):
            moment = parse_moment(answer)
            if (asker, who) != ("user", "assistant") or not moment.spans:
                continue
            if moment.unit in ("frame", "percent"):
                raise ValueError(f"an answer must be in seconds; got {answer!r:.80}")
            spans = tuple(Span(*span) for span in moment.spans if None not in span)
            yield Row(video, length, Query(f"{key}_{i // 2}", query_of(question), spans))
