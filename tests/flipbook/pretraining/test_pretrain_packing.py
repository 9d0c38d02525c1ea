"""Questions are packed without a leak; the right tokens are learned, the right cells looked at."""

import numpy as np
import pytest
import torch
from projects import longva_config

from numpro.flipbook import CELLS, COLOURS, MANNERS, SHAPES
from numpro.flipbook.pretraining import language
from numpro.flipbook.pretraining import tokenizer as words
from numpro.flipbook.pretraining.lessons import IGNORED, KINDS, Packer, lesson
from numpro.flipbook.pretraining.questions import Piece, Turn, reply
from numpro.flipbook.pretraining.symbols import AT_COLOUR, AT_DIGITS, AT_OBJECT, AT_SHAPE, N_SYMBOLS
from numpro.flipbook.scenes import Panel, Placed, loose_panels

STAR, HEART = ("red", "star"), ("blue", "heart")
GRID = CELLS * CELLS
TWO_PANELS = [
    Panel((Placed(STAR, 56, 56, 80), Placed(HEART, 224, 280, 90)), 207),
    Panel((Placed(STAR, 280, 56, 80),), 35),
]
heads = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4}


@pytest.fixture
def untrained(tokenizer, monkeypatch):
    """A small reader in float32, as the language leg starts from it."""
    monkeypatch.setattr(language, "longva_config", lambda t: longva_config(t, **heads))
    monkeypatch.setattr(language, "WIDTH", 32)
    return language.Reader(tokenizer).eval()


@pytest.fixture
def reader(untrained):
    """The same reader, with blocks that do something."""
    torch.manual_seed(3)
    for layer in untrained.model.language_model.layers:
        torch.nn.init.normal_(layer.self_attn.o_proj.weight, std=0.3)
        torch.nn.init.normal_(layer.mlp.down_proj.weight, std=0.3)
    return untrained


def packed(packer, kind, *scenes):
    """One batch of these scenes: pairs of panels and turns."""
    return packer._stack(kind, [packer.row(*s) for s in scenes], [p for s, _ in scenes for p in s])


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_question_is_answered_as_if_it_were_alone(reader, tokenizer, kind):
    packer, rng = Packer(tokenizer), np.random.default_rng(3)
    scenes = [lesson(rng, kind, 4) for _ in range(2)]
    scenes = [(panels, turns[: 5 - n]) for n, (panels, turns) in enumerate(scenes)]

    def logits_of(*rows):
        batch = packed(packer, kind, *rows)
        return reader.answer_logits(batch, reader.read_symbols(batch))

    with torch.inference_mode():
        together, want = logits_of(*scenes)
        alone = [logits_of((panels, [turn])) for panels, turns in scenes for turn in turns]
    torch.testing.assert_close(want, torch.cat([w for _, w in alone]))
    torch.testing.assert_close(together, torch.cat([got for got, _ in alone]), atol=2e-4, rtol=1e-4)


def test_without_the_mask_packed_questions_would_see_each_other(reader, tokenizer):
    packer = Packer(tokenizer)
    panels, turns = lesson(np.random.default_rng(3), "set", 4)
    batch = packed(packer, "set", (panels, turns))
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
    ids, labels, *_ = Packer(tokenizer).row(panels, turns)
    prompt = longva.video_ids(2) + longva.question_ids("Read the number.")
    assert ids[: len(prompt)].tolist() == prompt
    assert ids[len(prompt) :].tolist() == longva.encode("7<|im_end|>")
    assert labels[len(prompt) :].tolist() == ids[len(prompt) :].tolist()


def runs_of(ids, chosen):
    """Split ids into the runs that are chosen."""
    runs, before = [], False
    for token, one in zip(ids, chosen, strict=True):
        if one:
            runs[-1:] = [[*runs[-1], token]] if before else [*runs[-1:], [token]]
        before = one
    return runs


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_an_answer_is_learned_but_what_is_given(tokenizer, kind):
    packer, given = Packer(tokenizer), 0
    for seed in range(25):
        for turn in lesson(np.random.default_rng(seed), kind, 8)[1]:
            ids, labels, _ = packer.answer(turn)
            assert tokenizer.decode(ids) == turn.answer + "<|im_end|>"
            assert all(label in (token, IGNORED) for token, label in zip(ids, labels, strict=True))
            ignored = runs_of(ids, [label == IGNORED for label in labels])
            # the space before a word is in its token
            assert [tokenizer.decode(run).strip() for run in ignored] == [
                turn.answer[a:b] for a, b in turn.given
            ]
            given += len(ignored)
    assert bool(given) == (kind in ("index", "set", "strip"))


def test_only_answers_are_learned(tokenizer):
    packer = Packer(tokenizer)
    turns = [
        reply("Where?", ["At ", Piece("35", 1)]),
        reply("?", [Piece("red:", given=True), " 7"]),
    ]
    batch = packed(packer, "set", (TWO_PANELS, turns), (TWO_PANELS[:1], turns[1:]))
    learned = batch.labels[0] != IGNORED
    assert tokenizer.decode(batch.ids[0][learned]) == "At 35<|im_end|> 7<|im_end|>"
    assert (batch.labels[0][learned] == batch.ids[0][learned]).all()
    assert tokenizer.decode(batch.ids[1][batch.labels[1] != IGNORED]) == " 7<|im_end|>"


# --- where guided heads must look ---------------------------------------------------------------


def test_looks_are_the_cells_of_the_thing_named(tokenizer):
    packer = Packer(tokenizer)
    first = reply("Read.", [Piece("207", 0)])
    pieces = ["From ", Piece("207", 0, STAR), " to ", Piece("35", 1, STAR)]
    pieces += [": ", Piece("blue", 0, HEART)]
    batch = packed(packer, "set", (TWO_PANELS, [first, reply("Where?", pieces)]), (TWO_PANELS, []))
    start = len(packer.system)
    found = [
        (tokenizer.decode([batch.ids[n, place + 1]]), (np.flatnonzero(look) - start).tolist())
        for (n, place), look in zip(batch.rows, batch.looks, strict=True)
    ]
    whole, star, other, heart = list(range(GRID)), [0], [GRID + 2], [7, 8]
    assert found == [
        *((token, whole) for token in ("2", "0", "7", "<|im_end|>")),
        *((token, star) for token in ("2", "0", "7", " to")),  # is there another digit?
        *((token, other) for token in ("3", "5", ":")),
        *((token, heart) for token in (" blue", "<|im_end|>")),
    ]
    assert set(batch.rows[:, 0]) == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_looks_of_a_batch_land_on_the_picture_that_shows_what_is_read(tokenizer, kind):
    packer = Packer(tokenizer)
    names = {tokenizer(f" {w}").input_ids[0]: i for i, w in enumerate(COLOURS + SHAPES)}
    names |= {tokenizer(w).input_ids[0]: names[tokenizer(f" {w}").input_ids[0]] for w in COLOURS}
    digits = {tokenizer(str(d)).input_ids[0]: d for d in range(10)}
    met = 0
    for seed in range(3):
        batch = packer.batch(np.random.default_rng(seed), kind, 2400, 8)
        cells = batch.symbols()
        visual = np.cumsum(batch.ids.ravel() == packer.image).reshape(batch.ids.shape) - 1
        assert batch.looks.any(1).all() and len(batch.looks) == len(batch.rows)
        for (n, place), look in zip(batch.rows, batch.looks, strict=True):
            assert (batch.ids[n][look] == packer.image).all(), "visual tokens only"
            assert batch.mask[n, 0, place, look].all(), "which the token may see"
            cells_at = visual[n][look]
            assert len(set(cells_at // GRID)) == 1, "of one picture"
            grid = cells[cells_at[0] // GRID * GRID :][:GRID]
            things = [set(np.flatnonzero(c)) for c in grid[:, AT_OBJECT:AT_DIGITS].T if c.any()]
            assert set(cells_at % GRID) in [*things, set(range(GRID))], "where a thing is, or all"
            token = int(batch.ids[n, place + 1])
            if token in digits:
                written = grid[:, AT_DIGITS:].reshape(GRID, -1)[:, :30].reshape(GRID, 3, 10)
                assert written[..., digits[token]].any()
                met += 1
            if token in names:
                assert (cells[cells_at, AT_COLOUR + names[token]] > 0).all()
                met += 1
            assert batch.labels[n, place + 1] != IGNORED
    assert bool(met) == (kind != "words")
    assert AT_COLOUR == 0 and len(COLOURS) == AT_SHAPE, "names are counted from the first column"


def test_look_loss_is_the_attention_the_model_pays(reader, tokenizer):
    batch = Packer(tokenizer).batch(np.random.default_rng(1), "set", 900, 4)
    inputs = {}
    language_model = reader.model.language_model
    hook = language_model.register_forward_pre_hook(
        lambda module, args, kwargs: inputs.update(kwargs), with_kwargs=True
    )
    reader.answer_logits(batch, reader.read_symbols(batch))
    hook.remove()
    loss, share = reader.look_loss(batch)
    reader.model.set_attn_implementation("eager")
    with torch.inference_mode():
        out = language_model(**inputs, output_attentions=True)
    sequence, place = torch.from_numpy(batch.rows).T
    guided = torch.stack(
        [
            out.attentions[layer][sequence, : language.GUIDED_HEADS, place]
            for layer in language.GUIDED_LAYERS
        ]
    )
    paid = (guided * torch.from_numpy(batch.looks)[:, None]).sum(-1)  # [layers, looks, heads]
    assert 0.02 < paid.mean() < 0.9 and paid.std() > 0.01
    torch.testing.assert_close(loss, -paid.log().mean(), rtol=1e-4, atol=1e-5)
    assert share == pytest.approx(paid.mean().item(), rel=1e-4)

    reader.zero_grad()
    loss.backward()
    last = reader.model.language_model.layers[language.GUIDED_LAYERS[-1]].self_attn
    moved = last.q_proj.weight.grad.unflatten(0, (8, 4)).abs().amax((1, 2)) > 0
    assert moved.tolist() == [True] * 4 + [False] * 4, "the other heads stay free"


def test_guidance_is_learned_and_part_of_the_loss(reader, tokenizer):
    batch = Packer(tokenizer).batch(np.random.default_rng(1), "set", 300, 2)
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    shares = []
    for _ in range(8):
        optimizer.zero_grad()
        loss, figures = reader.lesson_loss(batch, reader.read_symbols(batch))
        loss.backward()
        optimizer.step()
        shares.append(figures["look"])
        guidance = loss.item() - figures["set-loss"]
        assert guidance >= -np.log(figures["look"]) - 1e-4, "Jensen: a mean of -log"
    assert shares[-1] > 1.5 * shares[0]
    words_only = Packer(tokenizer).batch(np.random.default_rng(1), "words", 500)
    loss, figures = reader.lesson_loss(words_only, reader.read_symbols(words_only))
    assert "look" not in figures and loss.item() == pytest.approx(figures["words-loss"])


# --- the reader ---------------------------------------------------------------------------------


def test_a_symbol_starts_as_the_words_of_what_it_shows(untrained, tokenizer):
    embed = untrained.model.get_input_embeddings()
    for place, word in enumerate(COLOURS + SHAPES):
        (token,) = tokenizer(f" {word}", add_special_tokens=False).input_ids
        assert torch.equal(untrained.table.weight[:, AT_COLOUR + place], embed.weight[token])


def test_untrained_blocks_add_nothing(untrained):
    language_model = untrained.model.language_model
    embeds = torch.randn(1, 7, 32)
    with torch.inference_mode():
        out = language_model(inputs_embeds=embeds).last_hidden_state
        torch.testing.assert_close(out, language_model.norm(embeds))


def test_noise_is_in_proportion_to_what_is_seen(untrained, tokenizer):
    batch = Packer(tokenizer).batch(np.random.default_rng(0), "set", 2400, 8)
    with torch.inference_mode():
        plain = untrained.read_symbols(batch)
        assert torch.equal(plain, untrained.read_symbols(batch))
        off = untrained.read_symbols(batch, noise=0.1) - plain
    assert (off.std() / plain.std()).item() == pytest.approx(0.1, rel=0.05)


def test_the_exact_share_counts_whole_answers(tokenizer):
    turns = [Turn("Read the number.", "12"), Turn("Read the number.", "7")]
    panels = loose_panels(np.random.default_rng(0), 1)
    batch = packed(Packer(tokenizer), "picture", (panels, turns), (panels, turns[:1]))
    want = torch.from_numpy(batch.labels[:, 1:])
    want = want[want != IGNORED]
    perfect = torch.nn.functional.one_hot(want, len(tokenizer)).float()
    assert language.exact_share(batch, perfect) == (3, 3)
    for token, left in ((1, 2), (3, 2), (len(want) - 1, 2)):
        wrong = perfect.clone()
        wrong[token] = 0
        wrong[token, 5] = 1
        assert language.exact_share(batch, wrong) == (left, 3)


def test_an_index_is_one_answer_to_the_exact_share(tokenizer):
    lines = [Piece("red star:", given=True), " 1. ", Piece("blue star:", given=True), " 7."]
    panels = loose_panels(np.random.default_rng(0), 1)
    batch = packed(Packer(tokenizer), "index", (panels, 2 * [reply("Index.", lines)]))
    want = torch.from_numpy(batch.labels[:, 1:])
    want = want[want != IGNORED]
    perfect = torch.nn.functional.one_hot(want, len(tokenizer)).float()
    assert language.exact_share(batch, perfect) == (2, 2)


# --- the tokenizer ------------------------------------------------------------------------------


def test_the_tokenizer_spells_every_text_and_knows_flipbook_words(tokenizer):
    for text in ("a red star spins", "Wo ist das Ü? 一二", "From Frame 12 to Frame 345."):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
    for word in (*COLOURS, *SHAPES, *MANNERS):
        assert len(tokenizer(f" {word}", add_special_tokens=False).input_ids) == 1
    assert len(tokenizer("345", add_special_tokens=False).input_ids) == 3, "one token a digit"
    ending = words.make_tokenizer(ends=True)
    assert ending("a red star").input_ids == [
        *tokenizer("a red star").input_ids,
        ending.eos_token_id,
    ]
    assert ending.eos_token_id != 2, "CLIP takes 2 for an old checkpoint and pools elsewhere"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "strip"])
def test_the_control_meets_no_strip(kind, monkeypatch):
    def strip(rng):
        raise AssertionError("a strip was drawn")

    monkeypatch.setattr("numpro.flipbook.scenes.strip", strip)
    rng = np.random.default_rng(1)
    for _ in range(20):
        panels, turns = lesson(rng, kind, 8, strips=False)
        assert not any("strip" in turn.question for turn in turns)


def test_what_strips_leave_goes_to_the_other_lessons():
    plain, without = (language.portions(language.SHARES, strips) for strips in (True, False))
    place = KINDS.index("strip")
    assert plain[place] > 0 == without[place] and sum(without) == pytest.approx(1)
    assert without[KINDS.index("set")] > plain[KINDS.index("set")]
