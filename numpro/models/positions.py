"""Where text stands after a video in Qwen2-VL and Qwen2.5-VL.

A token has three position indices there: time, row and column. Released checkpoints were trained
with text that goes on after the largest index of the video (transformers up to 5.2). From 5.3 to
at least 5.23 transformers goes on after the number of rows or columns, and forgets the time: after
128 frames at 336 x 336 the question then stands at 29 and not at 81, amid the video
(huggingface/transformers issue 45381). Frames given as images are not concerned.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from transformers import PreTrainedModel


def rope_index(
    library: Callable, input_ids: torch.Tensor, mm_token_type_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None, **grids,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the positions [3, B, L] of a batch, and what to add for a token that follows it.

    It takes the place of the method ``get_rope_index``, which `library` is, and has its parameters:
    `mm_token_type_ids` is 0 for text, 1 for images and 2 for videos. The library's positions are
    right inside each run of tokens of one kind; each run is moved behind the one before it.
    """
    places, _ = library(input_ids, mm_token_type_ids, attention_mask=attention_mask, **grids)
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    after = []
    for row, keep in enumerate(real.bool()):
        kinds, here = mm_token_type_ids[row, keep], places[:, row, keep]
        changes = (kinds[1:] != kinds[:-1]).nonzero()[:, 0] + 1
        start = 0
        for first, last in pairwise([0, *changes.tolist(), len(kinds)]):
            here[:, first:last] += start - here[:, first:last].min()
            start = int(here[:, first:last].max()) + 1
        places[:, row, keep] = here
        after.append(start - len(kinds))
    return places, torch.tensor(after, device=input_ids.device).unsqueeze(1)


def correct_positions(model: PreTrainedModel) -> None:
    """Make a Qwen2-VL or Qwen2.5-VL place text after a video as it was trained to."""
    model.model.get_rope_index = partial(rope_index, model.model.get_rope_index)
