"""Frames and a question become a model's inputs, by the checkpoint's own processor.

Frames come decoded and numbered, and none is left out, added, moved or given another time: what
the processor made of them is looked into. Pixels are made once for all questions about the same
frames.
"""

import copy
import hashlib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin  # fmt: skip
from transformers.utils.chat_template_utils import _get_template_variables
from transformers.video_utils import make_batched_metadata

from numpro.models.files import FACTS, render_chat
from numpro.models.frame_times import count_frames, describe_times, to_number
from numpro.models.processing import PooledFrames, arrange_arguments, refuse_unknown_arguments
from numpro.models.run_tokenizer import RunTokenizer
from numpro.prompting import Prompt

_QUESTION = {"type": "text", "text": "\0"}
_KEPT_BYTES = 600_000_000  # of pixels, made before: three encodings of 64 frames
_KEPT_SIZES = 64
_NUMBER = re.compile(r"\d+(?:[:.]\d+)*")
_PROBE, _PROBE_SIZE = (5.0, 17.0, 29.0, 41.0), (112, 112)  # no numbering of frames gives these


class FrameInputs:
    """Makes the inputs of one model.

    Parameters
    ----------
    name
        The checkpoint, for messages.
    processor, config
        Its own processor (`numpro.models.processing.read_processor`) and configuration.
    as_video
        Give the frames as one video instead of one image each.
    processor_kwargs, template_kwargs
        The user's arguments of the processor, and of the chat template.
    types
        Whether the model takes ``mm_token_type_ids``.
    bounds
        The least and the most area of a frame that the user chose, as the library's ``size``.
    """

    def __init__(
        self, name: str, processor: ProcessorMixin, config: PreTrainedConfig, as_video: bool,
        processor_kwargs: Mapping, template_kwargs: Mapping, types: bool,
        bounds: Mapping | None = None,
    ):  # fmt: skip
        self.name, self.processor, self.config, self.as_video = name, processor, config, as_video
        self.kwargs = arrange_arguments(processor, config.model_type, as_video, processor_kwargs)
        who = f"template_kwargs: the chat template of {config.model_type}"
        refuse_unknown_arguments(
            who, template_kwargs, _get_template_variables(processor.chat_template)
        )
        self.template_kwargs, self.bounds = dict(template_kwargs), bounds
        self._always = {"return_mm_token_type_ids": True} if types else {}
        self._around = lru_cache(1)(self._around)  # of all questions about the same frames
        self._last: dict[tuple, tuple] = {}  # what was made of the frames that came last
        self._sizes: dict[tuple, tuple] = {}  # the same without pixels, by the shape of the frames
        self._made: tuple | None = None  # what the processor takes for made already
        for method in ("_process_images", "_process_videos"):
            setattr(processor, method, partial(self._once, getattr(processor, method)))
        self.tokenizer = processor.tokenizer
        processor.tokenizer = RunTokenizer(self.tokenizer, self.visual_ids)

    # --- the chat ---------------------------------------------------------------------------------

    def _render(self, turn: list[dict], answer: bool = True) -> str:
        how = {"chat_template": self.processor.chat_template, "add_generation_prompt": answer}
        return render_chat(self.name, self.tokenizer, turn, **how, **self.template_kwargs)

    def chat(self, count: int, prompt: Prompt) -> str:
        """Return the checkpoint's chat about `count` frames, up to where the answer begins."""
        before, after = self._around(count, prompt.frame_texts)
        return before + prompt.text + after

    def _around(self, count: int, words: Sequence[str] | None) -> tuple[str, str]:
        """Return the chat before and after a question.

        A placeholder stands for each image, or one for the video. Where a template moves or trims
        the words before a frame, they are put before what it writes for one more image.

        Raises
        ------
        ValueError
            When the template has no place for frames, or does not begin an answer; for words
            before each frame of a video.
        """
        if words and self.as_video:
            needed = "words before each frame need frames_as='images'"
            raise ValueError(f"{needed}; this model was loaded with frames_as='video'")
        pooled = isinstance(self.processor.image_processor, PooledFrames)
        token = getattr(self.processor, f"{'video' if self.as_video else 'image'}_token", None)
        kind, question = "video" if self.as_video or pooled else "image", _QUESTION
        parts = [{"type": kind}] * (1 if kind == "video" else count)
        text = self._render([*parts, question])
        if not token or text.count(token) != len(parts):
            missing = f"the chat template of {self.name} has no place for a {kind}"
            raise ValueError(f"{missing}: it must write {token!r} for one; got {text!r}")
        if text == self._render([*parts, question], answer=False):
            lacks = f"the chat template of {self.name} does not begin an answer"
            advice = "give it a part for add_generation_prompt, as the base checkpoint's has"
            raise ValueError(f"{lacks}: {advice}; got {text!r}")
        if pooled:
            text = text.replace(token, "".join(w + token for w in words or ("",) * count), 1)
        elif words:
            text = self._put_words(token, words, question)
        before, _, after = text.partition("\0")
        return before, after

    def _put_words(self, token: str, words: Sequence[str], question: dict) -> str:
        """Return the chat with words before each image."""
        image = {"type": "image"}
        pairs = [({"type": "text", "text": w}, image) for w in words]
        mixed = self._render([*(part for pair in pairs for part in pair), question])
        pieces = mixed.split(token)
        if len(pieces) == len(words) + 1 and all(map(str.__contains__, pieces, words)):
            return mixed
        zero, one, two = (self._render([image] * n + [question]) for n in range(3))
        start = len(os.path.commonprefix([zero, one]))
        block = one[start : start + len(one) - len(zero)]  # what it writes for one image
        numbered = one.replace(block, block * 2, 1) != two
        return one.replace(block, "".join(w + (token if numbered else block) for w in words), 1)

    # --- the processor's call ---------------------------------------------------------------------

    def _call(self, frames: np.ndarray, prompt: Prompt, tensors: bool = True) -> dict:
        """Return all that the processor makes of frames and a prompt."""
        text = self.chat(len(frames), prompt)
        bos = self.tokenizer.bos_token
        options = self.kwargs | self._always | {"return_tensors": "pt" if tensors else None}
        options["add_special_tokens"] = not (bos and text.startswith(bos))
        if self.as_video:
            options |= {"videos": [frames], "do_sample_frames": False, "return_metadata": True}
            options["video_metadata"] = [describe_times(prompt.seconds, frames.shape)]
        else:
            options["images"] = [list(frames)]
        place = "videos_kwargs" if self.as_video else "images_kwargs"
        options[place] = dict(self.kwargs[place])
        if self.bounds:
            # many classes take them for all frames of a video together
            alone = not self.as_video or self.config.model_type in FACTS["frame_bounds"]
            size = {n: area * (1 if alone else len(frames)) for n, area in self.bounds.items()}
            options[place] = {"size": size} | options[place]
        try:
            made = dict(self.processor(text=[text], **options))
        except ValueError as error:
            if not self.as_video or len(frames) > 1:
                raise
            lacks = f"the processor of {self.config.model_type} takes no video of one frame"
            raise ValueError(f"{lacks}; give two or more, or use frames_as='images'") from error
        made.pop("video_metadata", None)
        return made

    def _once(self, process: Callable, visual: list, **kwargs) -> tuple[BatchFeature, list[str]]:
        """Stand in the place of the processor's own step, and do not make pixels twice."""
        if self._made is None:
            self._made = self._process(process, visual, kwargs)
        data, texts = self._made
        if texts is None:  # sizes are known, times may be others
            times = make_batched_metadata(visual, video_metadata=kwargs["video_metadata"])
            timed = BatchFeature({**data, "video_metadata": times})
            texts = [self.processor.replace_video_token(timed, video_idx=0, **kwargs)]
        return copy.copy(data), list(texts)

    def _process(self, process: Callable, visual: list, kwargs: dict) -> tuple:
        """Run the processor's own step."""
        flat = visual[0] if isinstance(visual[0], list) else visual
        if self.config.model_type != "llava_onevision" or self.as_video or len(flat) > 1:
            return process(visual, **kwargs)
        # one image alone would be cut into tiles; two or more are not, and none of a video is
        data, _ = process([flat * 2], **kwargs)
        cut = {k: v[:1] for k, v in data.items() if k != "batch_num_images"}
        data = BatchFeature({**cut, "batch_num_images": data["batch_num_images"]})
        return data, [self.processor.replace_image_token(data, image_idx=0)]

    def inputs(self, frames: np.ndarray, prompt: Prompt, keep: bool = True) -> dict:
        """Return a model's inputs for a whole prompt about frames [T, H, W, 3].

        With `keep` the pixels are there for what is asked about the same frames next.

        Raises
        ------
        ValueError
            When the processor lost or doubled a frame, or gave one another time.
        """
        digest = hashlib.sha1(np.ascontiguousarray(frames), usedforsecurity=False).digest()
        key = frames.shape, digest, prompt.seconds if self.as_video else None
        self._made = self._last.pop(key, None)
        made = self._call(frames, prompt)
        if keep:
            self._last[key] = self._made
        while len(self._last) > 1 and sum(map(_pixel_bytes, self._last.values())) > _KEPT_BYTES:
            del self._last[next(iter(self._last))]
        self._keep_sizes(frames.shape)
        self._check(frames, prompt)
        return made

    def ids(self, shape: Sequence[int], prompt: Prompt) -> list[int]:
        """Return the tokens of a whole prompt about frames of a shape [T, H, W, 3]."""
        self._made = self.sizes(shape, prompt)
        black = np.broadcast_to(np.uint8(0), shape)
        ids = self._call(black, prompt, tensors=False)["input_ids"]
        return [*map(int, ids[0])]

    def sizes(self, shape: Sequence[int], prompt: Prompt) -> tuple:
        """Return what frames of a shape are made into, without pixels."""
        if tuple(shape) not in self._sizes:
            self._made = None
            self._call(np.zeros(shape, np.uint8), prompt)
            self._keep_sizes(shape)
        return self._sizes[tuple(shape)]

    def _keep_sizes(self, shape: Sequence[int]) -> None:
        if tuple(shape) not in self._sizes:
            data, texts = self._made
            plain = type(self.processor)._process_videos is ProcessorMixin._process_videos
            texts = None if self.as_video and plain else texts
            sizes = {k: _empty(v, k.startswith("pixel")) for k, v in data.items()}
            self._sizes[tuple(shape)] = BatchFeature(sizes), texts
            if len(self._sizes) > _KEPT_SIZES:
                del self._sizes[next(iter(self._sizes))]

    # --- what came of the frames ------------------------------------------------------------------

    @cached_property
    def visual_ids(self) -> frozenset[int]:
        """The tokens that stand for parts of pictures."""
        names = ("image_token_id", "video_token_id", "image_patch_id")
        ids = {getattr(self.config, name, None) for name in names}
        for name in ("image_token_ids", "video_token_ids"):
            ids |= {*getattr(self.processor, name, [])}
        return frozenset(ids - {None, self.tokenizer.unk_token_id})

    def marks(self, text: str) -> list[str]:
        """Return the number that stands beside each picture in a text; [] where some have none."""
        added = self.tokenizer.get_added_vocab().items()
        visual, others = (
            "|".join(re.escape(token) for token, i in added if (i in self.visual_ids) == wanted)
            for wanted in (True, False)
        )
        pieces = re.split(f"(?:{visual})+", re.sub(others, "", text))
        before = [_NUMBER.findall(piece)[-1:] for piece in pieces[:-1]]
        after = [_NUMBER.findall(piece)[:1] for piece in pieces[1:]]
        return next((sum(found, []) for found in (before, after) if all(found)), [])

    def native_marks(self, seconds: Sequence[float]) -> list[str]:
        """Return the numbers that processor and chat template write beside frames at these times.

        One a frame, or one for the frames that a class merges; [] where nothing is written.
        """
        return self._written_marks(seconds) if self.native_unit else []

    def _written_marks(self, seconds: Sequence[float]) -> list[str]:
        prompt = Prompt("When?", seconds=tuple(seconds))
        ids = self.ids((len(seconds), *_PROBE_SIZE, 3), prompt)
        return self.marks(self.tokenizer.decode(ids))

    @cached_property
    def native_unit(self) -> str | None:
        """What those numbers are: ``second``, ``frame`` (a count), or None without any."""
        marks = self._written_marks(_PROBE)
        if len(marks) < 2:  # one is of the video
            return None
        counts = [[float(k + first) for k in range(len(marks))] for first in (0, 1)]
        return "frame" if [*map(to_number, marks)] in counts else "second"

    def _check(self, frames: np.ndarray, prompt: Prompt) -> None:
        """Raise a ValueError when a frame is lost or doubled, or another time is written."""
        data, texts = self._made
        count, marks = len(frames), self.marks("".join(texts)) if self.as_video else []
        taken = count_frames(data, self.processor) if self.as_video else {len(texts)}
        fault = None if count in taken else f"made {min(taken)} frames of {count}"
        each = -(-count // max(1, len(marks)))  # frames that share a mark
        for k, mark in enumerate(marks if self.native_unit == "second" else []):
            times = prompt.seconds[k * each : (k + 1) * each]
            if not times or not int(min(times)) <= to_number(mark) <= max(times) + 0.06:
                fault = fault or f"wrote {mark} beside what was sampled at {times} s"
        if fault:
            kind, advice = self.config.model_type, "frames_as='images' gives each frame by itself"
            raise ValueError(f"the processor of {kind} {fault}; {advice}")

    def visible_size(self, count: int, height: int, width: int) -> tuple[int, int] | None:
        """Return height and width of a whole frame as the model sees it; None where unknown."""
        part = self.processor.video_processor if self.as_video else self.processor.image_processor
        count = count if self.as_video else 2
        prompt = Prompt("When?", seconds=tuple(map(float, range(count))))
        data, _ = self.sizes((count, height, width, 3), prompt)
        patch = getattr(part, "patch_size", None) or 1
        for name, value in data.items():
            if name.endswith(("grid_thw", "target_sizes", "target_sizes_videos")):
                return int(value[0][-2]) * patch, int(value[0][-1]) * patch
        pixels = next(value for name, value in data.items() if name.startswith("pixel"))
        for name in ("image_position_ids", "video_position_ids"):
            if name in data:  # columns and rows, -1 where padded
                patch = math.isqrt(pixels.shape[-1] // 3)
                columns, rows = (int(data[name][..., k].max()) + 1 for k in (0, 1))
                return rows * patch, columns * patch
        if pixels.ndim < 4:  # the patches of a square
            return (math.isqrt(pixels.shape[-2]) * patch,) * 2
        rows, columns = pixels.shape[-2:]
        crops, pads = (getattr(part, name, False) for name in ("do_center_crop", "do_pad"))
        if not (crops or pads):
            return rows, columns
        scale = rows / (min if crops else max)(height, width)
        return round(height * scale), round(width * scale)


def _pixel_bytes(made: tuple) -> int:
    """Return what the tensors fill that were made of frames."""
    return sum(value.nbytes for value in made[0].values() if torch.is_tensor(value))


def _empty(value: object, pixels: bool) -> object:
    """Return a value of the same shape that holds no pixels; `pixels`: it is of them or masks them.

    Other masks tell how many tokens there are.
    """
    if isinstance(value, list):
        return [_empty(one, pixels) for one in value]
    if torch.is_tensor(value) and (pixels or value.is_floating_point()):
        return value.new_zeros(()).expand(value.shape)
    return value
