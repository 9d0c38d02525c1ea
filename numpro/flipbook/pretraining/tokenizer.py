"""The tiny tokenizer: byte-level BPE over the flipbook's words, one token a digit, ChatML."""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from numpro.flipbook import COLOURS, MANNERS, OBJECTS, SHAPES
from numpro.flipbook.pretraining import questions
from numpro.flipbook.scenes import Panel, Placed, name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
VOCABULARY = 640  # tokens at most
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")


def corpus() -> list[str]:
    """Return text in which every word the tiny models meet stands at least once."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(400):
        panels = []
        for _ in range(4):
            things = [OBJECTS[i] for i in rng.choice(len(OBJECTS), 2, replace=False)]
            placed = tuple(Placed(thing, 0, 0, 0) for thing in things)
            panels.append(Panel(placed, int(rng.integers(300))))
        turns = [questions.about_set(rng, panels), questions.about_strip(rng, panels)]
        turns += [questions.about_video(rng, panels), questions.about_picture(rng, panels[0])]
        turns.append(questions.about_words(rng))
        lines += [text for turn in turns for text in (turn.question, turn.answer)]
    for colour, shape, manner in product(COLOURS, SHAPES, MANNERS):
        lines += [f"{name((colour, shape), article)} {manner}" for article in ("a", "the")]
    lines += 20 * [
        "You are a helpful assistant. system user assistant From To Frame frame frames",
        "The red numbers on each frame represent the frame number. "
        "During which frames can we see a red star spins? "
        "Answer in the format: 'From Frame x to Frame y'. From 3 to 17. From Frame 3 to Frame 17.",
        "Please find the highlight contents in the video described by a sentence query, "
        "determining the highlight frames and its saliency score on a scale from 1 to 5. "
        "If the video content more related to the query, the saliency score should be higher. "
        "The output format should be like: 'The highlight frames are in the 80, 81, 82 frames. "
        "Their saliency scores are 1.3, 1.5, 2.6'. Now I will give you the sentence query: a red "
        "star. Please return the query-based highlight frames and salient scores.",
        "The video has 12 frames and lasts 12.0 seconds, numbered from 0 to 11 in order. "
        "Frame 3: 2.0 seconds: mm:ss At which time in seconds does it start and end? "
        "The time in seconds is written on each frame. Each frame is preceded by its number.",
    ]
    return lines


def make_tokenizer(ends: bool = False) -> "PreTrainedTokenizerBase":
    """Train the tiny tokenizer: byte-level BPE, one token a digit, ChatML special tokens.

    Parameters
    ----------
    ends
        Put ``<|endoftext|>`` after a text, as CLIP's text tower wants it.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Any text can be encoded (bytes are its alphabet); flipbook words are one token each.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    split = r"\p{N}|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]|\s+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    if ends:
        end = ("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))
        tokenizer.post_processor = TemplateProcessing(
            single="$A <|endoftext|>", special_tokens=[end]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>" if ends else "<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>"],
        padding_side="left",
    )
    made.chat_template = CHAT_TEMPLATE
    return made


CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
