"""Questions that share a video's frames in one sequence teach what separate samples teach."""

import pytest
import torch

from numpro.models.training_batches import IGNORED
from numpro.training.finetuning import plan
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import Samples, collate

TASKS = ("moment_retrieval", "highlight_detection")


def loss_and_gradients(longva, films, tasks, share):
    samples = Samples(films, longva, FinetuneConfig(tasks=tasks, share_frames=share))
    batch = collate(longva, [samples[i] for i in range(len(samples))])
    longva.model.zero_grad()
    loss = longva.model(**batch).loss
    loss.backward()
    grads = {n: p.grad.clone() for n, p in longva.model.named_parameters() if p.grad is not None}
    return len(samples), loss.item(), grads


@pytest.mark.parametrize("tasks", [TASKS[:1], TASKS])
def test_the_loss_and_its_gradients_are_those_of_separate_samples(films, longva, tasks):
    alone, loss, grads = loss_and_gradients(longva, films, tasks, share=False)
    shared, same, again = loss_and_gradients(longva, films, tasks, share=True)
    assert shared == len(films) * len(tasks) < alone
    assert same == pytest.approx(loss, rel=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(again[name], grad, rtol=2e-3, atol=2e-5, msg=name)


def test_answers_are_all_that_is_learned(films, longva):
    config = FinetuneConfig(share_frames=True)
    sample = Samples(films, longva, config)[0]
    learned = longva.tokenizer.decode([t for t in sample["labels"] if t != IGNORED])
    assert learned.count("From Frame") == learned.count("<|im_end|>") == len(films[0].queries)
    starts = {s: sample["position_ids"][sample["segment"].index(s)] for s in sample["segment"]}
    assert len(set(starts.values()) - {0}) == 1  # each question begins where the video ends


def test_the_plan_counts_sequences(films):
    config = FinetuneConfig(share_frames=True, batch_size=1, epochs=2)
    assert plan(films, config)["samples"] == len(films)
    assert plan(films, config)["steps"] == 2 * len(films)
