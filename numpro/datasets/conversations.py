r"""Instruction data: conversations about videos, and the moments that can be read back from them.

Both formats are one JSON list (or JSON lines) of rows with turns::

    {"id": "3n3oCNerzV0", "source": "internvid",
     "conversations": [{"from": "human", "value": "<video>\nWhat happens in the video?"},
                       {"from": "gpt", "value": "From <s0> to <e0>, a woman counts money."}],
     "meta": {"split": [129.8, 184.0], "duration": 54.2, "token": {"<s0>": 0, "<e0>": 9.4}}}

- **VTimeLLM** (Huang et al. 2024), ``stage2.json`` and ``stage3.json``, described in
  ``docs/data.md`` of huangb23/VTimeLLM: ``<s0>`` and ``<e0>`` stand for the seconds that ``token``
  gives. With ``split`` the video is a part of the film ``id``: here it is called
  ``ID_START_END``, a file to be cut out under that name, and seconds count from its start. Rows
  without ``meta`` have no moments.
- **NumPro** (``train_sft.json``): ``video`` instead of ``id``, and labels of frames in the text
  ("From 3 to 7"). We have not seen the file; its loader reads ``video``, ``source`` and
  ``conversations``. Its frames are sampled at 0.5 fps (its README), so label n is second 2n; a
  row may say otherwise with ``fps``, and may state a ``duration``.

A moment's query is what the text says of it: the caption behind or before the times in an
answer; where the answer is nothing but times, the question (of "During which frames can we see
...?" the part in the place of the dots); where the times are in the question, the answer.
Everything else in a conversation asks for no moment and makes no query: the video stays, without
one. ``qid`` is the row from 1 and the place of the moment in it, from 0. Files are looked for in
``videos/SOURCE/`` and in ``videos/``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from numpro.datasets import Loader, Query, Row
from numpro.datasets.rows import fields, items, need, positive, seconds, text
from numpro.spans import Span

NUMPRO_FPS = 0.5
_TO = r"\s*(?:to|and|until|through|-)\s*"
_TOKENS = re.compile(rf"(?i)(?:\b(?:from|between)\s+)?(<\w+>){_TO}(<\w+>)")
_LABELS = re.compile(rf"(?i)\b(?:from|between)\s+(?:frames?\s*)?(\d+){_TO}(?:frames?\s*)?(\d+)\b")
PUBLISHED_QUESTION = re.compile(r"(?is)during which frames can we see (.+?)\?")
_LINK = re.compile(r"^(?:[\W_]|and\b|then\b)+|[\s,;:]+$", re.IGNORECASE)  # around a caption


class Conversation(NamedTuple):
    """One row: who says what about which video."""

    video: str
    source: str
    turns: tuple[tuple[str, str], ...]  # "human" or "gpt", and the text
    duration: float | None = None  # seconds, where stated
    times: Mapping[str, float] = {}  # what tokens in the text stand for, in seconds
    fps: float | None = None  # of the frames whose labels stand in the text; None: tokens only


def conversation(row: Any) -> Conversation:
    """Read one row of either format; a malformed one is a `ValueError`."""
    named = "video" if isinstance(row, dict) and "video" in row else "id"
    video, source, talk = fields(row, **{named: text}, source=text, conversations=items)
    turns, length, times, fps = [], None, {}, None
    for turn in talk:
        who, words = need(turn, "from", "value")
        if who not in ("human", "gpt"):
            raise ValueError(f"from must be human or gpt; got {who!r:.80}")
        turns.append((who, text(words, "value", empty=True)))
    if not turns:
        raise ValueError("conversations must not be empty")
    if named == "video":
        length = positive(row["duration"], "duration") if "duration" in row else None
        fps = positive(row.get("fps", NUMPRO_FPS), "fps")
    elif "meta" in row:
        length, tokens = need(row["meta"], "duration", "token")
        need(tokens)
        length = positive(length, "duration")
        times = {token: seconds(value, token) for token, value in tokens.items()}
        if cut := items(row["meta"].get("split") or [], "split"):
            video = "_".join([video, *(str(seconds(second, "split")) for second in cut)])
    return Conversation(video, source, tuple(turns), length, times, fps)


def _span(pair: re.Match, talk: Conversation) -> Span:
    """Return the seconds that two tokens or two labels stand for."""
    if talk.fps:
        return Span(*(seconds(label, "a label") / talk.fps for label in pair.groups()))
    if missing := [token for token in pair.groups() if token not in talk.times]:
        raise ValueError(f"token {missing[0]} has no time in meta")
    return Span(talk.times[pair[1]], talk.times[pair[2]])


def _captions(words: str, pairs: list[re.Match]) -> list[str]:
    """Return what a text says of each of its times: what stands behind them, or before."""
    ends = [0, *(pair.end() for pair in pairs)]
    starts = [*(pair.start() for pair in pairs), len(words)]
    parts = [words[a:b].lstrip() for a, b in zip(ends, starts, strict=True)]
    captions = [_LINK.sub("", part) for part in parts]
    behind = not captions[0] or parts[1].startswith(",")
    return captions[1:] if behind else captions[:-1]


def _question(words: str) -> str:
    """Return what a question asks for."""
    published = PUBLISHED_QUESTION.search(words)
    return published[1] if published else words.replace("<video>", "").strip()


def moments(talk: Conversation) -> dict[str, list[Span]]:
    """Return the spans, in seconds, of each query that can be read back from a conversation.

    Examples
    --------
    >>> turns = ("human", "During which frames can we see a dog run?"), ("gpt", "From 3 to 7.")
    >>> moments(Conversation("a", "anet", turns, fps=0.5))
    {'a dog run': [Span(start=6.0, end=14.0)]}
    """
    found: dict[str, list[Span]] = {}
    turns, pattern = talk.turns, _LABELS if talk.fps else _TOKENS
    for i, (who, words) in enumerate(turns):
        if not (pairs := list(pattern.finditer(words))):
            continue
        if who == "gpt":
            question = _question(turns[i - 1][1]) if i else ""
            queries = [caption or question for caption in _captions(words, pairs)]
        else:
            answer = turns[i + 1][1] if i + 1 < len(turns) else ""
            queries = [] if pattern.search(answer) else [answer] * len(pairs)
        for query, pair in zip(queries, pairs, strict=False):
            if query:
                found.setdefault(query, []).append(_span(pair, talk))
    return found


class Conversations(Loader):
    """The instruction data of VTimeLLM's stages 2 and 3, and of NumPro."""

    def read(self, key: int, row: dict) -> Iterable[Row]:
        """Read the video of one conversation, and its moments."""
        talk = conversation(row)
        yield Row(talk.video, talk.duration, None, talk.source)
        for i, (words, times) in enumerate(moments(talk).items()):
            query = Query(f"{key}_{i}", words, tuple(times))
            yield Row(talk.video, talk.duration, query, talk.source)
