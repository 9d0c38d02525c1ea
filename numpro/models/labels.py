"""The probability of every pair of labels, read in an answer's words, a token at a time.

A label is a number of one or more tokens. Those of all labels are a tree in which each path ends
with the token that ends the number (else "1" would swallow "12"). Only branches that can matter
are followed; what is left out is added up.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os.path import commonprefix

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from numpro.models.moments import Distribution

WIDEST = 32  # branches of one question that are followed at once, the likeliest
END = -1  # stands for every token that ends an answer
LabelTree = dict[int, "LabelTree | int"]  # by token; a leaf is the index of a label


@dataclass(frozen=True)
class LabelTokens:
    """The tokens of labels in certain words: what stands before and between, and two trees."""

    before: list[int]
    first: LabelTree
    between: list[int]
    second: LabelTree


def tokens_of_labels(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], words: tuple[str, str, str]
) -> LabelTokens | None:
    """Return how a tokenizer writes labels in certain words; None where numbers are not apart.

    Whole answers are tokenized, since a tokenizer may join a number to the space before it.
    """
    before, between, after = words
    texts = (*map(str, range(10)), *texts)  # with these no digit is common to all
    firsts, seconds = (
        tokenizer([before + a + between + b + after for a, b in pairs], add_special_tokens=False)
        for pairs in ([(text, "0") for text in texts], [("0", text) for text in texts])
    )
    firsts, seconds = firsts.input_ids, seconds.input_ids
    head, until = commonprefix(firsts), commonprefix(seconds)
    rest, tail = (commonprefix([row[::-1] for row in rows])[::-1] for rows in (firsts, seconds))
    middle = until[len(firsts[0]) - len(rest) :]
    if not middle or rest[: len(middle)] != middle:
        return None
    inner = [row[len(head) : len(row) - len(rest)] + middle[:1] for row in firsts]
    ends = tail[:1] or [END]
    outer = [row[len(until) : len(row) - len(tail)] + ends for row in seconds]
    trees = [_tree(paths[10:], tokenizer.unk_token_id) for paths in (inner, outer)]
    return LabelTokens(head, trees[0], middle, trees[1]) if all(trees) else None


def _tree(paths: Sequence[Sequence[int]], unknown: int | None) -> LabelTree | None:
    """Return the tree of labels' tokens; None where two cannot be told apart."""
    root: LabelTree = {}
    for index, path in enumerate(paths):
        node = root
        for token in path[:-1]:
            node = node.setdefault(token, {})
            if not isinstance(node, dict) or token == unknown:
                return None
        if path[-1] in node:
            return None
        node[path[-1]] = index
    return root


@dataclass
class _Step:
    """A node to be run: its question, its tokens behind what was run, and what may follow."""

    question: int
    branch: object
    tokens: list[int]
    tree: LabelTree
    mass: float = 1.0
    start: int | None = None  # the first label, once it is known


def distributions(
    branches: object, starts: Sequence[tuple[object, list[int], LabelTokens]],
    ends: Collection[int], least: float, only_labels: bool = False,
) -> list[Distribution]:  # fmt: skip
    """Read the probabilities of pairs of labels, of several questions at once.

    Parameters
    ----------
    branches
        What runs tokens behind a prefix (`numpro.models.sharing`).
    starts
        Of each question a branch, the tokens to run behind it up to the first label, and its
        labels.
    ends
        Tokens that end an answer.
    least
        A branch of less probability is not followed, nor are more than `WIDEST` at once; 0
        follows all.
    only_labels
        Share the probability at each token among those that go on with a label, for answers that
        are held to the form.
    """
    steps = [_Step(q, start, ids, labels.first) for q, (start, ids, labels) in enumerate(starts)]
    found: list[list[tuple]] = [[] for _ in starts]
    left_out = [0.0] * len(starts)
    while steps:
        reached, logits = branches.extend([(step.branch, step.tokens) for step in steps])
        following = []
        for step, branch, row in zip(steps, reached, logits, strict=True):
            labels = starts[step.question][2]
            for token, child, mass in _children(step, row, ends, only_labels):
                leaf = not isinstance(child, dict)
                if leaf and step.start is not None:
                    if child >= step.start:
                        found[step.question].append((step.start, child, mass))
                elif mass < least:
                    left_out[step.question] += mass
                else:
                    more = [token], child, mass, step.start
                    if leaf:
                        more = labels.between, labels.second, mass, child
                    following.append(_Step(step.question, branch, *more))
        steps, widest = [], WIDEST if least else len(following)
        for question in range(len(starts)):
            here = sorted((s for s in following if s.question == question), key=lambda s: -s.mass)
            steps += here[:widest]
            left_out[question] += sum(step.mass for step in here[widest:])
    return [_distribution(*both) for both in zip(found, left_out, strict=True)]


def _children(
    step: _Step, logits: torch.Tensor, ends: Collection[int], only_labels: bool
) -> list[tuple[int, "LabelTree | int", float]]:
    """Return what may follow a node, with the probability of the whole path to it."""
    probabilities = logits.float().softmax(-1)
    masses = probabilities[[t for t in step.tree if t != END]].tolist()
    if END in step.tree:
        masses.insert(list(step.tree).index(END), float(probabilities[sorted(ends)].sum()))
    whole = step.mass / (sum(masses) if only_labels and sum(masses) else 1.0)
    return [(*item, whole * m) for item, m in zip(step.tree.items(), masses, strict=True)]


def _distribution(found: list[tuple], left_out: float) -> Distribution:
    table = np.array(found, float).reshape(-1, 3)
    return Distribution(table[:, :2].astype(int), table[:, 2], min(1.0, left_out))
