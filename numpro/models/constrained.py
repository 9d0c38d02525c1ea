"""Constrain answers to the form asked for, so that a model is judged by the moment it names.

Numbers on frames may gain in form only: a model that answers in its own words counts as wrong.
With every arm constrained to the same form, that part is gone. At each step the tokens that
cannot continue the form get no probability; among the others the model chooses as always.
llguidance follows the grammar, as in vLLM and SGLang.
"""

from collections.abc import Sequence

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer

_PIECES = 8  # of a draft, so that it has an end under any grammar


def constrain(
    vocabulary: LLTokenizer, grammar: str | None, rows: int, example: str | None = None
) -> "Constraint":
    """Return the constraint of a batch of `rows` answers, at their first token.

    Parameters
    ----------
    vocabulary
        The tokens as llguidance sees them (`LocalModel.vocabulary`).
    grammar
        What an answer may be, in Lark's syntax (`numpro.prompting.prompts.answer_form`).
    rows
        How many answers there are.
    example
        An answer in the form, from which further ones are drafted; an empty one drafts from
        these answers only, None drafts nothing and skips nothing.

    Raises
    ------
    ValueError
        For a grammar that is none.
    """
    if grammar is None:
        raise ValueError("the prompt has no form to constrain an answer to; got form=None")
    first = LLMatcher(vocabulary, LLMatcher.grammar_from_lark(grammar))
    if first.get_error():
        raise ValueError(f"the form of the answer is no Lark grammar: {first.get_error()}")
    made = Constraint(vocabulary, [first], None if example is None else {})
    for token in vocabulary.tokenize_str(example or ""):
        made.draft([0])
        if not first.try_consume_tokens([token]):
            break  # the user's own form
        made.note(token, 0)
    first.reset()
    return Constraint(vocabulary, [first.deep_copy() for _ in range(rows)], made.usual)


class Constraint:
    """What keeps each answer of a batch to its form, token by token.

    Attributes
    ----------
    usual : dict or None
        By what may come next in an answer, the token that came there last; None drafts nothing.
    """

    def __init__(self, vocabulary, rows: list, usual: dict[bytes, int] | None = None):
        self.vocabulary, self.rows, self.usual = vocabulary, rows, usual
        self._bits: list[bytes] = []  # of each place what may come next

    def draft(self, rows: Sequence[int]) -> list[list[list[int]]]:
        """Return how answers may go on, in pieces of a usual token and what the form forces then.

        A draft says nothing of what the model would take: it is to be compared at each piece.
        """
        drafts, self._bits, usual = [], [], self.usual or {}
        for row in rows:
            ahead, pieces = self.rows[row].deep_copy(), []
            self._bits.append(ahead.compute_bitmask())
            while len(pieces) < _PIECES and (token := usual.get(self._bits[-1])) is not None:
                ahead.consume_token(token)
                pieces.append([token, *_forced(ahead)])
                self._bits.append(ahead.compute_bitmask())
            drafts.append(pieces)
        return drafts

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits with -inf for what cannot come next.

        Nothing but an end can come after an end.

        Parameters
        ----------
        logits
            [places, vocabulary], at the end of each row and of each piece of its draft.
        """
        bits = [np.frombuffer(place, np.uint8) for place in self._bits]
        fits = np.unpackbits(np.stack(bits), axis=1, bitorder="little")[:, : logits.shape[1]]
        return logits.masked_fill(torch.from_numpy(fits == 0).to(logits.device), -torch.inf)

    def advance(self, row: int, tokens: Sequence[int], place: int) -> list[int]:
        """Go on with an answer: its draft as far as it was right, and the token taken then.

        Returns the tokens that must follow, taken too.

        Parameters
        ----------
        row
            Which answer.
        tokens
            What it goes on with.
        place
            Where the last of them was chosen, among the places of `mask`.
        """
        matcher = self.rows[row]
        if not matcher.is_stopped():
            matcher.consume_tokens(list(tokens))
        self.note(tokens[-1], place)
        return self.forced(row)

    def note(self, token: int, place: int) -> None:
        """Remember a token that came at one of the places of `mask`, unless it has a digit.

        What is to be found out is never drafted.
        """
        text = self.vocabulary.decode_str([token])
        if self.usual is not None and not any(map(str.isdigit, text)):
            self.usual[self._bits[place]] = token

    def forced(self, row: int) -> list[int]:
        """Return the tokens that an answer must go on with, taken."""
        return [] if self.usual is None else _forced(self.rows[row])


def _forced(matcher: LLMatcher) -> list[int]:
    tokens = [] if matcher.is_stopped() else matcher.compute_ff_tokens()
    matcher.consume_tokens(tokens)
    return tokens
