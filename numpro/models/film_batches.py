"""Questions about films: what those about one film share is run once, and films go on together."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from numpro.models.base import NoAnswer, VideoModel
from numpro.models.sharing import Branch, decode, in_batches, in_equal_batches, join_prefixes
from numpro.prompting import Prompt


@torch.inference_mode()
def answer_films(
    model: VideoModel, films: Sequence[tuple[np.ndarray, list[Prompt]]], most: int, more: Callable
) -> list[list[tuple]]:
    """Answer questions about films; what `more` gives of a batch stands beside each text.

    Films whose beginnings are alike, as those of windows, go on as one batch.

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

    Raises
    ------
    MemoryError
        When several films do not fit together. What does not fit alone is a `NoAnswer`.
    """
    alike, done, used = {}, [[] for _ in films], {**model.usage}
    for number, (frames, prompts) in enumerate(films):
        if not prompts:
            continue
        model.take_frames(frames, prompts[0])
        encoded, shared = model.encode_prompts(frames.shape, prompts)
        ids, prompt = next(both for both in zip(encoded, prompts, strict=True) if both[0])
        run = partial(model.prefill, ids[:shared], frames, prompt)
        (prefix,) = in_batches(lambda _, run=run: [run()], [0], 1)
        alike.setdefault((shared, prompt.form, prompt.example), []).append(
            (number, encoded, prefix)
        )
        if isinstance(prefix, NoAnswer) and len(films) > 1:
            raise MemoryError(prefix.reason)
    for (shared, *form), runs in alike.items():
        found = _go_on(model, runs, shared, form, most, more)
        failed = [row.reason for row in found if isinstance(row, NoAnswer)]
        if failed and len(films) > 1:
            model.usage.update(used)
            raise MemoryError(failed[0])
        rows = iter(found)
        for number, encoded, _ in runs:
            rows_of = [next(rows) if ids else ids for ids in encoded]
            done[number] = [(r, r.reason) if isinstance(r, NoAnswer) else r for r in rows_of]
    return done


def _go_on(
    model, runs: Sequence[tuple], shared: int, form: Sequence, most: int, more: Callable
) -> list[tuple | NoAnswer]:
    """Answer the questions about films whose first `shared` tokens are run."""
    questions = [
        (row, number, ids[shared:])
        for row, (number, encoded, _) in enumerate(runs)
        for ids in filter(None, encoded)
    ]
    if isinstance(runs[0][2], NoAnswer):
        return [runs[0][2]] * len(questions)
    prefix, whole = join_prefixes([run[2] for run in runs]), next(filter(None, runs[0][1]))
    grammar = model.answer_form(form[0]) if model.constrained else None

    def generate(batch: list[tuple]) -> list[tuple]:
        rows, numbers, ends = map(list, zip(*batch, strict=True))
        with model.branches(prefix, len(batch)) as branches:
            starts = [Branch(row) for row in rows] if branches.ragged else None
            constraint = grammar and grammar.start(len(batch), form[1] if starts else None)
            answers, reached = decode(branches, ends, most, model.ends, constraint, starts)
            texts = [model.answer_text(ids, whole, most) for ids in answers]
            beside = more(branches, numbers, reached, ends, answers, texts) or texts
        model.usage["answer_tokens"] += sum(map(len, answers))
        return list(zip(texts, beside, strict=True))

    batches = in_batches if model.takes_tree else in_equal_batches
    found = batches(generate, questions, model.batch_size * len(runs))
    model.usage["prompt_tokens"] += sum(shared + len(ids) for *_, ids in questions)
    model.usage["cached_tokens"] += shared * (len(questions) - len(runs))
    return found
