"""Adapters fit their base only, merge into it, and go to vLLM where it serves them."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from numpro import NumberStyle, read_clip
from numpro.cli import main
from numpro.models import Question, load_model
from numpro.models.adapters import attach_adapter, quiet_peft
from numpro.models.merging import export_for_vllm, merge
from numpro.models.question import differences_from_training
from numpro.training.finetuning import finetune, plan
from numpro.training.presets import FinetuneConfig

QUICK = {"steps": 2, "learning_rate": 5e-3, "batch_size": 2, "lora_rank": 4, "progress": False}


@pytest.fixture(scope="module")
def trained(films, longva_dir, tmp_path_factory):
    """The folder of an adapter of the tiny LongVA."""
    out = tmp_path_factory.mktemp("adapter")
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    finetune(model, films[:1], out, **QUICK)
    return out


def logits(model, clip):
    """What the model says of a clip, as numbers."""
    ids = torch.tensor([model.video_ids(3) + model.question_ids("When?")])
    with torch.no_grad():
        return model.model(input_ids=ids, pixel_values=model.pixels(clip.frames[:3])).logits


def base_only(folder):
    return load_model(str(folder), device="cpu", dtype="float32").model


def test_plain_peft_loads_an_adapter(trained, longva_dir, clip):
    from peft import PeftModel

    ours = load_model(str(longva_dir), str(trained), device="cpu", dtype="float32")
    wanted = logits(ours, clip)
    ours.model = PeftModel.from_pretrained(base_only(longva_dir), trained).eval()
    torch.testing.assert_close(logits(ours, clip), wanted)


def test_a_merged_model_answers_as_base_and_adapter(trained, longva_dir, clip, tmp_path):
    merge(str(trained), tmp_path / "merged")
    plain = load_model(str(tmp_path / "merged"), device="cpu", dtype="float32")
    both = load_model(str(longva_dir), str(trained), device="cpu", dtype="float32")
    assert not any("lora" in name for name, _ in plain.model.named_modules())
    torch.testing.assert_close(logits(plain, clip), logits(both, clip), rtol=1e-4, atol=1e-4)
    base = load_model(str(longva_dir), device="cpu", dtype="float32")
    assert not torch.allclose(logits(base, clip), logits(both, clip), atol=1e-3)
    answers = [m.answer(clip, ["a star", "a red heart"], max_new_tokens=8) for m in (plain, both)]
    assert answers[0] == answers[1]
    notes = json.loads((tmp_path / "merged" / "numpro.json").read_text())
    assert notes["fps"] == 1.0 and notes["merged_from"] == [str(longva_dir), str(trained)]
    with pytest.raises(ValueError, match="merged must be a new or an empty folder"):
        merge(str(trained), tmp_path / "merged")
    (tmp_path / "a file").touch()
    with pytest.raises(ValueError, match="file must be a new or an empty folder"):
        merge(str(trained), tmp_path / "a file")


def other_base(folder, out, **config):
    """A copy of a checkpoint with other weights, and another shape where one is given."""
    shutil.copytree(folder, out)
    if config:
        whole = json.loads((out / "config.json").read_text())
        whole["text_config"] |= config
        (out / "config.json").write_text(json.dumps(whole))
        (out / "model.safetensors").unlink()
        from numpro.models.longva.modeling import LongvaConfig, LongvaForConditionalGeneration

        LongvaForConditionalGeneration(LongvaConfig.from_pretrained(out)).save_pretrained(out)
    else:
        weights = load_file(out / "model.safetensors")
        weights = {name: value + 0.01 for name, value in weights.items()}
        save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.mark.parametrize("noted", [True, False], ids=["by its notes", "without notes"])
def test_an_adapter_of_another_base_is_refused_in_one_line(trained, longva_dir, tmp_path, noted):
    adapter = tmp_path / "adapter"
    shutil.copytree(trained, adapter)
    if noted:  # the same shape: nothing else could tell
        other, message = other_base(longva_dir, tmp_path / "other"), "has other weights"
    else:
        (adapter / "numpro.json").unlink()
        other = other_base(longva_dir, tmp_path / "other", hidden_size=48)
        message = "does not fit '.*other': .*size mismatch"
    with pytest.raises(ValueError, match=message) as caught:
        attach_adapter(base_only(other), str(other), str(adapter))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("adapter_model.safetensors", "is broken: .*; copy it anew"),
        ("numpro.json", "numpro.json must be JSON"),
        ("adapter_config.json", "no adapter at"),
    ],
)
def test_a_truncated_file_of_an_adapter_is_told_in_one_line(
    trained, longva_dir, tmp_path, file, message
):
    adapter = tmp_path / "adapter"
    shutil.copytree(trained, adapter)
    whole = (adapter / file).read_bytes()
    (adapter / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        attach_adapter(base_only(longva_dir), str(longva_dir), str(adapter))
    assert "\n" not in str(caught.value)


def test_asking_otherwise_than_trained_is_told(trained):
    notes = json.loads((trained / "numpro.json").read_text())
    second, highlights = np.arange(9.0), Question("highlight_detection")
    for seconds in (second, second[:1], np.arange(240) * 3.0):  # one frame, or thinned: no rate
        assert differences_from_training(notes, Question(), seconds) == []
    large = Question(style=NumberStyle(size=60))
    numbers, rate = differences_from_training(notes, large, 2 * second)
    assert "trained with numbers" in numbers and "'size': 60" in numbers
    assert rate == "was trained at 1 frames a second, it is asked at 0.5"
    assert differences_from_training(notes, highlights, 2 * second) == []
    plain = Question(time_encoding="none")
    (encoding,) = differences_from_training(notes, plain, second)
    assert "time encoding 'overlay-index', it is asked with 'none'" in encoding
    assert differences_from_training({}, plain, second) == [], "plain peft: nothing is known"


# --- vLLM ---------------------------------------------------------------------------------------


SMALL = {**QUICK, "steps": 1, "size": (56, 56), "max_frames": 4}


@pytest.fixture(scope="module")
def qwen(films, tmp_path_factory):
    """Adapters of a tiny Qwen2-VL: of its language model alone, and with the merger."""
    folder = tmp_path_factory.mktemp("qwen")
    for name, whole in (("language", False), ("merger", True)):
        model = load_model(str(tiny_model("qwen2_vl")), device="cpu", dtype="float32")
        finetune(model, films[:1], folder / name, **SMALL, train_projector=whole)
    return folder


@pytest.mark.parametrize("kind", ["longva", "qwen2_vl"])
def test_a_loaded_adapter_warns_when_it_is_asked_otherwise(kind, request, films, tmp_path):
    """Trained at 1 frame a second, with the published numbers."""
    if kind == "longva":
        base, where = request.getfixturevalue("longva_dir"), request.getfixturevalue("trained")
        size = (336, 336)
    else:
        base, where = tiny_model(kind), request.getfixturevalue("qwen") / "language"
        size = (56, 56)
    model = load_model(str(base), str(where), device="cpu", dtype="float32")
    as_trained, slower = (read_clip(films[0].path, fps=f, size=size, end=3.0) for f in (1, 0.5))

    def warned(clip=as_trained, **how):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.answer(clip, ["a star"], max_new_tokens=1, **how)
        return [str(w.message) for w in caught if str(w.message).startswith("adapter ")]

    assert warned() == []
    (rate,) = warned(slower)
    assert rate == f"adapter {where} was trained at 1 frames a second, it is asked at 0.5"
    (style,) = warned(style=NumberStyle(color="blue"))
    assert "was trained with numbers" in style and "'color': 'blue'" in style
    (encoding,) = warned(time_encoding="text-index")
    assert "time encoding 'overlay-index', it is asked with 'text-index'" in encoding
    (clock,) = warned(read_clip(films[0].path, fps=1, size=size, end=3.0, origin="first-picture"))
    ends = "'beginning', it is asked on that of 'first-picture'"
    assert clock == f"adapter {where} was trained on the clock of origin {ends}"
    model.notes.pop("origin")  # of an adapter made before
    assert warned(replace(as_trained, source={**as_trained.source, "origin": "x"})) == []


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava_onevision"])
def test_other_classes_are_fine_tuned_merged_and_loaded_alike(kind, films, tmp_path):
    base = str(tiny_model(kind))
    model = load_model(base, device="cpu", dtype="float32")
    how = {**SMALL, "steps": 3, "batch_size": 4}
    values = {name: value for name, value in how.items() if name != "progress"}
    planned = plan(films[:1], FinetuneConfig.of(None, **values), model)
    log = finetune(model, films[:1], tmp_path / "a", **how)
    assert log[-1]["loss"] < log[0]["loss"]
    trained = {n.split(".lora")[0] for n, p in model.model.named_parameters() if p.requires_grad}
    towers = [n for n in trained if "visual.blocks" in n or "vision_tower" in n]
    assert trained and not towers
    counts = [p.numel() for p in model.model.parameters() if p.requires_grad]
    assert planned["trainable parameters"] == sum(counts) and planned["memory, GiB"] > 0
    clip = read_clip(films[0].path, fps=0.2, size=(56, 56), max_frames=3)
    merge(str(tmp_path / "a"), tmp_path / "m")
    others = [
        load_model(base, str(tmp_path / "a"), device="cpu", dtype="float32"),
        load_model(str(tmp_path / "m"), device="cpu", dtype="float32"),
    ]
    answers = []
    for each in (model, *others):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="adapter .* trained at 1 frames a second")
            answers.append([a.text for a in each.answer(clip, ["a star"], max_new_tokens=8)])
    assert answers[0] == answers[1] == answers[2]


def test_an_adapter_is_exported_as_vllm_takes_it(qwen, tmp_path):
    """What vLLM checks (vllm/lora/peft_helper.py and lora_model.py), and that it still loads."""
    from peft import PeftModel

    assert export_for_vllm(str(qwen / "language"), tmp_path / "out") == 4
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] is None and config["r"] == 4 and not config["use_dora"]
    modules = {f"{m}_proj" for m in ("q", "k", "v", "o", "gate", "up", "down")}
    assert set(config["target_modules"]) == modules
    keys = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert len(keys) == 2 * 7 * 2
    for key in keys:  # vLLM cuts the first, and turns the second into language_model.model.
        left, found, right = key.partition("base_model.model.")
        assert not left and found and right.startswith("model.language_model.layers.")
        assert right.split(".")[-3] in modules and right.split(".")[-2] in ("lora_A", "lora_B")
    ids, logits = torch.arange(10, 18)[None], []
    for folder in (qwen / "language", tmp_path / "out"):
        base = load_model(str(tiny_model("qwen2_vl")), device="cpu", dtype="float32").model
        with torch.no_grad(), quiet_peft():
            logits.append(PeftModel.from_pretrained(base, folder).eval()(input_ids=ids).logits)
    torch.testing.assert_close(*logits)


def test_vllm_gets_no_adapter_it_would_refuse(qwen, trained, tmp_path):
    with pytest.raises(ValueError, match="merger was trained in full, .* LoRA weights only; merge"):
        export_for_vllm(str(qwen / "merger"), tmp_path / "out")
    with pytest.raises(ValueError, match="vLLM serves adapters of qwen2_vl, .* is 'longva'; merge"):
        export_for_vllm(str(trained), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the command --------------------------------------------------------------------------------


def test_the_commands_merge_export_and_foretell(trained, longva_dir, films, tmp_path):
    run = CliRunner().invoke
    done = run(main, ["adapter", "merge", str(trained), "--out", str(tmp_path / "m"), "--json"])
    assert json.loads(done.stdout)["out"] == str(tmp_path / "m") and not done.exit_code
    done = run(main, ["adapter", "export", str(trained), "--out", str(tmp_path / "v")])
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    common = ["finetune", "--split", "test", "--limit", "2", "--model", str(longva_dir)]
    common += ["--data-root", str(films[0].path.parents[2]), "--out", str(tmp_path / "a")]
    done = run(main, [*common, "-p", "lora_rank", "8", "-p", "epochs", "2", "--dry-run", "--json"])
    printed = json.loads(done.stdout)
    assert printed["config"]["lora_rank"] == 8 and printed["config"]["fps"] == 1.0
    assert printed["plan"]["steps"] == 2 and printed["plan"]["memory, GiB"] > 0
    assert printed["plan"]["trainable parameters"] > 0 and "learning_rate 0.0005" in done.stderr
    assert not (tmp_path / "a").exists()
    for pairs, reason in (
        (["-p", "lora_rank", "big"], "parameter lora_rank must be int; got 'big'"),
        (["-p", "rank", "8"], "unknown parameter rank; did you mean"),
        (["--preset", "24gb"], "needs bitsandbytes; pip install"),
    ):
        done = run(main, [*common, "--dry-run", *pairs])
        assert done.exit_code == 1 and reason in done.stderr.splitlines()[-1]
