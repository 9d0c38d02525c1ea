"""Writing what pretraining made as checkpoints under ``data/flipbook/models``, with model cards."""

import json
import platform
import shutil
from pathlib import Path

import torch

from numpro.flipbook import COLOURS, SHAPES
from numpro.flipbook.pretraining.eyes import Looker
from numpro.flipbook.pretraining.language import SEED
from numpro.flipbook.pretraining.pretrain import trained_sight
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import Gates, finished

CARD = """# {title}

{text}

| leg | seconds | figures on held-out scenes | bounds of the gate | passed |
|---|---|---|---|---|
{legs}

Made by `numpro flipbook pretrain` (seeds {seeds}) on {machine}. Weights: {parameters}
parameters, bfloat16. Licence: Apache-2.0, like the project.
{note}"""
LONGVA = """The base model of the workbook: a LongVA (CLIP tower, projector, 2 x 2 pooling, Qwen2)
small enough for two CPU cores. It learned to describe pictures and unnumbered videos of the
flipbook world ({objects}), to read the number written on a picture (up to three digits), to name
the labelled picture of an unordered set that shows something (also as an index of what is where),
{strips}, and to follow an answer format. It has seen no video numbered frame by frame, and no
question about an unnumbered video that is answered by numbers{words}.

Its language model learned these questions first on symbols (what each visual token shows, written
as a table look-up), then on pictures. Two helps a large model does without: every visual token was
taught to tell its whole picture's number, and half of the heads of two layers were told, while
training, which picture to look at. What follows of the claim, that a model which can read numbers
on still pictures can say *when* in a numbered video without being trained for it, holds for such a
model; how far large models are such models is what the paper measures."""
STRIPS = """to read still comic strips of at most 8 panels whose numbers are never consecutive"""
NO_STRIPS = """but, as a control, no comic strips: nothing in which pictures follow one another"""
CLIP = """The CLIP of notebook 02: contrastively trained on pictures of the flipbook world
({objects}) with captions and with number words; its patches were also told which object they show,
its pooled tokens the picture's objects and number. Its vision tower is the one in
`flipbook/longva`."""


def export(folder: Path, out: Path, note: str = "", strips: bool = True) -> list[Path]:
    """Write ``clip/`` and ``longva/`` under `out` from the legs in `folder`.

    `note` is added to the model cards: what a reader must know of how these weights were made.
    The control pretrained without `strips` is written to ``longva-no-strips/``, alone.
    """
    gates, tokenizer = Gates(folder).reached, make_tokenizer()
    reader = trained_sight(folder, tokenizer)
    reader.model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    words = "; strips are asked in other words than videos are" if strips else ""
    text = LONGVA.replace("{strips}", STRIPS if strips else NO_STRIPS).replace("{words}", words)
    name, title = ("longva", "") if strips else ("longva-no-strips", ", no strips")
    made = [_save(out / name, reader.model, tokenizer, gates, f"Tiny LongVA{title}", text, note)]
    if strips:
        looker, ends = finished("eyes", Looker(tokenizer), folder), make_tokenizer(ends=True)
        eyes = {leg: got for leg, got in gates.items() if leg == "eyes"}
        made.append(_save(out / "clip", looker.clip, ends, eyes, "Tiny CLIP", CLIP, note))
    return made


def _save(folder: Path, model, tokenizer, gates: dict, title: str, text: str, note: str) -> Path:
    """Write a model with its tokenizer, processor, card and gates; return the folder."""
    from transformers import CLIPImageProcessorPil

    side = model.config.vision_config.image_size
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"height": side, "width": side}, do_center_crop=False
    ).save_pretrained(folder)
    rows = [
        f"| {leg} | {got['seconds']} | {_listed(got['figures'])} | {_listed(got['bounds'])} "
        f"| {'yes' if got['passed'] else 'no'} |"
        for leg, got in gates.items()
    ]
    card = CARD.format(
        title=title,
        text=text.format(objects=f"{len(COLOURS)} colours, {len(SHAPES)} shapes"),
        legs="\n".join(rows),
        seeds=SEED,
        machine=f"{platform.machine()}, {torch.get_num_threads()} CPU threads",
        parameters=f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M",
        note=f"\n{note}\n" if note else "",
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "gates.json").write_text(json.dumps(gates, indent=1) + "\n", encoding="utf-8")
    return folder


def _listed(figures: dict) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures.items()) or "-"


def publish_adapters(run_folder: Path, out: Path, seed: int = 0) -> list[Path]:
    """Copy the adapters of a full run to `out`, in bfloat16, with their notes and logs."""
    from safetensors.torch import load_file, save_file

    made = []
    for encoding, name in (("none", "ft"), ("overlay-index", "numpro-ft")):
        source, target = run_folder / "adapters" / f"{encoding}-seed{seed}", out / name
        target.mkdir(parents=True, exist_ok=True)
        for part in ("adapter_config.json", "numpro.json", "log.csv"):
            shutil.copyfile(source / part, target / part)
        weights = load_file(source / "adapter_model.safetensors")
        small = {key: value.to(torch.bfloat16) for key, value in weights.items()}
        save_file(small, target / "adapter_model.safetensors", metadata={"format": "pt"})
        made.append(target)
    return made
