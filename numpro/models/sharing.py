"""One video, many questions: their common beginning is run once, and what follows behind it.

What follows is a tree of tokens: questions, their answers, and labels that an answer may name. It
runs as one sequence behind the one cache of the video (`Tree`), where a class takes such a mask;
else as a batch of copies of that cache (`Copies`). Positions are given to the model explicitly. It
need not work them out from a padded mask, nor from what an earlier video left on it (transformers'
Qwen models keep ``rope_deltas`` on the module).
"""

import copy
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np
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
        Keys and values of its tokens. A `Tree` adds to it and takes its own away again.
    length : int
        How many tokens it holds.
    place : int or tensor
        The position of the next token; [axes, rows, 1] where a token has several (mRoPE), and less
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


def join_prefixes(prefixes: Sequence[Prefix]) -> Prefix:
    """Return prefixes of one length as one, a row for each; theirs are given up layer by layer."""
    first, *others = prefixes
    for layer, *more in zip(*(one.cache.layers for one in prefixes), strict=True):
        for name in ("keys", "values") if more else ():
            setattr(layer, name, torch.cat([getattr(one, name) for one in (layer, *more)]))
            for one in more:
                setattr(one, name, None)
    places = [one.place for one in prefixes]
    joined = torch.cat(places, dim=-2) if others and torch.is_tensor(places[0]) else places[0]
    return replace(first, place=joined)


@dataclass(frozen=True)
class Branch:
    """Where a `Tree` came to: the row of its prefix, and the places of its own tokens there."""

    row: int = 0
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, part: slice) -> "Branch":
        return Branch(self.row, self.places[part])


class Tree:
    """Runs tokens behind a prefix as one sequence: each attends to the prefix and its ancestors.

    Several prefixes of one length, such as windows of a film, run as a batch, a row each
    (`join_prefixes`). A `Branch` without places is the end of a prefix; `root` is that of the
    first. Used in ``with``: at its end the cache of the prefix is as it was.
    """

    root = Branch()
    ragged = True  # branches may go on by unlike numbers of tokens

    def __init__(self, model: PreTrainedModel, prefix: Prefix):
        self.model, self.prefix, self.size = model, prefix, 0
        self.rows = len(prefix.cache.layers[0].keys)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *_: object) -> None:
        for layer in self.prefix.cache.layers:  # also where memory ended between two of them
            layer.keys, layer.values = (
                kept[..., : self.prefix.length, :] for kept in (layer.keys, layer.values)
            )

    def extend(
        self, steps: Sequence[tuple[Branch | None, list[int]]]
    ) -> tuple[list[Branch], torch.Tensor]:
        """Run tokens behind branches.

        Parameters
        ----------
        steps
            A branch, and the tokens to run behind it; None is the branch of the step before.

        Returns
        -------
        branches, logits
            What was reached, and the logits there [steps, vocabulary].
        """
        start, length, device = self.size, self.prefix.length, self.model.device
        reached, ends = [], [start] * self.rows
        for branch, tokens in steps:
            before = reached[-1] if branch is None else branch
            columns = np.arange(len(tokens)) + ends[before.row]
            reached.append(Branch(before.row, np.append(before.places, columns)))
            ends[before.row] += len(tokens)
        self.size = max(ends)
        shape = self.rows, self.size - start
        ids, depths = np.zeros((2, *shape), int)  # a row of fewer tokens ends with some for nobody
        hidden = np.ones((*shape, self.size), bool)
        for (_, tokens), branch in zip(steps, reached, strict=True):
            columns, whole = branch.places[-len(tokens) :] - start, len(branch)
            ids[branch.row, columns] = tokens
            depths[branch.row, columns] = range(whole - len(columns), whole)
            ancestors = np.tri(len(columns), whole, whole - len(columns)) < 1
            hidden[branch.row][np.ix_(columns, branch.places)] = ancestors
        mask = torch.zeros((*shape, length + self.size), dtype=self.model.dtype, device=device)
        hidden = torch.from_numpy(hidden).to(device)
        mask[..., length:].masked_fill_(hidden, torch.finfo(mask.dtype).min)
        ids, depths = torch.from_numpy(ids).to(device), torch.from_numpy(depths).to(device)
        lasts = [int(branch.places[-1]) - start for branch in reached]
        kept = sorted({*lasts})
        with _grouped_heads(device):
            logits = self.model(
                input_ids=ids, attention_mask=mask[:, None], use_cache=True,
                logits_to_keep=torch.tensor(kept, device=device),
                position_ids=self.prefix.place + depths, past_key_values=self.prefix.cache,
                **dict.fromkeys(self.prefix.types, torch.zeros_like(ids)),
            ).logits  # fmt: skip
        if logits.shape[1] == len(kept):  # VideoLLaMA 3 keeps all
            lasts = [kept.index(last) for last in lasts]
        return reached, logits[[branch.row for branch in reached], lasts]


@contextmanager
def _grouped_heads(device: torch.device) -> Iterator[None]:
    """Let query heads share keys and values without a copy for each, as a CPU can under a mask.

    transformers copies them whenever there is a mask, unless this variable is set; a GPU has no
    quick way without.
    """
    name = "TRANSFORMERS_SDPA_FORCE_GQA"
    alone = name not in os.environ
    if device.type == "cpu":
        os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if alone:
            os.environ.pop(name, None)


class Copies:
    """Runs tokens behind copies of a prefix's cache, one row a branch: the way of every class.

    A branch is its tokens. Rows of a batch have one length, since sliding and linear layers take
    a masked gap for a part of the text. A batch that goes on from where the last one came to is
    not run anew.
    """

    root = ()
    ragged = False

    def __init__(self, model: PreTrainedModel, prefix: Prefix, rows: int):
        self.model, self.prefix, self.rows = model, prefix, rows
        self._reached, self._cache = None, None

    def __enter__(self) -> "Copies":
        return self

    def __exit__(self, *_: object) -> None:
        self._reached = self._cache = None

    def extend(self, steps: Sequence[tuple[tuple, list[int]]]) -> tuple[list[tuple], torch.Tensor]:
        """Run tokens behind branches (see `Tree.extend`)."""
        reached = [(*branch, *tokens) for branch, tokens in steps]
        goes_on = self._reached == [branch for branch, _ in steps]
        if goes_on and len({len(tokens) for _, tokens in steps}) == 1:
            logits = self._run([tokens for _, tokens in steps], len(steps[0][0]))
        else:
            found = {}
            for length in {*map(len, reached)}:
                rows = [i for i, path in enumerate(reached) if len(path) == length]
                for part in (rows[i : i + self.rows] for i in range(0, len(rows), self.rows)):
                    self._cache = None  # before there are new copies
                    self._cache = self.prefix.branch(len(part))
                    found |= zip(part, self._run([reached[i] for i in part], 0), strict=True)
            logits = torch.stack([found[row] for row in range(len(reached))])
            goes_on = len(part) == len(reached)
        self._reached = reached if goes_on else None
        return reached, logits

    def _run(self, rows: Sequence[Sequence[int]], done: int) -> torch.Tensor:
        ids = torch.tensor(rows, device=self.model.device)
        places = self.prefix.place + done + torch.arange(ids.shape[1], device=ids.device)
        return self.model(
            input_ids=ids, use_cache=True, past_key_values=self._cache, logits_to_keep=1,
            attention_mask=ids.new_ones(len(ids), self.prefix.length + done + ids.shape[1]),
            position_ids=places.expand(*places.shape[:-2], *ids.shape),
            **dict.fromkeys(self.prefix.types, torch.zeros_like(ids)),
        ).logits[:, -1]  # fmt: skip


@torch.inference_mode()
def attends_by_tree(model: PreTrainedModel) -> bool:
    """Tell whether a model runs a `Tree` right, by trying it on a few tokens.

    A branch must come out the same beside another as alone: its class takes the mask as it is, and
    the positions that are given.
    """
    first = model(input_ids=torch.tensor([[1, 2]], device=model.device), use_cache=True)
    prefix, logits = Prefix(first.past_key_values, 2, 2), []
    for others in ([], [[5, 6, 7]]):
        with Tree(model, prefix) as tree:
            steps = [(tree.root, tokens) for tokens in [*others, [3, 4]]]
            logits.append(tree.extend(steps)[1][-1].float())
    alone, beside = (row - row.mean() for row in logits)
    return float((alone - beside).norm()) < 0.1 * float(alone.norm())


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
    branches: Tree | Copies, questions: Sequence[list[int]], most: int, ends: Collection[int],
    constraint: Constraint | None = None, starts: Sequence | None = None,
    generator: torch.Generator | None = None,
) -> tuple[list[list[int]], list]:  # fmt: skip
    """Answer questions greedily, or draw answers, behind a prefix that was run before.

    Greedily means the likeliest token each time. Penalties that a checkpoint's own generation
    settings ask for are left out: they would weigh the numbers given before.

    Parameters
    ----------
    branches
        What runs tokens behind the prefix.
    questions
        Tokens of each question after the prefix; their lengths may differ.
    most
        How many tokens an answer may have.
    ends
        Tokens that end an answer.
    constraint
        What keeps each answer to its form; None lets the model answer freely. What a form forces
        is not decoded: it runs with the token before it. So does what the form's words make
        likely; of such a draft that part stays which the model would have taken, too.
    starts
        The branch that each question goes on from; None: the end of the prefix.
    generator
        Draws each token as often as the model holds it likely; None takes the likeliest.

    Returns
    -------
    answers : list of list of int
        The tokens of each answer, without the one that ends it.
    reached : list
        The branch of each, up to the last token that was run.
    """
    everyone, reached = range(len(questions)), [*(starts or [branches.root] * len(questions))]
    answers = [constraint.forced(row) if constraint else [] for row in everyone]
    tokens = [[*question, *more] for question, more in zip(questions, answers, strict=True)]
    rows = everyone
    while rows:
        drafts = constraint.draft(rows) if constraint else [[]] * len(rows)
        steps = []
        for row, pieces in zip(rows, drafts, strict=True):
            steps += [(reached[row], tokens[row]), *((None, piece) for piece in pieces)]
        places, logits = branches.extend(steps)
        scores = constraint.mask(logits) if constraint else logits
        if generator is not None:  # Gumbel noise: the largest is each as often as it is likely
            noise = torch.empty_like(scores, dtype=torch.float32)
            scores = scores - noise.exponential_(generator=generator).log()
        best = scores.argmax(-1).tolist()
        place = 0
        for row, pieces in zip(rows, drafts, strict=True):
            agreed = 0
            while agreed < len(pieces) and pieces[agreed][0] == best[place + agreed]:
                agreed += 1
            at, right = place + agreed, [token for piece in pieces[:agreed] for token in piece]
            place, reached[row], taken = place + len(pieces) + 1, places[at], [best[at]]
            taken += constraint.advance(row, right + taken, at) if constraint else []
            tokens[row] = taken
            answers[row] += right + taken
        going = [r for r in rows if len(answers[r]) < most and ends.isdisjoint(answers[r])]
        going = [r for r in going if not (constraint and constraint.rows[r].is_stopped())]
        rows = going if branches.ragged or not going else everyone
    cut = [list(takewhile(lambda token: token not in ends, one[:most])) for one in answers]
    return cut, reached


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


def in_equal_batches(ask: Callable[[list], list], items: Sequence[tuple], size: int) -> list:
    """Ask as `in_batches` does; what items end with has one length in a batch: no padding."""
    done: dict[int, object] = {}
    for length in sorted({len(item[-1]) for item in items}):
        rows = [row for row, item in enumerate(items) if len(item[-1]) == length]
        results = in_batches(ask, [items[row] for row in rows], size)
        done |= dict(zip(rows, results, strict=True))
    return [done[row] for row in range(len(items))]
