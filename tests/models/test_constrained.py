"""Answers held to the form that was asked for."""

import numpy as np
import pytest
import torch
from tiny_models import KINDS, tiny_model
from transformers import AutoTokenizer

from numpro.models import load_model
from numpro.models.constrained import form_reader
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
def constraint(tokenizer):
    reader = form_reader(tokenizer, len(tokenizer), {tokenizer.eos_token_id})
    return lambda task, encoding, rows=1: reader(answer_form(task, encoding)).start(rows)


@pytest.fixture(scope="module")
def model():
    return load_model("flipbook/longva", dtype="float32")


def random_answers(constraint, tokenizer, rows: int, most: int) -> list[str]:
    """Say tokens by chance among those allowed."""
    chance, tokens = torch.Generator().manual_seed(0), []
    for _ in range(most):
        logits = torch.randn(rows, len(tokenizer), generator=chance)
        tokens.append(constraint.mask(logits).argmax(-1))
        constraint.advance(tokens[-1].tolist())
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
                allowed = form.mask(torch.zeros(1, len(tokenizer)))
                assert allowed[0, token] == 0, (text, tokenizer.decode([token]))
                form.advance([token])


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


def test_a_form_that_is_no_grammar_is_refused(tokenizer):
    reader = form_reader(tokenizer, len(tokenizer), {tokenizer.eos_token_id})
    with pytest.raises(ValueError, match="no Lark grammar"):
        reader("start: (").start(1)


def test_a_prompt_without_a_form_is_refused(model, monkeypatch):
    monkeypatch.setattr(model, "constrained", True)
    with pytest.raises(ValueError, match="has no form"):
        model.respond(clip().frames, [Prompt("When?")], 4)
