"""LongVA checkpoints: how they are loaded, and what their prompts look like."""

from collections.abc import Sequence

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoTokenizer, CLIPImageProcessorPil, PreTrainedModel

from numpro.models.adapter_names import FittedAdapter
from numpro.models.adapters import attach_adapter
from numpro.models.base import warn_cropped
from numpro.models.files import PREPROCESSOR, TOKENIZER, need_file, need_template, render_chat
from numpro.models.local import LocalModel
from numpro.models.longva import llava_format as llava
from numpro.models.longva.llava_adapter import adapter_notes, is_llava_adapter, read_adapter
from numpro.models.longva.modeling import LongvaForConditionalGeneration
from numpro.models.pixels import quicken
from numpro.models.sharing import Prefix
from numpro.models.training_batches import pad_batch, sequence
from numpro.models.weights import fetch, read_weights
from numpro.paths import find_model
from numpro.prompting import Prompt


class Longva(LocalModel):
    """A LongVA checkpoint with its tokenizer and image processor."""

    def __init__(self, name, model, tokenizer, image_processor):
        super().__init__(name, model, tokenizer)
        self.image_processor = quicken(image_processor)
        need_template(name, tokenizer.chat_template)
        text = render_chat(name, tokenizer, "\0", add_generation_prompt=True)
        self.before, place, self.after = text.partition("\0")
        if not place:
            raise ValueError(f"the chat template of {name} has no place for the question")

    @classmethod
    def read(cls, name: str, how: dict) -> "Longva":
        """Read a checkpoint in our format."""
        folder = find_model(name)
        for files in (TOKENIZER, PREPROCESSOR[:1]):
            need_file(folder, *files)
        model = read_weights(LongvaForConditionalGeneration, folder, how)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return cls(name, model, tokenizer, CLIPImageProcessorPil.from_pretrained(folder))

    @classmethod
    def attach(cls, model: PreTrainedModel, name: str, adapter: str) -> tuple[PeftModel, dict]:
        """Put an adapter on the model: peft's, or one of LLaVA's trainer as it was published."""
        folder = find_model(adapter)
        if is_llava_adapter(folder):
            fitted = FittedAdapter(*read_adapter(folder), {})
            return attach_adapter(model, name, adapter, fitted)[0], adapter_notes(folder)
        return attach_adapter(model, name, adapter)

    def video_ids(self, count: int, frame_texts: Sequence[str] | None = None) -> list[int]:
        """Return the tokens up to the end of the video: `count` frames, in order."""
        config, ids = self.model.config, self.encode(self.before)
        for text in frame_texts or [""] * count:
            ids += self.encode(text) + [config.image_token_id] * config.tokens_per_frame
        return ids

    def question_ids(self, text: str) -> list[int]:
        """Return the tokens of a question and of the turn to the answer."""
        return self.encode("\n" + self.words(text) + self.after)

    def prompt_ids(self, shape: tuple[int, ...], prompt: Prompt) -> list[int]:
        """Return the tokens of a whole prompt about frames of a shape [T, H, W, 3]."""
        return self.video_ids(shape[0], prompt.frame_texts) + self.question_ids(prompt.text)

    def visible_size(self, height: int, width: int, count: int = 2) -> tuple[int, int]:
        """Return height and width of a whole frame as the model sees it."""
        side = self.model.config.vision_config.image_size
        if not self.image_processor.do_center_crop:
            return side, side
        scale = side / min(height, width)
        return round(height * scale), round(width * scale)

    @torch.inference_mode()
    def prefill(self, ids: list[int], frames: np.ndarray, prompt: Prompt) -> Prefix:
        """Run the tokens that hold the video."""
        tokens, pixels = torch.tensor([ids], device=self.device), self.pixels(frames)
        out = self.model(input_ids=tokens, pixel_values=pixels, use_cache=True, logits_to_keep=1)
        return Prefix(out.past_key_values, len(ids), len(ids))

    def pixels(self, frames: np.ndarray) -> torch.Tensor:
        """Prepare uint8 frames [T, H, W, 3] as CLIP does: [T, 3, S, S]."""
        if self.image_processor.do_center_crop:
            warn_cropped(self.name, frames, self.model.config.vision_config.image_size)
        made = self.image_processor(list(frames), return_tensors="pt")["pixel_values"]
        return made.to(self.device, self.dtype)

    @torch.no_grad()
    def patch_features(self, frames: np.ndarray) -> torch.Tensor:
        """Run the frozen vision tower on uint8 frames [T, H, W, 3]: [T, patches, D]."""
        return self.model.patch_features(self.pixels(frames))

    def training_example(
        self, frames: np.ndarray, prompt: Prompt | Sequence[Prompt], answers: str | Sequence[str],
        patches: torch.Tensor | None = None,
    ) -> dict:  # fmt: skip
        """Return one sample of training: the loss is on the answer and the token that ends it.

        Parameters
        ----------
        frames : uint8 [T, H, W, 3]
            As the model is to see them; only how many they are counts where `patches` are given.
        prompt, answers
            A question with its answer; or lists of both, which then share the frames in one
            sequence, each attending to the video and to itself only, at the positions it would
            have alone. The loss is that of separate samples; the frames are run once.
        patches
            What `patch_features` gave for the frames, so that the tower need not run again.
        """
        shared = not isinstance(prompt, Prompt)
        prompts, texts = (prompt, answers) if shared else ([prompt], [answers])
        video = self.video_ids(len(frames), prompts[0].frame_texts)
        questions = [self.question_ids(p.text) for p in prompts]
        end = [self.tokenizer.eos_token_id]
        turns = [(q, self.encode(a) + end) for q, a in zip(questions, texts, strict=True)]
        patches = self.patch_features(frames).cpu() if patches is None else patches
        return sequence(video, turns, shared) | {"image_patches": patches}

    def collate(self, samples: Sequence[dict]) -> dict:
        """Return the batch of samples of `training_example`, padded on the right."""
        return pad_batch(samples, self.tokenizer.pad_token_id)


class OriginalLongva(Longva):
    """LongVA in LLaVA's format (``lmms-lab/LongVA-7B-DPO``), optionally with its NumPro-FT.

    Prompts, sharing and answers are those of `Longva`. The published evaluation gives all
    frames as one ``<image>`` in the conversation "qwen_1_5"; its tokens are the same as here.
    """

    @classmethod
    def read(cls, name: str, how: dict, vision_tower: str | None = None) -> "OriginalLongva":
        """Read a checkpoint in LLaVA's format.

        Every name and shape is compared before a value is read. Where the checkpoint has no tower
        inside, the one it names is loaded. `vision_tower` is another place of the tower than
        ``config.json`` says.
        """
        folder = fetch(name)
        config, tower = llava.read_config(folder, vision_tower)
        whole = {"config": config, "state_dict": llava.our_tensors(folder, config, tower)}
        model = LongvaForConditionalGeneration.from_pretrained(None, **whole, **how)
        processor = llava.image_processor(config, tower)
        return cls(name, model, llava.read_tokenizer(folder), processor)
