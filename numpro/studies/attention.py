"""Where a model looks while it answers: attention over frames (the paper's section 3.1).

The video is run once, as for an answer. Then the answer is run behind it once more in attention
that keeps its weights: a few rows of them, not a square as long as the video.

While the question is read, a few heads look at the frames that it is about. Which heads, is found
on validation films; then the frames around the stretch that they look at most are asked about
alone.
"""

from collections.abc import Sequence

import numpy as np
import torch

from numpro.models import Question
from numpro.models.base import answer_tokens, read_response
from numpro.models.local import LocalModel
from numpro.models.sharing import Prefix, decode
from numpro.models.threads import fit_threads
from numpro.spans import Span, labels_to_seconds, to_seconds
from numpro.video import Clip, film_of_window

NEUTRAL = "something"  # the query that shows where a head looks whatever it is asked
Heads = Sequence[tuple[int, int]]


def frame_attention(
    model: LocalModel, clip: Clip, query: str, question: Question = Question(),
    layer: int | None = None,
) -> tuple[list[str], np.ndarray]:  # fmt: skip
    """Measure how much attention each frame gets while each token of the answer is written.

    Parameters
    ----------
    model
        A local model; it answers first, and that answer is what is looked at.
    clip, query, question
        As in `numpro.models.VideoModel.answer`, for moments.
    layer
        -1 is the last layer, which the paper looks at; None takes the mean over all.

    Returns
    -------
    tokens : list of str
        The N tokens of the answer.
    weights : float64 [N, T]
        Attention on the visual tokens of each frame when the token is about to be written,
        the mean over heads. A row sums to the share that falls on the video. Frames that share
        their tokens (a model that merges two in time) get equal parts of it.

    Raises
    ------
    TypeError
        For a model that does not run in this process.
    """
    tokens, _, weights = _answer_and_look(model, clip, query, question, layer)
    return tokens, weights


def readings(
    model: LocalModel, clip: Clip, query: str, question: Question = Question(), end: str = "instant"
) -> dict[str, Span | None]:
    """Read the moment off the last layer's attention, beside the model's own answer.

    Arguments are as in `frame_attention`, and `end` as in `numpro.spans.to_seconds`.

    Returns
    -------
    dict
        Seconds of the moment, None where nothing can be read: ``answer``, the model's own;
        ``two peaks``, from one to the other of the two frames looked at most over the whole
        answer, as the paper reads it (Qwen2-VL, Charades-STA: 19.8 mIoU against 7.9 said; a
        random moment of the training data has 19.2); ``at its numbers``, see `peaks`.
    """
    tokens, response, weights = _answer_and_look(model, clip, query, question, -1)
    answer = read_response(response, "moment_retrieval")  # cut, it is none
    unit, labels = model.answer_unit(question, len(clip))
    spans = to_seconds(answer, clip, labels, end, unit)
    frames = {"two peaks": two_peaks(weights), "at its numbers": peaks(tokens, weights)}
    how = {"end": end, "duration": clip.duration}
    read = {k: pair and labels_to_seconds(pair, clip.seconds, **how) for k, pair in frames.items()}
    return {"answer": spans[0] if spans else None, **read}


@fit_threads
@torch.inference_mode()
def _answer_and_look(model, clip, query, question, layer) -> tuple[list[str], str, np.ndarray]:
    """Return the answer's tokens, the response, and the weights [N, T] (`frame_attention`)."""
    _check_local(model)
    most = answer_tokens(question, len(clip))
    frames, (prompt,) = model.prepare(clip, [query], question)
    ids = model.prompt_ids(frames.shape, prompt)
    prefix = model.prefill(ids[:-1], frames, prompt)
    with model.branches(prefix, 1) as branches:
        ((answer,), _) = decode(branches, [ids[-1:]], most, model.ends)
    rows = np.zeros((0, len(ids)))
    if answer:
        heads = _heads(model, prefix, ids[-1:] + answer[:-1])
        rows = heads.mean((0, 1)) if layer is None else heads[layer].mean(0)
    visual = np.flatnonzero([model.is_visual(token) for token in ids])
    response = model.answer_text(answer, ids, most)
    tokens = [model.tokenizer.decode([token]) for token in answer]
    return tokens, response, rows[:, visual] @ _frames_of(model, len(visual), len(frames))


def _heads(model, prefix: Prefix, ids: list[int]) -> np.ndarray:
    """Run tokens behind a prefix: what each attends to [layers, heads, N, tokens]."""
    inner = model.model
    before = inner.config._attn_implementation
    tokens = torch.tensor([ids], device=inner.device)
    places = prefix.place + torch.arange(len(ids), device=inner.device)[None]
    inner.set_attn_implementation("eager")  # the others never form the weights
    try:
        layers = inner(
            input_ids=tokens,
            position_ids=places, past_key_values=prefix.branch(1), use_cache=True,
            output_attentions=True, **dict.fromkeys(prefix.types, torch.zeros_like(tokens)),
        ).attentions  # fmt: skip
    finally:
        inner.set_attn_implementation(before)
    return np.stack([one[0].float().cpu().numpy() for one in layers]).astype(float)


def _frames_of(model, tokens: int, frames: int) -> np.ndarray:
    """Return which part of each visual token belongs to each frame: [tokens, frames].

    Every frame, or every group of frames merged in time (Qwen's videos), has equally many tokens;
    one more at the end (LLaVA-OneVision's line break after a video) belongs to none.
    """
    merged = 1
    if getattr(model, "frames_as", "images") == "video":
        merged = getattr(model.model.config.vision_config, "temporal_patch_size", 1)
    group = np.arange(frames) // merged  # of each frame
    each = tokens // (group[-1] + 1)
    inside = (np.arange(tokens) // each)[:, None] == group
    return inside / np.maximum(inside.sum(1, keepdims=True), 1)


def two_peaks(weights: np.ndarray) -> tuple[int, int] | None:
    """Return the two frames looked at most over the whole answer, in order of time.

    Examples
    --------
    >>> two_peaks(np.array([[0, 3, 0, 1], [0, 0, 1, 1.5]]))
    (1, 3)
    """
    if not len(weights):
        return None
    two = np.argsort(-weights.sum(0), kind="stable")[:2]
    return int(two.min()), int(two.max())


def peaks(tokens: list[str], weights: np.ndarray) -> tuple[int, int] | None:
    """Read an answer off the attention: the frames looked at most for its two numbers.

    The first digit of each number is taken; None when the answer has not two numbers.

    Examples
    --------
    >>> peaks(["From ", "3", " to ", "1", "2"], np.eye(5)[:, [0, 1, 2, 3]])
    (1, 3)
    """
    digit = np.array([token.strip().isdigit() for token in tokens], bool)
    starts = np.flatnonzero(np.diff(digit, prepend=False) & digit)
    if len(starts) < 2:
        return None
    first, last = sorted(weights[starts[[0, -1]]].argmax(1).tolist())
    return first, last


# --- heads that know when before a word is written (TG-Heads, arXiv 2605.21954) ------------------


def _check_local(model) -> None:
    if not isinstance(model, LocalModel):
        raise TypeError(f"attention is read from local models only; {model.name!r} is none")


@fit_threads
@torch.inference_mode()
def question_attention(
    model: LocalModel, clip: Clip, queries: Sequence[str], question: Question = Question()
) -> np.ndarray:
    """Measure at which frames each head looks while a question is read, before any answer.

    Parameters
    ----------
    model
        A local model.
    clip, queries, question
        As in `numpro.models.VideoModel.answer`.

    Returns
    -------
    float64 [queries, layers, heads, T]
        Attention on each frame, the mean over the question's tokens, above that of the same
        question about `NEUTRAL`.

    Raises
    ------
    TypeError
        For a model that does not run in this process.
    """
    _check_local(model)
    frames, prompts = model.prepare(clip, [*queries, NEUTRAL], question)
    model.take_frames(frames, prompts[0])
    prompts_ids, _ = model.encode_prompts(frames.shape, prompts)
    visual = np.flatnonzero([model.is_visual(token) for token in prompts_ids[0]])
    begins = int(visual[-1]) + 1
    prefix = model.prefill(prompts_ids[0][:begins], frames, prompts[0])
    of_frames = _frames_of(model, len(visual), len(frames))
    looks = [_heads(model, prefix, ids[begins:])[..., visual].mean(2) for ids in prompts_ids]
    *asked_for, neutral = (look @ of_frames for look in looks)
    return np.array(asked_for) - neutral


def choose_heads(
    looks: Sequence[np.ndarray], truths: Sequence[np.ndarray], count: int = 5
) -> Heads:
    """Return the heads that look at the truth most, as (layer, head), the best first.

    Parameters
    ----------
    looks : float [layers, heads, T] each
        Of validation queries, by `question_attention`.
    truths : bool [T] each
        Which frames are inside the true spans.
    count
        How many heads.
    """
    pairs = [(look, true) for look, true in zip(looks, truths, strict=True) if 0 < true.mean() < 1]
    gains = sum(look[..., true].mean(-1) - look[..., ~true].mean(-1) for look, true in pairs)
    order = np.argsort(-gains, axis=None, kind="stable")[:count]
    return [tuple(map(int, np.unravel_index(place, gains.shape))) for place in order]


def brightest_stretch(look: np.ndarray, heads: Heads) -> tuple[int, int]:
    """Return first and last frame of the stretch that the heads look at above their mean.

    Of all stretches that one has the largest sum of what is above the mean.

    Examples
    --------
    >>> brightest_stretch(np.array([[[0, 0, 3, 2, 3, 0, 1]]]), [(0, 0)])
    (2, 4)
    """
    chosen = np.array([look[head] for head in heads], float)
    total = (chosen / np.maximum(np.abs(chosen).mean(1, keepdims=True), 1e-12)).mean(0)
    sums = np.concatenate([[0.0], np.cumsum(total - total.mean())])
    gains = np.triu(sums[None, 1:] - sums[:-1, None])  # of first frame (row) to last (column)
    first, last = np.unravel_index(gains.argmax(), gains.shape)
    return int(first), int(last)


def ask_crop(
    model: LocalModel, clip: Clip, query: str, frames: tuple[int, int],
    question: Question = Question(), margin: int = 2, end: str = "instant",
) -> Span | None:  # fmt: skip
    """Ask again about the frames from one to another and `margin` around, as a film of its own.

    `end` says what labels mean in seconds (`numpro.spans.to_seconds`).
    """
    first, last = max(0, frames[0] - margin), min(len(clip) - 1, frames[1] + margin)
    if last == first:
        return None
    crop = film_of_window(clip.select(range(first, last + 1)))
    (answer,) = model.answer(crop, [query], question)
    unit, labels = model.answer_unit(question, len(crop))
    spans = to_seconds(answer, crop, labels, end, unit)
    begins = float(clip.seconds[first])
    return Span(spans[0].start + begins, spans[0].end + begins) if spans else None
