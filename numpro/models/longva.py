"""LongVA checkpoints: prompts, the shared prefix of a video, greedy answers."""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from numpro.models.base import VideoModel, pick_device, pick_dtype, read_notes
from numpro.paths import find_model
from numpro.prompts import Prompt


class Longva(VideoModel):
    """A LongVA checkpoint with its tokenizer and image processor.

    The visual tokens and the words before the question are run once per video; the questions
    follow as a left-padded batch from a copy of that cache.
    """

    def __init__(self, name, model, tokenizer, image_processor, adapter=None, notes=None):
        self.name, self.adapter, self.notes = name, adapter, notes or {}
        self.model, self.tokenizer, self.image_processor = model, tokenizer, image_processor
        self.batch_size = 16
        self.before, self.after = self._chat_halves()

    @classmethod
    def load(cls, name: str, adapter: str | None = None, device="auto", dtype="auto") -> "Longva":
        """Load a checkpoint folder (see `numpro.models.load_model`)."""
        from transformers import AutoTokenizer, CLIPImageProcessorPil
        from transformers.utils import logging

        from numpro.models.longva_model import LongvaForConditionalGeneration

        folder = find_model(name)
        device = pick_device(device)
        logging.disable_progress_bar()
        model = LongvaForConditionalGeneration.from_pretrained(
            folder, dtype=pick_dtype(dtype, device)
        )
        notes = {}
        if adapter:
            from peft import PeftConfig, PeftModel

            where = find_model(adapter)
            try:
                PeftConfig.from_pretrained(where)
            except (OSError, ValueError) as error:
                raise FileNotFoundError(f"no adapter at {adapter!r}: {error}") from error
            notes = read_notes(where)
            model = PeftModel.from_pretrained(model, where)
        return cls(
            name,
            model.to(device).eval(),
            AutoTokenizer.from_pretrained(folder),
            CLIPImageProcessorPil.from_pretrained(folder),
            adapter,
            notes,
        )

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type it runs in."""
        return next(self.model.parameters()).dtype

    def _chat_halves(self) -> tuple[str, str]:
        """Return the chat's text before the video and after the question."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": "\0"}], tokenize=False, add_generation_prompt=True
        )
        before, _, after = text.partition("\0")
        return before, after

    def encode(self, text: str) -> list[int]:
        """Tokenize text as it is, without added special tokens."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def video_ids(self, count: int, frame_texts: Sequence[str] | None = None) -> list[int]:
        """Return the tokens up to the end of the video: `count` frames, in order."""
        config = self.model.config
        image = [config.image_token_id] * config.tokens_per_frame
        ids = self.encode(self.before)
        for number in range(count):
            if frame_texts is not None:
                ids += self.encode(frame_texts[number])
            ids += image
        return ids

    def question_ids(self, text: str) -> list[int]:
        """Return the tokens of a question and of the turn to the answer."""
        for special in self.tokenizer.all_special_tokens:
            text = text.replace(special, " ")  # a query is words, never a control token
        return self.encode("\n" + text + self.after)

    def pixels(self, frames: np.ndarray) -> torch.Tensor:
        """Prepare uint8 frames [T, H, W, 3] as CLIP does: [T, 3, S, S]."""
        made = self.image_processor(list(frames), return_tensors="pt")["pixel_values"]
        return made.to(self.device, self.dtype)

    @torch.no_grad()
    def patch_features(self, frames: np.ndarray) -> torch.Tensor:
        """Run the frozen vision tower on uint8 frames [T, H, W, 3]: [T, patches, D]."""
        return self.model.patch_features(self.pixels(frames))

    @torch.inference_mode()
    def respond(
        self, frames: np.ndarray, prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[str]:
        """Answer questions about one video (see `VideoModel.respond`)."""
        prefix = torch.tensor([self.video_ids(len(frames), prompts[0].frame_texts)])
        prefix = prefix.to(self.device)
        cache = self.model(
            input_ids=prefix, pixel_values=self.pixels(frames), use_cache=True, logits_to_keep=1
        ).past_key_values
        texts: list[str] = []
        for first in range(0, len(prompts), self.batch_size):
            asked = [self.question_ids(p.text) for p in prompts[first : first + self.batch_size]]
            texts += self._continue(prefix, cache, asked, max_new_tokens)
        return texts

    def _continue(self, prefix, cache, asked: list[list[int]], max_new_tokens: int) -> list[str]:
        length = max(len(ids) for ids in asked)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (length - len(a)) + a for a in asked], device=self.device)
        mask = torch.tensor(
            [[0] * (length - len(a)) + [1] * len(a) for a in asked], device=self.device
        )
        many = copy.deepcopy(cache)
        many.batch_repeat_interleave(len(asked))
        whole = torch.cat([prefix.expand(len(asked), -1), ids], 1)
        seen = torch.cat([torch.ones_like(prefix).expand(len(asked), -1), mask], 1)
        out = self.model.generate(
            input_ids=whole,
            attention_mask=seen,
            past_key_values=many,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=pad,
        )
        return self.tokenizer.batch_decode(out[:, whole.shape[1] :], skip_special_tokens=True)

    def respond_singly(
        self, frames: np.ndarray, prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[str]:
        """Answer each question with the whole video run anew: the plain way, for comparison."""
        return [self.respond(frames, [prompt], max_new_tokens)[0] for prompt in prompts]
