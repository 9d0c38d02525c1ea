"""Every video LLM class of transformers answers by its own processor, and shares a video exactly.

Where torchvision is (``make test`` runs this file once more with it), frames go in as a video too.
"""

import os
from functools import partial
from importlib.util import find_spec
from itertools import groupby

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from learning import mean_loss, train_lora
from zoo import ZOO, build_zoo_model, zoo_model
from zoo_table import read_table, table_of, write_table

from numpro import Clip
from numpro.inference.prediction_files import read_config, read_rows
from numpro.models import NoAnswer, Question, load_model
from numpro.models.frame_times import to_number
from numpro.models.sharing import Copies, decode
from numpro.prompting import build_prompt
from numpro.prompting.labels import label_form
from numpro.training.samples import collate
from numpro.video import Sampling

QUERIES = ["a red star spins", "the blue heart that grows", "a red star stops", "x"]
TIMES = (0.5, 2.5, 4.75, 6.5, 9.0)
VIDEO = find_spec("torchvision") is not None
# Qwen's video needs no torchvision, and so do types that share its processor
PLAIN_VIDEO = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe",
               "qwen4_exp", "lfm3_vl", "exaone4_5")  # fmt: skip
WAYS = [
    (name, way)
    for name, kind in ZOO.items()
    for way in ("images", "video")
    if kind.here and (way == "images" or VIDEO or name in PLAIN_VIDEO)
]
OLDER = not hasattr(transformers, "Molmo2Config")  # of the supported versions, not the newest
# as small as shows the thing: Gemma 4 gives a picture 280 tokens unless it is asked
SMALL = {"gemma4": {"max_soft_tokens": 70}, "gemma4_unified": {"max_soft_tokens": 70}}
pytestmark = pytest.mark.filterwarnings("ignore")  # of the library's own, some of them each run
RAN: dict[tuple, dict] = {}  # what was found of each, for the table in docs
ways = pytest.mark.parametrize("way", WAYS, ids=" ".join)


def load(name, frames_as="images", **options):
    options = {"processor_kwargs": SMALL.get(name), **options}
    where = {"device": "cpu", "dtype": "float32"}
    return load_model(str(zoo_model(name)), frames_as=frames_as, **where, **options)


@pytest.fixture(scope="module")
def models():
    """Each is loaded once; nothing here changes one."""
    return {}


def model_of(models, way):
    if way not in models:
        models[way] = load(*way)
    return models[way]


def frames_of(seed, count=5, side=112):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(side // 8, 1).repeat(side // 8, 2)


def prompts_of(time_encoding="overlay-index", queries=QUERIES, seconds=TIMES):
    return [build_prompt(q, seconds, time_encoding=time_encoding, duration=10.0) for q in queries]


def written(model, frames, prompt):
    """Return a prompt's text with each run of visual tokens as NUL."""
    ids = model.prompt_ids(frames.shape, prompt)
    runs = [(visual, [*run]) for visual, run in groupby(ids, model.is_visual)]
    return "".join("\0" if visual else model.tokenizer.decode(run) for visual, run in runs)


@torch.no_grad()
def alone(model, frames, prompt, most=4):
    """Ask by the library's own way: the whole prompt, then ``generate``."""
    inner = model.model.model
    if hasattr(inner, "rope_deltas"):
        inner.rope_deltas = None  # what a video before left on the module
    inputs = model.inputs(frames, prompt)
    made = model.model.generate(
        **inputs, do_sample=False, max_new_tokens=most, pad_token_id=model.pad,
        eos_token_id=None, return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    return made.sequences[0, inputs["input_ids"].shape[1] :].tolist(), made.logits[0][0]


def shared(model, frames, prompts, most=4, copies=False):
    """Ask as `respond` does, or with copies; return tokens, and the logits of the first."""
    model.take_frames(frames, prompts[0])
    ids, length = model.encode_prompts(frames.shape, prompts)
    prefix = model.prefill(ids[0][:length], frames, prompts[0])
    rest, answers, logits = [each[length:] for each in ids], {}, {}
    batches = [rest]
    if copies or not model.takes_tree:
        batches = [[r for r in rest if len(r) == n] for n in sorted({*map(len, rest)})]
    with torch.inference_mode():
        for batch in batches:
            way = Copies(model.model, prefix, 4) if copies else model.branches(prefix, 4)
            with way as branches:
                tokens, _ = decode(branches, batch, most, {-1})
                _, first = branches.extend([(branches.root, r) for r in batch])
            answers |= zip(map(tuple, batch), tokens, strict=True)
            logits |= zip(map(tuple, batch), first, strict=True)
    return [(answers[tuple(r)], logits[tuple(r)]) for r in rest]


# --- every class ---------------------------------------------------------------------------------


@pytest.mark.skipif(OLDER, reason="an older transformers has fewer types")
def test_twenty_types_are_asked():
    assert len(ZOO) >= 27 and sum(kind.here for kind in ZOO.values()) >= 20


@ways
def test_questions_that_share_a_video_are_answered_as_each_alone(way, models):
    model, prompts = model_of(models, way), prompts_of()
    films = frames_of(1), frames_of(2)
    for frames in films:  # the second must not feel the first
        wanted = [alone(model, frames, prompt) for prompt in prompts]
        for copies in {True, not model.takes_tree}:
            got = shared(model, frames, prompts, copies=copies)
            for (tokens, logits), (ours, our_logits) in zip(wanted, got, strict=True):
                assert ours == tokens
                torch.testing.assert_close(our_logits, logits, atol=1e-4, rtol=0)
    differ = [shared(model, frames, prompts[:1])[0][1] for frames in films]
    assert (differ[0] - differ[1]).abs().max() > 1e-3, "or frames would not count"
    texts = model.respond(films[1], prompts, 4)
    assert model.respond(films[1], prompts[::-1], 4) == texts[::-1]
    if model.takes_tree:  # and films as a batch
        form = label_form("overlay-index", 5, None, 10.0)
        both = model.respond_with_labels([(f, prompts) for f in films], 4, [form] * 2, 1e-3)
        for frames, rows in zip(films, both, strict=True):
            (one,) = model.respond_with_labels([(frames, prompts)], 4, [form], 1e-3)
            for (text, found), (words, alone_found) in zip(rows, one, strict=True):
                assert text == words and type(found) is type(alone_found)
                if not isinstance(found, str):
                    np.testing.assert_allclose(
                        found.probabilities, alone_found.probabilities, atol=1e-5
                    )
    RAN.setdefault(way, {})["shares"] = "any" if model.takes_tree else "of one length"
    kinds = getattr(model.model.config.get_text_config(), "layer_types", None) or []
    full = {*kinds} <= {"full_attention"} and way[0] != "muse_glimmer"
    assert model.takes_tree == full, "all whose layers attend to everything need no copies"


@ways
def test_no_frame_is_lost_and_each_has_its_own_time(way, models):
    model, frames, (prompt,) = model_of(models, way), frames_of(3), prompts_of(queries=["x"])
    name = way[0]
    text, images = written(model, frames, prompt), way[1] == "images"
    inputs = model.inputs(frames, prompt)
    assert inputs["input_ids"][0].tolist() == model.prompt_ids(frames.shape, prompt)
    adjoining = ("video_llama_3", "perception_lm", "llava_next_video")  # nothing between two
    if images and name not in adjoining:
        assert text.count("\0") == len(frames)
    other = frames.copy()
    for k in range(len(frames)):  # each of them is among the pixels
        other[k] = 255 - other[k]
        pixels = [model.inputs(f, prompt) for f in (frames, other)]
        key = next(key for key in inputs if key.startswith("pixel_values"))
        assert not torch.equal(*(made[key] for made in pixels))
        other[k] = frames[k]
    marks, unit = model.native_marks(TIMES), model.native_unit
    assert (unit is None) == (marks == [])
    each = -(-len(TIMES) // max(1, len(marks)))
    for k, mark in enumerate(marks):
        group = TIMES[k * each : (k + 1) * each]
        low, high = (k + 1, k + 1) if unit == "frame" else (int(min(group)), max(group) + 0.06)
        assert low <= to_number(mark) <= high
    assert prompt.text in text.rpartition("\0")[2] or prompt.text in text


@pytest.mark.skipif(not VIDEO, reason="the library's own processors need torchvision")
@ways
def test_tokens_and_pixels_are_those_of_the_librarys_processor(way, models):
    from transformers import AutoProcessor

    name, frames_as = way
    if way == ("llava_next_video", "images"):
        pytest.skip("its frames go in by its video input")
    model, frames, (prompt,) = model_of(models, way), frames_of(7), prompts_of(queries=["x"])
    inputs = model.frame_inputs
    text, given = inputs.chat(len(frames), prompt), {**inputs.kwargs}
    place = f"{frames_as.rstrip('s')}s_kwargs"
    given[place] = {k: v for k, v in given[place].items() if k not in ("do_convert_rgb",)}
    if frames_as == "images":
        given["images"] = [list(frames)]
    else:
        times = {"fps": 1000.0, "total_num_frames": round(1000 * 5 * np.diff(TIMES).mean())}
        times |= {"duration": 11.0, "frames_indices": [round(1000 * t) for t in TIMES]}
        given |= {"videos": [frames], "video_metadata": [times], "do_sample_frames": False}
        given["return_metadata"] = True  # two classes cannot do without
    bos = model.tokenizer.bos_token
    wanted = AutoProcessor.from_pretrained(zoo_model(name))(
        text=[text], return_tensors="pt", add_special_tokens=not (bos and text.startswith(bos)),
        **given,
    )  # fmt: skip
    made = model.inputs(frames, prompt)
    assert made["input_ids"].tolist() == wanted["input_ids"].tolist()
    for key, value in made.items():
        if key.startswith("pixel_values"):  # Pillow's resizing is a grey level off, or two
            torch.testing.assert_close(value, wanted[key], atol=0.035, rtol=0)
        elif key.endswith(("thw", "grids", "sizes", "pooling")):
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(wanted[key]))


@pytest.mark.parametrize("name", [name for name, kind in ZOO.items() if kind.here])
def test_words_stand_before_their_frames(name, models):
    model, frames = model_of(models, (name, "images")), frames_of(4, 3)
    (prompt,) = prompts_of("text-seconds", ["x"], TIMES[:3])
    text = written(model, frames, prompt)
    pieces = text.split("\0")
    assert len(pieces) == 4 and prompt.text in text
    for words, piece in zip(prompt.frame_texts, pieces, strict=False):
        assert words in piece and piece.count("timestamp: ") == 1
    assert all("Image" not in piece for piece in pieces[:3]), "numbers beside our own"
    plain = model.prompt_ids(frames.shape, prompts_of("none", ["x"], TIMES[:3])[0])
    worded = model.prompt_ids(frames.shape, prompt)
    assert sum(map(model.is_visual, plain)) == sum(map(model.is_visual, worded))


@ways
def test_lora_on_the_language_model_learns_an_answer(way):

    model, texts = load(*way), ["From Frame 1 to Frame 2.", "From 0 to 1."]
    for count in (4, 2):  # videos of one length, and of two
        if (way, count) == (("llava_onevision", "video"), 2):
            continue  # see the next test
        clips = frames_of(5, 4), frames_of(6, count)
        prompts = [
            prompts_of(queries=[query], seconds=TIMES[: len(clip)])[0]
            for query, clip in zip(QUERIES, clips, strict=False)
        ]
        samples = [
            model.training_example(*given) for given in zip(clips, prompts, texts, strict=True)
        ]
        before = mean_loss(model, samples, rel=1e-3)
        with torch.no_grad():  # and with no more logits than are needed, where a class gives fewer
            batch = collate(model, samples)
            assert model.model(**batch).loss.item() == pytest.approx(before, rel=1e-3)
    trained, names, last = train_lora(model, batch, rate=0.02, steps=5)
    decoder = "text_model" if way[0] == "smolvlm" else "language_model"
    assert names and all(f"{decoder}.layers." in n for n in names)
    assert last < before - 0.05
    RAN.setdefault(way, {})["trains"] = True


@pytest.mark.skipif(not VIDEO, reason="torchvision makes its videos")
def test_videos_of_two_lengths_are_no_batch_where_each_ends_in_a_token(models):
    model, (prompt,) = model_of(models, ("llava_onevision", "video")), prompts_of(queries=["x"])
    samples = [model.training_example(frames_of(1, n), prompt, "From 1 to 2.") for n in (2, 3)]
    with pytest.raises(ValueError, match="llava_onevision takes videos of one length in a batch"):
        model.collate(samples)


@pytest.mark.parametrize("name", ["qwen3_5", "internvl", "smolvlm"])
def test_predict_runs_from_the_command_line(name, films, tmp_path, monkeypatch):
    from numpro import cli

    if (name, "images") not in WAYS:
        pytest.skip("this type needs torchvision in an older transformers")
    monkeypatch.setattr(cli.scores, "Sampling", partial(Sampling, size=(112, 112)))
    out, data = tmp_path / "rows.jsonl", films[0].path.parent.parent
    given = ["predict", "--data-root", data, "--limit", 1, "--workers", 0, "--out", out]
    given += ["--model", zoo_model(name), "--fps", "0.15", "-o", "device", "cpu"]
    given += ["-o", "dtype", "float32"]
    thinks = name == "qwen3_5"
    given += ["-o", "template_kwargs", "{enable_thinking: false}"] if thinks else []
    done = CliRunner().invoke(cli.main, [str(word) for word in given])
    assert done.exit_code == 0, done.output
    rows, config = read_rows(out), read_config(out)
    assert [row["qid"] for row in rows] == [query.qid for query in films[0].queries]
    assert any(row["response"] for row in rows), "random words, but words"
    wanted = {"enable_thinking": False} if thinks else None
    assert config["state"].get("template_kwargs") == wanted
    whole = config["about"]["prompt_in_chat"]
    assert whole.endswith("</think>\n\n") == thinks


# --- what is refused, and how --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("internvl", {"frames_as": "film"}, "frames_as must be one of images, video; got 'film'"),
        ("qwen3_5", {"template_kwargs": {"enable_thinkin": False}},
         "template_kwargs: the chat template of qwen3_5 has no argument enable_thinkin; near are "
         "enable_thinking"),
        ("internvl", {"processor_kwargs": {"crop_to_patch": True}},
         "internvl has no argument crop_to_patch for images; near are crop_to_patches"),
        ("internvl", {"max_pixels": 9}, "internvl always sees frames at .*cannot be chosen"),
        ("qwen3_5", {"frames_as": "video", "processor_kwargs": {"max_soft_tokens": 1}},
         "qwen3_5 has no argument max_soft_tokens for videos"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_had_are_refused_by_name(name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, **options)


def test_the_users_arguments_go_over_those_of_the_class(models):
    plain, tiled = (
        load("internvl", processor_kwargs=given)
        for given in (None, {"crop_to_patches": True, "min_patches": 2})
    )
    frames, (prompt,) = frames_of(1, 2), prompts_of(queries=["x"], seconds=TIMES[:2])
    counts = [
        sum(map(model.is_visual, model.prompt_ids(frames.shape, prompt)))
        for model in (plain, tiled)
    ]
    assert counts[1] > 2 * counts[0]
    assert tiled.state()["processor_kwargs"] == {"crop_to_patches": True, "min_patches": 2}
    assert "processor_kwargs" not in plain.state()


def test_one_frame_is_no_video_where_frames_are_joined(models):
    model = model_of(models, ("qwen3_5", "video"))
    (prompt,) = prompts_of(queries=["x"], seconds=TIMES[:1])
    with pytest.raises(ValueError, match="qwen3_5 takes no video of one frame.*frames_as='images'"):
        model.respond(frames_of(1, 1), [prompt], 2)


def test_a_thought_that_takes_all_tokens_is_said_to_have(models):
    thinking, frames = model_of(models, ("qwen3_5", "images")), frames_of(1)
    (answer,) = thinking.respond(frames, prompts_of(queries=["x"]), 5)
    assert isinstance(answer, NoAnswer) and answer.reason.startswith(
        "cut off inside its thought after 5 tokens: give template_kwargs"
    )
    plain = load("qwen3_5", template_kwargs={"enable_thinking": False})
    assert written(plain, frames, prompts_of()[0]).endswith("<think>\n\n</think>\n\n")
    (answer,) = plain.respond(frames, prompts_of(queries=["x"]), 5)
    assert answer and not isinstance(answer, NoAnswer)
    ids = thinking.encode("hm </think>\n\nFrom 1 to 2.")
    assert thinking.answer_text(ids, thinking.encode("<think>\n"), 99).endswith("From 1 to 2.")
    ids = thinking.encode("<think> hm")
    assert "inside its thought" in thinking.answer_text(ids, [], 99).reason


def test_a_template_that_begins_no_answer_is_refused(tmp_path):
    folder = build_zoo_model("internvl", tmp_path)
    chat = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(chat.partition("{% if add_gen")[0])
    model = load_model(str(folder), device="cpu", dtype="float32")
    with pytest.raises(ValueError, match="does not begin an answer: .*add_generation_prompt"):
        model.respond(frames_of(1), prompts_of(), 2)


@pytest.mark.parametrize("fault", ["lost", "doubled", "late"])
def test_a_frame_that_is_lost_or_gets_another_time_is_an_error(fault, models):
    model = load("qwen3_5", "video")
    inputs = model.frame_inputs
    theirs = inputs.processor._process_videos.args[0]

    def spoil(videos, **kwargs):
        (frames,), (times,) = videos, kwargs["video_metadata"]
        indices = times["frames_indices"]
        if fault == "late":
            indices = [index + 2000 for index in indices]
        else:
            pick = [0, 1] if fault == "lost" else [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
            frames, indices = frames[pick], [indices[k] for k in pick]
        return theirs(
            [frames], **kwargs | {"video_metadata": [times | {"frames_indices": indices}]}
        )

    model.inputs(frames_of(1), prompts_of()[0])
    inputs.processor._process_videos = partial(inputs._once, spoil)
    message = {"lost": "made . frames of 5", "doubled": "made . frames of 5",
               "late": r"wrote 3.5 beside what was sampled at \(0.5, 2.5\)"}  # fmt: skip
    with pytest.raises(ValueError, match=f"the processor of qwen3_5 {message[fault]}"):
        model.inputs(frames_of(2), prompts_of()[0])


@pytest.mark.skipif(not VIDEO, reason="torchvision makes its videos")
def test_a_budget_for_a_whole_video_is_told_before_asking():
    model = load("video_llama_3", "video")
    few, many = (model.visible_size(336, 336, count) for count in (8, 240))
    assert few[0] >= 112 > 2 * many[0]
    source = {"duration": 240.0}
    clip = Clip(np.zeros((240, 336, 336, 3), np.uint8), np.arange(240.0), np.arange(240), source)
    with pytest.warns(UserWarning, match="pixels high in the 28 x 28.*max_pixels or fewer frames"):
        model.prepare(clip, ["x"], Question())


@pytest.mark.skipif(VIDEO, reason="torchvision is there")
@pytest.mark.parametrize("way", [("molmo2", "images"), ("internvl", "video")], ids=" ".join)
def test_what_needs_torchvision_says_so(way):
    if OLDER and way[0] == "molmo2":
        pytest.skip("an older transformers has no such type")
    with pytest.raises(ImportError, match=f"needs torchvision for {way[0]}; install the one that"):
        load(*way)


# --- the table in docs ---------------------------------------------------------------------------


@pytest.mark.skipif(not all(kind.here for kind in ZOO.values()), reason="not every type is here")
def test_the_table_in_docs_is_what_was_run(models):
    """``WRITE_TABLE=1 python -m pytest tests/models/test_zoo.py`` writes it anew."""
    if len(RAN) < 2 * len(ZOO):
        pytest.skip("only a part of the tests ran")
    prompt = {way: prompts_of("none", ["x"], TIMES[:4])[0] for way in ("images", "video")}
    for way in WAYS:
        model = load(*way, processor_kwargs=None)
        ids = model.prompt_ids((4, 336, 336, 3), prompt[way[1]])
        RAN[way]["tokens"] = sum(map(model.is_visual, ids)) / 4
        RAN[way]["writes"] = model.native_marks((1.5, 3.5, 5.5, 7.5))
        RAN[way]["plain"] = "torchvision" not in ZOO[way[0]].needs and (
            way[1] == "images" or way[0] in PLAIN_VIDEO
        )
    table = table_of(RAN)
    if os.environ.get("WRITE_TABLE"):
        write_table(table)
    assert table == read_table(), "write it anew, see above"
