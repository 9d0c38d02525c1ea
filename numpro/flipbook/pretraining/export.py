"""Writing what pretraining made as checkpoints under ``data/flipbook/models``, with model cards."""

import json
import platform
import shutil
from pathlib import Path

import pandas
import torch

from numpro.flipbook import COLOURS, SHAPES
from numpro.flipbook.pretraining.eyes import Looker
from numpro.flipbook.pretraining.language import SEED
from numpro.flipbook.pretraining.pretrain import trained_sight
from numpro.flipbook.pretraining.tokenizer import make_tokenizer
from numpro.flipbook.pretraining.training import Gates, finished
from numpro.flipbook.scenes import PAGES
from numpro.paths import write_whole


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
    name, title = ("longva", "") if strips else ("longva-no-strips", ", no strips")
    facts = {"folder": folder, "note": note, "strips": strips}
    made = [_save(out / name, reader.model, tokenizer, gates, f"Tiny LongVA{title}", **facts)]
    if strips:
        looker, ends = finished("eyes", Looker(tokenizer), folder), make_tokenizer(ends=True)
        eyes = {leg: got for leg, got in gates.items() if leg == "eyes"}
        made.append(_save(out / "clip", looker.clip, ends, eyes, "Tiny CLIP", **facts))
    return made


def _save(out: Path, model, tokenizer, gates: dict, title: str, folder: Path, **facts) -> Path:
    """Write a model with its tokenizer, processor, card, gates and log; return where to."""
    import jinja2
    from transformers import CLIPImageProcessorPil

    side = model.config.vision_config.image_size
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    CLIPImageProcessorPil(
        size={"height": side, "width": side}, do_center_crop=False
    ).save_pretrained(out)
    card = Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8")
    text = jinja2.Template(card, trim_blocks=True, undefined=jinja2.StrictUndefined).render(
        facts,
        title=title,
        clip=out.name == "clip",
        objects=f"{len(COLOURS)} colours, {len(SHAPES)} shapes",
        pages=PAGES,
        gates=gates,
        listed=_listed,
        seeds=SEED,
        machine=f"{platform.machine()}, {torch.get_num_threads()} CPU threads",
        parameters=f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M",
    )
    write_whole(out / "README.md", text + "\n")
    write_whole(out / "gates.json", json.dumps(gates, indent=1) + "\n")
    paths = [folder / f"{leg}.csv" for leg in gates]
    logs = [pandas.read_csv(path).assign(leg=path.stem) for path in paths if path.is_file()]
    if logs:  # none of eyes that were taken over
        pandas.concat(logs).set_index("leg").to_csv(out / "log.csv")
    return out


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
