"""A checkpoint that lacks a tensor, or holds one that nothing takes, is refused and not random."""

from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from numpro.models import load_model


def under(prefix):
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def drop(part):
    """Leave the first tensor out whose name has `part`, or all of them where it ends in a star."""

    def dropped(tensors):
        names = [name for name in tensors if part.rstrip("*") in name]
        gone = names if part.endswith("*") else names[:1]
        return {name: tensor for name, tensor in tensors.items() if name not in gone}

    return dropped


def rename_half(tensors):
    """Rename as a half-merged adapter does."""
    return {k.replace("q_proj.", "q_proj.base_layer."): v for k, v in tensors.items()}


def empty_first(tensors):
    first = next(name for name in tensors if "up_proj" in name)
    return tensors | {first: torch.zeros(0)}


CHANGES = {
    "a peft wrapping": (under("base_model.model."), "missing: .*left over: base_model.*peft wrap"),
    "DataParallel": (under("module."), "left over: module.*saved in its DataParallel wrapping"),
    "compiled": (under("_orig_mod."), "left over: _orig_mod.*torch.compile wrapping"),
    "a half-merged adapter": (rename_half, "q_proj.base_layer.*half-merged.*`adapter merge`"),
    "one tensor gone": (drop("down_proj"), "1 missing: .*down_proj.weight; copy what lacks"),
    "an empty tensor": (empty_first, r"of another shape: .*up_proj.weight \(0,\) for .*ZeRO-3"),
    "nothing inside": (lambda tensors: {}, "missing: .*ZeRO-3.*zero_to_fp32"),
    "one too many": (lambda t: t | {"extra.weight": torch.ones(2)}, "1 left over: extra.weight; t"),
}


@pytest.fixture(params=["qwen2_vl", "llava_onevision", "longva"])
def checkpoint(request, longva_dir, tmp_path):
    """A copy of a checkpoint, to be spoilt."""
    folder = longva_dir if request.param == "longva" else tiny_model(request.param)
    return copytree(folder, tmp_path / "copy")


def change(folder, how):
    file = folder / "model.safetensors"
    tensors = how({name: tensor.clone() for name, tensor in load_file(file).items()})
    save_file(tensors, file, metadata={"format": "pt"})


def load(folder):
    return load_model(str(folder), device="cpu", dtype="float32")


@pytest.mark.parametrize("what", CHANGES)
def test_weights_that_are_not_there_are_refused_by_name(what, checkpoint):
    how, message = CHANGES[what]
    change(checkpoint, how)
    with pytest.raises(ValueError, match=message) as refused:
        load(checkpoint)
    assert str(checkpoint) in str(refused.value)


@pytest.mark.parametrize("tower", ["visual*", "vision_tower*"])
def test_a_checkpoint_without_its_vision_tower_is_refused(tower, checkpoint):
    name = "longva" if (checkpoint / "model.safetensors").stat().st_size > 0 else ""
    names = load_file(checkpoint / "model.safetensors")
    if not any(tower.rstrip("*") in one for one in names):
        pytest.skip(f"its tower has another name {name}")
    change(checkpoint, drop(tower))
    with pytest.raises(ValueError, match=rf"missing: .*{tower.rstrip('*')}.* and \d+ more"):
        load(checkpoint)


def test_what_is_computed_anew_may_be_stored(checkpoint):
    more = {"model.language_model.rotary_emb.inv_freq": torch.ones(4)}
    change(checkpoint, lambda tensors: tensors | more)
    assert load(checkpoint).ends


def test_files_that_are_not_beside_the_weights_are_named(checkpoint):
    for names, message in (
        (["tokenizer.json"], "has no tokenizer.json; copy it from the base"),
        (["preprocessor_config.json", "processor_config.json"], "has no preprocessor_config.json"),
        (["chat_template.jinja"], "has no chat template.*chat_template.jinja; copy it from"),
    ):
        kept = {n: (checkpoint / n).read_bytes() for n in names if (checkpoint / n).is_file()}
        for name in kept:
            (checkpoint / name).unlink()
        with pytest.raises((FileNotFoundError, ValueError), match=message):
            load(checkpoint)
        for name, content in kept.items():
            (checkpoint / name).write_bytes(content)
    assert load(checkpoint).ends
