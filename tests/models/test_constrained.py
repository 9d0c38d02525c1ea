"""Answers held to the form that was asked for."""

import numpy as np
import pytest
import torch
from llguidance.hf import from_tokenizer
from tiny_models import KINDS, tiny_model
from transformers import AutoTokenizer

from numpro.models import constrained, load_model
from numpro.models.constrained import constrain
from numpro.models.sharing import decode
from numpro.paths import flipbook_dir
from numpro.prompting.answers import parse_highlights, parse_moment
from numpro.prompting.prompts import (
    TASKS,
    TIME_ENCODINGS,
    Prompt,
    answer_form,
    format_highlights,
    format_moment,
)
from numpro.video import Clip

LONGVA = flipbook_dir("models") / "longva"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(LONGVA)


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return from_tokenizer(tokenizer, eos_token=tokenizer.eos_token_id)


@pytest.fixture(scope="module")
def constraint(vocabulary):
    return lambda task, encoding, rows=1: constrain(vocabulary, answer_form(task, encoding), rows)


@pytest.fixture(scope="module")
def model():
    return load_model("flipbook/longva", dtype="float32")


def random_answers(constraint, tokenizer, rows: int, most: int) -> list[str]:
    """Say tokens by chance among those allowed."""
    chance, tokens = torch.Generator().manual_seed(0), []
    for _ in range(most):
        logits = torch.randn(rows, len(tokenizer), generator=chance)
        assert constraint.draft(range(rows)) == [[]] * rows
        tokens.append(constraint.mask(logits).argmax(-1))
        for row, token in enumerate(tokens[-1].tolist()):
            assert constraint.advance(row, [token], row) == []
    rows = [[*row.tolist(), tokenizer.eos_token_id] for row in torch.stack(tokens, 1)]
    return [tokenizer.decode(row[: row.index(tokenizer.eos_token_id)]) for row in rows]


@pytest.mark.parametrize("encoding", TIME_ENCODINGS)
@pytest.mark.parametrize("task", TASKS)
def test_what_fits_the_form_can_be_read(task, encoding, constraint, tokenizer):
    parse = parse_moment if task == "moment_retrieval" else parse_highlights
    texts = random_answers(constraint(task, encoding, 24), tokenizer, 24, 400)
    assert len(set(texts)) > 20
    assert [parse(text).reason for text in texts] == [None] * 24, texts


@pytest.mark.parametrize("encoding", TIME_ENCODINGS)
def test_what_models_are_trained_to_say_fits(encoding, constraint, tokenizer):
    moments = [format_moment(3, 17, encoding, words=words) for words in (True, False)]
    highlights = [format_highlights([3, 14], [1.0, 4.5], encoding)]
    answers = {"moment_retrieval": moments, "highlight_detection": highlights}
    for task, texts in answers.items():
        for text in texts:
            form = constraint(task, encoding)
            for token in [*tokenizer(text).input_ids, tokenizer.eos_token_id]:
                form.draft([0])
                allowed = form.mask(torch.zeros(1, len(tokenizer)))
                assert allowed[0, token] == 0, (text, tokenizer.decode([token]))
                form.advance(0, [token], 0)


def clip(frames: int = 6) -> Clip:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (frames, 96, 96, 3), dtype=np.uint8)
    return Clip(
        pixels, np.arange(frames, dtype=float), np.arange(frames), {"duration": float(frames)}
    )


QUERIES = ["a red star spins", "a purple elephant", "nothing that is here at all, in no frame"]


def test_a_model_held_to_the_form_answers_what_can_be_read(model, monkeypatch):
    free = [answer.text for answer in model.answer(clip(), QUERIES, task="highlight_detection")]
    assert all(parse_highlights(text).reason for text in free)  # the base model does not know how
    monkeypatch.setattr(model, "constrained", True)
    for task in TASKS:
        together = model.answer(clip(), QUERIES, task=task)
        alone = [model.answer(clip(), [query], task=task)[0] for query in QUERIES]
        assert [answer.reason for answer in together] == [None] * 3, together
        assert [answer.text for answer in together] == [answer.text for answer in alone]


class Writer:
    """Runs tokens of a model that writes one text, whatever it is asked."""

    root, ragged = (), True

    def __init__(self, ids, end, size):
        self.ids, self.size, self.runs = [*ids, end], size, 0

    def extend(self, steps):
        self.runs, reached = self.runs + 1, []
        for branch, tokens in steps:
            reached.append((*(reached[-1] if branch is None else branch), *tokens))
        logits = torch.zeros(len(steps), self.size)
        for row, path in enumerate(reached):  # of a question of one token
            logits[row, self.ids[min(len(path), len(self.ids)) - 1]] = 1.0
        return reached, logits


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("From Frame 1 to Frame 2.", 3),
        ("From Frame 1 to Frame 23.", 4),
        ("From Sheet 12 to Sheet 3.", 5),
        ("From Frame 1 to Sheet 2.", 4),
    ],
)
def test_the_words_of_the_form_are_drafted(text, runs, tokenizer, vocabulary):
    form = answer_form("moment_retrieval", "overlay-index")
    ids = tokenizer(text).input_ids
    for example in ("From Frame 0 to Frame 1.", "", "Maybe"):  # the last is not in the form
        writer = Writer(ids, tokenizer.eos_token_id, len(tokenizer))
        how = 32, {tokenizer.eos_token_id}, constrain(vocabulary, form, 1, example)
        (answer,), (reached,) = decode(writer, [[7]], *how)
        assert answer == ids
        assert reached == (7, *ids)[: len(reached)] and len(reached) >= len(ids)
        assert writer.runs == runs if "From" in example else writer.runs > runs


@pytest.mark.filterwarnings("ignore:digits of size")  # tiny models see tiny frames
@pytest.mark.parametrize("ties", ["none", "numbers", "all"])
@pytest.mark.parametrize("kind", ["embedded", "qwen2_vl", "llava_onevision"])
def test_a_draft_changes_no_token(kind, ties, model, monkeypatch):
    """With a draft and without one answers, and what is read behind them, are the same."""
    random = model
    if kind != "embedded":
        random = load_model(str(tiny_model(kind)), device="cpu", dtype="float32")
    monkeypatch.setattr(random, "constrained", True)
    assert random.takes_tree
    head = random.model.get_output_embeddings().weight
    monkeypatch.setattr(head, "data", head.data.clone())
    if ties != "none":
        digits = [token for n in range(10) for token in random.encode(str(n))]
        head.data[digits if ties == "numbers" else slice(None)] = head.data[digits[0]].clone()
    answers, read, found, runs = [], random.answer_text, [], []
    monkeypatch.setattr(random, "answer_text", lambda ids, *a: answers.append(ids) or read(ids, *a))
    for pieces in (8, 0):
        monkeypatch.setattr(constrained, "_PIECES", pieces)
        runs.append(0)
        count = random.model.register_forward_hook(lambda *_: runs.append(runs.pop() + 1))
        found += random.moments(clip(), QUERIES, time_encoding="text-index", least=0)
        random.answer(clip(), QUERIES, time_encoding="text-seconds")
        scored = {"task": "highlight_detection", "time_encoding": "text-index"}
        random.answer(clip(), QUERIES, **scored, max_new_tokens=60)
        count.remove()
    half = len(answers) // 2
    assert half == 9 and answers[:half] == answers[half:] and runs[0] <= runs[1]
    for one, other in zip(found[:3], found[3:], strict=True):
        assert one.answer == other.answer and len(one.labels) == 21
        tables = [
            dict(zip(map(tuple, r.labels), r.probabilities, strict=True)) for r in (one, other)
        ]
        assert tables[0] == pytest.approx(tables[1], rel=1e-4)


@pytest.mark.filterwarnings("ignore:digits of size")  # tiny models see tiny frames
@pytest.mark.parametrize("kind", KINDS)
def test_every_class_of_model_can_be_held(kind):
    random = load_model(str(tiny_model(kind)), device="cpu", dtype="float32", constrained=True)
    answers = random.answer(clip(2), QUERIES, time_encoding="text-seconds", max_new_tokens=80)
    assert [answer.reason for answer in answers] == [None] * 3, answers


def test_an_answer_that_fits_anyway_stays_as_it_is(model, monkeypatch):
    free = model.answer(clip(), QUERIES)
    assert not all(answer.reason for answer in free)
    monkeypatch.setattr(model, "constrained", True)
    for one, other in zip(free, model.answer(clip(), QUERIES), strict=True):
        assert one.reason or one.text == other.text


def test_it_is_an_option_that_the_run_records(model):
    assert "constrained" not in model.state()
    assert load_model("flipbook/longva", constrained=True).state()["constrained"] is True


def test_a_form_that_is_no_grammar_is_refused(vocabulary):
    with pytest.raises(ValueError, match="no Lark grammar"):
        constrain(vocabulary, "start: (", 1)


def test_a_prompt_without_a_form_is_refused(model, monkeypatch):
    monkeypatch.setattr(model, "constrained", True)
    with pytest.raises(ValueError, match="has no form"):
        model.respond(clip().frames, [Prompt("When?")], 4)
