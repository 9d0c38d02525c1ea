"""Batches for pretraining: scenes and their questions, packed many to a sequence.

All questions about one scene share its visual tokens in one sequence; each attends to the
scene and to itself only, at the positions it would have alone. The vision tower takes most of a
step's time, and so serves a dozen questions at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from numpro.flipbook import CELLS, scenes
from numpro.flipbook.pretraining import questions
from numpro.flipbook.pretraining.questions import Look, Turn
from numpro.flipbook.pretraining.symbols import find_cells, write_symbols
from numpro.flipbook.pretraining.tokenizer import SYSTEM
from numpro.flipbook.scenes import PAGES, Panel

KINDS = ("picture", "index", "set", "strip", "words", "video")
TURNS = {"picture": 6, "index": 1, "set": 8, "strip": 7, "words": 8, "video": 6, "pick": 8}
IGNORED = -100


@dataclass
class Batch:
    """Packed sequences.

    Attributes
    ----------
    ids, labels, positions
        int64 [B, L].
    mask
        bool [B, 1, L, L]; True where a token may look.
    rows
        int64 [R, 2]: sequence and place of each token whose next one is read off a picture.
    looks
        bool [R, L]: where it is to be read.
    """

    kind: str
    panels: list[Panel]
    ids: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    rows: np.ndarray
    looks: np.ndarray
    seed: tuple[int, ...] = ()

    def symbols(self) -> np.ndarray:
        """Return every visual token of the batch as symbols, float32 [N, N_SYMBOLS]."""
        return np.concatenate([write_symbols(panel) for panel in self.panels])


def lesson(
    rng: np.random.Generator, kind: str, most: int = PAGES, strips: bool = True
) -> tuple[list[Panel], list[Turn]]:
    """Make one scene and its questions: of one of `KINDS`, or ``"pick"``, the gate's.

    To pick the labelled picture that shows a thing is one of the questions about a set.
    `most` bounds the pictures of a set and of long strips; without `strips` an index is of a set.
    """
    strip = kind == "strip" or (kind == "index" and rng.random() < 0.5 and strips)
    if kind in ("set", "index", "pick") and not strip:
        sizes = [n for n in (2, 2, 3, 4, 4, 6, 8, 12, 16, 24, 32, PAGES) if n <= most]
        panels = scenes.loose_panels(rng, int(rng.choice(sizes)))
    elif strip:
        panels = scenes.strip(rng, most)
    elif kind == "video":
        panels = scenes.silent_video(rng)
    else:
        panels = scenes.loose_panels(rng, 1, numbered=rng.random() < 0.7)
    ask: dict[str, Callable[[], Turn]] = {
        "picture": lambda: questions.about_picture(rng, panels[0]),
        "index": lambda: questions.about_index(rng, panels, strip),
        "set": lambda: questions.about_set(rng, panels),
        "pick": lambda: questions.about_one(rng, panels),
        "strip": lambda: questions.about_strip(rng, panels),
        "words": lambda: (
            questions.about_copying(rng) if rng.random() < 0.6 else questions.about_words(rng)
        ),
        "video": lambda: questions.about_video(rng, panels),
    }
    turns = [ask[kind]() for _ in range(TURNS[kind])]
    if kind in ("set", "strip"):
        turns[0] = questions.about_index(rng, panels, strip)
    return panels, turns


class Packer:
    """Turns lessons into batches with the tiny tokenizer."""

    def __init__(self, tokenizer, strips: bool = True):
        self.tokenizer, self.strips = tokenizer, strips
        self.encode = lambda text: tokenizer(text, add_special_tokens=False).input_ids
        self.image = tokenizer.convert_tokens_to_ids("<image>")
        self.system = self.encode(SYSTEM)
        self.reply = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        self.end = self.encode("<|im_end|>")

    def answer(self, turn: Turn) -> tuple[list[int], list[int], list]:
        """Return an answer's ids, its labels, and for each token its `Look` or None.

        The token after a piece that is read looks there too: whether a number has another digit
        is visible only there.
        """
        coded = self.tokenizer(turn.answer, add_special_tokens=False, return_offsets_mapping=True)
        ids, labels, looks = [], [], []
        ends = [(len(turn.answer), len(turn.answer) + 1)]
        for token, (start, end) in zip(
            coded.input_ids + self.end, coded.offset_mapping + ends, strict=True
        ):
            ids.append(token)
            given = any(a < end <= b for a, b in turn.given)  # a word begins with its space
            labels.append(IGNORED if given else token)
            looks.append(next((x for x in turn.looks if end > x.start and start <= x.end), None))
        return ids, labels, looks

    def row(self, panels: list[Panel], turns: list[Turn]) -> tuple[np.ndarray, ...]:
        """Pack one scene.

        Returns
        -------
        ids, labels, segment, positions
            int64 [L]; segment 0 is the scene.
        looks
            Pairs of a place and the places it is to look at.
        """
        ids = self.system + [self.image] * (len(panels) * CELLS * CELLS)
        start = len(ids)
        labels, segment, positions = [IGNORED] * start, [0] * start, list(range(start))
        pairs = []
        for number, turn in enumerate(turns, 1):
            question = self.encode("\n" + turn.question) + self.reply
            answer, wanted, looks = self.answer(turn)
            first = len(ids) + len(question) - 1  # the place that predicts the answer's first token
            pairs += [
                (first + i, len(self.system) + _cells(panels, look))
                for i, look in enumerate(looks)
                if look is not None
            ]
            ids += question + answer
            labels += [IGNORED] * len(question) + wanted
            segment += [number] * (len(question) + len(answer))
            positions += range(start, start + len(question) + len(answer))
        return *(np.array(a) for a in (ids, labels, segment, positions)), pairs

    def batch(self, rng: np.random.Generator, kind: str, budget: int, most: int = PAGES) -> Batch:
        """Pack lessons of one kind until `budget` tokens are reached (padding counted)."""
        rows, panels = [], []
        longest = 0
        while True:
            scene, turns = lesson(rng, kind, most, self.strips)
            row = self.row(scene, turns)
            longest = max(longest, len(row[0]))
            if rows and longest * (len(rows) + 1) > budget:
                return self._stack(kind, rows, panels)
            rows.append(row)
            panels += scene

    def _stack(self, kind: str, rows: list, panels: list[Panel]) -> Batch:
        length = max(len(row[0]) for row in rows)
        fills = (0, IGNORED, -1, 0)
        ids, labels, segment, positions = (
            np.stack(
                [np.pad(row[i], (0, length - len(row[i])), constant_values=fill) for row in rows]
            )
            for i, fill in enumerate(fills)
        )
        same = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
        mask = (same & np.tri(length, dtype=bool)) | np.eye(length, dtype=bool)
        pairs = [(n, place, cells) for n, row in enumerate(rows) for place, cells in row[4]]
        looks = np.zeros((len(pairs), length), bool)
        for look, (_, _, cells) in zip(looks, pairs, strict=True):
            look[cells] = True
        places = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2)
        return Batch(kind, panels, ids, labels, positions, mask[:, None], places, looks)


def _cells(panels: list[Panel], look: Look) -> np.ndarray:
    """Return the visual tokens of a scene at which something is to be read."""
    shown = np.zeros(CELLS * CELLS, bool)
    for placed in panels[look.picture].placed:
        if placed.thing == look.thing:
            shown |= find_cells(placed)
    return CELLS * CELLS * look.picture + np.flatnonzero(shown | (look.thing is None))
