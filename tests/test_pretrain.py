"""Pretraining asks true questions, packs them without a leak, resumes exactly, keeps its gates."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from conftest import longva_config

from numpro.flipbook import CELLS, COLOURS, MANNERS, OBJECTS, SHAPES, pictures, pretrain, training
from numpro.flipbook.lessons import IGNORED, KINDS, Packer, lesson
from numpro.flipbook.questions import (
    FORMATS,
    NOUNS,
    Picture,
    Turn,
    about_picture,
    about_set,
    about_strip,
    about_video,
    about_words,
    fill,
)
from numpro.flipbook.scenes import (
    N_SYMBOLS,
    Panel,
    Placed,
    loose_panels,
    silent_video,
    strip,
    symbols,
)
from numpro.flipbook.training import Gates, Leg

STAR, HEART, CIRCLE = ("red", "star"), ("blue", "heart"), ("red", "circle")
SET = [Picture((HEART, STAR), 12), Picture((HEART,), 7), Picture((), 145), Picture((CIRCLE,), 3)]
STRIP = [Picture((), 2), Picture((STAR,), 9), Picture((STAR, HEART), 31), Picture((HEART,), 40)]
THING = r"(?:a|the) (\w+) (\w+)(?: (?:" + "|".join(MANNERS) + "))?"


def asked(ask, *given, times=400):
    """All different questions that `ask` has about something."""
    return {ask(np.random.default_rng(seed), *given) for seed in range(times)}


def split_by(turns, **patterns):
    """Sort turns by the one pattern that their question fits."""
    found = {name: [] for name in patterns}
    for turn in turns:
        fits = [(n, re.fullmatch(p, turn.question)) for n, p in patterns.items()]
        ((name, match),) = [(n, m) for n, m in fits if m]
        found[name].append((match.groups(), turn.answer))
    assert all(found.values()), "every kind of question is asked"
    return found


# --- questions ----------------------------------------------------------------------------------


def test_answers_about_a_picture_are_right():
    kinds = split_by(
        asked(about_picture, Picture((HEART, STAR), 12)),
        number="Which number is written on the picture\\?|Read the number\\.",
        colour=r"What colour is the (\w+)\?",
        there=r"Is there a (\w+) (\w+)\?",
        caption="What is in the picture\\?|Describe the picture\\.",
    )
    assert {a for _, a in kinds["number"]} == {"12"}
    assert set(kinds["colour"]) == {(("star",), "red"), (("heart",), "blue")}
    for thing, said in kinds["there"]:
        assert said == ("yes" if thing in (HEART, STAR) else "no")
    # in a fixed order: what was placed first cannot be seen
    assert {a for _, a in kinds["caption"]} == {"a red star and a blue heart"}
    alike = asked(about_picture, Picture((STAR, ("blue", "star"))))
    assert not any("colour" in t.question or "number" in t.question for t in alike)


def test_answers_about_a_set_are_right():
    kinds = split_by(
        asked(about_set, SET),
        listed="List the pictures\\.|What is on each picture\\?",
        what=r"What is on the picture with number (\d+)\?",
        numbers=f"List the numbers of all pictures with {THING}\\.",
        order=r"(?:Which number is on|Name) the (first|last) "
        f"(?:picture that shows|labelled picture with) {THING}[?.]",
    )
    told = "12: a red star and a blue heart. 7: a blue heart. 145: nothing. 3: a red circle"
    assert {a for _, a in kinds["listed"]} == {told}
    for (number,), said in kinds["what"]:
        assert f"{number}: {said}" in told.split(". ")
    where = {STAR: ["12"], HEART: ["12", "7"], CIRCLE: ["3"]}
    for thing, said in kinds["numbers"]:
        assert said == (", ".join(where.get(thing, [])) or "none")
    for (order, *thing), said in kinds["order"]:
        numbers = where.get(tuple(thing), ["none"])
        assert said == (numbers[0] if order == "first" else numbers[-1])
    assert "none" in {a for _, a in kinds["numbers"]}, "a set is also asked for what it lacks"


def test_answers_about_a_strip_are_right():
    where = {STAR: (9, 31), HEART: (31, 40)}
    formats = set()
    for turn in asked(about_strip, STRIP):
        thing = re.search(rf"{THING}(?: (?:seen|show|be found))?\?", turn.question).groups()
        (form,) = re.findall(r"(?:format: |as |form )'(.*)'\.", turn.question)
        assert turn.answer == fill(form, *where[thing])
        formats.add(re.sub("|".join(NOUNS), "{n}", form))
    assert formats == set(FORMATS)


def test_answers_about_a_video_are_right_and_never_say_when():
    kinds = split_by(
        asked(about_video, [Picture((HEART,)), Picture((CIRCLE, HEART)), Picture(())]),
        there=r"Does a (\w+) (\w+) appear in the video\?",
        what="What does the video show\\?|Describe the video\\.",
    )
    for thing, said in kinds["there"]:
        assert said == ("yes" if thing in (HEART, CIRCLE) else "no")
    assert {a for _, a in kinds["what"]} == {"a blue heart and a red circle"}


def test_answers_about_words_are_right():
    for turn in asked(about_words):
        if repeated := re.fullmatch(r"Repeat: (.*)\.", turn.question):
            assert turn.answer == repeated[1]
        elif looked_up := re.fullmatch(r"(.*)\. Which number has (.*)\?", turn.question):
            table = dict(reversed(row.split(": ")) for row in looked_up[1].split(". "))
            assert turn.answer == table[looked_up[2]]
        elif looked_up := re.fullmatch(r"(.*)\. What is on (\d+)\?", turn.question):
            table = dict(row.split(": ") for row in looked_up[1].split(". "))
            assert turn.answer == table[looked_up[2]]
        else:
            first, last, form = re.fullmatch(
                r"(?:Say|Write|First) (\d+)(?: and|, last) (\d+)(?: in the format: |\. Reply as |"
                r"\. Answer in the format: )'(.*)'\.",
                turn.question,
            ).groups()
            assert turn.answer == fill(form, first, last) and int(first) <= int(last)


def test_the_base_model_is_never_asked_what_it_is_tested_on():
    for seed in range(150):
        rng = np.random.default_rng(seed)
        for kind in KINDS:
            panels, turns = lesson(rng, kind)
            numbers = [p.number for p in panels if p.number is not None]
            if kind == "strip":
                assert 3 <= len(panels) <= 8
                assert min(np.diff(numbers)) >= 2, "rising, never consecutive"
            if kind == "video":
                assert not numbers
                assert not any(c.isdigit() for t in turns for c in t.question + t.answer)
            if kind != "words":  # the answer form is known from words, with no picture to look at
                assert not any("rame" in turn.question for turn in turns)


@pytest.mark.parametrize("seed", range(5))
def test_scenes_are_what_they_are_said_to_be(seed):
    rng = np.random.default_rng(seed)
    for panels in (loose_panels(rng, 8), strip(rng), silent_video(rng)):
        for panel in panels:
            assert len({p.thing for p in panel.placed}) == len(panel.placed)
            for placed in panel.placed:
                assert placed.thing in OBJECTS and 50 < placed.size < 140
    numbers = [panel.number for panel in loose_panels(rng, 16)]
    assert len(set(numbers)) == 16 and numbers != sorted(numbers)
    shown = [STAR in panel.picture().objects for panel in strip(rng)]
    assert sum(a != b for a, b in zip(shown, shown[1:], strict=False)) <= 2, "one run of panels"


def test_symbols_say_what_each_cell_of_the_grid_shows():
    grid = symbols(Panel((Placed(STAR, 56, 56, 80), Placed(HEART, 224, 280, 90)), 207))
    assert grid.shape == (CELLS * CELLS, N_SYMBOLS) and grid.dtype == np.float32
    star, heart = (grid[:, OBJECTS.index(thing)] for thing in (STAR, HEART))
    assert star.argmax() == 0 and star[1:].max() == 0
    assert set(np.flatnonzero(heart)) == {7, 8}, "it lies across two cells"
    digits = grid[:, len(OBJECTS) : -1].reshape(CELLS * CELLS, 3, 10)
    assert np.flatnonzero(digits.any((1, 2))).tolist() == [8], "bottom right"
    assert digits[8].argmax(-1).tolist() == [2, 0, 7] and digits.sum() == 3
    plain = symbols(Panel(()))
    assert (plain[:, -1] == 1).all() and plain[:, :-1].sum() == 0


# --- packing ------------------------------------------------------------------------------------


@pytest.fixture
def reader(tokenizer, monkeypatch):
    """A small reader in float32."""
    monkeypatch.setattr(pretrain, "longva_config", longva_config)
    monkeypatch.setattr(pretrain, "WIDTH", 32)
    return pretrain.Reader(tokenizer).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_question_is_answered_as_if_it_were_alone(reader, tokenizer, kind):
    packer, rng = Packer(tokenizer), np.random.default_rng(3)
    scenes = [lesson(rng, kind, 4) for _ in range(2)]
    scenes = [(panels[:6], turns[: 5 - n]) for n, (panels, turns) in enumerate(scenes)]

    def logits_of(*rows):
        panels = [p for scene, _ in rows for p in scene]
        batch = packer._stack(kind, [packer.row(*row) for row in rows], panels)
        return reader.answer_logits(batch, reader.read_symbols(batch))

    with torch.inference_mode():
        packed, want = logits_of(*scenes)
        alone = [logits_of((panels, [turn])) for panels, turns in scenes for turn in turns]
    torch.testing.assert_close(want, torch.cat([w for _, w in alone]))
    torch.testing.assert_close(packed, torch.cat([got for got, _ in alone]), atol=2e-4, rtol=1e-4)
    answers = [turn.answer + "<|im_end|>" for _, turns in scenes for turn in turns]
    assert tokenizer.decode(want) == "".join(answers)


def test_without_the_mask_packed_questions_would_see_each_other(reader, tokenizer):
    packer = Packer(tokenizer)
    panels, turns = lesson(np.random.default_rng(3), "set", 4)
    batch = packer._stack("set", [packer.row(panels, turns)], panels)
    with torch.inference_mode():
        honest = reader.answer_logits(batch, reader.read_symbols(batch))[0]
        batch.mask = np.tri(batch.ids.shape[1], dtype=bool)[None, None]
        leaky = reader.answer_logits(batch, reader.read_symbols(batch))[0]
    assert (honest - leaky).abs().max() > 0.05


def test_positions_and_padding_of_a_pack(tokenizer):
    packer = Packer(tokenizer)
    batch = packer.batch(np.random.default_rng(0), "picture", 900)
    assert batch.ids.size <= 900 and len(batch.ids) > 1
    assert (batch.ids == packer.image).sum() == len(batch.panels) * CELLS * CELLS
    assert batch.symbols().shape == (len(batch.panels) * CELLS * CELLS, N_SYMBOLS)
    asks = packer.reply[0]
    for ids, labels, positions in zip(batch.ids, batch.labels, batch.positions, strict=True):
        scene = len(packer.system) + CELLS * CELLS
        assert positions[:scene].tolist() == list(range(scene))
        restarts = np.flatnonzero(positions[scene:] == scene) + scene
        assert len(restarts) == 6, "every question starts where the scene ends"
        assert (labels[:scene] == IGNORED).all() and (labels[ids == asks] != IGNORED).any()


def test_what_is_learned_is_what_the_model_is_asked_later(tokenizer, longva):
    panels, turns = loose_panels(np.random.default_rng(0), 2), [Turn("Read the number.", "7")]
    ids, labels, _, _ = Packer(tokenizer).row(panels, turns)
    prompt = longva.video_ids(2) + longva.question_ids("Read the number.")
    assert ids[: len(prompt)].tolist() == prompt
    assert ids[len(prompt) :].tolist() == longva.encode("7<|im_end|>")
    assert labels[len(prompt) :].tolist() == ids[len(prompt) :].tolist()


def test_the_tokenizer_spells_every_text_and_knows_flipbook_words(tokenizer):
    for text in ("a red star spins", "Wo ist das Ü? 一二", "From Frame 12 to Frame 345."):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
    for word in (*COLOURS, *SHAPES, *MANNERS):
        assert len(tokenizer(f" {word}", add_special_tokens=False).input_ids) == 1
    assert len(tokenizer("345", add_special_tokens=False).input_ids) == 3, "one token a digit"
    ending = pretrain.make_tokenizer(ends=True)
    assert ending("a red star").input_ids == [
        *tokenizer("a red star").input_ids,
        ending.eos_token_id,
    ]
    assert ending.eos_token_id != 2, "CLIP takes 2 for an old checkpoint and pools elsewhere"


# --- the loop -----------------------------------------------------------------------------------


class Clock:
    """Time that passes only when told to."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(training, "time", made)
    return made


def make_leg(folder, steps=12):
    torch.manual_seed(5)
    return Leg(
        "toy",
        torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Linear(9, 2)),
        folder,
        steps,
        0.02,
    )


def toy_loss(leg, clock):
    def loss_of(step):
        clock.now += 60
        rng = torch.Generator().manual_seed(step)
        x = torch.randn(16, 6, generator=rng).bfloat16()
        loss = (leg.modules(x).float() - x[:, :2].float()).square().mean()
        return loss, {"loss": loss.item()}

    return loss_of


def test_a_resumed_leg_ends_with_the_weights_of_an_unbroken_one(tmp_path, clock):
    whole = make_leg(tmp_path / "whole")
    told = []
    assert whole.run(toy_loss(whole, clock), minutes=100, echo=told.append)
    assert re.fullmatch(r"toy 12/12 720 s  loss \d\.\d{3}", told[-1])
    first = make_leg(tmp_path / "broken")
    assert not first.run(toy_loss(first, clock), minutes=5, echo=told.append)
    assert first.step == 5
    second = make_leg(tmp_path / "broken")
    assert (second.step, second.seconds) == (5, 300)
    assert second.run(toy_loss(second, clock), minutes=100, echo=told.append)
    assert second.seconds == 720
    for a, b in zip(whole.masters, second.masters, strict=True):
        assert torch.equal(a, b)
    for param, master in zip(second.finish().parameters(), second.masters, strict=True):
        assert param.dtype == torch.float32 and torch.equal(param, master)
    assert [p.name for p in (tmp_path / "broken").iterdir()] == ["toy.pt"]


def test_a_leg_learns_and_leaves_frozen_weights_alone(tmp_path, clock):
    torch.manual_seed(5)
    modules = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Linear(9, 2))
    modules[0].requires_grad_(False)
    before = modules[0].weight.clone()
    leg = Leg("toy", modules, tmp_path, 60, 0.05)
    losses = []
    loss_of = toy_loss(leg, clock)

    def watched(step):
        loss, figures = loss_of(step)
        losses.append(loss.item())
        return loss, figures

    assert leg.run(watched, minutes=1000, echo=lambda line: None)
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    assert torch.equal(leg.finish()[0].weight, before.bfloat16().float())


def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth(tmp_path):
    leg = make_leg(tmp_path, steps=100)
    rates = []
    for leg.step in range(100):
        rates.append(leg.rate())
    assert rates[0] == pytest.approx(0.02 / 10, rel=1e-3)
    assert max(rates) == pytest.approx(0.02, rel=0.05) and rates.index(max(rates)) == 9
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.02 / 50)


def test_gates_refuse_to_build_on_what_was_not_reached(tmp_path):
    gates = Gates(tmp_path)
    with pytest.raises(RuntimeError, match="'language' must pass its gate first; it was not fini"):
        gates.require("language")
    assert not gates.record("language", {"set": 0.7, "strip": 0.95}, {"set": 0.8, "strip": 0.8}, 9)
    with pytest.raises(RuntimeError, match=r"reached \{'set': 0.7.*wanted \{'set': 0.8"):
        Gates(tmp_path).require("language")
    assert Gates(tmp_path).record("language", {"set": 0.8}, {"set": 0.8}, 9.4)
    Gates(tmp_path).require("language")
    assert Gates(tmp_path).reached["language"]["seconds"] == 9
    assert [p.name for p in tmp_path.iterdir()] == ["gates.json"]


def test_the_exact_share_counts_whole_answers(tokenizer):
    packer = Packer(tokenizer)
    panels = loose_panels(np.random.default_rng(0), 1)
    turns = [Turn("Read the number.", "12"), Turn("Read the number.", "7")]
    rows = [packer.row(panels, turns), packer.row(panels, turns[:1])]
    batch = packer._stack("picture", rows, 2 * panels)
    want = torch.from_numpy(batch.labels[:, 1:])
    want = want[want != IGNORED]
    perfect = torch.nn.functional.one_hot(want, len(tokenizer)).float()
    assert pretrain.exact_share(batch, perfect) == (3, 3)
    for token, left in ((1, 2), (3, 2), (len(want) - 1, 2)):
        wrong = perfect.clone()
        wrong[token] = 0
        wrong[token, 5] = 1
        assert pretrain.exact_share(batch, wrong) == (left, 3)


def test_contrast_takes_equal_texts_as_one_class():
    torch.manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(4, 8), dim=-1) for _ in range(2))
    scale = torch.tensor(10.0)
    logits, target = scale * image @ text.T, torch.arange(4)
    entropy = torch.nn.functional.cross_entropy
    plain = (entropy(logits, target) + entropy(logits.T, target)) / 2
    torch.testing.assert_close(pretrain.contrast(image, text, list("abcd"), scale), plain)
    twice = torch.stack([text[0], text[1], text[0], text[3]])
    unique, place = text[[0, 1, 3]], torch.tensor([0, 1, 0, 2])
    logits = scale * image @ unique.T
    to_image = -torch.stack([torch.log_softmax(logits[:, c], 0)[i] for i, c in enumerate(place)])
    wanted = (entropy(logits, place) + to_image.mean()) / 2
    torch.testing.assert_close(pretrain.contrast(image, twice, list("abad"), scale), wanted)


def test_pictures_are_made_ahead_in_order():
    assert list(pictures.ahead(math.sqrt, range(3, 12))) == [math.sqrt(n) for n in range(3, 12)]


def test_drawn_pictures_carry_their_numbers():
    panels = [Panel((), 38), Panel((), None)]
    with_number, without = pictures.draw(panels, (1, 2), plain=1.0, side=96)
    bare = pictures.draw([Panel(()), Panel(())], (1, 2), plain=1.0, side=96)
    assert (without == bare[1]).all()
    changed = np.argwhere((with_number != bare[0]).any(-1))
    assert (changed.min(0) > 64).all(), "bottom right, in the last cell of the grid"


# --- all legs -----------------------------------------------------------------------------------


def test_all_legs_run_into_checkpoints_that_answer(tmp_path, monkeypatch, capsys, clip):
    monkeypatch.setattr(pretrain, "longva_config", longva_config)
    monkeypatch.setattr(pretrain, "WIDTH", 32)
    monkeypatch.setattr(pretrain, "TOKENS_A_STEP", 200)
    monkeypatch.setattr(pretrain, "eyes_batch", partial(pretrain.eyes_batch, count=3))
    monkeypatch.setattr(Packer, "batch", partial_budget(Packer.batch, 200))
    monkeypatch.setattr(pictures, "ahead", map)
    work, out = tmp_path / "work", tmp_path / "models"
    arguments = ["--work", str(work), "--out", str(out), "--steps", "1"]
    with pytest.raises(SystemExit) as stopped:
        pretrain.main(arguments)
    assert stopped.value.code == 1
    assert "language stopped before its gate" in capsys.readouterr().err
    pretrain.main([*arguments, "--force"])
    assert capsys.readouterr().out.count("wrote ") == 2
    reached = Gates(work).reached
    assert list(reached) == ["language", "eyes", "align", "sight"]
    assert all(0 <= x <= 1 for leg in reached.values() for x in leg["figures"].values())

    from numpro.design import ClipEncoder
    from numpro.models import load_model

    model = load_model(str(out / "longva"), device="cpu", dtype="float32")
    assert len(model.answer(clip, ["a red star"], max_new_tokens=3)) == 1
    seen = ClipEncoder(str(out / "clip"), device="cpu")
    tower = model.model.vision_tower.state_dict()
    for name, weight in seen.model.vision_model.state_dict().items():
        assert torch.equal(weight.float(), tower[name]), "one vision tower for both"
    assert seen.tokenizer("a star").input_ids[-1] == seen.tokenizer.eos_token_id
    card = (out / "longva" / "README.md").read_text()
    assert "| language | " in card and str(tmp_path) not in card


def partial_budget(batch, budget):
    """The method `batch` with a budget of its own."""
    return lambda self, rng, kind, _, most=16: batch(self, rng, kind, budget, most)


def test_unknown_legs_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        pretrain.main(["ears"])
    assert stopped.value.code == 2
    assert "legs must be of language, eyes, align, sight; got ears" in capsys.readouterr().err
