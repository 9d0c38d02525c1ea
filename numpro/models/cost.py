"""What a question about a clip will cost, told before it is asked: tokens and memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpro.models.base import VideoModel
from numpro.models.kept import weight_bytes
from numpro.prompting import Prompt

# What is held beside the parts that are counted: measured peaks were 4 to 18 % above their sum, and
# once 29 % (benchmarks/inference.json).
MARGIN = 1.2


@dataclass(frozen=True)
class Cost:
    """Tokens and predicted memory of asking about one clip.

    Attributes
    ----------
    frames, queries
        How many frames are shown, and how many questions are asked of them.
    visible_size
        Height and width of a frame as the model sees it.
    tokens_per_frame
        Visual tokens a frame becomes (half a pair's where frames go in by pairs).
    shared_tokens
        Tokens that are run once: the video and the words all questions begin with.
    question_tokens
        Tokens of the longest question after that, and of the longest answer.
    batch
        How many questions are answered at once.
    at_once
        How many such clips, windows of a film, are asked at once.
    weights, cache, work
        Bytes: the weights; keys and values of the prefix and of a batch; the largest step.
    where
        Device and number format.
    """

    frames: int
    queries: int
    visible_size: tuple[int, int]
    tokens_per_frame: float
    shared_tokens: int
    question_tokens: int
    batch: int
    at_once: int
    weights: int
    cache: int
    work: int
    where: str

    @property
    def memory(self) -> int:
        """Predicted need in bytes: the parts and a fifth more (`MARGIN`)."""
        return round(MARGIN * (self.weights + self.cache + self.work))

    def __str__(self) -> str:
        parts = (self.memory, self.weights, self.cache, self.work)
        whole, weights, cache, work = map(_readable, parts)
        height, width = self.visible_size
        windows = f", for {self.at_once} windows at once" if self.at_once > 1 else ""
        return (
            f"The model sees {self.frames} frames at {width} x {height} pixels, as "
            f"{self.tokens_per_frame:g} tokens each. {self.shared_tokens:,} tokens are run once "
            f"for all questions ({self.queries}). That takes about {whole} of memory on "
            f"{self.where}: {weights} for the weights, {cache} for tokens that are kept "
            f"({self.batch} at a time{windows}), {work} for the largest step, and a fifth to be "
            "safe."
        )


def _readable(size: int) -> str:
    mebibytes = size / 2**20
    return f"{mebibytes:.3g} MiB" if mebibytes < 999 else f"{mebibytes / 1024:.3g} GiB"


def predict_cost(
    model: VideoModel, frames: np.ndarray, prompts: Sequence[Prompt], most: int, at_once: int = 1
) -> Cost:
    """Work out the cost of asking a local model, without running it.

    Parameters
    ----------
    model : numpro.models.local.LocalModel
        Its transformers model has ``get_text_config`` and a ``vision_config``.
    frames, prompts
        As `VideoModel.prepare` gives them.
    most
        How many tokens an answer may have.
    at_once
        How many windows with as many frames are asked as one batch.
    """
    encoded, shared = model.encode_prompts(frames.shape, prompts)
    prompts_ids = [ids for ids in encoded if ids]  # those that fit
    images = sum(map(model.is_visual, prompts_ids[0]))
    batch = max(1, min(model.batch_size, len(prompts_ids)))
    if not model.takes_tree:  # only questions of one length are answered at once, with copies
        batch = min(batch, max(Counter(map(len, prompts_ids)).values()))
    module = model.model
    text = module.config.get_text_config()
    vision = getattr(module.config, "vision_config", None) or text
    each = module.dtype.itemsize
    rest = max(len(ids) for ids in prompts_ids) - shared + most
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    token = 2 * sum("attention" in k and "linear" not in k for k in kinds) * heads * width * each
    # the widest moments of a layer: residual, queries, keys and values, or the inner states
    wide = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    step = shared * (4 * text.hidden_size + 3 * wide) * each
    side = getattr(vision, "embed_dim", None) or getattr(vision, "hidden_size", text.hidden_size)
    inner = getattr(vision, "intermediate_size", None) or int(
        getattr(vision, "mlp_ratio", 4) * side
    )
    tower = 4 * images * (6 * side + 2 * inner) * each  # patches become tokens 2 x 2 by 2 x 2
    if module.config._attn_implementation == "eager":
        step += 2 * text.num_attention_heads * shared**2 * 4
    return Cost(
        frames=len(frames),
        queries=len(prompts_ids),
        visible_size=model.visible_size(*frames.shape[1:3], len(frames)) or frames.shape[1:3],
        tokens_per_frame=round(images / len(frames), 1),
        shared_tokens=shared,
        question_tokens=rest,
        batch=batch,
        at_once=at_once,
        weights=weight_bytes(model),
        cache=token * at_once * (shared * (1 if model.takes_tree else 1 + batch) + batch * rest),
        work=max(step, tower) + 4 * batch * at_once * text.vocab_size,  # and the logits
        where=f"{module.device} in {str(module.dtype).removeprefix('torch.')}",
    )
