"""Reward after supervision: an adapter learns on from the temporal IoU of its own answers.

Group Relative Policy Optimization (arXiv 2402.03300) without thinking, as Time-R1 (arXiv
2503.13377) and TimeLens (arXiv 2512.14698) use it for moments: several answers to a question are
drawn, and those that overlap the truth more than their group's mean become likelier. An advantage
is the reward minus that mean, not divided by the standard deviation nor by an answer's length
(Dr. GRPO, arXiv 2503.20783). There is no KL term: the clipped ratio and few steps keep it near.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from numpro.datasets import label_end
from numpro.metrics import moment_ious
from numpro.models.adapters import LOG_COLUMNS
from numpro.models.base import read_response
from numpro.models.moments import expected_ious
from numpro.models.sharing import Prefix, decode
from numpro.spans import Span, one_of, to_seconds
from numpro.training.samples import IGNORED, Samples, collate

METHODS = ("supervised", "iou", "expected_iou")
MOST_TOKENS = 32  # of an answer, as when moments are asked for


@dataclass(frozen=True)
class RewardConfig:
    """How an adapter learns on.

    Attributes
    ----------
    method : str
        ``supervised``: from the true answers, as before. ``iou``: by reward, the temporal IoU with
        the true span that fits best. ``expected_iou``: by what moments are ranked by, the mean IoU
        with what the model may answer, of which its group is a sample; the truth is not used.
    seconds : float
        CPU seconds of this process; the first step that ends after them is the last.
    learning_rate : float
        At the beginning; it falls to 0 with the seconds.
    films : int
        A step; all questions about each.
    group : int
        Answers that are drawn to a question.
    updates : int
        Steps of the optimizer on the same answers.
    seed : int
        Of the films' order and of the draws.
    """

    method: str = "iou"
    seconds: float = 20.0
    learning_rate: float = 1e-5
    films: int = 4
    group: int = 8
    updates: int = 2
    seed: int = 0

    def __post_init__(self):
        one_of("method", self.method, METHODS)
        if self.group < 2:
            raise ValueError(f"group must be 2 answers or more to have a mean; got {self.group}")


def equal_rewards(rewards: Sequence) -> np.ndarray:
    """Tell of each group [groups, answers] whether its rewards are equal: nothing can be learned.

    Examples
    --------
    >>> equal_rewards(np.array([[1.0, 0.5], [0.3, 0.3]])).tolist()
    [False, True]
    """
    return np.ptp(rewards, -1) < 1e-9


def grpo_loss(
    new: torch.Tensor, old: torch.Tensor, weights: torch.Tensor, answers: int, clip: float = 0.2
) -> torch.Tensor:
    """Return the clipped loss of drawn answers (arXiv 2402.03300, equation 3, without KL).

    Parameters
    ----------
    new, old : float [tokens]
        Log-probabilities of the tokens of all answers: now, and when they were drawn.
    weights : float [tokens]
        The advantage of each token's answer; of one that was drawn n times, n times that.
    answers
        How many were drawn: the sum over tokens is divided by it.
    clip
        The ratio counts from 1 - clip to 1 + clip.
    """
    ratio = (new - old).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * weights, clipped * weights).sum() / answers


def _prefill(samples: Samples, index: int) -> tuple[Prefix, list[list[int]]]:
    """Run the video of a sample; return what was run and the tokens of its questions."""
    model, prompts = samples.model, samples.prompts(samples.items[index])
    patches = samples[index]["image_patches"].to(model.device)
    video = torch.tensor([model.video_ids(len(patches), prompts[0].frame_texts)])
    how = {"image_patches": patches, "use_cache": True, "logits_to_keep": 1}
    cache, length = model.model(input_ids=video.to(model.device), **how), video.shape[1]
    questions = [model.question_ids(prompt.text) for prompt in prompts]
    return Prefix(cache.past_key_values, length, length), questions


@torch.no_grad()  # features made here are kept for training, so no inference_mode
def draw_answers(
    samples: Samples, index: int, group: int, generator: torch.Generator | None = None
) -> list[list[tuple[int, ...]]]:
    """Draw answers to all questions of a sample; its video and each question are run once.

    Parameters
    ----------
    samples, index
        The sample, with one question or, where they share their frames, several.
    group
        Answers a question, drawn as often as the model holds them likely.
    generator
        What draws; None takes the likeliest token each time.

    Returns
    -------
    list of list of tuple
        Of each question its answers as tokens, with the one that ends them unless they were cut.
    """
    model, (prefix, questions) = samples.model, _prefill(samples, index)
    rows = [row for row in range(len(questions)) for _ in range(group)]
    with model.branches(prefix, len(rows)) as branches:
        reached, _ = branches.extend([(branches.root, ids[:-1]) for ids in questions])
        lasts, starts = [questions[row][-1:] for row in rows], [reached[row] for row in rows]
        drawn, _ = decode(branches, lasts, MOST_TOKENS, model.ends, None, starts, generator)
    end = (model.tokenizer.eos_token_id,)
    answers = [(*ids, *end * (len(ids) < MOST_TOKENS)) for ids in drawn]
    return [answers[n : n + group] for n in range(0, len(rows), group)]


def answer_spans(samples: Samples, index: int, answers: Sequence) -> list[Span | None]:
    """Return the first span in seconds that each answer about a sample says; None: unread."""
    shown = samples.items[index].shown
    numbers = range(shown.first, shown.first + len(shown.seconds)) if shown.first else None
    unit, labels = samples.model.answer_unit(samples.config, len(shown.seconds), numbers)
    texts = [samples.model.answer_text(list(ids), [], MOST_TOKENS) for ids in answers]
    read = [read_response(text, "moment_retrieval") for text in texts]
    end = label_end([samples.items[index].video])
    spans = [to_seconds(answer, shown, labels, end, unit) for answer in read]
    return [found[0] if found else None for found in spans]


def group_rewards(samples: Samples, index: int, groups: Sequence, method: str) -> np.ndarray:
    """Return the reward of each answer [questions, answers], from 0 to 1; unread ones have 0."""
    rewards = []
    for query, group in zip(samples.items[index].queries, groups, strict=True):
        spans = answer_spans(samples, index, group)
        if method == "iou":
            rewards.append(moment_ious(spans, [query.spans] * len(spans)))
        else:
            ends = np.array([span or (1.0, 0.0) for span in spans])  # reversed: overlaps nothing
            rewards.append(expected_ious(ends, np.full(len(ends), 1 / len(ends))))
    return np.array(rewards)


def greedy_ious(samples: Samples) -> np.ndarray:
    """Return the IoU of the greedy answer to each query of samples with what is true, in order."""
    groups = [draw_answers(samples, index, 1) for index in range(len(samples))]
    found = [group_rewards(samples, index, drawn, "iou") for index, drawn in enumerate(groups)]
    return np.concatenate(found)[:, 0]


def log_probabilities(samples: Samples, index: int, answers: Sequence) -> torch.Tensor:
    """Return the log-probability of each token of the answers to each question, in order."""
    prefix, questions = _prefill(samples, index)
    steps, tokens = [], []
    with samples.model.branches(prefix, 1) as tree:
        reached, _ = tree.extend([(tree.root, ids[:-1]) for ids in questions])
        for ids, branch, given in zip(questions, reached, answers, strict=True):
            for answer in given:
                steps += [(branch, ids[-1:]), *((None, [token]) for token in answer[:-1])]
                tokens += answer
        _, logits = tree.extend(steps)
    return logits.float().log_softmax(-1)[range(len(tokens)), tokens]


def draw_groups(
    samples: Samples, films: Sequence[int], config: RewardConfig, generator: torch.Generator
) -> tuple[dict, list[float], dict]:
    """Draw groups about films; return what is learned of them.

    A group of equal rewards teaches nothing and is left out; equal answers are run once.

    Returns
    -------
    dict
        For each film the answers that are learned, and how often they were drawn: a counter for
        each question, without answers where rewards were equal.
    list of float
        For each token of them the advantage, times how often the answer was drawn.
    dict
        For the log: ``reward`` (the mean), ``groups`` and ``equal_groups``.
    """
    learned, weights, rewards = {}, [], []
    for index in films:
        groups = draw_answers(samples, index, config.group, generator)
        given = group_rewards(samples, index, groups, config.method)
        gains, equal = given - given.mean(-1, keepdims=True), equal_rewards(given)
        learned[index] = [Counter(() if equal[n] else group) for n, group in enumerate(groups)]
        for count, group, gain in zip(learned[index], groups, gains, strict=True):
            for answer, times in count.items():
                weights += [times * gain[group.index(answer)]] * len(answer)
        rewards += [*given]
    row = {"reward": float(np.mean(rewards)), "groups": len(rewards)}
    return learned, weights, row | {"equal_groups": int(equal_rewards(rewards).sum())}


def _losses(samples: Samples, films: list[int], config: RewardConfig, generator, row) -> Iterator:
    """Yield the loss of each update on these films; what was drawn is added to the log's row."""
    model, old = samples.model, None
    if config.method == "supervised":
        batch = collate(model, [samples[index] for index in films])
        yield model.model(**{key: value.to(model.device) for key, value in batch.items()}).loss
        return
    learned, weights, drawn = draw_groups(samples, films, config, generator)
    row |= drawn
    answered = [item for item in learned.items() if any(item[1])]
    for _ in range(config.updates if answered else 0):
        new = torch.cat([log_probabilities(samples, *item) for item in answered])
        old = new.detach() if old is None else old
        yield grpo_loss(new, old, new.new_tensor(weights), row["groups"] * config.group)


def learn_on(samples: Samples, config: RewardConfig) -> list[dict]:
    """Let the adapter of the samples' model learn on, with AdamW, for so many CPU seconds.

    Vision features are computed before the clock starts, for all methods alike. To begin anew,
    give the model its first weights back (`peft.set_peft_model_state_dict`).

    Parameters
    ----------
    samples
        What is learned from, with a model in float32 that has an adapter.
    config
        By which method, and for how long.

    Returns
    -------
    list of dict
        A row a step: `numpro.models.adapters.LOG_COLUMNS`, ``seconds`` since the start and, with a
        reward, its mean as ``reward``, how many ``groups`` were drawn, and how many of them had
        equal rewards (``equal_groups``).

    Raises
    ------
    ValueError
        For a model without adapter, or whose vision features are not kept.
    """
    model = samples.model
    if not (model.adapter and hasattr(model, "patch_features")):
        raise ValueError(f"learning on needs a LongVA with an adapter; got {model.adapter!r}")
    # this computes their features, too; a video that turned out to be broken teaches nothing
    films = [index for index in range(len(samples)) if {*samples[index]["labels"]} != {IGNORED}]
    model.model.set_adapter("default")  # trainable again: LoRA, and the projector beside it
    trained = [p for p in model.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.0)
    generator = torch.Generator(model.device).manual_seed(config.seed)
    log, began, used = [], time.process_time(), 0.0
    while used < config.seconds:
        rate = optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - used / config.seconds)
        row = dict.fromkeys(LOG_COLUMNS) | {"step": len(log) + 1, "learning_rate": rate}
        some = torch.randperm(len(films), generator=generator, device=model.device)[: config.films]
        for loss in _losses(samples, [films[place] for place in some], config, generator, row):
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)  # as the Trainer does
            optimizer.step()
            row |= {"loss": loss.item(), "grad_norm": norm.item()}
        used = time.process_time() - began
        log.append(row | {"seconds": used})
    model.model.requires_grad_(False)
    return log
