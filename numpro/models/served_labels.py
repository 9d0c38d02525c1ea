"""The probability of pairs of labels, from the log-probabilities that a server gives.

A reply names the likeliest tokens at each of its places. Where another one would begin another
label, the server is asked to go on from there with an answer that was begun, as vLLM and SGLang
can. Numbers count as in `numpro.models.labels`: by their tokens, and by the one that ends each.

Fields of requests and replies: https://docs.vllm.ai/en/latest/serving/openai_compatible_server
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numpro.models.moments import Distribution
from numpro.prompting import parse_moment
from numpro.prompting.labels import LabelForm

LOGPROBS = {"logprobs": True, "top_logprobs": 20}  # the most that OpenAI gives, and vLLM by default
GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
ROUNDS = (1, 8, 8, 8, 7)  # continuations of a question; the first tells whether there can be any
# text, probability, and the likeliest texts in its place with theirs, None in the prompt
Token = tuple[str, float, dict[str, float] | None]


def read_tokens(made: Any, beginning: str, text: str) -> list[Token] | None:
    """Return the tokens of a response of the openai package.

    Before them stand those of the answer's beginning, where vLLM's ``prompt_logprobs`` spell it.
    None where there are none that can be read, or where they do not spell the text: vLLM names
    those of some tokenizers without their spaces.
    """
    tokens, spelled = [], ""
    try:
        places = list(getattr(made, "prompt_logprobs", None) or ())
        while places and len(spelled) < len(beginning):
            (one,) = places.pop().values()  # of 0 others only the prompt's own
            tokens.insert(0, (one["decoded_token"], _probability(one["logprob"]), None))
            spelled = tokens[0][0] + spelled
        tokens = tokens if spelled == beginning else []
        for one in made.choices[0].logprobs.content:
            likely = {o.token + "": _probability(o.logprob) for o in one.top_logprobs}
            tokens.append((one.token + "", _probability(one.logprob), likely))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return tokens if text in "".join(token[0] for token in tokens) else None


def _probability(logprob: float) -> float:
    if not logprob < 1e-3:  # nor nan
        raise ValueError(f"a log-probability must be 0 or less; got {logprob!r}")
    return min(1.0, math.exp(logprob))


class LabelSearch:
    """The pairs of labels of one question, looked for in what the server replies.

    Parameters
    ----------
    form
        Which labels there are, and in what words.
    answer
        Its own words count; of one that cannot be read, those of the form.
    tokens
        Of the answer.
    least
        A beginning of less probability is not gone on with.
    """

    def __init__(self, form: LabelForm, answer: str, tokens: Sequence[Token], least: float):
        thought, _, tail = "".join(token[0] for token in tokens).rpartition(answer)
        (before, between, after), _ = form.words_of(parse_moment(answer))
        before, between, end = map(re.escape, (thought + before, between, (after or tail)[:1]))
        self._form = re.compile(rf"{before}(\d+(?:\.\d+)?){between}(\d+(?:\.\d+)?){end or '$'}")
        self._labels, self._least = {text: i for i, text in enumerate(form.texts)}, least
        self._beginnings = {text[:n] for text in form.texts for n in range(len(text) + 1)}
        self._found, self._left_out, self._pending, self._goes_on = Counter(), 0.0, [], True
        if not self.add(1.0, "", tokens):
            self._left_out, self._pending = 0.0, [(1.0, form.words[0].rstrip())]

    def take(self, count: int) -> list[tuple[float, str]]:
        """Take the likeliest beginnings, with their probability; none after a round in vain."""
        self._pending.sort(reverse=True)
        likely = [one for one in self._pending if one[0] >= self._least]
        taken, self._goes_on = likely[: count * self._goes_on], False
        del self._pending[: len(taken)]
        return taken

    def add(self, mass: float, beginning: str, tokens: Sequence[Token] | None) -> bool:
        """Take in the tokens that follow a beginning; return whether they make an answer."""
        scored = bool(tokens) and tokens[0][2] is None  # the beginning, too, by the server itself
        text = beginning * (not scored) + "".join(token[0] for token in tokens or ())
        numbers = self._form.match(text)
        if tokens is None or not numbers:
            self._left_out += mass
            return False
        mass, place = (1.0, 0) if scored else (mass, len(beginning))
        for token, probability, likely in tokens:
            end, spans = place + len(token), (numbers.span(1), numbers.span(2))
            near = [start for start, stop in spans if end > start and place <= stop]
            for start in near if likely is not None else ():
                self._left_out += mass * max(0.0, 1 - max(sum(likely.values()), probability))
                for other, share in likely.items():
                    words, number = text[:place] + other, (text[:place] + other)[start:]
                    fits = words.startswith(text[:start]) and number in self._beginnings
                    self._pending += [(mass * share, words)] * (fits and other != token)
            mass, place = mass * probability if near else mass, end
        first, last = (self._labels.get(number, -1) for number in numbers.groups())
        if 0 <= first <= last:
            self._found[first, last] += mass
        self._goes_on = True
        return True

    def distribution(self) -> Distribution:
        """Return the pairs that were found; what was not looked at is left out."""
        left_out = min(1.0, self._left_out + sum(mass for mass, _ in self._pending))
        pairs = np.array([*self._found], int).reshape(-1, 2)
        return Distribution(pairs, np.array([*self._found.values()], float), left_out)


def search_labels(
    form: LabelForm, questions: list, replies: list, least: float, ask: Callable[[list], list]
) -> list[Distribution | None]:
    """Read the distributions of several questions, each from its answer and further replies.

    Parameters
    ----------
    form, least
        As for `LabelSearch`.
    questions, replies
        Each question with "", and its answer with the tokens; without these no distribution.
    ask
        Gets questions, each with the beginning of an answer, and returns how these go on.
    """
    found = {i: LabelSearch(form, *one, least) for i, one in enumerate(replies) if one[1]}
    for count in ROUNDS:
        taken = [(i, *one) for i, search in found.items() for one in search.take(count)]
        made = ask([(questions[i][0], begun) for i, _, begun in taken]) if taken else []
        for (i, mass, begun), (_, tokens) in zip(taken, made, strict=True):
            found[i].add(mass, begun, tokens)
    return [found[i].distribution() if i in found else None for i in range(len(replies))]
