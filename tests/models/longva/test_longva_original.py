"""A checkpoint in LLaVA's format computes what is documented, and the released adapter on it."""

import json
from functools import partial
from importlib import import_module
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from llava_checkpoints import (
    CLIP,
    RANK,
    SIDE,
    WEIGHTS,
    WIDTH,
    composition,
    lora_tensors,
    merged,
    write_adapter,
    write_checkpoint,
)
from safetensors.torch import load_file, save_file

from numpro.models import Question

# the small checkpoints have other names than the one that the adapter was trained on
pytestmark = pytest.mark.filterwarnings("ignore:adapter .* was trained on .*LongVA-7B-DPO")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("llava") / "LongVA-small-DPO")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return write_adapter(tmp_path_factory.mktemp("lora") / "numpro_ft")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def load(folder, adapter=None, **options):
    from numpro.models import load_model

    adapter = str(adapter) if adapter else None
    return load_model(str(folder), adapter, device="cpu", dtype="float32", **options)


def logits(loaded, frames, text):
    """What the loaded model computes for its own prompt about the frames."""
    ids = loaded.video_ids(len(frames)) + loaded.question_ids(text)
    return loaded.model(input_ids=torch.tensor([ids]), pixel_values=loaded.pixels(frames)).logits[0]


QUESTION = "During which frames can we see the red tree?"
# the conversation qwen_1_5 of the published evaluation, cut at <image>
BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
AFTER = f"\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


def chunks(folder):
    """The tokens around the image, by the checkpoint's tokenizer as it is stored."""
    from transformers import Qwen2Tokenizer

    plain = Qwen2Tokenizer.from_pretrained(folder)
    return plain(BEFORE).input_ids, plain(AFTER).input_ids


@torch.no_grad()
@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "with its adapter"])
def test_forward_is_the_documented_composition(checkpoint, adapter, frames, with_adapter):
    loaded = load(checkpoint, adapter if with_adapter else None)
    assert type(loaded).__name__ == "OriginalLongva"
    weights = merged() if with_adapter else WEIGHTS
    wanted = composition(weights, loaded.pixels(frames), *chunks(checkpoint))
    got = logits(loaded, frames, QUESTION)
    assert got.shape == wanted.shape == (sum(map(len, chunks(checkpoint))) + 5 * 4, 262)
    assert (got - wanted).abs().max() < 1e-4 and wanted.std() > 0.1
    base = composition(WEIGHTS, loaded.pixels(frames), *chunks(checkpoint))
    assert ((got - base).abs().max() > 0.1) == with_adapter


def test_the_prompt_is_the_published_one_token_for_token(checkpoint):
    loaded = load(checkpoint)
    before, after = chunks(checkpoint)
    assert loaded.video_ids(2) == before + [262] * 8 and loaded.question_ids(QUESTION) == after
    tokens = loaded.tokenizer
    assert (tokens.eos_token, tokens.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert 262 not in loaded.question_ids("what is <image> here?")  # a query is words


def test_it_answers_greedily_and_shares_the_video(checkpoint, adapter, frames):
    from numpro.prompting.prompts import build_prompt

    loaded = load(checkpoint, adapter)
    prompts = [build_prompt(q, np.arange(5.0)) for q in ("a tree", "the red car that stops", "x")]
    responses = loaded.respond(frames, prompts, 6)
    assert responses == [loaded.respond(frames, [p], 6)[0] for p in prompts] and any(responses)


# --- what is inside, and what is not ------------------------------------------------------------


def test_pytorch_shards_load_as_safetensors_do(checkpoint, tmp_path, frames):
    other = write_checkpoint(tmp_path / "LongVA", kind="bin")
    assert torch.equal(*(logits(load(f), frames, QUESTION) for f in (checkpoint, other)))


def test_a_tower_outside_is_loaded_from_the_place_named(checkpoint, tmp_path, frames):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    front = "model.vision_tower.vision_tower.vision_model."
    inner = {k: v for k, v in WEIGHTS.items() if not k.startswith(front)}
    folder = write_checkpoint(tmp_path / "LongVA", inner)
    with pytest.raises(FileNotFoundError, match="does not hold its weights; fetch it"):
        load(folder)
    tower = CLIPVisionModel(CLIPVisionConfig(**CLIP))
    state = {k.removeprefix(front): v for k, v in WEIGHTS.items() if k.startswith(front)}
    tower.load_state_dict(state)
    tower.save_pretrained(tmp_path / "elsewhere")
    got = logits(load(folder, vision_tower=str(tmp_path / "elsewhere")), frames, QUESTION)
    assert torch.equal(got, logits(load(checkpoint), frames, QUESTION))


def test_buffers_of_old_versions_are_left_out(checkpoint, tmp_path, frames):
    old = {
        "model.image_newline": torch.ones(WIDTH),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.vision_tower.vision_tower.vision_model.embeddings.position_ids": torch.arange(17),
    }
    folder = write_checkpoint(tmp_path / "LongVA", WEIGHTS | old)
    assert torch.equal(*(logits(load(f), frames, QUESTION) for f in (checkpoint, folder)))


def without(*names):
    return {k: v for k, v in WEIGHTS.items() if k not in names}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (without("model.norm.weight"), "1 missing: language_model.norm.weight"),
        (WEIGHTS | {"model.depth.weight": torch.ones(2)}, "1 not known: model.depth.weight"),
        (
            WEIGHTS | {"model.mm_projector.0.bias": torch.ones(7)},
            r"model.mm_projector.0.bias \(7,\) for \(32,\)",
        ),
        (without("model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias"), "1 missing"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, weights, message):
    folder = write_checkpoint(tmp_path / "LongVA", weights)
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type must be 'mlp2x_gelu'"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature must be 'patch'"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "must be 'flat' or 'unires'.*'spatial_unpad'"),
        ({"mm_spatial_pool_mode": "max"}, "mm_spatial_pool_mode must be 'average'"),
        ({"mm_vision_tower": "nobody/no-tower"}, "no vision tower at 'nobody/no-tower'"),
        ({"mm_hidden_size": 99}, "mm_hidden_size is 99, the tower's 24"),
    ],
)
def test_settings_that_are_not_longva_are_refused(tmp_path, setting, message):
    folder = write_checkpoint(tmp_path / "LongVA", **setting)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(folder)


def test_the_published_configuration_is_mapped(tmp_path):
    from numpro.models.longva.llava_format import read_config

    clip = {"mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_hidden_size": 1024}
    folder = write_checkpoint(tmp_path / "LongVA", rope_theta=1e9, mm_spatial_pool_stride=None,
                              rope_scaling={"type": "dynamic", "factor": 2.0}, **clip)  # fmt: skip
    config, tower = read_config(folder)  # the tower's own files are not needed for it
    assert tower == clip["mm_vision_tower"] and config.tokens_per_frame == 144
    assert (config.pool_stride, config.vision_feature_layer) == (2, -2)
    text = config.text_config
    assert text.rope_parameters == {"rope_type": "default", "rope_theta": 1e9}
    assert (text.eos_token_id, text.pad_token_id, config.image_token_id) == (261, 259, 262)
    assert not text.tie_word_embeddings and not config.tie_word_embeddings


class Bad:
    """Its pickle writes a file when it is run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["weights", "projector", "lora"])
def test_a_pickle_with_code_is_refused_and_not_run(checkpoint, tmp_path, place):
    proof, lora = tmp_path / "it_ran", None
    if place == "weights":
        checkpoint = write_checkpoint(tmp_path / "LongVA", kind="bin")
        bad = checkpoint / "pytorch_model-00002-of-00002.bin"
    else:
        lora = write_adapter(tmp_path / "lora")
        bad = lora / "non_lora_trainables.bin"
        if place == "lora":
            (lora / "adapter_model.safetensors").unlink()
            bad = lora / "adapter_model.bin"
    torch.save({"x": Bad(proof)}, bad)
    with pytest.raises(ValueError, match="is no file of tensors alone"):
        load(checkpoint, lora)
    assert not proof.exists()


# --- the adapter --------------------------------------------------------------------------------


def test_the_adapter_says_how_it_must_be_asked(checkpoint, adapter, frames):
    from numpro import Clip, NumberStyle

    both = r"adapter .*numpro_ft' was trained on '.*/LongVA-7B-DPO' and is put on '.*small-DPO'"
    with pytest.warns(UserWarning, match=both):
        loaded = load(checkpoint, adapter)
    assert loaded.notes["time_encoding"] == "overlay-index" and loaded.notes["fps"] == 0.5
    assert loaded.notes["base_model"] == "lmms-lab/LongVA-7B-DPO"
    clip = Clip(frames, np.arange(5.0) * 2, np.arange(5), {"duration": 10.0})
    style = NumberStyle(size=20)
    with pytest.warns(UserWarning, match="trained with numbers .*40.* 20"):
        loaded.answer(clip, ["x"], style=style, max_new_tokens=1)
    with pytest.warns(UserWarning, match="trained with time encoding 'overlay-index'"):
        loaded.answer(clip, ["x"], time_encoding="none", max_new_tokens=1)
    _, prompts = loaded.prepare(clip, ["a tree"], Question("highlight_detection"))
    assert prompts[0].text.endswith("salient scores.") and "query: a tree." in prompts[0].text
    (adapter.parent / "mine").mkdir()
    mine = write_adapter(adapter.parent / "mine" / "ft", tower=False)
    (mine / "numpro.json").write_text(json.dumps({"time_encoding": "none"}))
    assert load(checkpoint, mine).notes == loaded.notes | {"time_encoding": "none"}


def changed(**by):
    """The adapter with some tensors replaced, dropped (None) or added, by a part of the name."""
    tensors = lora_tensors()
    for part, tensor in by.items():
        part = part.replace("__", ".")
        kind = tensors["mm_projector" in part]
        names = [name for name in kind if part in name] or [part]
        kind.pop(names[0], None)
        if tensor is not None:
            kind[names[0]] = tensor
    return {"lora": tensors[0], "projector": tensors[1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed(model__layers__1__self_attn__k_proj__lora_B=torch.ones(24, RANK)),
            r"lora' does not fit .*DPO': .*self_attn.k_proj.lora_B.* \S+\[24, 4\].* \S+\[16, 4\]",
        ),
        (
            changed(layers__0__mlp__up_proj__lora_A=torch.ones(8, WIDTH)),
            r"up_proj.lora_A.*\[8, 32\].*\[4, 32\]",
        ),
        (
            changed(mm_projector__2__bias=torch.ones(9)),
            r"projector\..*linear_2.bias: .*\[9\].*\[32\]",
        ),
        (
            changed(
                base_model__model__model__layers__7__mlp__up_proj__lora_A__weight=torch.ones(4, 4),
                base_model__model__model__layers__7__mlp__up_proj__lora_B__weight=torch.ones(4, 4),
            ),
            "there is no language_model.layers.7.mlp.up_proj",
        ),
        (changed(layers__0__mlp__up_proj__lora_A=None), "one half is missing of .*mlp.up_proj"),
        (
            changed(base_model__model__lm_head__lora_A__weight=torch.ones(4, 4)),
            "not known: base_model.model.lm_head.lora_A.weight",
        ),
        (changed(mm_projector__2__bias=None), "3 of 4 tensors of the projector"),
        ({"r": None}, "r must be a whole number; got None"),
        ({"peft_type": "LOHA"}, "peft_type must be 'LORA'; got 'LOHA'"),
        ({"bias": "all"}, "bias must be 'none'"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(checkpoint, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load(checkpoint, write_adapter(tmp_path / "lora", **change))


def test_names_of_other_versions_of_the_libraries(checkpoint, adapter, tmp_path, frames):
    lora, projector = lora_tensors()
    other = write_adapter(tmp_path / "lora")
    (other / "adapter_model.safetensors").unlink()
    lora = {name.replace(".weight", ".default.weight"): t for name, t in lora.items()}
    torch.save(lora, other / "adapter_model.bin")  # older peft
    stored = {f"base_model.model.model.{n.removeprefix('model.')}": t for n, t in projector.items()}
    torch.save(stored, other / "non_lora_trainables.bin")
    assert torch.equal(*(logits(load(checkpoint, a), frames, QUESTION) for a in (adapter, other)))


def test_an_adapter_may_lack_a_projector_and_lie_beside_other_files(tmp_path):
    from numpro.models.longva.llava_adapter import read_adapter

    folder = write_adapter(tmp_path / "lora", projector={})
    torch.save({"x": torch.ones(1)}, folder / "rng_state.bin")
    config, tensors = read_adapter(folder)
    assert config.modules_to_save is None and len(tensors) == len(lora_tensors()[0])


def test_the_towers_own_image_processor_and_rank_stabilised_lora_are_taken(tmp_path):
    from transformers import CLIPImageProcessorPil

    from numpro.models.longva.llava_adapter import read_adapter
    from numpro.models.longva.llava_format import image_processor, read_config

    config, tower = read_config(write_checkpoint(tmp_path / "LongVA"))
    assert image_processor(config, tower).crop_size["height"] == SIDE
    CLIPImageProcessorPil(image_mean=[0.5, 0.4, 0.3]).save_pretrained(tower)
    assert list(image_processor(config, tower).image_mean) == [0.5, 0.4, 0.3]
    for given in (True, False):
        folder = write_adapter(tmp_path / f"lora {given}", use_rslora=given)
        assert read_adapter(folder)[0].use_rslora is given


# --- numpro convert -----------------------------------------------------------------------------


def numpro(*arguments):
    from click.testing import CliRunner

    from numpro.cli import main

    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def converted(checkpoint, adapter):
    """The checkpoint, in several shards, and the adapter in our format, by the command."""
    folder, found, module = checkpoint.parent, [], import_module("numpro.models.longva.convert")
    half = sum(tensor.nbytes for tensor in WEIGHTS.values()) // 2
    for source, name, size in ((checkpoint, "longva", half), (adapter, "numpro-ft", "5GB")):
        with pytest.MonkeyPatch.context() as patch:
            few = partial(module.save_torch_state_dict, max_shard_size=size)
            patch.setattr(module, "save_torch_state_dict", few)
            done = numpro("convert", source, folder / name, "--json")
        assert done.exit_code == 0, done.output
        found.append((folder / name, json.loads(done.stdout)))
    return found


@torch.no_grad()
def test_converted_it_computes_the_same(checkpoint, adapter, converted, frames):
    (base, _), (tuned, _) = converted
    assert len(list(base.glob("model-0000?-of-0000?.safetensors"))) > 1
    ours = load(base)
    assert type(ours).__name__ == "Longva"
    assert torch.equal(logits(ours, frames, QUESTION), logits(load(checkpoint), frames, QUESTION))
    original = logits(load(checkpoint, adapter), frames, QUESTION)
    ours = load(base, tuned)
    assert torch.equal(logits(ours, frames, QUESTION), original)
    assert ours.notes == load(checkpoint, adapter).notes
    released = load(base, adapter)  # as it was published, on the base in our format
    assert (
        torch.equal(logits(released, frames, QUESTION), original) and released.notes == ours.notes
    )
    assert torch.equal(logits(load(checkpoint, tuned), frames, QUESTION), original)


def test_an_adapter_trained_on_the_one_is_taken_by_the_other(
    checkpoint, converted, films, frames, tmp_path
):
    from numpro.training.finetuning import finetune

    (base, _), _ = converted
    how = {"steps": 2, "learning_rate": 0.05, "lora_rank": 2, "max_frames": 4, "progress": False}
    for trained_on, other in ((checkpoint, base), (base, checkpoint)):
        out = tmp_path / trained_on.name
        finetune(load(trained_on), films[:1], out, **how)
        with torch.no_grad():
            both = [logits(load(b, out), frames, QUESTION) for b in (trained_on, other)]
            assert torch.equal(*both)
            assert not torch.equal(both[0], logits(load(other), frames, QUESTION))
    changed = tmp_path / "changed"
    copytree(base, changed)
    shard = next(changed.glob("model-00002-of-*.safetensors"))
    save_file({k: v + 0.01 for k, v in load_file(shard).items()}, shard, {"format": "pt"})
    with pytest.raises(ValueError, match="changed' has other weights"):
        load(changed, out)


def test_the_converted_folders_say_where_they_come_from(converted):
    (base, made), (tuned, lora) = converted
    assert made["kind"] == "checkpoint" and made["tensors"] == len(WEIGHTS)
    assert lora["kind"] == "adapter" and lora["tensors"] == sum(map(len, lora_tensors()))
    card = (base / "README.md").read_text()
    assert card.startswith("# longva\n") and "from LongVA-small-DPO by numpro" in card
    card = (tuned / "README.md").read_text()
    assert "LoRA on 23 layers, 9 of them in the vision tower" in card
    kept = json.loads((tuned / "adapter_config.json").read_text())
    assert kept["base_model_name_or_path"] == "lmms-lab/LongVA-7B-DPO"


def test_a_tower_outside_is_converted_too(checkpoint, tmp_path, frames):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    front = "model.vision_tower.vision_tower.vision_model."
    inner = {k: v for k, v in WEIGHTS.items() if not k.startswith(front)}
    folder = write_checkpoint(tmp_path / "LongVA", inner, kind="bin")
    done = numpro("convert", folder, tmp_path / "out")
    assert done.exit_code == 1 and "fetch it" in done.output
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == []  # nothing half done
    tower = CLIPVisionModel(CLIPVisionConfig(**CLIP))
    tower.load_state_dict({k.removeprefix(front): v for k, v in WEIGHTS.items() if front in k})
    tower.save_pretrained(tmp_path / "clip-tower")
    done = numpro("convert", folder, tmp_path / "out", "--vision-tower", tmp_path / "clip-tower")
    assert done.exit_code == 0, done.output
    both = (load(f) for f in (tmp_path / "out", checkpoint))
    assert torch.equal(*(logits(loaded, frames, QUESTION) for loaded in both))


def test_convert_refuses_what_it_cannot_do(checkpoint, converted, longva_dir, tmp_path):
    (base, _), (tuned, _) = converted
    done = numpro("convert", checkpoint, base)
    assert done.exit_code == 1 and "must be a new or an empty folder" in done.output
    done = numpro("convert", longva_dir, tmp_path / "x")
    assert done.exit_code == 1 and "got model_type 'longva'" in done.output
    done = numpro("convert", tuned, tmp_path / "x")
    assert done.exit_code == 1 and "use it as it is" in done.output
    done = numpro("convert", "nobody/no-such-model", tmp_path / "x")
    assert done.exit_code == 1 and "no model at 'nobody/no-such-model'" in done.output
    lost = write_checkpoint(tmp_path / "LongVA")
    (lost / "model-00002-of-00002.safetensors").unlink()
    done = numpro("convert", lost, tmp_path / "x")
    assert done.exit_code == 1 and "model-00002-of-00002.safetensors is not there" in done.output
    assert not (tmp_path / "x").exists()
