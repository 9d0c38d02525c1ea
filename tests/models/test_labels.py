"""Labels are read as any tokenizer writes them, with the token that ends a number."""

import hashlib
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from numpro.models.labels import WIDEST, distributions, tokens_of_labels

LABELS = tuple(map(str, (7, 8, 9, 10, 11, 12, 99, 100, 119, 1000)))
WORDS = {
    "published": ("From Frame ", " to Frame ", "."),
    "no end": ("From ", " to ", ""),
    "glued": ("", "-", ""),
    "in time": ("It starts at ", " and it is over at ", ", I think."),
}
SPLITS = {
    "digits": r"\p{N}| ?\p{L}+|[^\p{L}\p{N}]",
    "pairs": r"\p{N}{1,2}| ?\p{L}+|[^\p{L}\p{N}]",
    "triples": r"\p{N}{1,3}| ?\p{L}+|[^\p{L}\p{N}]",
    "with their space": r" ?\p{N}+| ?\p{L}+|[^\p{L}\p{N}]",
}


def make(split):
    made = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Split(Regex(split), "isolated"),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]  # fmt: skip
    made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence(parts), decoders.ByteLevel()
    numbers = " ".join(map(str, range(130)))
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<end>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator([numbers, *("".join(w) for w in WORDS.values())] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>")


class Oracle:
    """A language model by hash: the logits of a path depend on all of its tokens."""

    def __init__(self, size):
        self.size, self.runs = size, []

    def logits(self, path):
        seed = hashlib.sha256(repr([int(token) for token in path]).encode()).digest()
        return torch.from_numpy(np.random.default_rng(list(seed)).normal(size=self.size))

    def extend(self, steps):
        reached = [(*branch, *tokens) for branch, tokens in steps]
        self.runs.append(len(reached))
        return reached, torch.stack([self.logits(path) for path in reached])


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_the_tree_gives_what_whole_answers_give(split, words):
    tokenizer = make(split)
    labels, oracle, ends = tokens_of_labels(tokenizer, LABELS, words), Oracle(900), {0, 5}
    (found,) = distributions(oracle, [((), labels.before, labels)], ends, 0)
    got = dict(zip(map(tuple, found.pairs.tolist()), found.probabilities, strict=True))
    assert set(got) == set(combinations_with_replacement(range(len(LABELS)), 2))
    for (first, last), probability in got.items():
        pieces = [words[0], LABELS[first], words[1], LABELS[last], words[2]]
        ids = tokenizer("".join(pieces)).input_ids
        texts = [tokenizer.decode(ids[:n]) for n in range(len(ids) + 1)]
        logp = 0.0
        for piece in range(0, 4, 2):  # the number's tokens and the one behind it
            start, stop = (len("".join(pieces[:n])) for n in (piece + 1, piece + 2))
            for at, token in enumerate(ids):
                if len(texts[at + 1]) > start and len(texts[at]) <= stop:
                    logp += oracle.logits(ids[:at]).log_softmax(-1)[token].item()
        if not words[2]:
            logp += oracle.logits(ids).log_softmax(-1)[sorted(ends)].logsumexp(0).item()
        assert probability == pytest.approx(np.exp(logp), rel=1e-6)


def test_few_nodes_are_run_and_what_is_left_out_is_added_up():
    texts = tuple(map(str, range(110)))
    labels = tokens_of_labels(make(SPLITS["digits"]), texts, WORDS["published"])
    whole, some = Oracle(900), Oracle(900)
    start = [((), labels.before, labels)]
    (every,) = distributions(whole, start, {0}, 0, only_labels=True)
    (few,) = distributions(some, start, {0}, 1e-3, only_labels=True)
    assert len(every.pairs) == 110 * 111 / 2 and sum(whole.runs) > 10_000
    assert max(some.runs) <= WIDEST and sum(some.runs) < 300
    assert few.probabilities.sum() + few.left_out <= 1 + 1e-9
    assert every.probabilities.sum() - few.probabilities.sum() <= few.left_out


def test_a_tokenizer_that_does_not_keep_numbers_apart_is_none():
    words = {word: n for n, word in enumerate(["<unk>", "From", "to", "Frame", "."])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert tokens_of_labels(tokenizer, LABELS, WORDS["published"]) is None
