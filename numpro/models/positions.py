"""Where text stands after a video in Qwen2-VL and Qwen2.5-VL.

A token has three position indices there: time, row and column. Released checkpoints were trained
with text that goes on after the largest index of the video (transformers up to 5.2). From 5.3 to
at least 5.23 transformers goes on after the number of rows or columns, and forgets the time: after
128 frames at 336 x 336 the question then stands at 29 and not at 81, amid the video
(huggingface/transformers issue 45381). Frames given as images are not concerned.
"""

import itertools
import types

import torch
from transformers import PreTrainedModel


def rope_index(
    self, input_ids: torch.Tensor, mm_token_type_ids: torch.Tensor,
    image_grid_thw: torch.Tensor | None = None, video_grid_thw: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None, second_per_grid_ts: torch.Tensor | None = None,
    **_,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the positions [3, B, L] of a batch, and what to add for a token that follows it.

    It takes the place of the method ``get_rope_index`` and has its parameters: `mm_token_type_ids`
    is 0 for text, 1 for images and 2 for videos; grids are [N, 3] of time, rows and columns before
    merging; `second_per_grid_ts` are the seconds of a step in time (Qwen2.5-VL).
    """
    vision = self.config.vision_config
    rate = getattr(vision, "tokens_per_second", None)  # Qwen2.5-VL only
    seconds = itertools.repeat(1.0) if second_per_grid_ts is None else iter(second_per_grid_ts)
    both = enumerate((image_grid_thw, video_grid_thw), 1)
    grids = {kind: iter([] if grid is None else grid.tolist()) for kind, grid in both}
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    places, after = torch.zeros(3, *input_ids.shape, dtype=torch.long), []
    for row, keep in enumerate(real.bool().cpu()):
        kinds = mm_token_type_ids[row].cpu()[keep].tolist()
        parts, start = [], 0
        for kind, group in itertools.groupby(kinds):
            left = len(list(group))
            while left:  # a run of visual tokens may hold several grids
                if kind == 0:
                    part = torch.arange(left).expand(3, -1)
                else:
                    step = float(next(seconds)) * rate if kind == 2 and rate else 1
                    part = _grid(*next(grids[kind]), vision.spatial_merge_size, step)
                parts.append(part + start)
                start = int(parts[-1].max()) + 1
                left -= part.shape[1]
        places[:, row, keep] = torch.cat(parts, 1)
        after.append(start - len(kinds))
    device = input_ids.device
    return places.to(device), torch.tensor(after, device=device).unsqueeze(1)


def _grid(time: int, rows: int, columns: int, merge: int, step: float) -> torch.Tensor:
    """Return the positions [3, N] of a picture or video that starts at 0."""
    shape = time, rows // merge, columns // merge
    indices = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    places = torch.stack(indices).reshape(3, -1)
    places[0] = (places[0] * step).long()
    return places


def correct_positions(model: PreTrainedModel) -> None:
    """Make a Qwen2-VL or Qwen2.5-VL place text after a video as it was trained to."""
    model.model.get_rope_index = types.MethodType(rope_index, model.model)
