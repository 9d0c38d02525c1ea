"""``numpro flipbook pretrain``: the legs one after another, then the checkpoints."""

import argparse
from pathlib import Path

import torch

from numpro.flipbook.pretraining import pretrain
from numpro.flipbook.pretraining.export import export
from numpro.flipbook.pretraining.eyes import adopt_eyes
from numpro.flipbook.pretraining.training import Gates
from numpro.paths import flipbook_dir, relative


def main(arguments: list[str] | None = None) -> None:
    """Run legs one after another; each is resumed where it stopped (``numpro flipbook pretrain``).

    Raises
    ------
    SystemExit
        When a leg did not reach its gate, or its minutes were over.
    """
    parser = argparse.ArgumentParser(
        prog="numpro flipbook pretrain",
        description="Make the tiny CLIP and the tiny LongVA from nothing, in resumable legs.",
        epilog="example: numpro flipbook pretrain --work data/flipbook/pretraining --minutes 60",
    )
    parser.add_argument("legs", nargs="*", default=[], help=f"of {', '.join(pretrain.LEGS)} [all]")
    parser.add_argument("--work", type=Path, default=flipbook_dir("pretraining"))
    parser.add_argument("--out", type=Path, default=flipbook_dir("models"))
    parser.add_argument("--minutes", type=float, default=60.0, help="most minutes a leg [60]")
    parser.add_argument("--steps", type=int, help="steps of each leg instead of its own")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--note", default="", help="a sentence for the model cards")
    parser.add_argument("--no-strips", action="store_true", help="the control: no comic strips")
    parser.add_argument("--eyes", type=Path, help="take the eyes of the models in this folder")
    parser.add_argument("--force", action="store_true", help="go on past a gate not passed")
    chosen = parser.parse_args(arguments)
    if unknown := [leg for leg in chosen.legs if leg not in pretrain.LEGS]:
        parser.error(f"legs must be of {', '.join(pretrain.LEGS)}; got {', '.join(unknown)}")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.eyes:
        adopt_eyes(chosen.eyes, chosen.work)
    names, strips = list(pretrain.LEGS), not chosen.no_strips
    for name in chosen.legs or [n for n in names if n != "eyes" or not chosen.eyes]:
        if name in ("align", "sight") and not chosen.force:
            for before in names[: names.index(name)]:
                Gates(chosen.work).require(before)
        steps = chosen.steps or pretrain.planned_steps(name, strips)
        passed = pretrain.LEGS[name][0](chosen.work, steps, chosen.minutes, strips=strips)
        if not (passed or chosen.force):
            parser.exit(1, f"{name} stopped before its gate; see {chosen.work / 'gates.json'}\n")
    if not chosen.legs or "sight" in chosen.legs:
        for folder in export(chosen.work, chosen.out, chosen.note, strips):
            print(f"wrote {relative(folder)}")
