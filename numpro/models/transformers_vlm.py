"""Video LLMs of the transformers library, by hub id or folder, behind our protocol.

Prompts are made here and not by the library's processors: those cannot put words before each frame
of every family, sample frames anew unless told not to, and need torchvision even for images. The
tokens and pixels are the ones they give.
"""

import json
from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

# from its own module: the library's front (5.17) hides it where torchvision is missing
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.utils import cached_file

from numpro.models.families import FAMILIES, Layout
from numpro.models.local import LocalModel
from numpro.models.positions import correct_positions
from numpro.models.sharing import Prefix
from numpro.models.training_batches import pad_batch, sequence
from numpro.paths import find_model
from numpro.prompting import Prompt
from numpro.spans import one_of

FRAMES_AS = ("images", "video")


class TransformersVlm(LocalModel):
    """Qwen2-VL, Qwen2.5-VL, Qwen3-VL, LLaVA-OneVision or LLaVA-NeXT-Video.

    Attributes
    ----------
    family : numpro.models.families.Family
        How frames become its inputs.
    frames_as : {"images", "video"}
        One image a frame (the default), or all of them as one video.
    """

    def __init__(self, name, model, tokenizer, family, template):
        super().__init__(name, model, tokenizer)
        self.family, self.template = family, template
        self.frames_as = FRAMES_AS[family.as_video]
        config = model.config
        self._kinds = {config.image_token_id: 1, config.video_token_id: 2}
        self._mrope = config.model_type.startswith("qwen")

    @classmethod
    def read(
        cls, name: str, how: dict, frames_as: str = "images", min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> "TransformersVlm":  # fmt: skip
        """Read a checkpoint of the library.

        Parameters
        ----------
        frames_as : {"images", "video"}
            One image a frame, each number in tokens of its own; or all frames as one video, as
            the models were trained (Qwen's then join pairs of frames).
        min_pixels, max_pixels
            Between what areas a frame is shown to Qwen's models; None: as their files say.
        """
        one_of("frames_as", frames_as, FRAMES_AS)
        folder, ours = find_model(name), {"trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, **ours)
        # Pillow's, so that a frame is the same with and without torchvision
        pictures = AutoImageProcessor.from_pretrained(folder, backend="pil", **ours)
        model = AutoModelForImageTextToText.from_pretrained(folder, **how)
        kind, as_video = model.config.model_type, frames_as == "video"
        files = folder, model.config, tokenizer, pictures
        family = FAMILIES[kind](*files, as_video, min_pixels, max_pixels)
        if as_video and kind.startswith("llava"):
            _ = family.video_processor  # what it needs is missed now and not amid a run
        if kind in ("qwen2_vl", "qwen2_5_vl"):
            correct_positions(model)
        return cls(name, model, tokenizer, family, _template(folder, tokenizer))

    def state(self) -> dict:
        """Return also how frames go in, and between what areas."""
        least, most = (getattr(self.family, name, None) for name in ("least", "most"))
        frames = {"frames_as": self.frames_as, "min_pixels": least, "max_pixels": most}
        return super().state() | frames

    def prompt_ids(self, shape: tuple[int, ...], prompt: Prompt) -> list[int]:
        """Return the tokens of a whole prompt about frames of a shape [T, H, W, 3]."""
        layout = self.family.layout(shape, prompt.seconds)
        before = prompt.frame_texts or [""] * len(layout.texts)
        if len(before) != len(layout.texts):
            needed = "words before each frame need frames_as='images'"
            raise ValueError(f"{needed}; this model was loaded with frames_as={self.frames_as!r}")
        video = "".join(w + frame for w, frame in zip(before, layout.texts, strict=True))
        text = self._chat(layout, video, self.words(prompt.text))
        bos = self.tokenizer.bos_token
        ids = self.tokenizer(text, add_special_tokens=not (bos and text.startswith(bos))).input_ids
        counts = iter(layout.counts)
        repeated = ([i] * next(counts) if i in self._kinds else [i] for i in ids)
        return [token for run in repeated for token in run]

    def _chat(self, layout: Layout, video: str, question: str) -> str:
        """Return the checkpoint's chat: one user's turn, up to where the answer begins."""
        turn = [{"type": layout.kind}, {"type": "text", "text": "\0"}]
        before, after = self.chat_halves(turn, self.template)
        if layout.block not in before:
            missing = f"the chat template of {self.name} has no place for a {layout.kind}"
            raise ValueError(f"{missing}: it must write {layout.block!r} for one; got {before!r}")
        return before.replace(layout.block, video) + question + after

    def visible_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a whole frame as the model sees it."""
        return self.family.visible_size(height, width)

    def _token_types(self, ids: torch.Tensor) -> torch.Tensor:
        """Return 0 for text, 1 for images and 2 for videos."""
        return sum((ids == token).long() * kind for token, kind in self._kinds.items())

    @torch.inference_mode()
    def prefill(self, ids: list[int], frames: np.ndarray, prompt: Prompt) -> Prefix:
        """Run the tokens that hold the video."""
        visual = self.family.tensors(frames, prompt.seconds)
        for name, value in visual.items():
            visual[name] = value.to(self.device, self.dtype if name.startswith("pixel") else None)
        inputs, place = {"input_ids": torch.tensor([ids], device=self.device)}, len(ids)
        if self._mrope:
            inputs["mm_token_type_ids"] = self._token_types(inputs["input_ids"])
            grids = {k: v for k, v in visual.items() if k.endswith(("thw", "ts"))}
            inner = getattr(self.model, "get_base_model", lambda: self.model)()
            places, _ = inner.model.get_rope_index(**inputs, **grids)
            inputs["position_ids"] = places
            place = int(places[:, 0, -1].max()) + 1  # the prefix ends in text
            visual.pop("second_per_grid_ts", None)
        out = self.model(**inputs, **visual, use_cache=True, logits_to_keep=1)
        return Prefix(out.past_key_values, len(ids), place, 3 if self._mrope else 1)

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
        question = self.prompt_ids(frames.shape, prompt)
        visual = self.family.tensors(frames, prompt.seconds)
        return sequence(question, [([], answer)], False) | visual

    def collate(self, samples: Sequence[dict]) -> dict:
        """Return the batch of samples of `training_example`, padded on the right."""
        batch = pad_batch(samples, self.pad, self.family.join)
        if self._mrope:
            batch["mm_token_type_ids"] = self._token_types(batch["input_ids"])
        return batch


def _template(folder: str, tokenizer) -> str | None:
    """Return the chat template of a checkpoint; None: the tokenizer's own.

    The one for pictures may lie beside the tokenizer's: in a file of its own, or in JSON.
    """
    errors = ("missing_entries", "gated_repo", "connection_errors")
    quiet = {f"_raise_exceptions_for_{error}": False for error in errors}
    for file in ("chat_template.jinja", "chat_template.json"):
        if found := cached_file(folder, file, **quiet):
            with open(found, encoding="utf-8") as text:
                return json.load(text)["chat_template"] if file.endswith("json") else text.read()
    if not tokenizer.chat_template:
        raise ValueError(f"{folder} has no chat template, so it cannot be asked")
    return None
