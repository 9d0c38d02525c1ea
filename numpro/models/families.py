"""How the frames of a video go into each family of models: pixels, and their place in the prompt.

Frames come decoded and numbered and none is left out, added or moved. As images each frame has
tokens of its own. As a video, Qwen's models join frames by pairs, so that two numbers meet in the
same tokens; it costs half as many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from transformers import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from numpro.models.base import warn_cropped


@dataclass(frozen=True)
class Layout:
    """A video's place in a prompt.

    Attributes
    ----------
    kind : {"image", "video"}
        What the chat template is told there is.
    block : str
        What it writes for one of them.
    texts : list of str
        What stands there instead, one a frame or one for a whole video: with one placeholder
        token for each in `counts`.
    counts : list of int
        How many visual tokens each placeholder stands for, in order.
    """

    kind: str
    block: str
    texts: list[str]
    counts: list[int]


class Family:
    """What differs between families.

    A class for one of them writes `layout`, where frames of a shape [T, H, W, 3] stand in a
    prompt, and `tensors`, the model's visual inputs for them; both get the frames' times.

    Parameters
    ----------
    name
        The checkpoint: folder or hub id.
    config, tokenizer, processor
        Its configuration, tokenizer and image processor.
    as_video
        Give the frames as one video instead of one image each.
    min_pixels, max_pixels
        Between what areas a frame may go in; None: as the image processor says.
    """

    fits = max  # which side of a frame becomes the vision tower's: the longer
    sizes = False  # whether min_pixels and max_pixels can be chosen
    join = 0  # along which dimension the pixels of several samples are put together

    def __init__(self, name, config, tokenizer, processor, as_video, min_pixels, max_pixels):
        self.name, self.config, self.tokenizer, self.processor = name, config, tokenizer, processor
        self.as_video, self.min_pixels, self.max_pixels = as_video, min_pixels, max_pixels
        if not self.sizes and (min_pixels or max_pixels):
            fixed = f"{config.model_type} always sees frames at {self.side} x {self.side} pixels"
            raise ValueError(f"{fixed}; min_pixels and max_pixels cannot be chosen")

    @property
    def side(self) -> int:
        """Side of the square the vision tower sees."""
        return self.config.vision_config.image_size

    def visible_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a whole frame as the vision tower sees it."""
        scale = self.side / type(self).fits(height, width)
        return round(height * scale), round(width * scale)

    def token(self, name: str) -> str:
        """Return the text of a token that the configuration names, such as "image"."""
        return self.tokenizer.convert_ids_to_tokens(getattr(self.config, f"{name}_token_id"))

    @cached_property
    def video_processor(self) -> object:
        """The checkpoint's own video processor.

        Raises
        ------
        ImportError
            Without torchvision.
        """
        if not find_spec("torchvision"):
            needed = f"frames_as='video' needs torchvision for {self.config.model_type}"
            advice = "install the one that belongs to your torch, or use frames_as='images'"
            raise ImportError(f"{needed}; {advice}")
        from transformers import AutoVideoProcessor

        return AutoVideoProcessor.from_pretrained(self.name, trust_remote_code=False)

    def video_pixels(self, frames: np.ndarray) -> torch.Tensor:
        """Return what the video processor makes of frames that are sampled already."""
        options = {"do_sample_frames": False, "return_tensors": "pt"}
        return self.video_processor(videos=[list(frames)], **options)["pixel_values_videos"]


class Qwen(Family):
    """Qwen2-VL, Qwen2.5-VL and Qwen3-VL: a frame keeps its shape and is cut into patches."""

    sizes = True

    def __init__(self, *given):
        super().__init__(*given)
        vision, area = self.config.vision_config, self.processor.size
        self.patch, self.pair = vision.patch_size, vision.temporal_patch_size
        self.merge = vision.spatial_merge_size
        self.most = self.max_pixels or area["longest_edge"]
        self.least = min(self.min_pixels or area["shortest_edge"], self.most)

    def visible_size(self, height: int, width: int) -> tuple[int, int]:
        """Return a multiple of patches whose area is allowed, in about the frame's shape."""
        return smart_resize(height, width, self.patch * self.merge, self.least, self.most)

    def layout(self, shape: Sequence[int], seconds: Sequence[float] | None) -> Layout:
        """Return where frames of a shape [T, H, W, 3] stand; `seconds` are their times."""
        rows, columns = self.visible_size(*shape[1:3])
        each = rows * columns // (self.patch * self.merge) ** 2
        start, end = self.token("vision_start"), self.token("vision_end")
        kind = "video" if self.as_video else "image"
        block = f"{start}{self.token(kind)}{end}"
        if not self.as_video:
            return Layout(kind, block, [block] * shape[0], [each] * shape[0])
        steps = math.ceil(shape[0] / self.pair)
        if self.config.model_type == "qwen3_vl":  # a time before each pair: the mean of the two
            times = [f"<{t:.1f} seconds>" for t in self._pairs(seconds).mean(1)]
            whole = "".join(f"{time}{block}" for time in times)
            return Layout("video", block, [f"{start}{whole}{end}"], [each] * steps)
        return Layout("video", block, [block], [each * steps])

    def tensors(self, frames: np.ndarray, seconds: Sequence[float] | None) -> dict:
        """Return the model's visual inputs for frames [T, H, W, 3]."""
        if not self.as_video:
            size = {"shortest_edge": self.least, "longest_edge": self.most}
            made = self.processor(list(frames), size=size, return_tensors="pt")
            return {name: made[name] for name in ("pixel_values", "image_grid_thw")}
        pixels, grid = self._patches(frames)
        made = {"pixel_values_videos": pixels, "video_grid_thw": grid}
        if self.config.model_type == "qwen2_5_vl":
            pairs = self._pairs(seconds)[:, 0]
            step = np.diff(pairs).mean() if len(pairs) > 1 else float(self.pair)
            made["second_per_grid_ts"] = torch.tensor([step], dtype=torch.float32)
        return made

    def _pairs(self, seconds: Sequence[float] | None) -> np.ndarray:
        """Return the times of the frames that are joined, [steps, pair]; the last is repeated."""
        if seconds is None:
            raise ValueError("frames_as='video' needs the frames' times; prompts must have seconds")
        times = list(seconds) + [seconds[-1]] * (-len(seconds) % self.pair)
        return np.reshape(times, (-1, self.pair))

    def _patches(self, frames: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what Qwen's video processor makes of frames, without torchvision: the same bits.

        Resizing is torchvision's for bytes: bicubic, antialiased, rounded.
        """
        rows, columns = self.visible_size(*frames.shape[1:3])
        video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        if video.shape[2:] != (rows, columns):
            video = torch.nn.functional.interpolate(
                video, size=(rows, columns), mode="bicubic", antialias=True, align_corners=False
            )
        both = self.processor.image_mean, self.processor.image_std
        mean, std = (torch.tensor(each)[:, None, None] * 255 for each in both)
        video = (video.float() - mean) / std
        if missing := -len(video) % self.pair:
            video = torch.cat([video, video[-1:].expand(missing, -1, -1, -1)])
        grid = len(video) // self.pair, rows // self.patch, columns // self.patch
        merge, patch = self.merge, self.patch
        split = video.view(
            grid[0], self.pair, 3, grid[1] // merge, merge, patch, grid[2] // merge, merge, patch
        )
        flat = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(math.prod(grid), -1)
        return flat, torch.tensor([grid])


class LlavaOnevision(Family):
    """LLaVA-OneVision: a frame is padded to a square; as a video its tokens are pooled 2 x 2."""

    def layout(self, shape: Sequence[int], seconds: Sequence[float] | None) -> Layout:
        """Return where frames of a shape [T, H, W, 3] stand."""
        grid = self.side // self.config.vision_config.patch_size
        if self.as_video:  # and one token that ends the video
            block = f"{self.token('video')}\n"
            return Layout("video", block, [block], [shape[0] * math.ceil(grid / 2) ** 2 + 1])
        block = f"{self.token('image')}\n"
        return Layout("image", block, [block] * shape[0], [grid**2 + 1] * shape[0])

    def tensors(self, frames: np.ndarray, seconds: Sequence[float] | None) -> dict:
        """Return the model's visual inputs for frames [T, H, W, 3]."""
        if self.as_video:
            return {"pixel_values_videos": self.video_pixels(frames)}
        # one image alone would be cut into tiles; two or more are not, and none of a video is
        count = max(2, len(frames))
        shown = list(frames) + list(frames)[: count - len(frames)]
        made = self.processor([shown], return_tensors="pt")
        return {
            "pixel_values": made["pixel_values"][: len(frames)],
            "image_sizes": torch.as_tensor(made["image_sizes"])[: len(frames)],
            "batch_num_images": torch.tensor([count]),
        }


class LlavaNextVideo(Family):
    """LLaVA-NeXT-Video: every frame is pooled, as its training had it, and none is tiled.

    Its image input would cut a frame into tiles (1,176 tokens at 336 x 336 and not 144), so the
    frames go in by its video input in both ways. The one prepares them with Pillow, the other
    with the checkpoint's video processor; they differ by at most one grey level.
    """

    fits = min  # before the middle is cut out
    join = 1

    def layout(self, shape: Sequence[int], seconds: Sequence[float] | None) -> Layout:
        """Return where frames of a shape [T, H, W, 3] stand."""
        grid = self.side // self.config.vision_config.patch_size
        each, video = (grid // self.config.spatial_pool_stride) ** 2, self.token("video")
        block, count = f"{video}\n", shape[0]
        if self.as_video:
            return Layout("video", block, [block], [each * count])
        return Layout("video", block, [video] * (count - 1) + [block], [each] * count)

    def tensors(self, frames: np.ndarray, seconds: Sequence[float] | None) -> dict:
        """Return the model's visual inputs for frames [T, H, W, 3]."""
        warn_cropped("llava_next_video", frames, self.side)
        if self.as_video:
            return {"pixel_values_videos": self.video_pixels(frames)}
        same = ("size", "crop_size", "resample", "image_mean", "image_std")
        plain = CLIPImageProcessorPil(**{name: getattr(self.processor, name) for name in same})
        pixels = plain(list(frames), return_tensors="pt")["pixel_values"]
        return {"pixel_values_videos": pixels[None]}


FAMILIES = dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), Qwen)
FAMILIES |= {"llava_onevision": LlavaOnevision, "llava_next_video": LlavaNextVideo}
