"""Questions about films: what those about one film share is run once, and films go on together."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from numpro.models.base import NoAnswer, VideoModel
from numpro.models.constrained import constrain
from numpro.models.sharing import Branch, decode, in_batches, in_equal_batches, join_prefixes
from numpro.models.threads import fit_threads
from numpro.prompting import Prompt


@fit_threads
@torch.inference_mode()
def answer_films(
    model: VideoModel, films: Sequence[tuple[np.ndarray, list[Prompt]]], most: int, more: Callable
) -> list[list[tuple]]:
    """Answer questions about films; what `more` gives of a batch stands beside each text.

    Films whose beginnings are alike, as those of windows, go on as one batch. Films that do not
    fit into memory together are halved; what does not fit alone is a `NoAnswer`.

    Parameters
    ----------
    model : numpro.models.local.LocalModel
        Who is asked.
    films
        Frames and prompts of each.
    most
        How many tokens an answer may have.
    more
        Gets what ran a batch, the number of the film of each question, where its answer came to,
        and the tokens of both, and the text.
    """
    ask = partial(_ask_together, model, most=most, more=more)
    found = in_batches(ask, list(enumerate(films)), len(films))
    return [
        [(rows, rows.reason)] * len(prompts) if isinstance(rows, NoAnswer) else rows
        for rows, (_, prompts) in zip(found, films, strict=True)
    ]


def _ask_together(
    model, films: Sequence[tuple[int, tuple]], most: int, more: Callable
) -> list[list[tuple]]:
    """Answer the questions about films with these numbers, which are in memory at once."""
    alike, done, used = {}, {number: [] for number, _ in films}, Counter()
    for number, (frames, prompts) in films:
        if not prompts:
            continue
        model.take_frames(frames, prompts[0])
        encoded, shared = model.encode_prompts(frames.shape, prompts)
        ids, prompt = next(both for both in zip(encoded, prompts, strict=True) if both[0])
        prefix = model.prefill(ids[:shared], frames, prompt)
        key = shared, prompt.form, prompt.example
        alike.setdefault(key, []).append((number, encoded, prefix))
    for beginning, runs in alike.items():
        found = _go_on(model, *beginning, runs, most, more, used)
        failed = [row.reason for row in found if isinstance(row, NoAnswer)]
        if failed and len(films) > 1:
            raise MemoryError(failed[0])
        rows = iter(found)
        for number, encoded, _ in runs:
            rows_of = [next(rows) if ids else ids for ids in encoded]
            done[number] = [(r, r.reason) if isinstance(r, NoAnswer) else r for r in rows_of]
    model.usage.update(used)
    return list(done.values())


def _go_on(
    model, shared, form, example, runs: Sequence[tuple], most: int, more: Callable, used: Counter
) -> list[tuple | NoAnswer]:
    """Answer the questions about films whose first `shared` tokens are run; count what is used."""
    questions = [
        (row, number, ids[shared:])
        for row, (number, encoded, _) in enumerate(runs)
        for ids in filter(None, encoded)
    ]
    prefix, whole = join_prefixes([run[2] for run in runs]), next(filter(None, runs[0][1]))

    def generate(batch: list[tuple]) -> list[tuple]:
        rows, numbers, ends = map(list, zip(*batch, strict=True))
        constraint = starts = None
        with model.branches(prefix, len(batch)) as branches:
            if branches.ragged:
                starts = [Branch(row) for row in rows]
            if model.constrained:
                drafted = example if branches.ragged else None
                constraint = constrain(model.vocabulary, form, len(batch), drafted)
            answers, reached = decode(branches, ends, most, model.ends, constraint, starts)
            texts = [model.answer_text(ids, whole, most) for ids in answers]
            beside = more(branches, numbers, reached, ends, answers, texts) or texts
        used["answer_tokens"] += sum(map(len, answers))
        return list(zip(texts, beside, strict=True))

    batches = in_batches if model.takes_tree else in_equal_batches
    found = batches(generate, questions, model.batch_size * len(runs))
    used["prompt_tokens"] += sum(shared + len(ids) for *_, ids in questions)
    used["cached_tokens"] += shared * (len(questions) - len(runs))
    return found
