"""Batches for pretraining: scenes and their questions, packed many to a sequence.

All questions about one scene share its visual tokens in one sequence; each attends to the
scene and to itself only, at the positions it would have alone. A vision pass is the dear
part of a step, and this makes each one worth a dozen questions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from numpro.flipbook import CELLS, questions, scenes
from numpro.flipbook.questions import SYSTEM, Turn
from numpro.flipbook.scenes import Panel

KINDS = ("picture", "set", "strip", "words", "video")
TURNS = {"picture": 6, "set": 12, "strip": 10, "words": 8, "video": 6}
IGNORED = -100


@dataclass
class Batch:
    """Packed sequences. Arrays: ids, labels, positions int64 [B, L]; mask bool [B, 1, L, L]."""

    kind: str
    panels: list[Panel]
    ids: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    seed: tuple[int, ...] = ()

    def symbols(self) -> np.ndarray:
        """Return every visual token of the batch as symbols, float32 [N, N_SYMBOLS]."""
        return np.concatenate([scenes.symbols(panel) for panel in self.panels])


def lesson(rng: np.random.Generator, kind: str, most: int = 16) -> tuple[list[Panel], list[Turn]]:
    """Make one scene and its questions; `most` bounds the number of pictures of a set."""
    if kind == "set":
        sizes = [n for n in (2, 2, 3, 4, 4, 6, 8, 12, 16) if n <= most]
        panels = scenes.loose_panels(rng, int(rng.choice(sizes)))
    elif kind == "strip":
        panels = scenes.strip(rng)
    elif kind == "video":
        panels = scenes.silent_video(rng)
    else:
        panels = scenes.loose_panels(rng, 1, numbered=rng.random() < 0.7)
    pictures = [panel.picture() for panel in panels]
    ask: dict[str, Callable[[], Turn]] = {
        "picture": lambda: questions.about_picture(rng, pictures[0]),
        "set": lambda: questions.about_set(rng, pictures),
        "strip": lambda: questions.about_strip(rng, pictures),
        "words": lambda: (
            questions.about_copying(rng) if rng.random() < 0.6 else questions.about_words(rng)
        ),
        "video": lambda: questions.about_video(rng, pictures),
    }
    return panels, [ask[kind]() for _ in range(TURNS[kind])]


class Packer:
    """Turns lessons into batches with the tiny tokenizer."""

    def __init__(self, tokenizer):
        self.encode = lambda text: tokenizer(text, add_special_tokens=False).input_ids
        self.image = tokenizer.convert_tokens_to_ids("<image>")
        self.system = self.encode(SYSTEM)
        self.reply = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        self.end = self.encode("<|im_end|>")

    def row(self, panels: list[Panel], turns: list[Turn]) -> tuple[np.ndarray, ...]:
        """Pack one scene: ids, labels, segment (0: the scene), positions, each int64 [L]."""
        ids = self.system + [self.image] * (len(panels) * CELLS * CELLS)
        start = len(ids)
        labels, segment, positions = [IGNORED] * start, [0] * start, list(range(start))
        for number, turn in enumerate(turns, 1):
            asked = self.encode("\n" + turn.question) + self.reply
            answer = self.encode(turn.answer) + self.end
            ids += asked + answer
            labels += [IGNORED] * len(asked) + answer
            segment += [number] * (len(asked) + len(answer))
            positions += range(start, start + len(asked) + len(answer))
        return tuple(np.array(a) for a in (ids, labels, segment, positions))

    def batch(self, rng: np.random.Generator, kind: str, budget: int, most: int = 16) -> Batch:
        """Pack lessons of one kind until `budget` tokens are reached (padding counted)."""
        rows, panels = [], []
        longest = 0
        while True:
            scene, turns = lesson(rng, kind, most)
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
        return Batch(kind, panels, ids, labels, positions, mask[:, None])
