"""Where ``data/flipbook/models`` comes from: four resumable legs, each with a gate.

``language``: the tiny Qwen2 learns its questions on symbols (`.symbols`);
``eyes``: the tiny CLIP learns captions and number words, its patches what they show;
``align``: the projector learns to write what the language model reads;
``sight``: projector and language model together, on drawn pictures.

A gate's figure is the share of answers that are right to the last token on scenes of seeds
never trained on. The base model meets no video numbered frame by frame, and no question
about an unnumbered video that is answered by numbers.
"""

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from numpro.flipbook import pictures
from numpro.flipbook.pretraining.eyes import Looker, as_pixels, eyes, eyes_batch
from numpro.flipbook.pretraining.language import SEED, Reader, gate_figures, language, portions
from numpro.flipbook.pretraining.lessons import KINDS, Batch, Packer
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import Echo, Leg, finished

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEE_SHARES = dict(zip(KINDS, (0.26, 0.0, 0.3, 0.3, 0.04, 0.1), strict=True))  # as SHARES


def assemble(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Reader:
    """Put the tower and projector of the eyes before the language model."""
    reader = finished("language", Reader(tokenizer).train_for("language"), folder)
    looker = finished("eyes", Looker(tokenizer), folder)
    reader.model.vision_tower.load_state_dict(looker.clip.vision_model.state_dict())
    reader.model.projector.load_state_dict(looker.projector.state_dict())
    return reader


def look(reader: Reader, drawn: np.ndarray) -> torch.Tensor:
    """Return the visual tokens [N, cells, width] of pictures; the tower is not trained by them."""
    with torch.no_grad():
        pixels = as_pixels(drawn, reader.table.weight.dtype)
        patches = reader.model.patch_features(pixels, chunk=128)
    return reader.model.projector(patches)


def align(
    folder: Path, steps: int, minutes: float, echo: Echo = print, strips: bool = True
) -> bool:
    """Leg 3: the projector learns to write what the language model reads, with `strips` or not."""
    reader = assemble(folder, make_tokenizer()).train_for("align")
    leg = Leg("align", reader, folder, steps, 1e-3)
    batches = leg.make_ahead(eyes_batch)

    def unexplained(drawn: np.ndarray, symbols: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            want = reader.table(torch.from_numpy(symbols).to(reader.table.weight.dtype)).float()
        return ((look(reader, drawn).float() - want) ** 2).mean() / want.var()

    def loss_of(step: int):
        off = unexplained(*next(batches)[1:])
        return off, {"unexplained": off.item()}

    @torch.inference_mode()
    def measure() -> dict:
        left = [unexplained(*eyes_batch(n, plain=1.0, leg="gate")[1:]).item() for n in range(4)]
        return {"variance explained": round(1 - float(np.mean(left)), 4)}

    return leg.reach_gate(loss_of, measure, {"variance explained": 0.8}, minutes, echo)


def sight_batch(step: int, strips: bool = True) -> list[tuple[Batch, np.ndarray]]:
    """Pack and draw the batches of a step of the sight leg: an index, and another lesson."""
    packer = _packer(strips)
    rng = np.random.default_rng([SEED["sight"], step])
    kinds = ("index", str(rng.choice(KINDS, p=portions(SEE_SHARES, strips))))
    pairs = zip(kinds, (700, 1500), strict=True)
    batches = [packer.batch(rng, kind, budget) for kind, budget in pairs]
    return [
        (batch, pictures.draw(batch.panels, (SEED["sight"], step, place), 0.85, 96))
        for place, batch in enumerate(batches)
    ]


@cache  # one per worker process
def _packer(strips: bool) -> Packer:
    return Packer(make_tokenizer(), strips)


def sight(
    folder: Path, steps: int, minutes: float, echo: Echo = print, strips: bool = True
) -> bool:
    """Leg 4: projector and language model together on drawn pictures; the tower stays."""
    tokenizer = make_tokenizer()
    reader = assemble(folder, tokenizer).train_for("align")
    reader = finished("align", reader, folder).train_for("sight")
    leg = Leg("sight", reader, folder, steps, 3e-4)
    batches = leg.make_ahead(partial(sight_batch, strips=strips))

    def loss_of(step: int):
        index, other = (
            reader.lesson_loss(batch, look(reader, drawn).flatten(0, 1))
            for batch, drawn in next(batches)
        )
        return 0.5 * index[0] + other[0], index[1] | other[1]

    def see(batch: Batch) -> torch.Tensor:
        return look(reader, pictures.draw(batch.panels, batch.seed, 1.0, 96)).flatten(0, 1)

    measure = partial(gate_figures, reader, Packer(tokenizer), see)
    bounds = {"picture": 0.9, "pick of 2": 0.85, "pick of 4": 0.8, "pick of 8": 0.7}
    bounds |= {"strip": 0.7} if strips else {}
    return leg.reach_gate(loss_of, measure, bounds, minutes, echo)


def trained_sight(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Reader:
    """Return tower, projector and language model as the sight leg left them."""
    return finished("sight", assemble(folder, tokenizer).train_for("sight"), folder)


# name -> (function, steps); the order is the order of learning
LEGS = {
    "language": (language, 5200),
    "eyes": (eyes, 7200),
    "align": (align, 1000),
    "sight": (sight, 1800),
}


def planned_steps(leg: str, strips: bool = True) -> int:
    """Return the steps of a leg.

    About a third of the lessons of language and sight are strips: without them two thirds of the
    steps hold about as many lessons of every other kind, 2 and 5 % less.
    """
    steps = LEGS[leg][1]
    return steps * 2 // 3 if leg in ("language", "sight") and not strips else steps
