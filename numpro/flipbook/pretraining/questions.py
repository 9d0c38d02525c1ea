"""What the tiny models are asked while they are pretrained, in words of their own.

Nothing here is a question about a video numbered frame by frame: that is kept for the
training-free test and for fine-tuning (`numpro.prompting.prompts` has those wordings). Questions
are about panels: the objects on them, and the number written on each, or None.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from numpro.flipbook import MANNERS, OBJECTS
from numpro.flipbook.scenes import Object, Panel, name

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
_WHERE = ("is {} seen", "does {} show", "can {} be found", "is there {}")
_REPLY_AS = ("Answer in the format: '{}'.", "Reply as '{}'.", "Use the form '{}'.")
_SAY_AS = (
    "Say {} and {} in the format: '{}'.",
    "Write {} and {}. Reply as '{}'.",
    "First {}, last {}. Answer in the format: '{}'.",
)


@dataclass(frozen=True)
class Look:
    """Where the answer's characters ``start:end`` are to be read.

    `picture` is the place of the panel in the scene, `thing` the object on it (None: all of
    the panel). While the language model is trained, some of its heads are guided there.
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
class Piece:
    """A piece of an answer that is read off a panel, or `given`, and then not to be learned."""

    text: str
    picture: int = -1
    thing: Object | None = None
    given: bool = False


def reply(question: str, pieces: Iterable[str | Piece]) -> Turn:
    """Put an answer together from its pieces.

    Examples
    --------
    >>> reply("Where?", ["At ", Piece("12", 3), "."]).looks
    (Look(start=3, end=5, picture=3, thing=None),)
    """
    answer, looks, given = "", [], []
    for piece in pieces:
        start = len(answer)
        answer += piece if isinstance(piece, str) else piece.text
        if isinstance(piece, Piece) and piece.given:
            given.append((start, len(answer)))
        elif isinstance(piece, Piece):
            looks.append(Look(start, len(answer), piece.picture, piece.thing))
    return Turn(question, answer, tuple(looks), tuple(given))


def join_pieces(lists: Iterable[list[str | Piece]], mark: str) -> list[str | Piece]:
    """Join lists of pieces with a mark between them.

    Examples
    --------
    >>> join_pieces([["a"], ["b", "c"]], ", ")
    ['a', ', ', 'b', 'c']
    """
    joined: list[str | Piece] = []
    for number, pieces in enumerate(lists):
        joined += [mark] * bool(number) + list(pieces)
    return joined


def fill(form: str, first: str | Piece, last: str | Piece) -> list[str | Piece]:
    """Put two numbers into an answer form, in pieces.

    Examples
    --------
    >>> fill("From x to y", "3", "17")
    ['From', ' ', '3', ' ', 'to', ' ', '17']
    """
    words = {"x": [first], "x,": [first, ","], "y": [last]}
    return join_pieces((words.get(word, [word]) for word in form.split(" ")), " ")


def _pick(rng: np.random.Generator, items: Sequence):
    """Return one of the items."""
    return items[int(rng.integers(len(items)))]


def _phrase(rng: np.random.Generator, thing: Object) -> str:
    """Return an object in words, with a manner or without."""
    text = name(thing, str(rng.choice(["a", "a", "the"])))
    return f"{text} {rng.choice(MANNERS)}" if rng.random() < 0.4 else text


def _caption(things: Iterable[tuple[Object, int]]) -> list[str | Piece]:
    """Return a caption of objects, each read off the panel at its place."""
    return join_pieces((["a ", Piece(f"{t[0]} {t[1]}", place, t)] for t, place in things), " and ")


def _shown(panel: Panel, place: int) -> list[str | Piece]:
    """Return the caption of the panel at `place`, objects in their fixed order."""
    return _caption((thing, place) for thing in panel.named) or [Piece("nothing", place)]


def _numbers(panels: Sequence[Panel], thing: Object) -> list[list[Piece]]:
    """Return the number of each panel that shows an object."""
    places = [place for place, panel in enumerate(panels) if thing in panel.objects]
    return [[Piece(str(panels[place].number), place, thing)] for place in places]


def _present(panels: Sequence[Panel]) -> list[Object]:
    """Return all objects that are shown, in their fixed order."""
    return sorted({thing for panel in panels for thing in panel.objects}, key=OBJECTS.index)


def _wanted(rng: np.random.Generator, panels: Sequence[Panel]) -> Object:
    """Choose what to ask for: mostly what is there."""
    present = _present(panels)
    return _pick(rng, present if present and rng.random() < 0.9 else OBJECTS)


def about_picture(rng: np.random.Generator, panel: Panel) -> Turn:
    """Ask about one picture: what is on it, which number, which colour, is it there."""
    kind, things = int(rng.integers(4)), panel.objects
    if kind == 0 and panel.number is not None:
        text = _pick(rng, ("Which number is written on the picture?", "Read the number."))
        return reply(text, [Piece(str(panel.number), 0)])
    if kind == 1 and things:
        thing = _pick(rng, things)
        if sum(other[1] == thing[1] for other in things) == 1:
            return reply(f"What colour is the {thing[1]}?", [Piece(thing[0], 0, thing)])
    if kind == 2:
        thing = _pick(rng, (things or OBJECTS) if rng.random() < 0.5 else OBJECTS)
        there = [Piece("yes", 0, thing)] if thing in things else ["no"]
        return reply(f"Is there {name(thing)}?", there)
    text = _pick(rng, ("What is in the picture?", "Describe the picture."))
    return reply(text, _shown(panel, 0))


def about_set(rng: np.random.Generator, panels: Sequence[Panel]) -> Turn:
    """Ask an unordered set of labelled pictures for one of them."""
    kind = int(rng.integers(7))
    if kind == 6 or (kind == 5 and len(panels) > 6):
        return about_index(rng, panels)
    if kind == 5:
        text = _pick(rng, ("List the pictures.", "What is on each picture?"))
        lines = ([Piece(str(p.number), i), ": ", *_shown(p, i)] for i, p in enumerate(panels))
        return reply(text, join_pieces(lines, ". "))
    if kind == 0:
        place = int(rng.integers(len(panels)))
        text = f"What is on the picture with number {panels[place].number}?"
        return reply(text, _shown(panels[place], place))
    if kind > 1:
        return about_one(rng, panels)
    thing = _wanted(rng, panels)
    text = f"List the numbers of all pictures with {_phrase(rng, thing)}."
    return reply(text, join_pieces(_numbers(panels, thing), ", ") or ["none"])


def about_one(rng: np.random.Generator, panels: Sequence[Panel]) -> Turn:
    """Ask for the one labelled picture, the first or the last, that shows something."""
    thing = _wanted(rng, panels)
    order = _pick(rng, ("first", "last"))
    which = f"Which number is on the {order} picture that shows {{}}?"
    text = _pick(rng, (which, f"Name the {order} labelled picture with {{}}."))
    numbers = _numbers(panels, thing) or [["none"]]
    return reply(text.format(_phrase(rng, thing)), numbers[0 if order == "first" else -1])


def about_index(rng: np.random.Generator, panels: Sequence[Panel], strip: bool = False) -> Turn:
    """Ask for an index of things and their numbers; only the numbers are to be learned.

    Each number is one look-up, so an index teaches looking up many times in few words.
    """
    present = _present(panels)
    if not strip:  # what is on few pictures first: long lists teach counting, not looking up
        present = [t for t in present if len(_numbers(panels, t)) < 3] or present[:1]
    rng.shuffle(present)
    lines = []
    for colour, shape in present[:12]:
        numbers = _numbers(panels, (colour, shape))
        ends = [numbers[0], numbers[-1]]
        listed = join_pieces(ends, " to ") if strip else join_pieces(numbers, ", ")
        lines.append([Piece(f"{colour} {shape}:", given=True), " ", *listed, "."])
    return reply("Index of the strip." if strip else "Index.", join_pieces(lines, " ") or ["none"])


def about_strip(rng: np.random.Generator, panels: Sequence[Panel]) -> Turn:
    """Ask a still comic strip on which panels something is seen; a random answer form."""
    present = _present(panels)
    if not present:
        return about_set(rng, panels)
    thing, noun = _pick(rng, present), _pick(rng, NOUNS)
    form = _pick(rng, FORMATS).format(n=noun)
    shows = _pick(rng, _WHERE).format(_phrase(rng, thing))
    where = _pick(rng, (f"On which {noun.lower()}s", "In what part of the strip", "Where"))
    label = f"The number on each {noun.lower()} is its label. "
    hint = _pick(rng, ("", label, "The red numbers are labels. "))
    text = f"{hint}{where} {shows}? {_pick(rng, _REPLY_AS).format(form)}"
    (first,), *_, (last,) = 2 * _numbers(panels, thing)
    return reply(text, fill(form, first, last))


def about_video(rng: np.random.Generator, frames: Sequence[Panel]) -> Turn:
    """Ask an unnumbered video what it shows; never when."""
    order: dict[Object, int] = {}
    for place, frame in enumerate(frames):
        for thing in frame.named:
            order.setdefault(thing, place)
    if rng.random() < 0.5:
        thing = _pick(rng, (list(order) or OBJECTS) if rng.random() < 0.5 else OBJECTS)
        there = [Piece("yes", order[thing], thing)] if thing in order else ["no"]
        return reply(f"Does {name(thing)} appear in the video?", there)
    text = _pick(rng, ("What does the video show?", "Describe the video."))
    return reply(text, _caption(order.items()) or ["nothing"])


def _word_numbers(rng: np.random.Generator, least: int, most: int) -> list[str]:
    """Return `least` to `most` different numbers as text."""
    count = int(rng.integers(least, most + 1))
    return [str(n) for n in rng.choice(int(rng.choice([30, 100, 300])), count, replace=False)]


def _word_table(rng: np.random.Generator, numbers: list[str]) -> tuple[list[str], str]:
    """Return an object in words for each number, and the table of both as text."""
    chosen = rng.choice(len(OBJECTS), len(numbers), replace=False)
    things = [name(OBJECTS[i]) for i in chosen]
    return things, ". ".join(f"{n}: {thing}" for n, thing in zip(numbers, things, strict=True))


def _repeat(numbers: list[str]) -> Turn:
    return Turn(f"Repeat: {', '.join(numbers)}.", ", ".join(numbers))


def about_words(rng: np.random.Generator) -> Turn:
    """Ask for what needs no picture: repeat numbers, look one up in a list, follow a form."""
    kind, numbers = int(rng.integers(3)), _word_numbers(rng, 2, 7)
    if kind == 0:
        return _repeat(numbers)
    if kind == 1:
        things, table = _word_table(rng, numbers)
        which = int(rng.integers(len(numbers)))
        if rng.random() < 0.5:
            return Turn(f"{table}. Which number has {things[which]}?", numbers[which])
        return Turn(f"{table}. What is on {numbers[which]}?", things[which])
    first, last = (str(n) for n in sorted(int(x) for x in rng.integers(0, 300, 2)))
    noun = _pick(rng, (*NOUNS, "Frame", "Frame", "frame"))
    form = _pick(rng, FORMATS).format(n=noun)
    return reply(_pick(rng, _SAY_AS).format(first, last, form), fill(form, first, last))


def about_copying(rng: np.random.Generator) -> Turn:
    """Ask to repeat, or to look up, in a long list: copying is what reading an answer off needs."""
    numbers = _word_numbers(rng, 4, 12)
    if rng.random() < 0.5:
        return _repeat(numbers)
    things, table = _word_table(rng, numbers)
    order = rng.permutation(len(numbers))[:6]
    wanted, answer = (", ".join(column[i] for i in order) for column in (things, numbers))
    return Turn(f"{table}. Which numbers have {wanted}?", answer)
