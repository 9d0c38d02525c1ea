"""Adapters as people have them: names of other versions and trainers, weights beside them."""

import json
import re
import shutil
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import QWEN, tiny_model

from numpro.models import load_model
from numpro.models.adapters import attach_adapter
from numpro.models.merging import export_for_vllm, merge

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
LEAVES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LANGUAGE = rf"model\.language_model\.layers\.\d+\.\w+\.({'|'.join(LEAVES)})"
TOWER = r"model\.visual\..*\.(qkv|proj|fc1|fc2|linear_fc1|linear_fc2|gate_proj|down_proj)"
OURS, OLD = "model.language_model.layers", "model.layers"


def base_model(kind):
    return load_model(str(tiny_model(kind)), device="cpu", dtype="float32").model


def logits(model, kind):
    """What a model says after an image of four tokens: the tower counts, too."""
    config = model.config
    ids = torch.arange(40, 60)[None]
    ids[0, 3:9] = config.image_token_id
    ids[0, 3], ids[0, 8] = config.vision_start_token_id, config.vision_end_token_id
    side = config.vision_config.patch_size
    pixels = torch.linspace(-1, 1, 16 * 3 * 2 * side * side).reshape(16, -1)
    kinds = (ids == config.image_token_id).int()
    with torch.no_grad():
        return model(
            input_ids=ids, pixel_values=pixels, image_grid_thw=torch.tensor([[1, 4, 4]]),
            mm_token_type_ids=kinds,
        ).logits  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Adapters as peft writes them under today's names, of each kind, and what they answer."""
    made = {}
    for kind in QWEN:
        for part, targets in (("language", LANGUAGE), ("tower", f"{LANGUAGE}|{TOWER}")):
            folder = tmp_path_factory.mktemp(kind) / part
            torch.manual_seed(0)
            config = LoraConfig(
                r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False,
                rank_pattern={"v_proj": 2}, alpha_pattern={r"layers\.0\.mlp\.up_proj": 1},
            )  # fmt: skip
            model = base_model(kind)
            plain = logits(model, kind)
            adapted = get_peft_model(model, config)
            for _, value in adapted.named_parameters():
                if value.requires_grad:
                    value.data *= 8
            adapted.save_pretrained(folder)
            wanted = logits(PeftModel.from_pretrained(base_model(kind), folder).eval(), kind)
            assert (wanted - plain).abs().max() > 1e-3
            made[kind, part] = folder, wanted
    return made


def renamed(change, targets, part="language", file="adapter_model.safetensors", **settings):
    """A form: how names change, what the targets are, and in which file weights lie."""
    return change, targets, part, file, settings


def old(name):
    """Return a name of transformers up to 4.51."""
    return name.replace(OURS, OLD).replace("model.visual.", "visual.")


def old_names(names):
    return sorted({old(n).removeprefix("base_model.model.").split(".lora")[0] for n in names})


FORMS = {
    "transformers up to 4.51": renamed(old, LEAVES),
    "LLaMA-Factory's expression": renamed(
        old, rf"^(?!.*(?:visual|lm_head)).*(?:{'|'.join(LEAVES)}).*"
    ),
    "LLaMA-Factory's list of names": renamed(old, old_names),
    "ms-swift 3, old names": renamed(old, rf"^(model)(?=\.).*\.({'|'.join(LEAVES)})$"),
    "ms-swift 3, today's names": renamed(
        str, rf"^(model\.language_model(?=\.).*\.({'|'.join(LEAVES)}))$"
    ),
    "language_model.model": renamed(
        lambda name: name.replace(OURS, "language_model.model.layers"), LEAVES
    ),
    "text-only, as .bin": renamed(old, LEAVES, file="adapter_model.bin"),
    "from a parallel wrapper's state": renamed(
        lambda name: "module." + name.replace(".weight", ".default.weight"), LEAVES,
        file="adapter_model.bin",
    ),
    "all linear layers, old names": renamed(old, "all-linear", part="tower"),
}  # fmt: skip


def write_form(source, form, folder):
    """Write an adapter in another form."""
    change, targets, _, file, settings = form
    weights = load_file(source / "adapter_model.safetensors")
    config = json.loads((source / "adapter_config.json").read_text())
    config |= {"target_modules": targets(weights) if callable(targets) else targets, **settings}
    weights = {change(name): value for name, value in weights.items()}
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if file.endswith(".bin"):
        torch.save(weights, folder / file)
    else:
        save_file(weights, folder / file)
    return folder


@pytest.mark.parametrize("kind", QWEN)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_logits_of_the_straight_one(straight, tmp_path, form, kind):
    source, wanted = straight[kind, FORMS[form][2]]
    folder = write_form(source, FORMS[form], tmp_path / "adapter")
    model, _ = attach_adapter(base_model(kind), str(tiny_model(kind)), str(folder))
    assert torch.equal(logits(model, kind), wanted)


def test_patterns_written_for_old_names_count(straight, tmp_path):
    """A rank or an alpha by the full name that a module had."""
    source, wanted = straight["qwen2_vl", "language"]
    patterns = {"rank_pattern": {}, "alpha_pattern": {"model.layers.0.mlp.up_proj": 1}}
    folder = write_form(source, renamed(old, LEAVES, **patterns), tmp_path / "a")
    model, _ = attach_adapter(base_model("qwen2_vl"), str(tiny_model("qwen2_vl")), str(folder))
    assert torch.equal(logits(model, "qwen2_vl"), wanted)


# --- what lies beside, what is left over, what is missing ----------------------------------------


@pytest.fixture
def adapter(straight, tmp_path):
    """An adapter of Qwen2-VL to change."""
    return shutil.copytree(straight["qwen2_vl", "language"][0], tmp_path / "adapter")


def attach(folder, kind="qwen2_vl"):
    return attach_adapter(base_model(kind), str(tiny_model(kind)), str(folder))[0]


def tower_weights(by=0.5):
    """Weights of the merger as a trainer saves them, under old names."""
    weights = base_model("qwen2_vl").state_dict().items()
    return {old(n): v * by for n, v in weights if ".merger.mlp." in n}


@pytest.mark.parametrize(
    ("file", "front"),
    [
        ("non_lora_state_dict.bin", "base_model.model."),
        ("non_lora_trainables.bin", "module.base_model.model."),
        ("vit.safetensors", "base_model.model.model."),
        ("aligner.safetensors", ""),
    ],
)
def test_weights_trained_beside_an_adapter_are_applied(adapter, straight, tmp_path, file, front):
    wanted = base_model("qwen2_vl")
    values = {n: v * 0.5 for n, v in wanted.state_dict().items() if ".merger.mlp." in n}
    wanted.load_state_dict(values, strict=False)
    wanted = logits(PeftModel.from_pretrained(wanted, adapter).eval(), "qwen2_vl")
    assert not torch.equal(wanted, straight["qwen2_vl", "language"][1])
    beside = {front + name: value for name, value in tower_weights().items()}
    if file.endswith(".bin"):
        torch.save(beside, adapter / file)
    else:
        save_file({name: value.contiguous() for name, value in beside.items()}, adapter / file)
    torch.save({"seed": 1}, adapter / "training_args.bin")  # of the trainer, no weights
    assert torch.equal(logits(attach(adapter), "qwen2_vl"), wanted)
    merge(str(adapter), tmp_path / "merged", str(tiny_model("qwen2_vl")))
    merged = load_model(str(tmp_path / "merged"), device="cpu", dtype="float32").model
    torch.testing.assert_close(logits(merged, "qwen2_vl"), wanted, rtol=1e-4, atol=1e-4)


def other_weights(folder, change):
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file)


def beside(name, value):
    return lambda folder: torch.save({name: value}, folder / "non_lora_state_dict.bin")


QUERY = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
EMPTY = torch.zeros(0)
FAULTS = {
    "beside, without a place": (
        beside("model.mm_projector.0.weight", torch.ones(2)),
        "mm_projector.0.weight, saved beside the adapter, has no place: the model has none",
    ),
    "beside, where LoRA is": (
        beside(f"{QUERY}.base_layer.weight", torch.ones(32, 32)),
        "has no place: LoRA is on that layer, too",
    ),
    "beside, of another shape": (
        beside("visual.merger.ln_q.weight", torch.ones(5)),
        "size mismatch for model.visual.merger.ln_q.weight",
    ),
    "empty beside": (
        beside("visual.merger.ln_q.weight", EMPTY),
        r"non_lora_state_dict.bin \([\d,]+ bytes\) holds empty tensors: visual.*ZeRO-3",
    ),
    "left over": (
        lambda folder: other_weights(
            folder, lambda w: w.update({f"{OLD}.9.mlp.up_proj.lora_A.weight": torch.ones(4, 32)})
        ),
        "does not fit .*: there is no .*9.mlp.up_proj.lora_A",
    ),
    "half a pair": (
        lambda folder: other_weights(folder, lambda w: w.pop(f"{QUERY}.lora_B.weight")),
        "it lacks .*layers.0.self_attn.q_proj.lora_B",
    ),
    "empty": (
        lambda folder: other_weights(
            folder, lambda w: w.update({f"{QUERY}.lora_B.weight": EMPTY})
        ),
        r"adapter_model.safetensors .* holds empty tensors: .*q_proj.lora_B.weight; .*DeepSpeed",
    ),
    "of forty bytes": (
        lambda folder: other_weights(folder, lambda w: w.clear()),
        r"adapter_model.safetensors \(\d+ bytes\) holds no tensor; .*DeepSpeed's ZeRO-3",
    ),
    "another model's": (
        lambda folder: other_weights(
            folder,
            lambda w: [w.update({f"transformer.h.{k}": w.pop(n)}) for k, n in enumerate([*w])],
        ),
        "none of its LoRA weights has a place: transformer.h.0",
    ),
    "without what it names": (
        lambda folder: change_config(folder, modules_to_save=["merger"]),
        "it should hold .*merger.*, and does not",
    ),
}  # fmt: skip


def change_config(folder, **values):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_dropped(adapter, fault):
    break_it, message = FAULTS[fault]
    break_it(adapter)
    with pytest.raises(ValueError, match=message) as caught:
        attach(adapter)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "given", "same"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "/data/Qwen2-VL-7B-Instruct/", True),
        ("/hub/models--Qwen--Qwen2-VL-2B/snapshots/1f2", "Qwen/Qwen2-VL-2B", True),
        ("/modelscope/Qwen/Qwen2___5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("Qwen/Qwen2-7B", "Qwen/Qwen2-VL-7B-Instruct", False),
        (None, "Qwen/Qwen2-VL-7B-Instruct", True),
    ],
)  # fmt: skip
def test_another_base_than_the_one_named_warns_with_both(adapter, named, given, same, tmp_path):
    change_config(adapter, base_model_name_or_path=named)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attach_adapter(base_model("qwen2_vl"), given, str(adapter))
    found = [str(w.message) for w in caught if "was trained on" in str(w.message)]
    assert len(found) == (not same)
    assert same or (repr(named) in found[0] and repr(given) in found[0])


# --- export ---------------------------------------------------------------------------------------


def exported(source, out):
    return export_for_vllm(str(source), out, str(tiny_model("qwen2_vl")))


@pytest.fixture
def plain(adapter):
    """An adapter of one rank and one alpha."""
    change_config(adapter, rank_pattern={}, alpha_pattern={})
    other_weights(adapter, lambda w: [w.pop(n) for n in [*w] if "v_proj" in n or "up_proj" in n])
    return adapter


def test_an_adapter_of_old_names_is_exported_under_todays(plain, tmp_path):
    source = write_form(plain, renamed(old, LEAVES, file="adapter_model.bin"), tmp_path / "old")
    assert exported(source, tmp_path / "out") == 4
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    straight = load_file(plain / "adapter_model.safetensors")
    assert weights.keys() == straight.keys()
    assert all(torch.equal(weights[name], straight[name]) for name in weights)
    out = PeftModel.from_pretrained(base_model("qwen2_vl"), tmp_path / "out").eval()
    assert torch.equal(logits(out, "qwen2_vl"), logits(attach(source), "qwen2_vl"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern has .*q_proj', 2.*; vLLM takes one"),
    ],
)
def test_what_vllm_computes_otherwise_is_not_exported(plain, tmp_path, change, reason):
    change_config(plain, **change)
    with pytest.raises(ValueError, match=reason + ".*; merge it instead"):
        exported(plain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ranks_and_weights_beside_are_not_exported(plain, adapter, tmp_path):
    torch.save(tower_weights(), plain / "non_lora_state_dict.bin")
    with pytest.raises(
        ValueError, match=r"visual.merger.mlp.0.* is no LoRA weight of the language"
    ):
        exported(plain, tmp_path / "out")
    (plain / "non_lora_state_dict.bin").unlink()
    name = re.sub("layers.0", "layers.1", QUERY)
    wide = {f"{name}.lora_A.weight": torch.ones(9, 32), f"{name}.lora_B.weight": torch.ones(32, 9)}
    other_weights(plain, lambda w: w.update(wide))
    with pytest.raises(ValueError, match="rank_pattern has .*layers.1.self_attn.q_proj', 9"):
        exported(plain, tmp_path / "out")
