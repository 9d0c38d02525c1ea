"""One video, many questions: their common beginning is run once, then they go on as a batch.

Positions are given to the model explicitly. It need not work them out from a padded mask, nor from
what an earlier video left on it (transformers' Qwen models keep ``rope_deltas`` on the module).
"""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from transformers import DynamicCache, PreTrainedModel

from numpro.models.base import NoAnswer
from numpro.models.constrained import Constraint


@dataclass(frozen=True)
class Prefix:
    """What was run once.

    Attributes
    ----------
    cache
        Keys and values of its tokens; never changed.
    length : int
        How many tokens it holds.
    place : int or tensor
        The position of the next token; [axes, 1, 1] where a token has several (mRoPE), and less
        than `length` where a video's tokens share theirs.
    types : tuple of str
        Inputs that say of each token what it is; what follows is text, 0.
    """

    cache: DynamicCache
    length: int
    place: int | torch.Tensor
    types: tuple[str, ...] = ()

    def branch(self, rows: int) -> DynamicCache:
        """Return a cache with `rows` copies, which a batch may add to.

        Layers of every kind make new tensors when their rows are chosen: full, sliding, linear
        and sparse ones. Some keep them in dictionaries, which are copied too.
        """
        many = copy.copy(self.cache)
        many.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in many.layers:
            states = {name: v for name, v in vars(layer).items() if isinstance(v, dict)}
            vars(layer).update({name: dict(v) for name, v in states.items()})
        many.reorder_cache(torch.zeros(rows, dtype=torch.long))
        return many


@dataclass(frozen=True)
class Copies:
    """Runs tokens behind a prefix in a batch of copies of its cache: the way of every class.

    Attributes
    ----------
    model, prefix
        A causal language model of transformers, and what it has run.
    rows
        How many copies there may be at once.
    """

    model: PreTrainedModel
    prefix: Prefix
    rows: int

    def extend(self, steps: Sequence[tuple[tuple, list[int]]]) -> tuple[list[tuple], torch.Tensor]:
        """Run tokens behind branches.

        Parameters
        ----------
        steps
            A branch, () at first, and the tokens to run behind it.

        Returns
        -------
        branches, logits
            What was reached, and the logits there [steps, vocabulary].
        """
        paths = [(*branch, *tokens) for branch, tokens in steps]
        return paths, torch.stack(in_equal_batches(self._run, paths, self.rows))

    def _run(self, paths: Sequence[tuple]) -> list[torch.Tensor]:
        """Run paths of one length from the prefix on."""
        ids = torch.tensor(paths, device=self.model.device)
        types = dict.fromkeys(self.prefix.types, torch.zeros_like(ids))
        places = self.prefix.place + torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        mask = ids.new_ones(len(ids), self.prefix.length + ids.shape[1])
        return list(self.model(
            input_ids=ids, attention_mask=mask, position_ids=places, use_cache=True,
            past_key_values=self.prefix.branch(len(ids)), logits_to_keep=1, **types,
        ).logits[:, -1])  # fmt: skip


def common_prefix(prompts_ids: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, leaving each at least one after them.

    Prompts are compared as tokens, since a tokenizer may merge over the border of two texts.

    Examples
    --------
    >>> common_prefix([[1, 2, 3], [1, 2, 4, 5]]), common_prefix([[1, 2, 3]])
    (2, 2)
    """
    length = min(map(len, prompts_ids)) - 1
    return next((i for i in range(length) if len({ids[i] for ids in prompts_ids}) > 1), length)


@torch.inference_mode()
def decode(
    model: PreTrainedModel, prefix: Prefix, questions: Sequence[list[int]], most: int,
    ends: Collection[int], pad: int, constraint: Constraint | None = None,
) -> list[list[int]]:  # fmt: skip
    """Answer a batch of questions greedily, behind a prefix that was run before.

    Greedily means the likeliest token each time. Penalties that a checkpoint's own generation
    settings ask for are left out: they would weigh the numbers given before.

    Parameters
    ----------
    model
        A causal language model of transformers.
    questions
        Tokens of each question after the prefix; their lengths may differ.
    most
        How many tokens an answer may have.
    ends
        Tokens that end an answer.
    pad
        What fills the shorter rows (masked).
    constraint
        What keeps each answer to its form; None lets the model answer freely.

    Returns
    -------
    list of list of int
        The tokens of each answer, without the one that ends it.
    """
    rows, length = len(questions), max(map(len, questions))
    ids = torch.tensor([[pad] * (length - len(q)) + q for q in questions], device=model.device)
    real = torch.tensor([[0] * (length - len(q)) + [1] * len(q) for q in questions]).to(ids)
    position_ids = prefix.place + (real.cumsum(1) - 1).clamp(min=0)
    mask = torch.cat([real.new_ones(rows, prefix.length), real], 1)
    ends = torch.tensor(sorted(ends), dtype=torch.long, device=model.device)
    cache, answers, going = prefix.branch(rows), [], real.new_ones(rows, dtype=torch.bool)
    while True:
        types = dict.fromkeys(prefix.types, torch.zeros_like(ids))
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=position_ids, past_key_values=cache,
            use_cache=True, logits_to_keep=1, **types,
        ).logits[:, -1]  # fmt: skip
        logits = logits if constraint is None else constraint.mask(logits)
        ids = logits.argmax(-1, keepdim=True)
        answers.append(ids)
        going &= ~torch.isin(ids[:, 0], ends)
        if len(answers) == most or not going.any():
            break
        if constraint is not None:
            constraint.advance(ids[:, 0].tolist())
        position_ids = position_ids[..., -1:] + 1
        mask = torch.cat([mask, mask[:, :1]], 1)
    stops, written = set(ends.tolist()), torch.cat(answers, 1).tolist()
    return [list(takewhile(lambda token: token not in stops, tokens)) for tokens in written]


def in_batches(ask: Callable[[list], list], items: Sequence, size: int) -> list:
    """Ask for items in batches; a batch that does not fit into memory is halved.

    Parameters
    ----------
    ask
        Turns a list of items into as many results.
    items
        What is asked for.
    size
        Items a batch, until memory runs out.

    Returns
    -------
    list
        A result for each item; a `NoAnswer` for one that does not fit even alone.
    """
    done: list = []
    while len(done) < len(items):
        part, failed = list(items[len(done) : len(done) + size]), None
        try:
            done += ask(part)
        except (RuntimeError, MemoryError) as error:
            full = "out of memory" in str(error) or "can't allocate memory" in str(error)
            if not full and not isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
            failed = str(error).partition("\n")[0] or type(error).__name__
        if failed is not None:  # outside of except, where the error still holds the tensors
            torch.cuda.empty_cache()  # nothing where there is no GPU
            if len(part) == 1:
                done.append(NoAnswer(f"out of memory: {failed}"))
            size = max(1, len(part) // 2)
    return done


def in_equal_batches(ask: Callable[[list], list], items: Sequence[Sequence], size: int) -> list:
    """Ask as `in_batches` does, with items of one length in a batch only: nothing is padded."""
    done: dict[int, object] = {}
    for length in sorted({len(item) for item in items}):
        rows = [row for row, item in enumerate(items) if len(item) == length]
        results = in_batches(ask, [items[row] for row in rows], size)
        done |= dict(zip(rows, results, strict=True))
    return [done[row] for row in range(len(items))]
