"""Hold answers to the form that was asked for, so that a model is judged by what it says when.

A gain of numbers on frames can be a gain of form only: a model that answers in its own words
counts as one that is wrong. With every arm held to the same form, that part is gone. At each
token, those that cannot go on the form are out; among the others the model chooses as always.
The grammar is followed by llguidance, as in vLLM and SGLang.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
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

    def hold(self, rows: int) -> "Held":
        """Return what holds a batch of `rows` answers from their first token on.

        Raises
        ------
        ValueError
            For a grammar that is none.
        """
        from llguidance import LLMatcher

        if self.grammar is None:
            raise ValueError("the prompt has no form to hold an answer to; got form=None")
        first = LLMatcher(self.tokens, LLMatcher.grammar_from_lark(self.grammar))
        if first.get_error():
            raise ValueError(f"the form of the answer is no Lark grammar: {first.get_error()}")
        return Held([first.deep_copy() for _ in range(rows)])


class Held:
    """A batch of answers on their way through a form."""

    def __init__(self, rows: list):
        self.rows = rows

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits [rows, vocabulary] with -inf for what cannot come next.

        Nothing but an end can come after an end.
        """
        bits = [np.frombuffer(row.compute_bitmask(), np.uint8) for row in self.rows]
        fits = np.unpackbits(np.stack(bits), axis=1, bitorder="little")[:, : logits.shape[1]]
        return logits.masked_fill(torch.from_numpy(fits == 0).to(logits.device), -torch.inf)

    def said(self, tokens: list[int]) -> None:
        """Go on by a token each."""
        for row, token in zip(self.rows, tokens, strict=True):
            if not row.is_stopped():
                row.consume_token(token)


def form_reader(
    tokenizer: "PreTrainedTokenizerBase", vocabulary: int, ends: Collection[int]
) -> Callable[[str], AnswerForm]:
    """Return what makes an `AnswerForm` of a grammar.

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
    from llguidance.hf import from_tokenizer

    tokens = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends))
    return cache(partial(AnswerForm, tokens))
