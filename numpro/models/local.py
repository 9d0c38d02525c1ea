"""What checkpoints that run in this process share: the prefix of a video, batches, their cost."""

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from inspect import signature
from itertools import groupby
from os.path import commonprefix
from typing import Self

import numpy as np
import torch
from llguidance.hf import from_tokenizer

from numpro.models.adapters import attach_adapter
from numpro.models.base import CutResponse, NoAnswer, VideoModel, answer_tokens, refuse_unknown
from numpro.models.cost import Cost, predict_cost
from numpro.models.files import read_notes, weights_folder
from numpro.models.film_batches import answer_films
from numpro.models.labels import distributions, tokens_of_labels
from numpro.models.loading import pick_device, weight_options
from numpro.models.moments import Distribution
from numpro.models.question import Question
from numpro.models.sharing import Copies, Prefix, Tree, attends_by_tree, common_prefix
from numpro.prompting import Prompt, parse_moment
from numpro.prompting.labels import LabelForm
from numpro.spans import Labels
from numpro.video import Clip, Sampling

_THOUGHT = ("<think>", "</think>")
MOST_WINDOWS = 8  # as one batch; a small model on a CPU gains nothing from more
LORA_TARGETS = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"


class LocalModel(VideoModel):
    """A checkpoint in memory. A class for one kind writes `read`, `prompt_ids` and `prefill`.

    Attributes
    ----------
    model, tokenizer
        As transformers gives them; `model` may carry a peft adapter.
    batch_size : int
        How many questions about a video are answered at once.
    constrained : bool
        Whether answers are held to the form that was asked for (`numpro.models.constrained`).
    """

    attach = staticmethod(attach_adapter)  # an adapter to the model: a class may know other files
    batch_size = 16
    constrained = False

    def __init__(self, name, model, tokenizer):
        self.name, self.model, self.tokenizer, self.notes = name, model, tokenizer, {}
        self.usage = Counter(prompt_tokens=0, cached_tokens=0, answer_tokens=0)

    @classmethod
    def load(
        cls, name: str, adapter: str | None = None, device: str = "auto", dtype: str = "auto",
        quantization: str | None = None, attention: str = "sdpa", constrained: bool = False,
        **options,
    ) -> Self:  # fmt: skip
        """Load a checkpoint (see `numpro.models.load_model`); `options` are those of `read`."""
        known = list(signature(cls.read).parameters)[2:]
        refuse_unknown(cls, options, ("quantization", "attention", "constrained", *known))
        device = pick_device(device)
        made = cls.read(name, weight_options(device, dtype, quantization, attention), **options)
        if adapter:
            made.model, made.notes = cls.attach(made.model, name, adapter)
        else:
            made.notes = read_notes(weights_folder(name))  # a merged model says how it is asked
        if not getattr(made.model, "is_quantized", False):  # quantized weights are in their place
            made.model.to(device)
        logging.getLogger("numpro").info("%s is on %s in %s", name, made.device, made.dtype)
        made.model.eval()
        made.adapter, made.constrained = adapter, bool(constrained)
        return made

    @classmethod
    @abstractmethod
    def read(cls, name: str, weights: dict) -> Self:
        """Read a checkpoint's files, without adapter.

        Parameters
        ----------
        name
            Its folder, embedded name or hub id.
        weights
            Arguments of ``from_pretrained`` (`numpro.models.loading.weight_options`).
        """

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type it runs in."""
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())

    @property
    def quantization(self) -> str | None:
        """How the weights are quantized; None for plain ones."""
        config = getattr(self.model.config, "quantization_config", None)
        bits = [n for n in ("4bit", "8bit") if getattr(config, f"load_in_{n}", False)]
        return bits[0] if bits else config and str(getattr(config, "quant_method", config))

    def state(self) -> dict:
        """Return the number format, quantization and attention."""
        dtype, attention = str(self.dtype), self.model.config._attn_implementation
        state = {"dtype": dtype.removeprefix("torch."), "quantization": self.quantization}
        constrained = {"constrained": True} if self.constrained else {}
        return state | {"attention": attention} | constrained

    def lora_targets(self) -> str:
        """Return the regular expression of the language model's linear layers, for peft."""
        return LORA_TARGETS

    @cached_property
    def takes_tree(self) -> bool:
        """Whether what follows a video runs as one sequence behind it, without copies of it.

        All its layers must attend to everything, and its class and its attention must take a mask
        of any shape, which is tried. Else questions share a video by copies of it, in batches of
        equal length.
        """
        text, way = self.model.config.get_text_config(), self.model.config._attn_implementation
        kinds = getattr(text, "layer_types", None) or []
        sliding = getattr(text, "sliding_window", None) and not kinds
        full = not sliding and all(kind == "full_attention" for kind in kinds)
        return full and way in ("sdpa", "eager") and attends_by_tree(self.model)

    def branches(self, prefix: Prefix, rows: int) -> Tree | Copies:
        """Return what runs tokens behind a prefix: copies have as many rows at once."""
        if self.takes_tree:
            return Tree(self.model, prefix)
        return Copies(self.model, prefix, rows)

    @property
    def ends(self) -> set[int]:
        """The tokens that end an answer: the tokenizer's, and the checkpoint's own."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return {self.tokenizer.eos_token_id, *ends} - {None}

    @property
    def pad(self) -> int:
        """A token to fill rows with."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def encode(self, text: str) -> list[int]:
        """Tokenize text as it is, without added special tokens."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def words(self, text: str) -> str:
        """Return a question as words: a query never brings a control token."""
        for special in self.tokenizer.all_special_tokens:
            text = text.replace(special, " ")
        return text

    @abstractmethod
    def prompt_ids(self, shape: tuple[int, ...], prompt: Prompt) -> list[int]:
        """Return the tokens of a whole prompt about frames of a shape [T, H, W, 3]."""

    def written(self, shape: tuple[int, ...], prompt: Prompt) -> str:
        """Return a whole prompt as the model gets it, the words of its chat template included.

        A run of visual tokens stands as the first of them and how many they are.
        """
        text = []
        for visual, run in groupby(self.prompt_ids(shape, prompt), self.is_visual):
            ids = list(run)
            first = self.tokenizer.decode(ids[:1] if visual else ids)
            text.append(f"{first} x {len(ids)}" if visual else first)
        return "".join(text)

    def take_frames(self, frames: np.ndarray, prompt: Prompt) -> None:
        """Make of frames what all questions about them share; here nothing is."""

    @abstractmethod
    def prefill(self, ids: list[int], frames: np.ndarray, prompt: Prompt) -> Prefix:
        """Run the tokens that hold the video."""

    def is_visual(self, token: int) -> bool:
        """Return whether a token stands for a part of a picture."""
        config = self.model.config
        return token in (config.image_token_id, getattr(config, "video_token_id", None))

    def encode_prompts(
        self, shape: tuple[int, ...], prompts: Sequence[Prompt]
    ) -> tuple[list[list[int] | NoAnswer], int]:
        """Return the tokens of prompts about the same frames, and how many of them are run once.

        A prompt longer than the context of the model, by its configuration, is a `NoAnswer`.

        Raises
        ------
        ValueError
            When all of them are longer.
        """
        prompts_ids = [self.prompt_ids(shape, prompt) for prompt in prompts]
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        for place, ids in enumerate(prompts_ids):
            if context and len(ids) > context:
                remedy = "take fewer or smaller frames, or ask a shorter question"
                excess = f"a prompt of {len(ids)} tokens, {self.name} takes {context}: {remedy}"
                prompts_ids[place] = NoAnswer(excess)
        if not (fitting := [ids for ids in prompts_ids if ids]):
            raise ValueError(prompts_ids[0].reason)
        return prompts_ids, common_prefix(fitting)

    def respond(self, frames: np.ndarray, prompts: list[Prompt], max_new_tokens: int) -> list[str]:
        """Answer questions about one video (see `VideoModel.respond`).

        The video and the words that all questions begin with are run once; the questions follow
        as one sequence, or in batches of equal length (`takes_tree`). A batch that does not fit
        into memory is halved. What does not fit alone, there or into the context, is a `NoAnswer`.
        """
        (read,) = answer_films(self, [(frames, prompts)], max_new_tokens, lambda *_: "")
        return [text for text, _ in read]

    def windows_at_once(self, frames: int) -> int:
        """Return how many windows are asked as one batch (`VideoModel.windows_at_once`).

        As many as show no more frames than a film that is asked whole may have; one, where the
        class takes no `Tree`.
        """
        return max(1, min(MOST_WINDOWS, Sampling().max_frames // frames)) if self.takes_tree else 1

    def respond_with_labels(
        self, films: Sequence[tuple[np.ndarray, list[Prompt]]], max_new_tokens: int,
        forms: Sequence[LabelForm], least: float,
    ) -> list[list[tuple[str, Distribution | str]]]:  # fmt: skip
        """Answer, and read the probabilities of labels (`VideoModel.respond_with_labels`).

        Films go on as one batch. One that does not fit into memory is halved.
        """
        words = cache(partial(tokens_of_labels, self.tokenizer))

        def read(branches: Tree | Copies, numbers: list[int], *rows: list) -> list:
            questions = zip(numbers, *rows, strict=True)
            found = [self._start(words, forms[number], *row) for number, *row in questions]
            starts = [one for one in found if not isinstance(one, str)]
            read = iter(distributions(branches, starts, self.ends, least, self.constrained))
            return [one if isinstance(one, str) else next(read) for one in found]

        return answer_films(self, films, max_new_tokens, read)

    def _start(self, words, form, branch, question, answer, text) -> tuple | str:
        """Return where the labels of an answer begin, for `distributions`; else the reason."""
        if isinstance(text, NoAnswer):
            return text.reason
        around, pair = form.words_of(parse_moment(text.rpartition(_THOUGHT[1])[2]))
        labels = words(form.texts, around)
        if labels is None:
            return f"the tokenizer of {self.name!r} does not keep numbers apart from words"
        before, end = labels.before, self.tokenizer.convert_tokens_to_ids(_THOUGHT[1])
        written = self.encode(pair[0].join(around[:2]) + pair[1] + around[2])[len(before) :]
        if answer[-len(written) :] == written:  # what the model wrote before, such as a thought
            before = answer[: -len(written)]
        elif end in answer:
            before = answer[: answer.index(end) + 1] + before
        whole = question + before
        run = min(len(commonprefix([whole, question + answer])), len(branch), len(whole) - 1)
        return branch[:run], whole[run:], labels

    def answer_text(self, ids: list[int], prompt_ids: list[int], most: int) -> str:
        """Return an answer's tokens as text; a `NoAnswer` where the thought before it has no end.

        The thought may begin at the end of the prompt. An answer of `most` tokens was cut: it is
        a `CutResponse`.
        """
        thinking = self.tokenizer.decode(prompt_ids[-8:]).rstrip().endswith(_THOUGHT[0])
        whole, cut = self.tokenizer.decode(ids), len(ids) == most
        if (thinking or _THOUGHT[0] in whole) and _THOUGHT[1] not in whole:
            advice = "give template_kwargs (enable_thinking: false) or more tokens"
            return NoAnswer(f"cut off inside its thought after {len(ids)} tokens: {advice}")
        end = self.tokenizer.convert_tokens_to_ids(_THOUGHT[1])
        if end in ids and end in self.tokenizer.all_special_ids:  # else it stays in the text
            ids = ids[ids.index(end) + 1 :]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return CutResponse(text, most) if cut else text

    @cached_property
    def vocabulary(self) -> object:
        """The tokens as llguidance sees them; it cannot read a slow tokenizer (a ValueError)."""
        logits = self.model.config.get_text_config().vocab_size  # some have more than tokens
        return from_tokenizer(self.tokenizer, n_vocab=logits, eos_token=sorted(self.ends))

    def cost(
        self, clip: Clip, queries: Sequence[str], question: Question | None = None,
        labels: Labels = None, parts: int = 1, **changes,
    ) -> Cost:  # fmt: skip
        """Tell what `answer` with the same arguments will need, without running the model.

        `parts` is how many such clips there are where they are windows of a film.
        """
        question = replace(question or Question(), **changes)
        prepared = self.prepare(clip, queries, question, labels)
        at_once = min(parts, self.windows_at_once(len(clip)))
        return predict_cost(self, *prepared, answer_tokens(question, len(clip)), at_once)
