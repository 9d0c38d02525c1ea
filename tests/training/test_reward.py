"""Learning on by reward: groups drawn, rewarded, weighed and learned from.

The model has random weights, so its answers differ, and none depends on the embedded models.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import get_peft_model

from numpro import read_clip
from numpro.models.sharing import Copies
from numpro.spans import Span, temporal_iou
from numpro.training import reward
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import IGNORED, Samples, collate
from numpro.training.trainer import lora_config

CONFIG = FinetuneConfig(share_frames=True, lora_rank=4)
QUICK = reward.RewardConfig(seconds=1e-3, films=2, group=4, learning_rate=1e-3)


@pytest.fixture(scope="module")
def learner(longva_dir):
    """The tiny random LongVA with an adapter, and its first weights."""
    from numpro.models import load_model

    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    torch.manual_seed(0)
    model.model = get_peft_model(model.model, lora_config(CONFIG, model)).eval()
    model.adapter = "new"
    return model, {name: value.clone() for name, value in model.model.state_dict().items()}


@pytest.fixture
def samples(learner, films):
    model, first = learner
    model.model.load_state_dict(first)
    return Samples(films, model, CONFIG)


def draw(samples, group=4, seed=0):
    return reward.draw_answers(samples, 0, group, torch.Generator().manual_seed(seed))


def rewards_by_first_token(monkeypatch):
    """Let answers that begin with an even token have the reward 1, others 0; cut them soon."""
    monkeypatch.setattr(reward, "MOST_TOKENS", 6)

    def rewards(_, __, groups, ___):
        return np.array([[float(ids[0] % 2 == 0) for ids in group] for group in groups])

    monkeypatch.setattr(reward, "group_rewards", rewards)


def test_the_likeliest_answers_are_those_the_model_gives(samples, films):
    model, clip = samples.model, read_clip(films[0].path, fps=1.0, size=(336, 336))
    given = model.answer(clip, [query.text for query in films[0].queries])
    texts = [model.answer_text(list(ids), [], 32) for (ids,) in reward.draw_answers(samples, 0, 1)]
    assert texts == [answer.text for answer in given]


def test_draws_are_a_group_a_question_and_the_seed_s(samples):
    one, same, other = (draw(samples, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    assert [len(group) for group in one] == [4] * len(samples.items[0].queries)
    for answer in (answer for group in one for answer in group):
        assert answer[-1] in samples.model.ends or len(answer) == reward.MOST_TOKENS
        assert not samples.model.ends & {*answer[:-1]}


@pytest.mark.parametrize("tree", [True, False])
def test_draws_come_as_often_as_the_model_holds_them_likely(samples, tree, monkeypatch):
    monkeypatch.setattr(reward, "MOST_TOKENS", 1)
    model, scores = samples.model, []
    model.model.get_output_embeddings().weight.data *= 2  # surer, so that shares can be compared
    if not tree:
        copies = lambda prefix, rows: Copies(model.model, prefix, rows)  # noqa: E731
        monkeypatch.setattr(model, "branches", copies)
    for group in draw(samples, 300):
        tokens, counts = np.unique([answer[0] for answer in group], return_counts=True)
        scores.append((tokens, counts / 300))
    monkeypatch.undo()
    answers = [[(int(token),) for token in tokens] for tokens, _ in scores]
    likely = reward.log_probabilities(samples, 0, answers).exp().detach().numpy()
    np.testing.assert_allclose(np.concatenate([shares for _, shares in scores]), likely, atol=0.1)
    assert likely.max() > 0.15  # else all are rare, and this test shows nothing


def test_answers_behind_one_video_are_as_likely_as_alone(samples):
    model, texts = samples.model, ["From Frame 1 to Frame 5.", "From 2", "the red star"]
    groups = [[tuple(model.encode(text)) for text in texts] for _ in samples.items[0].queries]
    groups[1] = []
    together = reward.log_probabilities(samples, 0, groups)
    patches, alone = samples[0]["image_patches"], []
    for prompt, group in zip(samples.prompts(samples.items[0]), groups, strict=True):
        for answer in group:
            before = model.video_ids(len(patches)) + model.question_ids(prompt.text)
            ids = torch.tensor([[*before, *answer]])
            logits = model.model(input_ids=ids, image_patches=patches).logits[0, len(before) - 1 :]
            alone += logits.log_softmax(-1)[range(len(answer)), list(answer)].tolist()
    np.testing.assert_allclose(together.tolist(), alone, atol=1e-4)


def test_the_reward_is_the_iou_with_the_true_span_that_fits_best_or_with_the_group(samples):
    query = replace(samples.items[0].queries[0], spans=(Span(0.0, 2.0), Span(3.0, 5.0)))
    samples.items[0] = samples.items[0]._replace(queries=[query])
    texts = ["From Frame 3 to Frame 5.", "From", "2 to 5"]
    group = [tuple(samples.model.encode(text)) for text in texts]
    spans = reward.answer_spans(samples, 0, group)
    # half a step on, as everything is read of these films
    assert spans[0] == pytest.approx((2.5, 5.5), abs=0.1) and spans[1] is None
    by_truth = reward.group_rewards(samples, 0, [group], "iou")[0]
    assert by_truth.tolist() == [temporal_iou(spans[0], (3, 5)), 0, temporal_iou(spans[2], (3, 5))]
    by_group = reward.group_rewards(samples, 0, [group], "expected_iou")[0]
    both = (1 + temporal_iou(spans[0], spans[2])) / 3
    np.testing.assert_allclose(by_group, [both, 0, both])


def test_a_cut_answer_has_no_span(samples):
    ids = samples.model.encode("From Frame 3 to Frame 5" * 9)
    for most, read in ((reward.MOST_TOKENS - 1, True), (reward.MOST_TOKENS, False)):
        (span,) = reward.answer_spans(samples, 0, [tuple(ids[:most])])
        assert (span is not None) == read


def test_numbers_that_begin_anywhere_are_read(samples):
    shown = samples.items[0].shown._replace(first=20)
    samples.items[0] = samples.items[0]._replace(shown=shown)
    (span,) = reward.answer_spans(samples, 0, [samples.model.encode("From Frame 21 to Frame 23.")])
    assert span == pytest.approx((0.5, 3.5), abs=0.1)


def test_queries_without_a_true_span_are_left_out(samples, films):
    first, *others = films[0].queries
    film = replace(films[0], queries=(replace(first, spans=()), *others))
    some = Samples([film], samples.model, CONFIG)
    assert [row["qid"] for row in some.skipped] == [first.qid]
    assert len(draw(some, 2)) == len(reward.greedy_ious(some)) == len(others)


def test_the_loss_is_clipped_on_the_side_that_would_go_on():
    new = torch.tensor([0.0, 1.0, 1.0, -1.0, -1.0], requires_grad=True)
    weights = torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0])
    loss = reward.grpo_loss(new, torch.zeros(5), weights, 5)
    loss.backward()
    assert new.grad.ne(0).tolist() == [True, False, True, True, False]
    e = np.e
    assert loss.item() == pytest.approx(-(1 + 1.2 - e + 1 / e - 0.8) / 5)


def test_better_answers_become_likelier_and_groups_are_counted(samples, monkeypatch):
    rewards_by_first_token(monkeypatch)
    config, generator = replace(QUICK, updates=1), torch.Generator().manual_seed(0)
    order = torch.randperm(2, generator=generator).tolist()
    learned, weights, drawn = reward.draw_groups(samples, order, config, generator)
    assert (
        0 <= drawn["equal_groups"] < drawn["groups"] == sum(len(i.queries) for i in samples.items)
    )
    counts = [count for counts in learned.values() for count in counts]
    assert [sum(count.values()) for count in counts if count] == [4] * sum(map(bool, counts))
    assert sum(not count for count in counts) == drawn["equal_groups"]

    def weighed():
        films = [item for item in learned.items() if any(item[1])]
        likely = torch.cat([reward.log_probabilities(samples, *item) for item in films])
        return float(likely.detach() @ torch.tensor(weights, dtype=torch.float32))

    before = weighed()
    (row,) = reward.learn_on(samples, config)
    assert drawn.items() <= row.items() and weighed() > before + 0.01


def test_an_advantage_counts_as_often_as_its_answer_was_drawn(samples, monkeypatch):
    ends = (5, *samples.model.ends)[:2]
    monkeypatch.setattr(reward, "draw_answers", lambda *_: [[ends, ends, (7,), ends]])
    given = np.array([[0.2, 0.2, 1.0, 0.2]])
    monkeypatch.setattr(reward, "group_rewards", lambda *_: given)
    learned, weights, _ = reward.draw_groups(samples, [0], QUICK, torch.Generator())
    assert learned == {0: [{ends: 3, (7,): 1}]}
    np.testing.assert_allclose(weights, [-0.6, -0.6, 0.6])  # the mean is 0.4


def test_groups_of_equal_rewards_teach_nothing(samples, learner, monkeypatch):
    monkeypatch.setattr(reward, "MOST_TOKENS", 2)
    equal = lambda *_: np.full((len(_[2]), 4), 0.5)  # noqa: E731
    monkeypatch.setattr(reward, "group_rewards", equal)
    (row,) = reward.learn_on(samples, QUICK)
    assert row["equal_groups"] == row["groups"] > 0 and row["loss"] is row["grad_norm"] is None
    now = samples.model.model.state_dict()
    assert all(value.equal(now[name]) for name, value in learner[1].items())


@pytest.mark.parametrize("method", reward.METHODS)
def test_only_the_adapter_learns_and_the_clock_ends_it(method, samples, learner, monkeypatch):
    rewards_by_first_token(monkeypatch)
    log = reward.learn_on(samples, replace(QUICK, method=method))
    assert [row["step"] for row in log] == [1] and log[0]["seconds"] >= QUICK.seconds
    assert ("reward" in log[0]) == (method != "supervised")
    now = samples.model.model.state_dict()
    changed = {name for name, value in learner[1].items() if not value.equal(now[name])}
    assert changed and all("lora_" in n or "modules_to_save" in n for n in changed)
    assert not any(p.requires_grad for p in samples.model.model.parameters())
    monkeypatch.setattr(reward, "_losses", lambda *_: [])
    rates = [r["learning_rate"] for r in reward.learn_on(samples, replace(QUICK, seconds=0.01))]
    assert len(rates) > 1 and rates[0] == 1e-3 and rates == sorted(rates, reverse=True)


def test_supervised_steps_have_the_trainer_s_loss(samples):
    batch = collate(samples.model, [samples[index] for index in range(len(samples))])
    wanted = samples.model.model(**batch).loss.item()
    (row,) = reward.learn_on(samples, replace(QUICK, method="supervised"))
    assert row["loss"] == pytest.approx(wanted, rel=1e-4)


def test_a_broken_video_teaches_nothing(samples, monkeypatch):
    made = [samples[index] for index in range(2)]
    made[1] = made[1] | {"labels": [IGNORED] * len(made[1]["labels"])}
    drawn = []
    monkeypatch.setattr(Samples, "__getitem__", lambda _, index: made[index])
    monkeypatch.setattr(reward, "_losses", lambda *given: drawn.append(given[1]) or [])
    reward.learn_on(samples, QUICK)
    assert drawn and all(films == [0] for films in drawn)


def test_what_cannot_be_is_refused(longva, samples):
    with pytest.raises(ValueError, match="method must be one of"):
        reward.RewardConfig(method="praise")
    with pytest.raises(ValueError, match="group must be 2 answers or more .*; got 1"):
        reward.RewardConfig(group=1)
    samples.model = longva
    with pytest.raises(ValueError, match="needs a LongVA with an adapter; got None"):
        reward.learn_on(samples, QUICK)
