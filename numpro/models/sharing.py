"""One video, many questions: what they begin with is run once, then they go on as one batch.

Positions are given to the model explicitly. It need not work them out from a padded mask, nor from
what an earlier video left on it (transformers' Qwen models keep ``rope_deltas`` on the module).
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from numpro.models.constrained import Held

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Prefix:
    """What was run once.

    Attributes
    ----------
    cache : transformers.DynamicCache
        Keys and values of its tokens; never changed.
    length : int
        How many tokens it holds.
    place : int
        The position of the next token (less than `length` where a video's tokens share theirs).
    axes : int
        How many equal position indices a token of text has (3 for Qwen's mRoPE, else 1).
    """

    cache: object
    length: int
    place: int
    axes: int = 1

    def branch(self, rows: int) -> "DynamicCache":
        """Return a cache with `rows` copies, which a batch may add to."""
        many = copy.copy(self.cache)
        many.layers = [copy.copy(layer) for layer in self.cache.layers]
        many.batch_repeat_interleave(rows)  # new tensors: the prefix's own stay
        return many


def common_prefix(asked: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all sequences begin with, leaving each at least one of its own.

    Questions are compared as tokens, since a tokenizer may merge over the border of two texts.

    Examples
    --------
    >>> common_prefix([[1, 2, 3], [1, 2, 4, 5]]), common_prefix([[1, 2, 3]])
    (2, 2)
    """
    length = min(map(len, asked)) - 1
    return next((i for i in range(length) if len({ids[i] for ids in asked}) > 1), length)


@torch.inference_mode()
def decode(
    model: "PreTrainedModel",
    prefix: Prefix,
    asked: Sequence[list[int]],
    most: int,
    ends: Collection[int],
    pad: int,
    held: Held | None = None,
) -> list[list[int]]:
    """Answer a batch of questions greedily, behind a prefix that was run before.

    Greedily means the likeliest token each time. Penalties that a checkpoint's own generation
    settings ask for are left out: they would weigh the numbers said before.

    Parameters
    ----------
    model
        A causal language model of transformers.
    asked
        Tokens of each question after the prefix; their lengths may differ.
    most
        How many tokens an answer may have.
    ends
        Tokens that end an answer.
    pad
        What fills the shorter rows (never seen).
    held
        What keeps each answer to its form; None lets the model say anything.

    Returns
    -------
    list of list of int
        The tokens of each answer, without the one that ends it.
    """
    rows, length = len(asked), max(map(len, asked))
    ids = torch.tensor([[pad] * (length - len(a)) + a for a in asked])
    own = torch.tensor([[0] * (length - len(a)) + [1] * len(a) for a in asked])
    places = (prefix.place + own.cumsum(1) - 1).clamp(min=0)
    seen = torch.cat([torch.ones(rows, prefix.length, dtype=torch.long), own], 1)
    ids, places, seen = (tensor.to(model.device) for tensor in (ids, places, seen))
    ends = torch.tensor(sorted(ends), dtype=torch.long, device=model.device)
    cache, said, going = prefix.branch(rows), [], torch.ones(rows, dtype=torch.bool)
    while True:
        at = places.expand(prefix.axes, -1, -1) if prefix.axes > 1 else places
        out = model(
            input_ids=ids, attention_mask=seen, position_ids=at, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        logits = out.logits[:, -1] if held is None else held.allowed(out.logits[:, -1])
        ids = logits.argmax(-1, keepdim=True)
        said.append(ids)
        going = going.to(ids.device) & ~torch.isin(ids[:, 0], ends)
        if len(said) == most or not going.any():
            break
        if held is not None:
            held.said(ids[:, 0].tolist())
        places = places[:, -1:] + 1
        seen = torch.cat([seen, seen[:, :1]], 1)
    stops = set(ends.tolist())
    return [_until(row, stops) for row in torch.cat(said, 1).tolist()]


def _until(tokens: list[int], stops: set[int]) -> list[int]:
    end = next((i for i, token in enumerate(tokens) if token in stops), len(tokens))
    return tokens[:end]
