"""``numpro flipbook pretrain``: the legs one after another, then the checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch

from numpro.flipbook.pretraining import pretrain
from numpro.flipbook.pretraining.export import export
from numpro.flipbook.pretraining.eyes import adopt_eyes
from numpro.flipbook.pretraining.training import Echo, Gates
from numpro.paths import flipbook_dir
from numpro.spans import one_of


def pretrain_models(
    legs: Sequence[str] = (), work: Path | str | None = None, out: Path | str | None = None,
    minutes: float = 60.0, steps: int | None = None, threads: int | None = None, note: str = "",
    no_strips: bool = False, eyes: Path | str | None = None, force: bool = False,
    echo: Echo = print,
) -> list[Path]:  # fmt: skip
    """Run legs one after another; each is resumed where it stopped.

    Parameters
    ----------
    legs
        Names of `numpro.flipbook.pretraining.pretrain.LEGS`; none is all.
    work, out
        Where the legs are kept, and where the models go; by default below ``data/flipbook``.
    minutes, steps
        The most minutes of a leg, and its steps where they are not its own.
    threads
        CPU threads.
    note
        A sentence for the model cards.
    no_strips
        The control: no comic strips.
    eyes
        Take the eyes of the models in this folder.
    force
        Go on past a gate that was not passed.
    echo
        Takes a line about how far a leg is.

    Returns
    -------
    list of Path
        The models that were written; none where the last leg is not among `legs`.

    Raises
    ------
    ValueError
        For an unknown leg, or when one did not reach its gate, or its minutes were over.
    """
    for leg in legs:
        one_of("leg", leg, pretrain.LEGS)
    work, out = Path(work or flipbook_dir("pretraining")), Path(out or flipbook_dir("models"))
    if threads:
        torch.set_num_threads(threads)
    if eyes:
        adopt_eyes(Path(eyes), work)
    names, strips = list(pretrain.LEGS), not no_strips
    for name in legs or [n for n in names if n != "eyes" or not eyes]:
        if name in ("align", "sight") and not force:
            for before in names[: names.index(name)]:
                Gates(work).require(before)
        wanted = steps or pretrain.planned_steps(name, strips)
        passed = pretrain.LEGS[name][0](work, wanted, minutes, echo, strips=strips)
        if not (passed or force):
            raise ValueError(f"{name} stopped before its gate; see {work / 'gates.json'}")
    return export(work, out, note, strips) if not legs or "sight" in legs else []
