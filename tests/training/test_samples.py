"""Samples: the answer alone is learned, lengths are known before, what is bad is left out."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny_models import KINDS, tiny_model

from numpro import Span, write_video
from numpro.cli import main
from numpro.datasets import Query, Saliency, VideoQueries, load_dataset
from numpro.models import load_model
from numpro.models.training_batches import IGNORED, answers_only
from numpro.prompting.prompts import TIME_ENCODINGS
from numpro.training.prefetch import ByLength, Prefetcher
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import Samples, collate
from numpro.video import VideoError
from numpro.video.workers import Request

BOTH = ("moment_retrieval", "highlight_detection")


def all_of(samples):
    return [samples[i] for i in range(len(samples))]


def film(path, seconds, queries=1, size=(32, 32)):
    """A grey film of so many seconds, with its queries."""
    shades = np.arange(seconds, dtype=np.uint8)[:, None, None, None]
    write_video(path, np.broadcast_to(shades * 9, (seconds, *size, 3)), fps=1)
    queries = tuple(
        Query(f"{path.stem}_{n}", "a " + "very " * n + "grey wall", (Span(0.0, 1.0 + n % 2),))
        for n in range(queries)
    )
    return VideoQueries(path.stem, path, float(seconds), queries, "folder", "all")


@pytest.fixture(scope="module")
def lengthy(tmp_path_factory):
    """Films of 1 to 12 seconds."""
    folder = tmp_path_factory.mktemp("lengthy")
    return [film(folder / f"film{n}.mp4", n) for n in range(1, 13)]


# --- lengths and order --------------------------------------------------------------------------


@pytest.mark.parametrize("share", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("time_encoding", [n for n in TIME_ENCODINGS if "native" not in n])
def test_lengths_are_known_before_anything_is_decoded(
    films, longva, monkeypatch, time_encoding, share
):
    config = FinetuneConfig(tasks=BOTH, time_encoding=time_encoding, share_frames=share)
    samples = Samples(films, longva, config)
    with monkeypatch.context() as patched:
        patched.setattr("numpro.training.prefetch.read_many", None)
        lengths = samples.lengths
    assert lengths == [len(sample["input_ids"]) for sample in all_of(samples)]


def test_batches_are_of_like_length_and_their_order_is_the_seeds():
    rng, given = np.random.default_rng(0), []
    lengths = rng.integers(100, 10_000, 203)

    class Fake(list):
        """As many samples as there are lengths."""

        epoch, look_ahead = 0, given.append

    samples = Fake(lengths)
    samples.lengths = lengths.tolist()
    orders = []
    for seed, samples.epoch in ((0, 0), (0, 0), (0, 1), (1, 0)):
        orders.append(list(ByLength(samples, 4, seed)))
        assert sorted(orders[-1]) == list(range(203)) and given[-1] == orders[-1]
        assert max(lengths) in lengths[orders[-1][:4]], "what does not fit fails early"
    assert orders[0] == orders[1] and len(set(map(tuple, orders))) == 3

    def padding(order):
        batches = lengths[order[:200]].reshape(-1, 4)
        return (batches.max(1, keepdims=True) - batches).mean()

    assert max(map(padding, orders)) < 0.2 * padding(rng.permutation(203))
    longest = lengths[orders[0][:200]].reshape(-1, 4).max(1)
    assert abs(np.corrcoef(longest, range(50))[0, 1]) < 0.4, "long and short ones in turn"


def test_a_video_that_is_too_long_is_shown_with_fewer_frames(lengthy, longva, capsys):
    shown = Samples(lengthy, longva, FinetuneConfig())
    most = int(np.median(shown.lengths))
    samples = Samples(lengthy, longva, FinetuneConfig(max_tokens=most))
    assert samples.skipped == [] and max(samples.lengths) <= most
    assert shown.thinned == 0 and samples.thinned == sum(n > most for n in shown.lengths) > 0
    frame = longva.model.config.tokens_per_frame
    assert most - max(samples.lengths) < frame, "as many frames as there is room for"
    for free, bound, sample in zip(shown.items, samples.items, all_of(samples), strict=True):
        assert len(sample["input_ids"]) <= most
        seconds = bound.shown.seconds
        assert set(seconds) <= set(free.shown.seconds) and seconds[0] == 0
    with pytest.raises(ValueError, match="12 queries left out"):
        Samples(lengthy, longva, FinetuneConfig(max_tokens=20))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12 and "with one frame, max_tokens is 20" in lines[0]


# --- the loss -----------------------------------------------------------------------------------


def test_logits_are_computed_where_the_loss_needs_them_only(films, longva):
    found = longva.collate(all_of(Samples(films, longva, FinetuneConfig())))
    with torch.no_grad():
        whole, less = longva.model(**found), longva.model(**answers_only(found))
    torch.testing.assert_close(less.loss, whole.loss)
    answers = int((found["labels"] != IGNORED).any(0).sum())
    assert less.logits.shape[1] == answers + 1 < whole.logits.shape[1] / 4


def test_sharing_frames_in_half_precision(films, longva):
    longva.model.to(torch.bfloat16)
    loss = [
        longva.model(
            **collate(longva, all_of(Samples(films, longva, FinetuneConfig(share_frames=share))))
        ).loss.item()
        for share in (False, True)
    ]
    assert loss[1] == pytest.approx(loss[0], rel=0.02)


def test_a_model_that_cannot_be_trained_so_is_refused(films, longva):
    share = FinetuneConfig(share_frames=True)
    with pytest.raises(ValueError, match="share_frames is for LongVA; SimpleNamespace takes one"):
        Samples(films, SimpleNamespace(training_example=None), share)
    with pytest.raises(ValueError, match="SimpleNamespace cannot be fine-tuned here"):
        Samples(films, SimpleNamespace(), FinetuneConfig())
    longva.model.config._attn_implementation = "eager"
    with pytest.raises(ValueError, match="share_frames needs .*'sdpa'.* got 'eager'"):
        Samples(films, longva, share)


CLASSES = [*KINDS, "qwen2_5_vl as video", "qwen3_vl as video"]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_learns_the_answer_and_nothing_else(kind, lengthy, tmp_path):
    name, _, as_video = kind.partition(" as ")
    model = load_model(str(tiny_model(name)), dtype="float32", frames_as=as_video or "images")
    videos = [replace(video, queries=video.queries[:1]) for video in lengthy[1:5:3]]
    config = FinetuneConfig(time_encoding="overlay-index" if as_video else "text-seconds")
    samples = Samples(videos, model, replace(config, size=(56, 56), cache=str(tmp_path)))
    found = all_of(samples)
    assert samples.lengths == [len(sample["input_ids"]) for sample in found]
    for sample in found:
        learned = [token for token in sample["labels"] if token != IGNORED]
        answer = model.tokenizer.decode(learned)
        assert (
            answer
            == ("From Frame 0 to Frame 1." if as_video else "From 0.0 seconds to 1.0 seconds.")
            + "<|im_end|>"
        )
        assert sample["input_ids"][-len(learned) :] == learned
    batch = collate(model, found)
    model.model.zero_grad()
    loss = model.model(**batch).loss
    loss.backward()
    with torch.no_grad():
        whole = model.model(**model.collate(found)).loss
    torch.testing.assert_close(loss.detach(), whole, rtol=1e-4, atol=1e-4)
    parts = [model.model(**collate(model, [sample])).loss.item() for sample in found]
    counts = [sum(label != IGNORED for label in sample["labels"]) for sample in found]
    assert loss.item() == pytest.approx(np.average(parts, weights=counts), rel=1e-3)
    blank = samples._blank(samples.items[0])
    assert set(blank["labels"]) == {IGNORED}
    again = model.model(**collate(model, [*found, blank])).loss.item()
    assert again == pytest.approx(loss.item(), rel=1e-3), "a black frame teaches nothing"


# --- what is bad --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_breaks_later_teaches_nothing_and_stops_nothing(
    films, longva, tmp_path, workers, capsys
):
    breaking = film(tmp_path / "breaking.mp4", 3, queries=2)
    samples = Samples([films[0], breaking], longva, FinetuneConfig(workers=workers, batch_size=2))
    assert len(samples) == len(films[0].queries) + 2 and samples.skipped == []
    breaking.path.write_bytes(breaking.path.read_bytes()[:300])
    samples.look_ahead(range(len(samples)))
    found = all_of(samples)
    samples.close()
    assert [row["video"] for row in samples.skipped] == ["breaking"], "listed once, not by query"
    assert "left out: breaking: no video stream (it holds data)" in capsys.readouterr().err
    assert all(label == IGNORED for sample in found[-2:] for label in sample["labels"])
    with torch.no_grad():
        loss, good = (longva.model(**collate(longva, part)).loss for part in (found, found[:-2]))
        nothing = longva.model(**collate(longva, found[-2:]), num_items_in_batch=1).loss
    torch.testing.assert_close(loss, good)
    assert nothing == 0


def test_what_cannot_be_learned_is_listed_with_its_reason(films, longva, tmp_path, capsys):
    video = film(tmp_path / "film.mp4", 4, queries=4)
    first, second, third, fourth = video.queries
    # the annotations say 60 s, the file has 4
    video = replace(
        video,
        duration=60.0,
        queries=(
            first,
            replace(second, spans=(Span(30.0, 40.0),)),
            replace(third, spans=(Span(3.0, 2.0),)),
            replace(fourth, spans=()),
        ),
    )
    gone = replace(films[0], video="gone", path=tmp_path / "gone.mp4")
    samples = Samples([gone, video], longva, FinetuneConfig())
    assert len(all_of(samples)) == 1
    wanted = [
        ("gone", None, "no such file"),
        ("film", "film_1", "has a span outside the video: 30 to 40 s"),
        ("film", "film_2", "has a span that ends before it starts: 3 to 2 s"),
        ("film", "film_3", "has no span to learn"),
    ]
    assert [tuple(row.values()) for row in samples.skipped] == wanted
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        f"left out: gone: no such file at {tmp_path / 'gone.mp4'}",
        "left out: film, query film_1: has a span outside the video: 30 to 40 s",
    ]
    many = Samples(
        [*[replace(gone, video=f"gone{n}") for n in range(50)], video], longva, FinetuneConfig()
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1] == "left out: 53 in all, listed in the notes"
    assert len(many.skipped) == 53


@pytest.mark.parametrize("share", [False, True], ids=["alone", "shared"])
def test_highlights_that_no_sampled_frame_shows_are_left_out(tmp_path, longva, share):
    video = film(tmp_path / "film.mp4", 12, queries=2)
    graded = [Saliency((0, 3), ((1, 2, 3),) * 2), Saliency((5,), ((4, 4, 4),))]
    video = replace(
        video,
        queries=tuple(replace(q, saliency=s) for q, s in zip(video.queries, graded, strict=True)),
    )
    config = FinetuneConfig(tasks=BOTH[1:], highlight_fps=0.5, share_frames=share)
    whole = Samples([video], longva, config)
    assert whole.skipped == [] and whole.thinned == 0
    room = whole.lengths[0] - 2 * longva.model.config.tokens_per_frame
    for changes in ({"max_frames": 2}, {"max_tokens": room}):  # clip 5 is shown no more
        samples = Samples([video], longva, replace(config, **changes))
        (row,) = samples.skipped
        assert row["qid"] == "film_1"
        assert row["reason"] == "has no saliency at any of the sampled frames"
        (sample,) = all_of(samples)
        answer = longva.tokenizer.decode([t for t in sample["labels"] if t != IGNORED])
        assert "frames are in the 0" in answer and answer.count("<|im_end|>") == 1


TALK = [
    {"from": "human", "value": "<video>\nDuring which frames can we see a grey wall?"},
    {"from": "gpt", "value": "From 1 to 2."},
]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"conversations": []}], "row 1: conversations must not be empty"),
        ([{"source": "../../etc"}], "row 1: a video's name must stay inside its folder"),
        ([{"source": 3}], "row 1: source must be text"),
        ('[{"video": "film", "source": "anet", "conv', "not JSON: Unterminated string"),
    ],
    ids=["empty", "leads out", "no text", "truncated"],
)
def test_a_broken_instruction_file_is_one_clear_line(tmp_path, rows, message):
    if not isinstance(rows, str):
        whole = {"video": "film", "source": "anet", "conversations": TALK}
        rows = json.dumps([whole | row for row in rows])
    (tmp_path / "train.json").write_text(rows)
    with pytest.raises(ValueError, match=f"train.json.*{message}") as caught:
        load_dataset("numpro-instructions", "train", tmp_path)
    assert "\n" not in str(caught.value)


def test_instructions_are_learned_but_for_what_is_bad(tmp_path, longva):
    (tmp_path / "videos" / "anet").mkdir(parents=True)
    film(tmp_path / "videos" / "anet" / "film.mp4", 6)
    rows = [
        {"video": "film", "source": "anet", "conversations": TALK},
        {"video": "film", "source": "nowhere", "conversations": TALK},  # a folder there is not
        {"video": "lost", "source": "anet", "conversations": TALK},
        {"video": "film", "source": "anet", "conversations": [
            TALK[0], {"from": "gpt", "value": "From 50 to 60."}]},
    ]  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(rows))
    videos = load_dataset("numpro-instructions", "train", tmp_path)
    samples = Samples(videos, longva, FinetuneConfig(fps=0.5))
    learned = [t for t in samples[0]["labels"] if t != IGNORED]
    assert len(samples) == 1
    assert longva.tokenizer.decode(learned) == "From Frame 1 to Frame 2.<|im_end|>"
    reasons = [row["reason"] for row in samples.skipped]
    assert reasons[0] == "has a span outside the video: 100 to 120 s"
    assert reasons[1:] == ["no such file"] * 2


VTIME = [
    {"from": "human", "value": "<video>\nWhen is the wall grey?"},
    {"from": "gpt", "value": "From <s0> to <e0>, the wall is grey."},
]


def train_on(dataset, split, root, model, out, *more):
    """Run the command; one step, so that it is quick."""
    command = ["finetune", "--dataset", dataset, "--split", split, "--data-root", str(root)]
    command += ["--model", str(model), "--out", str(out), "--steps", "1", "-p", "lora_rank", "2"]
    return CliRunner().invoke(main, [*command, *more])


@pytest.mark.parametrize("dataset", ["numpro-instructions", "vtimellm"])
def test_the_command_learns_from_instruction_files_and_lists_what_is_bad_once(
    tmp_path, longva_dir, dataset
):
    (tmp_path / "videos" / "anet").mkdir(parents=True)
    film(tmp_path / "videos" / "anet" / "film.mp4", 6)

    def row(name, talk, start, end):
        if dataset == "numpro-instructions":
            end = {"from": "gpt", "value": f"From {start // 2} to {end // 2}."}
            return {"video": name, "source": "anet", "conversations": [talk[0], end]}
        about = {"duration": 6.0, "token": {"<s0>": start, "<e0>": end}}
        return {"id": name, "source": "anet", "conversations": talk, "meta": about}

    talk, split = (TALK, "train") if dataset == "numpro-instructions" else (VTIME, "stage2")
    rows = [row("film", talk, 2, 4), row("lost", talk, 2, 4)]
    rows.append(row("film", [{"from": "human", "value": "And then?"}, talk[1]], 60, 80))
    (tmp_path / f"{split}.json").write_text(json.dumps(rows))
    done = train_on(dataset, split, tmp_path, longva_dir, tmp_path / "out", "--json")
    assert not done.exit_code, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["plan"]["samples"], printed["plan"]["left out"]) == (1, 2)
    left = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    lost = tmp_path / "videos" / "anet" / "lost.mp4"
    assert len(left) == 2 and left[1] == f"left out: lost: no such file at {lost}"
    assert "has a span outside the video: 60 to 80 s" in left[0]
    notes = json.loads((tmp_path / "out" / "numpro.json").read_text())
    assert len(notes["data"]["skipped"]) == 2 and notes["data"]["parts"] == [f"{dataset}/{split}"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_model.safetensors", "log.csv", "log.png"} <= names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"video": "film", "source": "anet", "conv', "not JSON"),
        ([{"conversations": []}], "conversations must not be empty"),
        ([{"source": "../x"}], "must stay inside its folder"),
        ([{"video": "lost"}], "nothing to learn from: 1 videos, 1 unreadable"),
    ],
    ids=["truncated", "empty", "wrong source", "no video"],
)
def test_the_command_reports_a_bad_instruction_file_in_one_line(
    tmp_path, longva_dir, content, message
):
    if not isinstance(content, str):
        whole = {"video": "film", "source": "anet", "conversations": TALK}
        content = json.dumps([whole | row for row in content])
    (tmp_path / "train.json").write_text(content)
    done = train_on("numpro-instructions", "train", tmp_path, longva_dir, tmp_path / "out")
    *before, last = done.stderr.splitlines()
    assert done.exit_code == 1 and last.startswith("Error: ") and message in last
    assert all(line.startswith("left out: ") for line in before)
    assert not (tmp_path / "out").exists()


# --- decoding ahead -----------------------------------------------------------------------------


def test_workers_give_what_the_training_process_would(lengthy, longva, tmp_path):
    alone = all_of(Samples(lengthy, longva, FinetuneConfig()))
    config = FinetuneConfig(workers=1, batch_size=2, cache=str(tmp_path))
    samples = Samples(lengthy, longva, config)
    order = list(ByLength(samples, 2))
    for index in order:
        assert torch.equal(samples[index]["image_patches"], alone[index]["image_patches"])
    samples.close()


@pytest.fixture
def requested(monkeypatch):
    """What the workers are to read, in order; each returns the path."""
    calls = []

    def read_many(requests, workers, limit, cache):
        calls.append(workers)
        for request in requests:
            calls.append(request.path)
            yield request, request.path

    monkeypatch.setattr("numpro.training.prefetch.read_many", read_many)
    return calls


def prefetcher(needs_clip=lambda index: True):
    config = FinetuneConfig(workers=2, batch_size=2)
    return Prefetcher(SimpleNamespace(request=Request, needs_clip=needs_clip, config=config))


def test_clips_come_in_the_order_of_the_epoch_from_where_it_begins(requested):
    clips = prefetcher(lambda index: index != 7)
    clips.begin([5, 3, 9, 7, 1, 2])
    assert [clips.clip(i) for i in (9, 1, 2)] == [9, 1, 2]  # a run resumed at its second batch
    assert requested == [2, 9, 1, 2], "what was done before, and 7, is not decoded"
    assert clips.clip(7) == 7 and requested[-2:] == [1, 7], "alone, as it was not expected"
    assert clips.clip(2) == 2 and requested[-2:] == [1, 2]


def test_each_of_several_processes_decodes_its_own_batches(requested, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    clips = prefetcher()
    clips.begin(range(8))
    assert [clips.clip(i) for i in (2, 3, 6, 7)] == [2, 3, 6, 7] and requested == [2, 2, 3, 6, 7]


def test_a_clip_that_cannot_be_read_is_an_error_when_it_is_used(tmp_path):
    request = Request(tmp_path / "gone.mp4", {"fps": 1})
    samples = SimpleNamespace(request=lambda index: request, config=FinetuneConfig())
    clips = Prefetcher(samples)
    with pytest.raises(VideoError, match="no such file"):
        clips.clip(0)
