"""Video LLMs of the transformers library, by hub id or folder, behind our protocol.

One class for all of them: a checkpoint is asked through its own processor and chat template. What
differs between classes is asked of the processor and the model; `numpro.models.processing` has the
few that need more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig

from numpro.models.frame_inputs import FrameInputs
from numpro.models.local import LORA_TARGETS, LocalModel
from numpro.models.positions import correct_positions
from numpro.models.processing import read_processor
from numpro.models.sharing import Prefix
from numpro.models.training_batches import pad_batch, sequence
from numpro.models.weights import read_weights
from numpro.paths import find_model
from numpro.prompting import Prompt
from numpro.spans import one_of

FRAMES_AS = ("images", "video")
_TOKENS = ("input_ids", "attention_mask")


class TransformersVlm(LocalModel):
    """Any video LLM of transformers whose processor puts frames into one user's turn.

    Attributes
    ----------
    frame_inputs : numpro.models.frame_inputs.FrameInputs
        How frames and a prompt become its inputs.
    frames_as : {"images", "video"}
        One image a frame (the default), or all of them as one video.
    """

    def __init__(self, name, model, frame_inputs, options=None):
        super().__init__(name, model, frame_inputs.tokenizer)
        self.frame_inputs, self._options = frame_inputs, options or {}
        self.frames_as, self._taken = FRAMES_AS[frame_inputs.as_video], ()
        self._placed = "position_ids" in signature(model.forward).parameters

    @classmethod
    def read(
        cls, name: str, how: dict, frames_as: str = "images", min_pixels: int | None = None,
        max_pixels: int | None = None, processor_kwargs: Mapping | None = None,
        template_kwargs: Mapping | None = None,
    ) -> "TransformersVlm":  # fmt: skip
        """Read a checkpoint of the library.

        Parameters
        ----------
        frames_as : {"images", "video"}
            One image a frame, each number in tokens of its own; or all frames as one video, as
            the models were trained (many then join frames by pairs).
        min_pixels, max_pixels
            Between what areas a frame is shown, where the class lets one choose; None: as its
            files say.
        processor_kwargs
            Arguments of its image processor, or of its video processor, over the ``arguments`` of
            ``numpro/models/facts.yaml``.
        template_kwargs
            Arguments of its chat template, such as ``{"enable_thinking": False}``.
        """
        one_of("frames_as", frames_as, FRAMES_AS)
        folder, as_video = find_model(name), frames_as == "video"
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        processor = read_processor(folder, config, as_video)
        part = processor.video_processor if as_video else processor.image_processor
        bounds = _pixel_bounds(part, config, min_pixels, max_pixels)
        edges = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
        options = {name: bounds.get(edge) for name, edge in edges.items()}
        model = read_weights(AutoModelForImageTextToText, folder, how)
        if config.model_type in ("qwen2_vl", "qwen2_5_vl"):
            correct_positions(model)
        types = "mm_token_type_ids" in signature(model.forward).parameters
        more = {"processor_kwargs": processor_kwargs, "template_kwargs": template_kwargs}
        options |= {name: dict(value) for name, value in more.items() if value}
        chosen = bounds if min_pixels or max_pixels else None
        given = processor_kwargs or {}, template_kwargs or {}, types, chosen
        made = cls(name, model, FrameInputs(name, processor, config, as_video, *given), options)
        ways = {"images": "min_pixels, max_pixels", "video": "max_pixels or fewer frames"}
        made.enlarged_by = ways[frames_as] if bounds else ""
        return made

    def lora_targets(self) -> str:
        """Return the regular expression of the language model's linear layers, for peft.

        Of the usual ones where there are no others; else of its projections, as this class calls
        them. Experts that are one tensor stay as they are.
        """
        inner = getattr(self.model, "get_base_model", lambda: self.model)()
        place = next(n for n, m in inner.named_modules() if m is inner.get_decoder())
        names = [n for n, m in inner.named_modules() if isinstance(m, torch.nn.Linear)]
        layer = re.compile(rf"{re.escape(place)}\.layers\.\d+\.([\w.]*\.(\w*proj\w*|fc\d|w\d))$")
        found = {name: match[1] for name in names if (match := layer.match(name))}
        if all(re.fullmatch(LORA_TARGETS, name) for name in found):
            return LORA_TARGETS
        parts = "|".join(map(re.escape, sorted({*found.values()})))
        return rf".*{re.escape(place)}\.layers\.\d+\.({parts})"

    def state(self) -> dict:
        """Return also how frames go in, and between what areas."""
        return super().state() | {"frames_as": self.frames_as} | self._options

    @property
    def native_unit(self) -> str | None:
        """What its processor writes beside frames (`VideoModel.native_unit`)."""
        return self.frame_inputs.native_unit

    def native_marks(self, seconds: Sequence[float]) -> list[str]:
        """Return those numbers for frames at these times (`VideoModel.native_marks`)."""
        return self.frame_inputs.native_marks(seconds)

    def _clean(self, prompt: Prompt) -> Prompt:
        return replace(prompt, text=self.words(prompt.text))

    def prompt_ids(self, shape: tuple[int, ...], prompt: Prompt) -> list[int]:
        """Return the tokens of a whole prompt about frames of a shape [T, H, W, 3]."""
        return self.frame_inputs.ids(shape, self._clean(prompt))

    def is_visual(self, token: int) -> bool:
        """Return whether a token stands for a part of a picture."""
        return token in self.frame_inputs.visual_ids

    def visible_size(self, height: int, width: int, count: int = 2) -> tuple[int, int] | None:
        """Return height and width of a whole frame as the model sees it, among `count`."""
        return self.frame_inputs.visible_size(count, height, width)

    def take_frames(self, frames: np.ndarray, prompt: Prompt) -> None:
        """Make the pixels of frames, once for all questions about them."""
        self._taken = frames, prompt, self.inputs(frames, prompt)

    def inputs(self, frames: np.ndarray, prompt: Prompt, keep: bool = True) -> dict:
        """Return what the library's model takes for one whole prompt, on the CPU."""
        made = self.frame_inputs.inputs(frames, self._clean(prompt), keep)
        if "second_per_grid_ts" in made:  # of pairs, also where times are uneven
            pair = self.model.config.vision_config.temporal_patch_size
            firsts = prompt.seconds[::pair]
            step = np.diff(firsts).mean() if len(firsts) > 1 else float(pair)
            made["second_per_grid_ts"] = torch.tensor([step], dtype=torch.float32)
        return made

    @torch.inference_mode()
    def prefill(self, ids: list[int], frames: np.ndarray, prompt: Prompt) -> Prefix:
        """Run the tokens that hold the video.

        Positions are worked out for the whole prompt, and given: those of the prefix to the
        model, that of the next token to what follows.
        """
        taken, self._taken = self._taken, ()
        ready = taken and taken[0] is frames and taken[1] == prompt
        made, length = taken[2] if ready else self.inputs(frames, prompt), len(ids)
        whole = made["input_ids"]
        if whole[0, :length].tolist() != list(ids):
            raise ValueError(f"{self.name}: the frames gave other tokens than were counted before")
        typed = tuple(_token_shaped(made))
        inner = getattr(self.model, "get_base_model", lambda: self.model)()
        places = inner._prepare_position_ids_for_generation(whole, dict(made)).to(self.device)
        inputs = {"position_ids": places[..., :length]} if self._placed else {}
        for name, value in made.items():
            value = value[:, :length] if name in ("input_ids", *typed) else value
            floating = torch.is_tensor(value) and value.is_floating_point()
            kind = self.dtype if floating and name.startswith("pixel") else None
            inputs[name] = value.to(self.device, kind) if torch.is_tensor(value) else value
        del inputs["attention_mask"]
        out = self.model(**inputs, use_cache=True, logits_to_keep=1)
        return Prefix(out.past_key_values, length, places[..., length : length + 1], typed)

    def training_example(self, frames: np.ndarray, prompt: Prompt, answers: str) -> dict:
        """Return one sample of training: the loss is on the answer and the token that ends it.

        Parameters
        ----------
        frames : uint8 [T, H, W, 3]
            As the model is to see them.
        prompt, answers
            A question with its answer.
        """
        if not isinstance(prompt, Prompt):
            raise ValueError(f"questions cannot share frames in training of {type(self).__name__}")
        answer = [*self.encode(answers), self.tokenizer.eos_token_id]
        made = self.inputs(frames, prompt, keep=False)
        typed = _token_shaped(made)
        types = {name: made[name][0].tolist() + [0] * len(answer) for name in typed}
        visual = {name: made[name] for name in made if name not in (*_TOKENS, *typed)}
        return sequence(made["input_ids"][0].tolist(), [([], answer)], False) | types | visual

    def collate(self, samples: Sequence[dict]) -> dict:
        """Return the batch of samples of `training_example`, padded on the right.

        Raises
        ------
        ValueError
            For videos of two lengths where the class cannot join them.
        """
        kind = self.model.config.model_type
        videos = [s["pixel_values_videos"].shape for s in samples if "pixel_values_videos" in s]
        if kind == "llava_onevision" and len({*videos}) > 1:
            advice = "take a batch of 1 and accumulate, or use frames_as='images'"
            raise ValueError(f"{kind} takes videos of one length in a batch; {advice}")
        return pad_batch(_shift_patches(samples), self.pad, kind.startswith("minicpm"))


def _token_shaped(made: Mapping) -> list[str]:
    """Return the inputs that say something of each token, such as its type."""
    shape = made["input_ids"].shape
    tensors = [name for name, value in made.items() if torch.is_tensor(value)]
    return [name for name in tensors if made[name].shape == shape and name not in _TOKENS]


def _shift_patches(samples: Sequence[dict]) -> list[dict]:
    """Return samples whose indices of patches (Molmo2's) count on from one to the next."""
    moved, start = [], 0
    for sample in samples:
        for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            places = sample.get(f"{kind}_token_pooling")
            if places is not None:  # -1 where there is none
                sample = sample | {f"{kind}_token_pooling": places + start * (places >= 0)}
                start += sample[pixels].shape[:2].numel()
        moved.append(sample)
    return moved


def _pixel_bounds(
    part: object, config: PreTrainedConfig, least: int | None, most: int | None
) -> dict:
    """Return between what areas frames are shown; {} where a class has one size for all.

    Raises
    ------
    ValueError
        When bounds are given for such a class.
    """
    size = getattr(part, "size", None) or {}
    edges = [size.get(name) for name in ("shortest_edge", "longest_edge")]
    if all(edges) and getattr(part, "merge_size", None):
        most = most or edges[1]
        return {"shortest_edge": min(least or edges[0], most), "longest_edge": most}
    if least or most:
        side = getattr(config.vision_config, "image_size", None)
        fixed = f"{config.model_type} always sees frames at {side} x {side} pixels"
        raise ValueError(f"{fixed}; min_pixels and max_pixels cannot be chosen")
    return {}
