"""Where ``data/flipbook/models`` comes from: four resumable legs, each with a gate.

``language``: the tiny Qwen2 learns its questions on symbols (`numpro.flipbook.scenes`);
``eyes``: the tiny CLIP learns captions and number words, its patches are told what they show;
``align``: the projector learns to write what the language model reads;
``sight``: projector and language model together, on drawn pictures.

A gate's figure is the share of answers that are right to the last token on scenes of seeds
never trained on. The base model meets no video numbered frame by frame, and no question
about an unnumbered video that is answered by numbers.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from numpro.flipbook.pretraining.eyes import Looker, as_pixels, eyes, eyes_batch
from numpro.flipbook.pretraining.language import (
    GATE_KINDS,
    SEED,
    Reader,
    gate_figures,
    language,
    portions,
)
from numpro.flipbook.pretraining.lessons import KINDS, Batch, Packer
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import Gates, Leg

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def trained_language(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Reader:
    """Return the reader as the language leg left it."""
    reader = Reader(tokenizer)
    reader.model.vision_tower.requires_grad_(False)
    reader.model.projector.requires_grad_(False)
    return Leg("language", reader, folder, 1, 0.0, must_be_there=True).finish()


def trained_eyes(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Looker:
    """Return the tiny CLIP and its projector as the eyes leg left them."""
    return Leg("eyes", Looker(tokenizer), folder, 1, 0.0, must_be_there=True).finish()


def assemble(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Reader:
    """Put the tower and projector of the eyes before the language model."""
    reader, looker = trained_language(folder, tokenizer), trained_eyes(folder, tokenizer)
    reader.model.vision_tower.load_state_dict(looker.clip.vision_model.state_dict())
    reader.model.projector.load_state_dict(looker.projector.state_dict())
    return reader


def align(
    folder: Path,
    steps: int,
    minutes: float,
    echo: Callable[[str], object] = print,
    strips: bool = True,
) -> bool:
    """Leg 3: the projector learns to write what the language model reads."""
    from numpro.flipbook import pictures

    reader = assemble(folder, make_tokenizer()).requires_grad_(False)
    reader.model.projector.requires_grad_(True)
    leg = Leg("align", reader, folder, steps, 1e-3)
    batches = pictures.ahead(eyes_batch, range(leg.step, steps))

    def unexplained(drawn: np.ndarray, symbols: np.ndarray) -> torch.Tensor:
        dtype = reader.table.weight.dtype
        with torch.no_grad():
            patches = reader.model.patch_features(as_pixels(drawn, dtype), chunk=128)
            want = reader.table(torch.from_numpy(symbols).to(dtype)).float()
        got = reader.model.projector(patches).float()
        return ((got - want) ** 2).mean() / want.var()

    def loss_of(step: int):
        off = unexplained(*next(batches)[1:])
        return off, {"unexplained": off.item()}

    if not leg.run(loss_of, minutes, echo):
        return False
    leg.finish()
    with torch.inference_mode():
        left = [unexplained(*eyes_batch(n, plain=1.0, leg="gate")[1:]).item() for n in range(4)]
    figures = {"variance explained": round(1 - float(np.mean(left)), 4)}
    passed = Gates(folder).record("align", figures, {"variance explained": 0.8}, leg.seconds)
    echo(f"align gate {'passed' if passed else 'NOT passed'}: {figures}")
    return passed


SEE_SHARES = dict(zip(KINDS, (0.2, 0.0, 0.32, 0.33, 0.05, 0.1), strict=True))  # as SHARES


def sight_batch(step: int, strips: bool = True) -> list[tuple[Batch, np.ndarray]]:
    """Pack and draw the batches of a step of the sight leg: an index, and another lesson."""
    from numpro.flipbook import pictures

    packer = _packer(strips)
    rng = np.random.default_rng([SEED["sight"], step])
    kinds = ("index", str(rng.choice(KINDS, p=portions(SEE_SHARES, strips))))
    batches = [
        packer.batch(rng, kind, budget) for kind, budget in zip(kinds, (700, 1500), strict=True)
    ]
    return [
        (batch, pictures.draw(batch.panels, (SEED["sight"], step, place), 0.85, 96))
        for place, batch in enumerate(batches)
    ]


@cache  # one per worker process
def _packer(strips: bool) -> Packer:
    return Packer(make_tokenizer(), strips)


def sight(
    folder: Path,
    steps: int,
    minutes: float,
    echo: Callable[[str], object] = print,
    strips: bool = True,
) -> bool:
    """Leg 4: projector and language model together on drawn pictures; the tower stays."""
    from numpro.flipbook import pictures

    tokenizer = make_tokenizer()
    reader = _projector_only(assemble(folder, tokenizer))
    reader = Leg("align", reader, folder, 1, 0.0, must_be_there=True).finish()
    reader.requires_grad_(True)
    reader.model.vision_tower.requires_grad_(False)
    reader.table.requires_grad_(False)
    leg = Leg("sight", reader, folder, steps, 3e-4)
    batches = pictures.ahead(partial(sight_batch, strips=strips), range(leg.step, steps))

    def look(drawn: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            pixels = as_pixels(drawn, reader.table.weight.dtype)
            patches = reader.model.patch_features(pixels, chunk=128)
        return reader.model.projector(patches).flatten(0, 1)

    def loss_of(step: int):
        (index, drawn), (other, more) = next(batches)
        loss, figures = reader.lesson_loss(index, look(drawn))
        again, told = reader.lesson_loss(other, look(more))
        return 0.5 * loss + again, figures | told

    if not leg.run(loss_of, minutes, echo):
        return False

    def see(batch: Batch) -> torch.Tensor:
        return look(pictures.draw(batch.panels, batch.seed, 1.0, 96))

    figures = gate_figures(leg.finish(), Packer(tokenizer), see, GATE_KINDS)
    bounds = {"picture": 0.9, "pick of 2": 0.85, "pick of 4": 0.8, "pick of 8": 0.7}
    bounds |= {"strip": 0.7} if strips else {}
    passed = Gates(folder).record("sight", figures, bounds, leg.seconds)
    echo(f"sight gate {'passed' if passed else 'NOT passed'}: {figures}")
    return passed


def trained_sight(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Reader:
    """Return tower, projector and language model as the sight leg left them."""
    reader = assemble(folder, tokenizer).requires_grad_(True)
    reader.model.vision_tower.requires_grad_(False)
    reader.table.requires_grad_(False)
    return Leg("sight", reader, folder, 1, 0.0, must_be_there=True).finish()


def _projector_only(reader: Reader) -> Reader:
    reader.requires_grad_(False)
    reader.model.projector.requires_grad_(True)
    return reader


# name -> (function, steps); the order is the order of learning
LEGS = {
    "language": (language, 4200),
    "eyes": (eyes, 5400),
    "align": (align, 900),
    "sight": (sight, 1800),
}


def planned_steps(leg: str, strips: bool = True) -> int:
    """Return the steps of a leg.

    A third of the lessons of language and sight are strips: without them two thirds of the steps
    hold as many lessons of every other kind.
    """
    steps = LEGS[leg][1]
    return steps * 2 // 3 if leg in ("language", "sight") and not strips else steps
