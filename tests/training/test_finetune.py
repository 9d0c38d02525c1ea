"""Fine-tuning learns the answers only, changes the weights it may, resumes, and notes it all."""

import csv
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from numpro import NumberStyle, number_frames, read_clip
from numpro.datasets import fingerprint
from numpro.datasets.instructions import answer_text
from numpro.models import load_model
from numpro.models.training_batches import IGNORED, answers_only
from numpro.prompting.answers import parse_highlights, parse_moment
from numpro.prompting.prompts import build_prompt
from numpro.training.checkpoints import Bookkeeper
from numpro.training.finetuning import finetune, plan
from numpro.training.memory import GIB, predict_memory
from numpro.training.presets import PRESETS, FinetuneConfig
from numpro.training.samples import Samples
from numpro.training.trainer import lora_config
from numpro.video import sampling_times

STEPS = {"steps": 2, "learning_rate": 5e-3, "batch_size": 8, "log_every": 1}
QUICK = {**STEPS, "progress": False}


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def trained(films, longva_dir, tmp_path_factory):
    """A model fine-tuned for 15 steps, where its adapter lies, its log, and the base's weights."""
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    before = weights(model.model)
    out = tmp_path_factory.mktemp("adapter")
    log = finetune(model, films, out, **{**QUICK, "steps": 15, "log_every": 5})
    return model, out, log, before


# --- what is learned ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_encoding", "answer"),
    [
        ("overlay-index", "From Frame {} to Frame {}."),
        ("none", "From Frame {} to Frame {}."),
        ("text-seconds", "From {:.1f} seconds to {:.1f} seconds."),
    ],
)
def test_labels_are_the_answer_and_nothing_else(films, longva, clip, time_encoding, answer):
    config = FinetuneConfig(time_encoding=time_encoding)
    samples = Samples(films, longva, config)
    assert len(samples) == sum(len(v.queries) for v in films)
    query, sample = films[0].queries[0], samples[0]
    ids, labels = sample["input_ids"], sample["labels"]
    answered = [i for i in labels if i != IGNORED]
    learned = longva.tokenizer.decode(answered)
    start, end = query.spans[0]
    if time_encoding != "text-seconds":
        start, end = (int(np.abs(clip.seconds - t).argmin()) for t in query.spans[0])
    assert learned == answer.format(start, end) + "<|im_end|>"
    assert parse_moment(learned.removesuffix("<|im_end|>")).reason is None
    # the rest is the prompt, just as the model gets it
    prompt = build_prompt(
        query.text, clip.seconds, time_encoding=time_encoding, duration=clip.duration
    )
    prompt_ids = longva.video_ids(len(clip), prompt.frame_texts) + longva.question_ids(prompt.text)
    assert ids == prompt_ids + answered and labels == [IGNORED] * len(prompt_ids) + answered
    frames = clip.frames
    if prompt.frame_labels:
        frames = number_frames(frames, labels=prompt.frame_labels)
    torch.testing.assert_close(sample["image_patches"], longva.patch_features(frames))


def test_style_and_template_are_those_of_the_run(films, longva, clip):
    style = NumberStyle("top_left", 60, "blue")
    config = FinetuneConfig(style=style, templates={"moment_retrieval": "When {query}?"})
    sample = Samples(films, longva, config)[0]
    text = longva.tokenizer.decode(sample["input_ids"])
    assert "The blue numbers" in text and f"When {films[0].queries[0].text}?" in text
    numbered = number_frames(clip.frames, style=style)
    torch.testing.assert_close(sample["image_patches"], longva.patch_features(numbered))


def test_highlights_are_learned_as_graded(films, longva):
    config = FinetuneConfig(tasks=("highlight_detection",), highlight_fps=0.5)
    clip = read_clip(films[0].path, fps=0.5, size=(336, 336))
    for query in films[0].queries:
        answer = parse_highlights(answer_text(query, clip, "highlight_detection", config))
        assert answer.reason is None
        # at 0.5 fps frame i shows clip i
        wanted = [i for i in query.saliency.clip_ids if i < len(clip)]
        assert list(answer.labels) == wanted
        means = [1 + np.mean(s) for s in query.saliency.scores][: len(wanted)]
        np.testing.assert_allclose(answer.scores, means, atol=0.051)
    both = Samples(
        films, longva, replace(config, tasks=("moment_retrieval", "highlight_detection"))
    )
    assert len(both) == 2 * sum(len(v.queries) for v in films)


@pytest.mark.parametrize(
    ("rounding", "labels"), [("nearest", (1, 5)), ("floor", (0, 5)), ("outer", (0, 6))]
)
def test_true_spans_are_rounded_as_asked(films, clip, rounding, labels):
    query = replace(films[0].queries[0], spans=((0.7, 5.2),))
    answer = answer_text(query, clip, "moment_retrieval", FinetuneConfig(rounding=rounding))
    assert answer == "From Frame {} to Frame {}.".format(*labels)


@pytest.mark.parametrize("time_encoding", ["overlay-index", "text-index", "none"])
def test_numbers_that_start_elsewhere_are_shown_and_answered(films, longva, time_encoding):
    tasks = ("moment_retrieval", "highlight_detection")
    config = FinetuneConfig(time_encoding, tasks=tasks, largest_first=90)
    usual = Samples(films, longva, replace(config, largest_first=0))
    parse = {tasks[0]: lambda text: parse_moment(text).spans[0]}
    parse |= {tasks[1]: lambda text: parse_highlights(text).labels}
    starts = set()
    for seed in range(6):
        samples = Samples(films, longva, replace(config, seed=seed))
        for item, plain in zip(samples.items, usual.items, strict=True):
            first, count = item.shown.first, len(item.shown.seconds)
            starts.add(first)
            (prompt, *_), (answer, *_) = samples.prompts(item), samples._answers(item)
            marks = prompt.frame_labels or prompt.frame_texts or ()
            numbers = [int(re.search(r"\d+", mark)[0]) for mark in marks]
            assert numbers == list(range(first, first + count))[: len(marks)]
            at_zero = parse[item.task](usual._answers(plain)[0])
            assert parse[item.task](answer) == tuple(number + first for number in at_zero)
    assert max(starts) <= 90
    assert (len(starts) > 3 and 0 in starts) if time_encoding != "none" else starts == {0}


def test_a_query_without_truth_is_no_sample(films, longva, clip):
    video = films[0]
    bare = [replace(q, spans=(), saliency=None) for q in video.queries]
    some = replace(video, queries=(*bare[:2], *video.queries[2:]))
    assert len(Samples([some], longva, FinetuneConfig())) == len(video.queries) - 2
    for task in ("moment_retrieval", "highlight_detection"):
        with pytest.raises(ValueError, match=f"{bare[0].qid!r} has no (span|saliency) to learn"):
            answer_text(bare[0], clip, task, FinetuneConfig())


def test_a_video_is_run_through_the_tower_once(films, longva, monkeypatch):
    counts = []
    run = type(longva).patch_features
    monkeypatch.setattr(
        type(longva), "patch_features", lambda self, f: counts.append(len(f)) or run(self, f)
    )
    samples = Samples(films, longva, FinetuneConfig())
    first = [samples[i]["image_patches"] for i in range(len(samples))]
    assert len(counts) == 2
    narrow = Samples(films, longva, FinetuneConfig(feature_cache_gib=0.0))
    for i, patches in enumerate(first):
        assert torch.equal(narrow[i]["image_patches"], patches)
    assert len(counts) == 4 and len(narrow._features._memory) == 1, (
        "kept up to a bound, the latest first"
    )


def test_padding_is_ignored(films, longva):
    samples = Samples(films, longva, FinetuneConfig())
    short, long = sorted((samples[0], samples[-1]), key=lambda s: len(s["input_ids"]))
    batch = longva.collate([short, long])
    lengths = [len(short["input_ids"]), len(long["input_ids"])]
    assert lengths[0] < lengths[1]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert (batch["labels"][0, lengths[0] :] == IGNORED).all()
    with torch.no_grad():
        together = longva.model(**batch).loss
        parts = [longva.model(**longva.collate([s])).loss for s in (short, long)]
    counts = [sum(i != IGNORED for i in s["labels"]) for s in (short, long)]
    torch.testing.assert_close(
        together, sum(p * c for p, c in zip(parts, counts, strict=True)) / sum(counts)
    )


# --- a run --------------------------------------------------------------------------------------


def test_the_loss_falls(trained):
    _, _, log, _ = trained
    assert [row["step"] for row in log] == [1, 5, 10, 15]
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]


def test_what_is_trained_and_what_is_not(trained):
    model, _, _, before = trained
    after = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): value
        for name, value in model.model.state_dict().items()
    }
    for name, value in before.items():
        if name.startswith("projector"):
            continue
        assert torch.equal(after[name], value), f"{name} is not to be trained"
    for layer in ("linear_1", "linear_2"):
        new = after[f"projector.modules_to_save.default.{layer}.weight"]
        assert not torch.equal(new, before[f"projector.{layer}.weight"])
    lora = [name for name in after if "lora_B" in name]
    assert len(lora) == 2 * 7 and all(name.startswith("language_model.layers.") for name in lora)
    assert all(after[name].abs().max() > 0 for name in lora)
    assert {after[name].shape[1] for name in lora} == {64}


def test_an_adapter_reloaded_is_the_adapter_trained(trained, longva_dir, clip, films):
    model, out, _, _ = trained
    again = load_model(str(longva_dir), str(out), device="cpu", dtype="float32")
    base = load_model(str(longva_dir), device="cpu", dtype="float32")
    assert again.notes == json.loads(json.dumps(model.notes)) and model.adapter == str(out)
    queries = [q.text for q in films[0].queries]
    answers = [m.answer(clip, queries, max_new_tokens=8) for m in (model, again, base)]
    assert answers[0] == answers[1] != answers[2]
    ids = torch.tensor([model.video_ids(len(clip)) + model.question_ids("When?")])
    with torch.no_grad():
        one, two = (
            m.model(input_ids=ids, pixel_values=m.pixels(clip.frames)).logits
            for m in (model, again)
        )
    torch.testing.assert_close(one, two)


def test_an_adapter_asked_otherwise_than_trained_warns(trained, clip):
    with pytest.warns(UserWarning, match="trained with time encoding 'overlay-index'"):
        trained[0].answer(clip, ["a star"], time_encoding="none", max_new_tokens=1)


def test_the_adapter_says_how_it_was_made(trained, films, longva_dir):
    model, out, log, _ = trained
    notes = json.loads((out / "numpro.json").read_text())
    assert notes["base_model"] == str(longva_dir)
    assert notes["base_fingerprint"] == load_model(str(longva_dir), device="cpu").fingerprint
    assert "{query}" in notes["prompt"]["moment_retrieval"] and "red" in str(notes["prompt"])
    assert (notes["rounding"], notes["max_frames"], notes["processes"]) == ("nearest", 240, 1)
    assert (notes["time_encoding"], notes["fps"]) == ("overlay-index", 1.0)
    assert notes["style"] == {"position": "bottom_right", "size": 40, "color": "red"}
    assert notes["longest"] == max(len(sampling_times(v.duration, 1.0)) for v in films)
    assert notes["data"] == {
        "fingerprint": fingerprint(films),
        "samples": sum(len(v.queries) for v in films),
        "with_fewer_frames": 0,
        "parts": ["flipbook/test"],
        "skipped": [],
        "validation": "none",
    }
    config = notes["config"]
    assert (config["lora_rank"], config["lora_alpha"], config["steps"]) == (64, 128, 15)
    assert notes["last_loss"] == log[-1]["loss"] and notes["seconds"] > 0
    with open(out / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{k: float(v) if v else None for k, v in row.items()} for row in rows] == log
    assert list(rows[0]) == ["step", "epoch", "loss", "learning_rate", "grad_norm", "val_mIoU"]
    peft = json.loads((out / "adapter_config.json").read_text())
    assert (peft["r"], peft["lora_alpha"], peft["modules_to_save"]) == (64, 128, ["projector"])
    card = (out / "README.md").read_text()
    assert "time encoding `overlay-index`" in card and "More Information Needed" not in card
    assert {p.name for p in out.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "log.csv",
        "numpro.json",
    }, "checkpoints of a finished run are gone"


def test_the_name_of_an_embedded_base_is_kept_not_its_folder(films, longva, tmp_path):
    longva.name = "flipbook/longva"
    finetune(longva, films[:1], tmp_path, **{**QUICK, "steps": 1})
    for file in ("adapter_config.json", "README.md", "numpro.json"):
        text = (tmp_path / file).read_text()
        assert "flipbook/longva" in text and str(tmp_path.parent) not in text


def test_the_learning_rate_warms_up_and_follows_a_cosine(films, longva, tmp_path):
    config = {"steps": 20, "warmup": 0.2, "learning_rate": 1e-3, "batch_size": 1}
    log = finetune(longva, films[:1], tmp_path, **{**QUICK, **config})
    wanted = [
        1e-3 * (i / 4 if i < 4 else 0.5 * (1 + math.cos(math.pi * (i - 4) / 16))) for i in range(20)
    ]
    np.testing.assert_allclose([row["learning_rate"] for row in log], wanted, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 2, "accumulation": 4}, {"gradient_checkpointing": True}],
    ids=["accumulated", "checkpointed"],
)
def test_saving_memory_changes_nothing(films, longva_dir, tmp_path, changes):
    logs = []
    for name, more in (("plain", {}), ("saving", changes)):
        model = load_model(str(longva_dir), device="cpu", dtype="float32")
        logs.append(finetune(model, films, tmp_path / name, **{**QUICK, **more}))
    for plain, saving in zip(*logs, strict=True):
        assert saving["loss"] == pytest.approx(plain["loss"], rel=1e-3)
        assert saving["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-2)


def test_in_bfloat16_the_frozen_weights_stay_and_the_trained_ones_are_exact(
    films, longva_dir, tmp_path, monkeypatch
):
    kinds = {}

    def look(self, args, state, control, model=None, **named):
        for _, value in model.named_parameters():
            kinds.setdefault(value.requires_grad, set()).add(value.dtype)

    monkeypatch.setattr(Bookkeeper, "on_step_begin", look, raising=False)
    logs = []
    for kind in ("float32", "bfloat16"):
        kinds.clear()
        model = load_model(str(longva_dir), device="cpu", dtype=kind)
        how = {**QUICK, "precision": kind, "validate_every": 1, "validation": films[:1]}
        logs.append(finetune(model, films, tmp_path / kind, **how))
    assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}
    losses = [[row["loss"] for row in log] for log in logs]
    assert losses[1] == pytest.approx(losses[0], rel=0.03) and losses[1] != losses[0]
    assert {p.dtype for p in model.model.parameters()} == {torch.bfloat16}


def test_a_4bit_base_is_learned_on_and_stays_as_it_is(films, longva_dir, tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra numpro[quantize] is not installed")
    model = load_model(str(longva_dir), device="cpu", dtype="bfloat16", quantization="4bit")

    def packed():
        values = model.model.named_parameters()
        return {n.split(".base_layer")[0]: p.clone() for n, p in values if p.dtype == torch.uint8}

    before = packed()
    assert len(before) == 2 * 7, "all linear layers of the language model"
    config = replace(PRESETS["24gb"], total_batch=None, save_every=None, workers=0)
    log = finetune(model, films, tmp_path, config, **{**QUICK, "steps": 6, "lora_rank": 8})
    assert log[-1]["loss"] < 0.9 * log[0]["loss"]
    after = {n.removeprefix("base_model.model."): p for n, p in packed().items()}
    names = {n.removesuffix(".weight") for n in before}
    assert {n.removesuffix(".weight") for n in after} == names
    for name, value in before.items():
        (same,) = (p for n, p in after.items() if n == name or n + ".weight" == name)
        assert torch.equal(same, value)
    kept = {"device": "cpu", "dtype": "bfloat16", "quantization": "4bit"}
    again = load_model(str(longva_dir), adapter=str(tmp_path), **kept)
    assert again.notes["config"]["quantization"] == "4bit"


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_video_that_cannot_be_read_is_left_out_and_listed(films, longva, tmp_path, batch_size):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no film")
    videos = [
        films[0],
        replace(films[1], video="gone", path=tmp_path / "gone.mp4"),
        replace(films[1], video="broken", path=broken),
    ]
    out = tmp_path / "out"
    finetune(longva, videos, out, **{**QUICK, "batch_size": batch_size, "steps": 3})
    data = json.loads((out / "numpro.json").read_text())["data"]
    assert data["samples"] == len(films[0].queries)
    reasons = {row["video"]: row["reason"] for row in data["skipped"]}
    assert reasons["gone"] == "no such file" and "not a readable video" in reasons["broken"]


def test_a_step_in_which_every_video_broke_teaches_nothing(films, longva, tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(films[0].path.read_bytes())
    videos, config = [replace(films[0], path=film)], FinetuneConfig.of(None, **STEPS)
    samples = Samples(videos, longva, config)
    film.write_bytes(film.read_bytes()[:300])  # it could be read when it was looked into
    log = finetune(longva, videos, tmp_path / "out", config, progress=False, samples=samples)
    assert [row["loss"] for row in log] == [0.0, 0.0]
    assert all(torch.isfinite(p).all() for p in longva.model.parameters())
    (row,) = json.loads((tmp_path / "out" / "numpro.json").read_text())["data"]["skipped"]
    assert row["video"] == videos[0].video and "no video stream" in row["reason"]


def test_nothing_to_learn_from_is_an_error(films, longva, tmp_path):
    gone = replace(films[0], path=tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match="nothing to learn from: 1 videos, 1 unreadable"):
        finetune(longva, [gone], tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_an_adapter_is_not_trained_on_an_adapter(trained, films, tmp_path):
    with pytest.raises(ValueError, match="starts from a base model; '.*adapter.*' is loaded on it"):
        finetune(trained[0], films, tmp_path, **QUICK)


# --- its values ---------------------------------------------------------------------------------


def test_the_presets_are_the_papers_where_it_says(longva):
    for config in PRESETS.values():
        assert (config.lora_rank, config.lora_alpha, config.warmup) == (64, 128, 0.05)
        assert config.time_encoding == "overlay-index" and config.style == NumberStyle()
        assert config.train_projector and config.save_every
    paper, card = PRESETS["paper"], PRESETS["24gb"]
    for config in (paper, card):
        assert (config.fps, config.learning_rate, config.epochs) == (0.5, 1e-4, 3)
        assert (config.total_batch, config.precision, config.size) == (128, "bfloat16", (336, 336))
        assert config.gradient_checkpointing and config.weight_decay == 0
    assert (paper.max_frames, paper.max_tokens, paper.quantization) == (240, 4096, None)
    assert (card.max_frames, card.quantization) == (64, "4bit")
    peft = lora_config(FinetuneConfig(), longva)
    assert (peft.r, peft.lora_alpha, peft.modules_to_save) == (64, 128, ["projector"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "half"}, "precision must be one of float32, bfloat16; got 'half'"),
        ({"quantization": "4bit"}, "precision must be bfloat16 with quantization '4bit'"),
        ({"rank": 3}, "no such value: rank; there are"),
        ({"report_to": ("nowhere",)}, "nowhere is not installed; pip install nowhere"),
        ({"total_batch": 3, "batch_size": 2}, "multiple of batch_size x processes = 2 x 1; got 3"),
    ],
)
def test_a_value_that_cannot_be_is_reported_in_one_line(films, longva, tmp_path, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        finetune(longva, films, tmp_path / "out", **{**QUICK, **changes})
    assert not (tmp_path / "out").exists()


def test_the_samples_of_a_step_are_the_same_on_any_number_of_gpus():
    paper = PRESETS["paper"]
    for processes in (1, 8, 32):
        planned = paper.schedule(220_000, processes)
        assert planned["batch"] == 128
        assert planned["steps"] == math.ceil(3 * 220_000 / 128)


def test_a_plan_says_what_a_run_will_do(films):
    count = sum(len(v.queries) for v in films)
    config = FinetuneConfig(epochs=3, batch_size=4, accumulation=1)
    planned = plan(films, config)
    assert planned["samples"] == count == 7
    assert (planned["steps"], planned["batch"], planned["warm-up steps"], planned["epochs"]) == (
        6,
        4,
        1,
        3.43,
    )
    assert plan(films, replace(config, steps=40, accumulation=2)) == {
        "samples": 7,
        "steps": 40,
        "batch": 8,
        "warm-up steps": 2,
        "epochs": 45.71,
    }


def test_a_plan_says_how_many_videos_are_shown_with_fewer_frames(films, longva):
    longest = max(Samples(films, longva, FinetuneConfig()).lengths)
    config = FinetuneConfig.of(None, max_tokens=longest)
    assert plan(films, config, longva)["with fewer frames"] == 0
    planned = plan(films, replace(config, max_tokens=longest - 1), longva)
    assert 0 < planned["with fewer frames"] < planned["samples"]
    assert planned["most tokens"] < longest


@pytest.mark.parametrize("changes", [{}, {"share_frames": True}], ids=["plain", "shared"])
def test_a_plan_foretells_what_a_step_holds(films, longva, changes):
    """Trained parameters exactly; activations not below what torch keeps, nor far above."""
    from peft import get_peft_model

    config = FinetuneConfig.of(None, batch_size=1, lora_rank=8, **changes)
    planned = plan(films, config, longva)
    samples = Samples(films, longva, config)
    longest = int(np.argmax(samples.lengths))
    assert planned["most tokens"] == len(samples[longest]["input_ids"])
    foretold = predict_memory(longva, config, planned["most tokens"])
    peft_model = get_peft_model(longva.model, lora_config(config, longva))
    trained = [p for p in peft_model.parameters() if p.requires_grad]
    assert planned["trainable parameters"] == sum(p.numel() for p in trained)
    weights = {p.untyped_storage().data_ptr() for p in peft_model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:  # kept, so that no address comes twice
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    batch = longva.collate([samples[longest]])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        peft_model(**answers_only(batch))
    measured = sum(size for size, _ in kept.values()) / GIB
    assert measured < foretold["activations"] < 1.5 * measured
