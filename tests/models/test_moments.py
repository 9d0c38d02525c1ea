"""Ranked moments: probabilities of labels, read off a model, and what is made of them."""

import re

import numpy as np
import pytest
import torch

from numpro.models import Question, expected_ious, keep_distinct, load_model
from numpro.models.base import VideoModel
from numpro.prompting import parse_moment
from numpro.prompting.labels import label_form
from numpro.spans import temporal_iou, to_seconds


@pytest.fixture(scope="module")
def queries(films):
    return [query.text for query in films[0].queries[:2]]


@pytest.fixture(scope="module")
def model():
    return load_model("flipbook/longva", dtype="float32")


@torch.inference_mode()
def by_hand(model, pages, query, words, pair, labels=None, **how) -> float:
    """Run a whole answer behind the whole prompt: the product over both numbers and their ends."""
    frames, (prompt,) = model.prepare(pages, [query], Question(**how), labels)
    ids = model.prompt_ids(frames.shape, prompt)
    before, between, after = words
    pieces = [before, pair[0], between, pair[1], after]
    answer = model.encode("".join(pieces))
    inputs = {"input_ids": torch.tensor([ids + answer]), "pixel_values": model.pixels(frames)}
    logits = model.model(**inputs).logits[0, len(ids) - 1 :].log_softmax(-1)
    logps = [logits[place, token].item() for place, token in enumerate(answer)]
    logps.append(logits[len(answer), sorted(model.ends)].logsumexp(0).item())
    at = [len(model.encode("".join(pieces[:n]))) for n in range(1, 5)]
    return float(np.exp(sum(logps[at[0] : at[1] + 1]) + sum(logps[at[2] : at[3] + 1])))


def test_each_pair_has_the_probability_of_its_tokens_and_of_those_that_end_its_numbers(
    model, clip, queries
):
    labels = len(clip)
    for query, ranked in zip(queries, model.moments(clip, queries, least=0), strict=True):
        assert ranked.answer == model.answer(clip, [query])[0] and ranked.reason is None
        assert len(ranked.labels) == labels * (labels + 1) / 2 and ranked.left_out == 0
        assert 0.5 < ranked.probabilities.sum() < 1
        text = ranked.answer.text
        first, last = (str(int(label)) for label in ranked.answer.spans[0])
        before, _, rest = text.partition(first)
        between, _, after = rest.partition(last)
        for index in (0, 5, 17, 40, int(ranked.probabilities.argmax())):
            pair = [f"{label:g}" for label in ranked.labels[index]]
            wanted = by_hand(model, clip, query, (before, between, after), pair)
            assert ranked.probabilities[index] == pytest.approx(wanted, rel=1e-3)
        assert np.array_equal(ranked.spans, clip.seconds[ranked.labels.astype(int)])


def test_moments_are_ranked_by_expected_iou_without_near_repeats(model, clip, queries):
    (ranked,) = model.moments(clip, queries[:1], top=3, overlap=0.5)
    confidences = [moment.expected_iou for moment in ranked.moments]
    assert len(confidences) == 3 and confidences == sorted(confidences, reverse=True)
    best = expected_ious(ranked.spans, ranked.probabilities)
    assert confidences[0] == best.max()
    first, *others = [(moment.start, moment.end) for moment in ranked.moments]
    assert all(temporal_iou(first, other) <= 0.5 for other in others)


def test_what_is_left_out_is_bounded(model, clip, queries):
    whole, short = (model.moments(clip, queries, least=least) for least in (0, 0.02))
    for every, some in zip(whole, short, strict=True):
        assert len(some.probabilities) < len(every.probabilities) / 2
        missing = every.probabilities.sum() - some.probabilities.sum()
        assert 0 <= missing <= some.left_out < 0.5


def test_near_repeats_go_and_ties_keep_their_order():
    spans = np.array([(0, 10), (1, 10), (20, 30), (20, 30), (5, 5)])
    assert keep_distinct(spans, [1, 2, 3, 3, 0], overlap=0.5) == [2, 1, 4]
    assert keep_distinct(spans, [1, 2, 3, 3, 0], overlap=1.0) == [2, 3, 1, 0, 4]
    assert keep_distinct(np.zeros((0, 2)), []) == []


def test_a_model_without_probabilities_gives_its_answer_and_the_reason(clip, queries):
    class Plain(VideoModel):
        name, notes = "plain", {}

        def respond(self, frames, prompts, max_new_tokens):
            return ["From Frame 1 to Frame 3.", "no idea"]

    one, none = Plain().moments(clip, queries)
    (moment,) = one.moments
    assert (moment.start, moment.end) == (clip.seconds[1], clip.seconds[3])
    assert np.isnan(moment.probability) and one.reason == "Plain gives no probabilities"
    assert none.moments == () and none.reason == parse_moment("no idea").reason
    assert one.left_out == 1 and one.spans.shape == (0, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top": 0}, "top must be a whole number of moments, 1 or more; got 0"),
        ({"overlap": 1.5}, "overlap must be from 0 to 1; got 1.5"),
        ({"least": -1}, "least must be from 0 to 0.5; got -1"),
        ({"task": "highlight_detection"}, "moments are ranked for moment_retrieval"),
        ({"end": "middle"}, "end must be one of"),
    ],
)
def test_what_cannot_be_ranked_is_refused(given, message, model, clip):
    with pytest.raises(ValueError, match=message):
        model.moments(clip, ["a star"], **given)


def test_labels_that_are_no_numbers_give_one_moment_and_the_reason(model, clip, queries):
    (ranked,) = model.moments(clip, queries[:1], time_encoding="text-clock")
    assert "no plain numbers" in ranked.reason or ranked.reason == ranked.answer.reason
    assert len(ranked.moments) <= 1


LABELED = {"none": None, "text-index": None, "overlay-sparse": None, "bar": None,
           "hundredths": None, "overlay-index": 98}  # fmt: skip


@pytest.mark.parametrize("encoding", LABELED)
def test_every_encoding_whose_labels_are_numbers_is_ranked(encoding, model, clip, queries):
    first = LABELED[encoding]
    labels = None if first is None else [first + place for place in range(len(clip))]
    how = {"time_encoding": encoding}
    (ranked,) = model.moments(clip, queries[:1], labels=labels, least=1e-6, **how)
    assert ranked.reason is None and len(ranked.moments) > 1
    form = label_form(encoding, len(clip), labels, clip.duration)
    words, _ = form.words_of(ranked.answer)
    index = int(ranked.probabilities.argmax())
    pair = [form.texts[form.values.index(label)] for label in ranked.labels[index]]
    wanted = by_hand(model, clip, queries[0], words, pair, labels, **how)
    assert ranked.probabilities[index] == pytest.approx(wanted, rel=1e-3)
    unit, _ = model.answer_unit(Question(**how), len(clip), labels)
    written = parse_moment("".join([words[0], pair[0], words[1], pair[1], words[2]]))
    assert to_seconds(written, clip, labels, unit=unit) == (tuple(ranked.spans[index]),)


def test_the_tree_and_copies_give_the_same(model, clip, queries, monkeypatch):
    assert model.takes_tree
    tree = model.moments(clip, queries)
    monkeypatch.setattr(model, "takes_tree", False)
    for one, other in zip(tree, model.moments(clip, queries), strict=True):
        assert one.answer == other.answer and np.array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-3)


@pytest.mark.parametrize(("attention", "tree"), [("eager", True), ("flash_attention_2", False)])
def test_flash_attention_takes_no_mask_and_keeps_copies(attention, tree, clip, longva, queries):
    pages, wanted = clip.select(range(3)), longva.answer(clip.select(range(3)), queries)
    assert longva.takes_tree
    del longva.takes_tree
    if attention == "eager":
        longva.model.set_attn_implementation(attention)
        assert longva.answer(pages, queries) == wanted
    longva.model.config._attn_implementation = attention
    assert longva.takes_tree == tree


def test_a_class_that_does_not_take_the_mask_as_it_is_keeps_copies(longva, clip, queries):
    def causal(module, args, given):
        if getattr(given.get("attention_mask"), "ndim", 0) == 4:
            return args, given | {"attention_mask": None}

    pages = clip.select(range(3))
    wanted = longva.answer(pages, queries)
    del longva.takes_tree
    longva.model.register_forward_pre_hook(causal, with_kwargs=True)
    assert longva.answer(pages, queries) == wanted and not longva.takes_tree


def test_what_the_form_forces_is_not_decoded(model, clip, queries, monkeypatch):
    monkeypatch.setattr(model, "constrained", True)
    assert model.takes_tree
    answers, runs = [], []
    for tree in (True, False):
        monkeypatch.setattr(model, "takes_tree", tree)
        steps = []
        hook = model.model.register_forward_hook(lambda *given, steps=steps: steps.append(given[0]))
        answers += model.answer(clip, queries[:1])
        hook.remove()
        runs.append(len(steps))
    assert answers[0] == answers[1] and answers[0].spans
    assert runs[0] <= runs[1] - 2, "the spaces before both numbers"


def test_answers_that_are_held_to_the_form_share_all_probability_among_labels(
    model, clip, queries, monkeypatch
):
    monkeypatch.setattr(model, "constrained", True)
    for ranked in model.moments(clip, queries, least=0, template="{query}?"):
        assert ranked.probabilities.sum() > 0.5 and ranked.reason is None


def test_seconds_are_ranked_to_a_tenth(model, clip, queries, monkeypatch):
    monkeypatch.setattr(model, "constrained", True)
    (ranked,) = model.moments(clip, queries[:1], time_encoding="text-seconds")
    # the words of the form are the model's choice, the form is not
    form = r"(From|Between) [\d.]+( seconds)? (to|and) [\d.]+( seconds)?\.?"
    assert re.fullmatch(form, ranked.answer.text), ranked.answer.text
    named = "second" if "seconds" in ranked.answer.text else None
    assert ranked.answer.unit == named and ranked.reason is None
    assert len(ranked.labels) > 3 and np.array_equal(ranked.labels, ranked.labels.round(1))
    assert np.array_equal(ranked.spans, np.minimum(ranked.labels, clip.duration))


def test_where_no_pair_is_likely_the_answer_stands_alone_with_the_reason(model, clip, queries):
    how = {"least": 0.5, "template": "{whole}Say yes to {query}."}
    found = model.moments(clip, [*queries, "a star", "nothing", "a door that opens"], **how)
    (ranked, *_) = (one for one in found if one.reason and one.answer.spans)
    assert ranked.reason == "no pair of labels has a probability of 0.5"
    assert len(ranked.moments) == len(ranked.answer.spans[:1])


def test_an_answer_that_cannot_be_read_is_ranked_in_the_form_that_is_asked_for(
    model, clip, queries, monkeypatch
):
    monkeypatch.setattr(model, "answer_text", lambda *_: "I see no such thing.")
    (ranked,) = model.moments(clip, queries[:1], least=1e-6)
    assert ranked.answer.reason and ranked.answer.text == "I see no such thing."
    pair = [f"{label:g}" for label in ranked.labels[int(ranked.probabilities.argmax())]]
    wanted = by_hand(model, clip, queries[0], ("From Frame ", " to Frame ", "."), pair)
    assert ranked.probabilities.max() == pytest.approx(wanted, rel=1e-3)
