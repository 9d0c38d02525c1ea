"""What the tiny models are asked while they are pretrained, in words of their own.

Nothing here is a question about a video numbered frame by frame: that is kept for the
training-free test and for fine-tuning (`numpro.prompting.prompts` has those wordings). A picture is
given as its objects, ``(colour, shape)`` pairs, and the number written on it, or None.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from numpro.flipbook import MANNERS, OBJECTS

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
class Look:
    """Where the answer's characters ``start:end`` are to be seen.

    `picture` is the place of the picture in the scene, `thing` the object on it (None: all of
    the picture). While the language model is trained, some of its heads are told to look there.
    """

    start: int
    end: int
    picture: int
    thing: Object | None = None


@dataclass(frozen=True)
class Turn:
    """One question about what was shown, and its answer.

    Of the answer only what is not in `given`, spans of characters, is to be learned.
    """

    question: str
    answer: str
    looks: tuple[Look, ...] = ()
    given: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Seen:
    """A piece of an answer that is read off a picture; `told` pieces are not to be learned."""

    text: str
    picture: int = -1
    thing: Object | None = None
    told: bool = False


def reply(question: str, pieces: Iterable[str | Seen]) -> Turn:
    """Put an answer together from its pieces.

    Examples
    --------
    >>> reply("Where?", ["At ", Seen("12", 3), "."]).looks
    (Look(start=3, end=5, picture=3, thing=None),)
    """
    answer, looks, given = "", [], []
    for piece in pieces:
        text = piece if isinstance(piece, str) else piece.text
        if isinstance(piece, Seen):
            span = (len(answer), len(answer) + len(text))
            if piece.told:
                given.append(span)
            else:
                looks.append(Look(*span, piece.picture, piece.thing))
        answer += text
    return Turn(question, answer, tuple(looks), tuple(given))


def between(pieces: Iterable[list[str | Seen]], mark: str) -> list[str | Seen]:
    """Join lists of pieces with a mark between them.

    Examples
    --------
    >>> between([["a"], ["b", "c"]], ", ")
    ['a', ', ', 'b', 'c']
    """
    joined: list[str | Seen] = []
    for number, piece in enumerate(pieces):
        joined += [mark] * bool(number) + list(piece)
    return joined


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


def _shown(picture: Picture, place: int) -> list[str | Seen]:
    """Return the caption of the picture at `place` in pieces, objects in their fixed order."""
    things = sorted(picture.objects, key=OBJECTS.index)
    named = [["a ", Seen(f"{t[0]} {t[1]}", place, t)] for t in things]
    return between(named, " and ") or [Seen("nothing", place)]


def _places(pictures: Sequence[Picture], thing: Object) -> list[int]:
    return [place for place, p in enumerate(pictures) if thing in p.objects]


def _numbers(pictures: Sequence[Picture], places: Sequence[int], thing: Object) -> list[list]:
    return [[Seen(str(pictures[place].number), place, thing)] for place in places]


def _present(pictures: Sequence[Picture]) -> list[Object]:
    return sorted({o for p in pictures for o in p.objects}, key=OBJECTS.index)


def about_picture(rng: np.random.Generator, picture: Picture) -> Turn:
    """Ask about one picture: what is on it, which number, which colour, is it there."""
    kind = int(rng.integers(4))
    if kind == 0 and picture.number is not None:
        text = _pick(rng, ("Which number is written on the picture?", "Read the number."))
        return reply(text, [Seen(str(picture.number), 0)])
    if kind == 1 and picture.objects:
        thing = _pick(rng, picture.objects)
        if sum(o[1] == thing[1] for o in picture.objects) == 1:
            return reply(f"What colour is the {thing[1]}?", [Seen(thing[0], 0, thing)])
    if kind == 2:
        thing = (
            _pick(rng, picture.objects or OBJECTS) if rng.random() < 0.5 else _pick(rng, OBJECTS)
        )
        there = [Seen("yes", 0, thing)] if thing in picture.objects else ["no"]
        return reply(f"Is there {name(thing)}?", there)
    text = _pick(rng, ("What is in the picture?", "Describe the picture."))
    return reply(text, _shown(picture, 0))


def about_set(rng: np.random.Generator, pictures: Sequence[Picture]) -> Turn:
    """Ask an unordered set of labelled pictures for one of them."""
    kind = int(rng.integers(7))
    if kind == 6 or (kind == 5 and len(pictures) > 6):
        return about_index(rng, pictures)
    if kind == 5:
        text = _pick(rng, ("List the pictures.", "What is on each picture?"))
        lines = (
            [Seen(str(p.number), place), ": ", *_shown(p, place)]
            for place, p in enumerate(pictures)
        )
        return reply(text, between(lines, ". "))
    if kind == 0:
        place = int(rng.integers(len(pictures)))
        text = f"What is on the picture with number {pictures[place].number}?"
        return reply(text, _shown(pictures[place], place))
    if kind > 1:
        return about_one(rng, pictures)
    thing = _wanted(rng, pictures)
    text = f"List the numbers of all pictures with {_phrase(rng, thing)}."
    numbers = _numbers(pictures, _places(pictures, thing), thing)
    return reply(text, between(numbers, ", ") or ["none"])


def about_one(rng: np.random.Generator, pictures: Sequence[Picture]) -> Turn:
    """Ask for the one labelled picture, the first or the last, that shows something."""
    thing = _wanted(rng, pictures)
    places = _places(pictures, thing)
    order = _pick(rng, ("first", "last"))
    text = _pick(
        rng,
        (
            f"Which number is on the {order} picture that shows {{}}?",
            f"Name the {order} labelled picture with {{}}.",
        ),
    )
    one = places[:1] if order == "first" else places[-1:]
    answer = between(_numbers(pictures, one, thing), "") or ["none"]
    return reply(text.format(_phrase(rng, thing)), answer)


def _wanted(rng: np.random.Generator, pictures: Sequence[Picture]) -> Object:
    """Choose what to ask for: mostly what is there."""
    present = _present(pictures)
    return _pick(rng, present if present and rng.random() < 0.9 else OBJECTS)


def about_index(rng: np.random.Generator, pictures: Sequence[Picture], strip: bool = False) -> Turn:
    """Ask for an index of things and their numbers; only the numbers are to be learned.

    Each number is one look-up, so an index teaches looking up many times in few words.
    """
    present = _present(pictures)
    if not strip:  # what is on few pictures first: long lists teach counting, not looking up
        present = [t for t in present if len(_places(pictures, t)) < 3] or present[:1]
    rng.shuffle(present)
    lines = []
    for colour, shape in present[:12]:
        thing = (colour, shape)
        numbers = _numbers(pictures, _places(pictures, thing), thing)
        listed = between([numbers[0], numbers[-1]], " to ") if strip else between(numbers, ", ")
        lines.append([Seen(f"{colour} {shape}:", told=True), " ", *listed, "."])
    text = "Index of the strip." if strip else "Index."
    return reply(text, between(lines, " ") or ["none"])


def about_strip(rng: np.random.Generator, pictures: Sequence[Picture]) -> Turn:
    """Ask a still comic strip on which panels something is seen; a random answer form."""
    present = _present(pictures)
    if not present:
        return about_set(rng, pictures)
    thing = _pick(rng, present)
    places = _places(pictures, thing)
    noun = _pick(rng, NOUNS)
    form = _pick(rng, FORMATS).format(n=noun)
    seen = _pick(rng, _SEEN).format(_phrase(rng, thing))
    where = _pick(rng, (f"On which {noun.lower()}s", "In what part of the strip", "Where"))
    told = _pick(
        rng,
        ("", f"The number on each {noun.lower()} is its label. ", "The red numbers are labels. "),
    )
    ask = _pick(rng, ("Answer in the format: '{}'.", "Reply as '{}'.", "Use the form '{}'."))
    (first,), *_, (last,) = 2 * _numbers(pictures, places, thing)
    return reply(f"{told}{where} {seen}? {ask.format(form)}", filled(form, first, last))


def about_video(rng: np.random.Generator, frames: Sequence[Picture]) -> Turn:
    """Ask an unnumbered video what it shows; never when."""
    order: dict[Object, int] = {}
    for place, frame in enumerate(frames):
        for thing in sorted(frame.objects, key=OBJECTS.index):
            order.setdefault(thing, place)
    if rng.random() < 0.5:
        thing = _pick(rng, list(order) or OBJECTS) if rng.random() < 0.5 else _pick(rng, OBJECTS)
        there = [Seen("yes", order[thing], thing)] if thing in order else ["no"]
        return reply(f"Does {name(thing)} appear in the video?", there)
    text = _pick(rng, ("What does the video show?", "Describe the video."))
    named = [["a ", Seen(f"{t[0]} {t[1]}", place, t)] for t, place in order.items()]
    return reply(text, between(named, " and ") or ["nothing"])


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


def filled(form: str, first: str | Seen, last: str | Seen) -> list[str | Seen]:
    """Put two numbers into an answer form, in pieces.

    Examples
    --------
    >>> filled("From x to y", "3", "17")
    ['From', ' ', '3', ' ', 'to', ' ', '17']
    """
    words = {"x": [first], "x,": [first, ","], "y": [last]}
    return between((words.get(word, [word]) for word in form.split(" ")), " ")


def fill(form: str, first: object, last: object) -> str:
    """Put two numbers into an answer form.

    Examples
    --------
    >>> fill("From Page x to Page y", 3, 17)
    'From Page 3 to Page 17'
    """
    return "".join(map(str, filled(form, str(first), str(last))))
