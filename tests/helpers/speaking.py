"""A small language model whose every probability is known, behind a server that speaks as vLLM.

Shapes of requests and replies: the chat completions of OpenAI, and of vLLM the fields
``continue_final_message``, ``add_generation_prompt`` and ``prompt_logprobs``.
"""

import hashlib
import json
import math
import re
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from serving import completion

END = "<|im_end|>"
LABELS = tuple(map(str, range(12)))


class Speaker:
    """Says "From Frame 3 to Frame 11." of 12 frames.

    Parameters
    ----------
    digits
        Whether a number comes a digit at a time, as Qwen writes it; else whole, with its space.
    stop
        What stands behind the second number; "" for nothing but the end.
    start
        What an answer begins with.
    """

    def __init__(self, digits=True, stop=".", start="From"):
        self.digits, self.stop, self.start = digits, stop, start
        self.following = cache(self.following)

    def following(self, question, text):
        """Return the probability of each token that may come next."""
        seed = hashlib.sha256(f"{question}|{text}".encode()).digest()
        rng = np.random.default_rng(list(seed))
        words = re.fullmatch(r"From Frame( (\d*)( to( Frame( (\d*))?)?)?)?", text)
        if not text:
            tokens = [self.start, "From"] if self.start != "From" else ["From"]
        elif not words:
            tokens = [" Frame"] if text == "From" else [END]
        elif not re.search(r"Frame$|\d$|Frame $", text):
            tokens = [" Frame"]
        else:
            second, number = " to" in text, re.search(r"\d*$", text)[0]
            after = (self.stop or END) if second else " to"
            if text.endswith("Frame"):
                tokens = [" "] if self.digits else [f" {label}" for label in LABELS]
            else:
                longer = [digit for digit in "0123456789" if number + digit in LABELS]
                tokens = [after] * bool(number) + longer * self.digits
        shares = [
            *0.9 * rng.dirichlet(np.full(len(tokens), 0.6)),
            *0.1 * rng.dirichlet(np.ones(24)),
        ]
        if not text:
            shares.sort(reverse=True)
        noise = map(chr, range(0x4E00, 0x4E00 + 24))  # that no answer has
        return dict(zip([*tokens, *noise], map(float, shares), strict=True))

    def tokenize(self, question, text):
        """Return each token of a text with its probability and those of all that could be there."""
        tokens, before = [], ""
        while before != text:
            likely = self.following(question, before)
            token = max((t for t in likely if text.startswith(before + t)), key=len)
            tokens.append((token, likely[token], likely))
            before += token
        return tokens

    def go_on(self, question, text, most=32):
        """Return the likeliest tokens behind a text, as `tokenize` does."""
        tokens = []
        while len(tokens) < most and not (tokens and tokens[-1][0] == END):
            likely = self.following(question, text)
            token = max(likely, key=likely.get)
            tokens.append((token, likely[token], likely))
            text += token
        return tokens

    def probabilities(self, question):
        """Return the probability of each pair of labels: its tokens, and those that end them."""
        found = {}
        for pair in combinations_with_replacement(range(len(LABELS)), 2):
            first, second = (LABELS[index] for index in pair)
            text = f"From Frame {first} to Frame {second}{self.stop or END}"
            places = [(m.start(), m.end()) for m in re.finditer(r"\d+", text)]
            found[pair], at = 1.0, 0
            for token, probability, _ in self.tokenize(question, text):
                if any(at + len(token) > start and at <= stop for start, stop in places):
                    found[pair] *= probability
                at += len(token)
        return found

    def reply(self, body):
        """Return the reply to a request."""
        question, *begun = body["messages"]
        question = question["content"][-1]["text"]
        begun = begun[0]["content"] if begun else ""
        assert bool(begun) == bool(body.get("continue_final_message"))
        assert bool(begun) != body.get("add_generation_prompt", True)
        tokens = self.go_on(question, begun, body["max_tokens"])
        text = "".join(token for token, *_ in tokens).removesuffix(END)
        made = completion(text, "stop" if tokens[-1][0] == END else "length")
        made["choices"][0] |= {"logprobs": None, "stop_reason": None, "token_ids": None}
        if body.get("logprobs"):
            content = [named(token, p) | {"top_logprobs": most_likely(likely, body["top_logprobs"])}
                       for token, p, likely in tokens]  # fmt: skip
            made["choices"][0]["logprobs"] = {"content": content}
        made["prompt_logprobs"] = None
        if (others := body.get("prompt_logprobs")) is not None:
            prompt = [("<|image_pad|>", 0.5, {})] * 20 + self.tokenize(question, begun)
            made["prompt_logprobs"] = [None, *(self.prompt_token(*one, others) for one in prompt)]
        return json.loads(json.dumps(made))

    def prompt_token(self, token, probability, likely, others):
        assert others == 0, "the prompt has thousands of visual tokens"
        rank = 1 + sum(p > probability for p in likely.values())
        return {"7": {"logprob": logprob(probability), "rank": rank, "decoded_token": token}}

    def serve(self, server):
        """Let a server answer as this model."""
        server.plan = lambda question, count: (200, {}, self.reply(server.local.body))
        return self


def logprob(probability):
    return math.log(probability) if probability > 1e-300 else -9999.0


def named(token, probability):
    return {"token": token, "logprob": logprob(probability), "bytes": list(token.encode())}


def most_likely(likely, count):
    ranked = sorted(likely.items(), key=lambda item: -item[1])[:count]
    return [named(*one) for one in ranked]
