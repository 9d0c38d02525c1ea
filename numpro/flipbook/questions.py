"""What the tiny models are asked while they are pretrained, in words of their own.

Nothing here is a question about a video numbered frame by frame: that is kept for the
training-free test and for fine-tuning (`numpro.prompts` has those wordings). A picture is
given as its objects, ``(colour, shape)`` pairs, and the number written on it, or None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpro.flipbook import COLOURS, MANNERS, OBJECTS, SHAPES

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
NOUNS = ("Panel", "Page", "Card", "Sheet", "Scene")
# One entry: how an interval may be asked for. {n} is a noun, x and y stand for the numbers.
FORMATS = (
    "From {n} x to {n} y",
    "from x to y",
    "Between {n} x and {n} y",
    "{n} x - {n} y",
    "x until y",
    "starts at x, ends at y",
    "{n} x to y",
)
_SEEN = ("is {} seen", "does {} show", "can {} be found", "is there {}")
Object = tuple[str, str]


@dataclass(frozen=True)
class Picture:
    """What is on one picture: its objects, and the number written on it (None: none)."""

    objects: tuple[Object, ...]
    number: int | None = None


@dataclass(frozen=True)
class Turn:
    """One question about what was shown, and its answer."""

    question: str
    answer: str


def name(thing: Object, article: str = "a") -> str:
    """Return an object in words.

    Examples
    --------
    >>> name(("red", "star"))
    'a red star'
    """
    return f"{article} {thing[0]} {thing[1]}"


def describe(objects: Sequence[Object]) -> str:
    """Return a caption, objects in the order given.

    Examples
    --------
    >>> describe([("red", "star"), ("blue", "heart")])
    'a red star and a blue heart'
    """
    return " and ".join(name(o) for o in objects) if objects else "nothing"


def _phrase(rng: np.random.Generator, thing: Object) -> str:
    text = name(thing, str(rng.choice(["a", "a", "the"])))
    return f"{text} {rng.choice(MANNERS)}" if rng.random() < 0.4 else text


def _pick(rng: np.random.Generator, items: Sequence):
    return items[int(rng.integers(len(items)))]


def about_picture(rng: np.random.Generator, picture: Picture) -> Turn:
    """Ask about one picture: what is on it, which number, which colour, is it there."""
    kind = int(rng.integers(4))
    if kind == 0 and picture.number is not None:
        text = _pick(rng, ("Which number is written on the picture?", "Read the number."))
        return Turn(text, str(picture.number))
    if kind == 1 and picture.objects:
        thing = _pick(rng, picture.objects)
        if sum(o[1] == thing[1] for o in picture.objects) == 1:
            return Turn(f"What colour is the {thing[1]}?", thing[0])
    if kind == 2:
        thing = (
            _pick(rng, picture.objects or OBJECTS) if rng.random() < 0.5 else _pick(rng, OBJECTS)
        )
        return Turn(f"Is there {name(thing)}?", "yes" if thing in picture.objects else "no")
    return Turn(
        _pick(rng, ("What is in the picture?", "Describe the picture.")),
        describe(sorted(picture.objects, key=OBJECTS.index)),
    )


def about_set(rng: np.random.Generator, pictures: Sequence[Picture]) -> Turn:
    """Ask an unordered set of labelled pictures for one of them."""
    kind = int(rng.integers(6))
    if kind == 5 and len(pictures) <= 6:
        return Turn(
            _pick(rng, ("List the pictures.", "What is on each picture?")),
            ". ".join(
                f"{p.number}: {describe(sorted(p.objects, key=OBJECTS.index))}" for p in pictures
            ),
        )
    if kind == 0:
        picture = _pick(rng, pictures)
        return Turn(
            f"What is on the picture with number {picture.number}?",
            describe(sorted(picture.objects, key=OBJECTS.index)),
        )
    present = sorted({o for p in pictures for o in p.objects}, key=OBJECTS.index)
    thing = _pick(rng, present) if present and rng.random() < 0.9 else _pick(rng, OBJECTS)
    with_it = [str(p.number) for p in pictures if thing in p.objects]
    if kind == 1:
        return Turn(
            f"List the numbers of all pictures with {_phrase(rng, thing)}.",
            ", ".join(with_it) or "none",
        )
    order = _pick(rng, ("first", "last"))
    text = _pick(
        rng,
        (
            f"Which number is on the {order} picture that shows {{}}?",
            f"Name the {order} labelled picture with {{}}.",
        ),
    )
    answer = (with_it[0] if order == "first" else with_it[-1]) if with_it else "none"
    return Turn(text.format(_phrase(rng, thing)), answer)


def about_strip(rng: np.random.Generator, pictures: Sequence[Picture]) -> Turn:
    """Ask a still comic strip on which panels something is seen; a random answer form."""
    present = sorted({o for p in pictures for o in p.objects}, key=OBJECTS.index)
    if not present:
        return about_set(rng, pictures)
    thing = _pick(rng, present)
    numbers = [p.number for p in pictures if thing in p.objects]
    noun = _pick(rng, NOUNS)
    form = _pick(rng, FORMATS).format(n=noun)
    seen = _pick(rng, _SEEN).format(_phrase(rng, thing))
    where = _pick(rng, (f"On which {noun.lower()}s", "In what part of the strip", "Where"))
    told = _pick(
        rng,
        ("", f"The number on each {noun.lower()} is its label. ", "The red numbers are labels. "),
    )
    reply = _pick(rng, ("Answer in the format: '{}'.", "Reply as '{}'.", "Use the form '{}'."))
    return Turn(f"{told}{where} {seen}? {reply.format(form)}", fill(form, numbers[0], numbers[-1]))


def about_video(rng: np.random.Generator, frames: Sequence[Picture]) -> Turn:
    """Ask an unnumbered video what it shows; never when."""
    order: dict[Object, None] = {}
    for frame in frames:
        order.update(dict.fromkeys(sorted(frame.objects, key=OBJECTS.index)))
    if rng.random() < 0.5:
        thing = _pick(rng, list(order) or OBJECTS) if rng.random() < 0.5 else _pick(rng, OBJECTS)
        return Turn(f"Does {name(thing)} appear in the video?", "yes" if thing in order else "no")
    return Turn(
        _pick(rng, ("What does the video show?", "Describe the video.")), describe(list(order))
    )


def about_words(rng: np.random.Generator) -> Turn:
    """Ask for what needs no picture: repeat numbers, look one up in a list, follow a form."""
    kind = int(rng.integers(3))
    count = int(rng.integers(2, 8))
    numbers = [str(n) for n in rng.choice(int(rng.choice([30, 100, 300])), count, replace=False)]
    if kind == 0:
        listed = ", ".join(numbers)
        return Turn(f"Repeat: {listed}.", listed)
    if kind == 1:
        things = [OBJECTS[i] for i in rng.choice(len(OBJECTS), count, replace=False)]
        listed = ". ".join(f"{n}: {name(o)}" for n, o in zip(numbers, things, strict=True))
        which = int(rng.integers(count))
        if rng.random() < 0.5:
            return Turn(f"{listed}. Which number has {name(things[which])}?", numbers[which])
        return Turn(f"{listed}. What is on {numbers[which]}?", name(things[which]))
    first, last = sorted(int(x) for x in rng.integers(0, 300, 2))
    noun = _pick(rng, (*NOUNS, "Frame", "Frame", "frame"))
    form = _pick(rng, FORMATS).format(n=noun)
    ask = _pick(
        rng,
        (
            "Say {} and {} in the format: '{}'.",
            "Write {} and {}. Reply as '{}'.",
            "First {}, last {}. Answer in the format: '{}'.",
        ),
    )
    return Turn(ask.format(first, last, form), fill(form, first, last))


def about_copying(rng: np.random.Generator) -> Turn:
    """Ask to repeat, or to look up, in a long list: copying is what reading an answer off needs."""
    count = int(rng.integers(4, 13))
    numbers = [str(n) for n in rng.choice(int(rng.choice([30, 100, 300])), count, replace=False)]
    if rng.random() < 0.5:
        listed = ", ".join(numbers)
        return Turn(f"Repeat: {listed}.", listed)
    things = [OBJECTS[i] for i in rng.choice(len(OBJECTS), count, replace=False)]
    listed = ". ".join(f"{n}: {name(o)}" for n, o in zip(numbers, things, strict=True))
    order = rng.permutation(count)[:6]
    return Turn(
        f"{listed}. Which numbers have {', '.join(name(things[i]) for i in order)}?",
        ", ".join(numbers[i] for i in order),
    )


def fill(form: str, first: object, last: object) -> str:
    """Put two numbers into an answer form.

    Examples
    --------
    >>> fill("From Page x to Page y", 3, 17)
    'From Page 3 to Page 17'
    """
    words = {"x": str(first), "x,": f"{first},", "y": str(last)}
    return " ".join(words.get(word, word) for word in form.split(" "))


def corpus() -> list[str]:
    """Return text in which every word the tiny models meet stands at least once."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(400):
        pictures = [
            Picture(
                tuple(OBJECTS[i] for i in rng.choice(len(OBJECTS), 2, replace=False)),
                int(rng.integers(300)),
            )
            for _ in range(4)
        ]
        for ask in (about_set, about_strip, about_video):
            turn = ask(rng, pictures)
            lines += [turn.question, turn.answer]
        for turn in (about_picture(rng, pictures[0]), about_words(rng)):
            lines += [turn.question, turn.answer]
    lines += [
        f"{name((c, s), a)} {m}"
        for c in COLOURS
        for s in SHAPES
        for m in MANNERS
        for a in ("a", "the")
    ]
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


def make_tokenizer(vocab_size: int = 640, ends: bool = False):
    """Train the tiny tokenizer: byte-level BPE, one token a digit, ChatML special tokens.

    Parameters
    ----------
    vocab_size
        Tokens at most.
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
        vocab_size=vocab_size,
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
