"""Constrain answers to the form asked for, so that a model is judged by the moment it names.

Numbers on frames may gain in form only: a model that answers in its own words counts as wrong.
With every arm constrained to the same form, that part is gone. At each step the tokens that
cannot continue the form get no probability; among the others the model chooses as always.
llguidance follows the grammar, as in vLLM and SGLang.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class AnswerForm:
    """A grammar over the tokens of one tokenizer.

    Attributes
    ----------
    tokens
        llguidance's view of the tokenizer.
    grammar
        What an answer may be, in Lark's syntax (`numpro.prompting.prompts.answer_form`).
    """

    tokens: object
    grammar: str

    def start(self, rows: int) -> "Constraint":
        """Return the constraint of a batch of `rows` answers, at their first token.

        Raises
        ------
        ValueError
            For a grammar that is none.
        """
        if self.grammar is None:
            raise ValueError("the prompt has no form to constrain an answer to; got form=None")
        first = LLMatcher(self.tokens, LLMatcher.grammar_from_lark(self.grammar))
        if first.get_error():
            raise ValueError(f"the form of the answer is no Lark grammar: {first.get_error()}")
        return Constraint([first.deep_copy() for _ in range(rows)])


class Constraint:
    """What keeps each answer of a batch to its form, token by token."""

    def __init__(self, rows: list):
        self.rows = rows

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits [rows, vocabulary] with -inf for what cannot come next.

        Nothing but an end can come after an end.
        """
        bits = [np.frombuffer(row.compute_bitmask(), np.uint8) for row in self.rows]
        fits = np.unpackbits(np.stack(bits), axis=1, bitorder="little")[:, : logits.shape[1]]
        return logits.masked_fill(torch.from_numpy(fits == 0).to(logits.device), -torch.inf)

    def advance(self, tokens: list[int]) -> None:
        """Take the token that each answer goes on with."""
        for row, token in zip(self.rows, tokens, strict=True):
            if not row.is_stopped():
                row.consume_token(token)

    def forced(self) -> list[list[int]]:
        """Return the tokens that each answer must go on with, and take them."""
        tokens = [[] if row.is_stopped() else row.compute_ff_tokens() for row in self.rows]
        for row, more in zip(self.rows, tokens, strict=True):
            row.consume_tokens(more)
        return tokens


def form_reader(
    tokenizer: PreTrainedTokenizerBase, vocabulary: int, ends: Collection[int]
) -> Callable[[str], AnswerForm]:
    """Return a function that makes an `AnswerForm` of a grammar.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers.
    vocabulary
        How many logits the model has (some have more than the tokenizer has tokens).
    ends
        The tokens that end an answer.

    Raises
    ------
    ValueError
        For a slow tokenizer, which llguidance cannot read.
    """
    tokens = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends))
    return cache(partial(AnswerForm, tokens))
