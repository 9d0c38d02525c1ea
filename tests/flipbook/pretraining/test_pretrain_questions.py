"""Pretraining asks true questions, says where each answer is to be seen, and keeps its secrets."""

import re
from functools import cache

import numpy as np
import pytest

from numpro.flipbook import CELLS, COLOURS, MANNERS, OBJECTS, SHAPES
from numpro.flipbook.pretraining.lessons import KINDS, lesson
from numpro.flipbook.pretraining.questions import (
    FORMATS,
    NOUNS,
    Look,
    Piece,
    Turn,
    about_copying,
    about_index,
    about_picture,
    about_set,
    about_strip,
    about_video,
    about_words,
    fill,
    reply,
)
from numpro.flipbook.pretraining.symbols import (
    AT_CELL,
    AT_COLOUR,
    AT_CONSTANT,
    AT_DIGITS,
    AT_OBJECT,
    AT_SHAPE,
    N_SYMBOLS,
    find_cells,
    write_symbols,
)
from numpro.flipbook.scenes import PAGES, Panel, Placed, loose_panels, silent_video, strip


def panel(things, number=None):
    """A panel of these objects, wherever they lie."""
    return Panel(tuple(Placed(thing, 0, 0, 0) for thing in things), number)


STAR, HEART, CIRCLE = ("red", "star"), ("blue", "heart"), ("red", "circle")
SET = [panel((HEART, STAR), 12), panel((HEART,), 7), panel((), 145), panel((CIRCLE,), 3)]
STRIP = [panel((), 2), panel((STAR,), 9), panel((STAR, HEART), 31), panel((HEART,), 40)]
SEEDS = 200
THING = r"(?:a|the) (\w+) (\w+)(?: (?:" + "|".join(MANNERS) + "))?"


def turns_of(ask, *about, times=400):
    """All different questions that `ask` has about something."""
    return {ask(np.random.default_rng(seed), *about) for seed in range(times)}


@cache
def example(kind, seed):
    """The panels and the turns of one lesson."""
    return lesson(np.random.default_rng(seed), kind, 16)


def split_by(turns, **patterns):
    """Sort turns by the one pattern that their question fits."""
    found = {name: [] for name in patterns}
    for turn in turns:
        fits = [(n, re.fullmatch(p, turn.question)) for n, p in patterns.items()]
        ((name, match),) = [(n, m) for n, m in fits if m]
        found[name].append((match.groups(), turn.answer))
    assert all(found.values()), "every kind of question is asked"
    return found


def index_of(answer):
    """An index's lines: the thing, and its numbers."""
    lines = re.findall(r"(\w+) (\w+): ([\d, to]+)\.(?: |$)", answer)
    assert " ".join(f"{c} {s}: {numbers}." for c, s, numbers in lines) == answer
    return {(colour, shape): numbers for colour, shape, numbers in lines}


def filled(form, first, last):
    """An answer form with its numbers, as text."""
    return "".join(fill(form, str(first), str(last)))


# --- questions ----------------------------------------------------------------------------------


def test_answers_about_a_picture_are_right():
    kinds = split_by(
        turns_of(about_picture, panel((HEART, STAR), 12)),
        number="Which number is written on the picture\\?|Read the number\\.",
        colour=r"What colour is the (\w+)\?",
        there=r"Is there a (\w+) (\w+)\?",
        caption="What is in the picture\\?|Describe the picture\\.",
    )
    assert {a for _, a in kinds["number"]} == {"12"}
    assert set(kinds["colour"]) == {(("star",), "red"), (("heart",), "blue")}
    for thing, answer in kinds["there"]:
        assert answer == ("yes" if thing in (HEART, STAR) else "no")
    # in a fixed order: what was placed first cannot be seen
    assert {a for _, a in kinds["caption"]} == {"a red star and a blue heart"}
    alike = turns_of(about_picture, panel((STAR, ("blue", "star"))))
    assert not any("colour" in t.question or "number" in t.question for t in alike)


def test_answers_about_a_set_are_right():
    kinds = split_by(
        turns_of(about_set, SET),
        index="Index\\.",
        listed="List the pictures\\.|What is on each picture\\?",
        what=r"What is on the picture with number (\d+)\?",
        numbers=f"List the numbers of all pictures with {THING}\\.",
        order=r"(?:Which number is on|Name) the (first|last) "
        f"(?:picture that shows|labelled picture with) {THING}[?.]",
    )
    listed = "12: a red star and a blue heart. 7: a blue heart. 145: nothing. 3: a red circle"
    assert {a for _, a in kinds["listed"]} == {listed}
    for (number,), answer in kinds["what"]:
        assert f"{number}: {answer}" in listed.split(". ")
    where = {STAR: ["12"], HEART: ["12", "7"], CIRCLE: ["3"]}
    for thing, answer in kinds["numbers"]:
        assert answer == (", ".join(where.get(thing, [])) or "none")
    for (order, *thing), answer in kinds["order"]:
        numbers = where.get(tuple(thing), ["none"])
        assert answer == (numbers[0] if order == "first" else numbers[-1])
    assert "none" in {a for _, a in kinds["numbers"]}, "a set is also asked for what it lacks"
    for _, answer in kinds["index"]:
        assert index_of(answer) == {thing: ", ".join(numbers) for thing, numbers in where.items()}
    assert len({answer for _, answer in kinds["index"]}) > 1, "in no order that could be known"


def test_answers_about_a_strip_are_right():
    where = {STAR: (9, 31), HEART: (31, 40)}
    formats = set()
    for turn in turns_of(about_strip, STRIP):
        thing = re.search(rf"{THING}(?: (?:seen|show|be found))?\?", turn.question).groups()
        (form,) = re.findall(r"(?:format: |as |form )'(.*)'\.", turn.question)
        assert turn.answer == filled(form, *where[thing])
        formats.add(re.sub("|".join(NOUNS), "{n}", form))
    assert formats == set(FORMATS)


def test_an_index_of_a_strip_says_first_and_last_and_only_numbers_are_learned():
    for turn in turns_of(about_index, STRIP, True, times=20):
        assert turn.question == "Index of the strip."
        assert index_of(turn.answer) == {STAR: "9 to 31", HEART: "31 to 40"}
        given = {turn.answer[a:b] for a, b in turn.given}
        assert given == {"red star:", "blue heart:"}
    crowd = [panel((thing,), n) for n, thing in enumerate(OBJECTS)]
    assert len(index_of(about_index(np.random.default_rng(0), crowd).answer)) == 12
    often = [panel((STAR,), n) for n in (5, 9)]
    listed = index_of(about_index(np.random.default_rng(0), [*often, *SET]).answer)
    assert set(listed) == {HEART, CIRCLE}, "what a set shows three times would take many words"
    assert set(index_of(about_index(np.random.default_rng(0), [*often, *SET], True).answer)) == {
        STAR,
        HEART,
        CIRCLE,
    }
    assert about_index(np.random.default_rng(0), [panel((), 3)]).answer == "none"


def test_answers_about_a_video_are_right_and_never_say_when():
    kinds = split_by(
        turns_of(about_video, [panel((HEART,)), panel((CIRCLE, HEART)), panel(())]),
        there=r"Does a (\w+) (\w+) appear in the video\?",
        what="What does the video show\\?|Describe the video\\.",
    )
    for thing, answer in kinds["there"]:
        assert answer == ("yes" if thing in (HEART, CIRCLE) else "no")
    assert {a for _, a in kinds["what"]} == {"a blue heart and a red circle"}


def test_answers_about_words_are_right():
    for turn in turns_of(about_words):
        if repeated := re.fullmatch(r"Repeat: (.*)\.", turn.question):
            assert turn.answer == repeated[1]
        elif looked_up := re.fullmatch(r"(.*)\. Which number has (.*)\?", turn.question):
            table = dict(reversed(row.split(": ")) for row in looked_up[1].split(". "))
            assert turn.answer == table[looked_up[2]]
        elif looked_up := re.fullmatch(r"(.*)\. What is on (\d+)\?", turn.question):
            table = dict(row.split(": ") for row in looked_up[1].split(". "))
            assert turn.answer == table[looked_up[2]]
        else:
            first, last, form = re.fullmatch(
                r"(?:Say|Write|First) (\d+)(?: and|, last) (\d+)(?: in the format: |\. Reply as |"
                r"\. Answer in the format: )'(.*)'\.",
                turn.question,
            ).groups()
            assert turn.answer == filled(form, first, last) and int(first) <= int(last)


def test_copying_repeats_or_looks_up_in_the_order_asked():
    for turn in turns_of(about_copying):
        assert not turn.looks and not turn.given
        if repeated := re.fullmatch(r"Repeat: (.*)\.", turn.question):
            assert turn.answer == repeated[1] and turn.answer.count(",") >= 3
            continue
        listed, wanted = re.fullmatch(r"(.*)\. Which numbers have (.*)\?", turn.question).groups()
        table = dict(reversed(row.split(": ")) for row in listed.split(". "))
        assert turn.answer == ", ".join(table[thing] for thing in wanted.split(", "))


def test_a_reply_knows_where_its_pieces_stand():
    turn = reply(
        "?", ["At ", Piece("12", 3, STAR), ", ", Piece("red:", given=True), Piece("no", 1)]
    )
    assert turn == Turn("?", "At 12, red:no", (Look(3, 5, 3, STAR), Look(11, 13, 1)), ((7, 11),))


def is_shown(text, picture, thing, question):
    """Whether a picture has what a piece of an answer says of it."""
    there = thing in picture.objects
    if text.isdigit():
        return text == str(picture.number) and (there or thing is None)
    if text == "nothing":
        return picture.objects == () and thing is None
    if text == "yes":
        return there and " ".join(thing) in question
    if text in COLOURS:
        return there and text == thing[0] and thing[1] in question
    return there and text == " ".join(thing)


@pytest.mark.parametrize("kind", KINDS)
def test_every_look_points_at_a_picture_that_has_what_the_answer_says(kind):
    kinds = set()
    for seed in range(SEEDS):
        scene, turns = example(kind, seed)
        for turn in turns:
            rest, read = turn.answer, []
            for look in turn.looks:
                text = turn.answer[look.start : look.end]
                assert is_shown(text, scene[look.picture], look.thing, turn.question), (seed, turn)
                kinds.add(
                    text if text in ("yes", "nothing") else "number" if text.isdigit() else "thing"
                )
                read.append((look.start, look.end))
            spans = sorted([*read, *turn.given])
            assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False)), "apart"
            for start, end in reversed(spans):
                rest = rest[:start] + rest[end:]
            rest = rest.replace("starts at", "")
            if kind != "words":  # all that can be seen has its look
                assert not re.search(rf"\d|{'|'.join((*COLOURS, *SHAPES))}|yes", rest), turn
    wanted = {
        "picture": {"number", "thing", "yes"},
        "index": {"number"},
        "set": {"number", "thing", "nothing"},
        "strip": {"number"},
        "video": {"thing", "yes"},
    }
    assert kinds == wanted.get(kind, set())


def test_an_index_looks_at_the_thing_of_its_line():
    for seed in range(SEEDS):
        scene, (turn,) = example("index", seed)
        for look in turn.looks:
            line = turn.answer[: look.start].rsplit(". ")[-1]
            assert line.startswith(" ".join(look.thing) + ": ")
        if turn.looks and "strip" in turn.question:  # a line ends with the last of its panels
            last = turn.looks[-1]
            assert not any(last.thing in p.objects for p in scene[last.picture + 1 :])


def frame_by_frame(numbers):
    """Whether numbers could be those of a video's frames: rising one by one."""
    return len(numbers) > 2 and set(np.diff(numbers)) == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_model_is_never_asked_what_it_is_tested_on(kind):
    for seed in range(SEEDS):
        panels, turns = example(kind, seed)
        numbers = [p.number for p in panels if p.number is not None]
        assert not frame_by_frame(numbers), "no video numbered frame by frame"
        assert kind not in ("picture", "words") or len(panels) == 1
        if kind == "strip" or "strip" in turns[0].question:
            assert len(numbers) == len(panels) and 3 <= len(panels) <= PAGES
            assert min(np.diff(numbers)) >= 2, "rising, never consecutive"
        if kind == "video":
            assert not numbers
            assert not any(c.isdigit() for t in turns for c in t.question + t.answer)
        if kind != "words":  # the answer form is known from words, with no picture to look at
            assert not any("rame" in turn.question for turn in turns)


@pytest.mark.parametrize("seed", range(5))
def test_scenes_are_what_they_are_said_to_be(seed):
    rng = np.random.default_rng(seed)
    for panels in (loose_panels(rng, 8), strip(rng), silent_video(rng)):
        for panel in panels:
            assert len({p.thing for p in panel.placed}) == len(panel.placed)
            for placed in panel.placed:
                assert placed.thing in OBJECTS and 50 < placed.size < 140
    numbers = [panel.number for panel in loose_panels(rng, 16)]
    assert len(set(numbers)) == 16 and numbers != sorted(numbers)
    shown = [STAR in panel.objects for panel in strip(rng)]
    assert sum(a != b for a, b in zip(shown, shown[1:], strict=False)) <= 2, "one run of panels"


def test_numbers_of_one_two_and_three_digits_are_as_common_on_pages():
    rng = np.random.default_rng(0)
    kinds = {"set": lambda: loose_panels(rng, 4), "strip": lambda: strip(rng)}
    for least, (kind, make) in zip((0.3, 0.1), kinds.items(), strict=True):
        digits = [len(str(panel.number)) for _ in range(1500) for panel in make()]
        shares = np.bincount(digits, minlength=4)[1:] / len(digits)
        # the numbers of a strip rise by two or more, so that few of them have one digit
        assert shares.min() > least and shares.max() < 0.6, (kind, shares)
    longest = max(len(strip(rng)) for _ in range(300))
    assert 40 < longest <= PAGES


def test_symbols_say_what_each_cell_shows_and_all_of_them_the_number():
    grid = write_symbols(Panel((Placed(STAR, 56, 56, 80), Placed(HEART, 224, 280, 90)), 207))
    assert grid.shape == (CELLS * CELLS, N_SYMBOLS) and grid.dtype == np.float32
    columns = {
        STAR: (AT_COLOUR, AT_SHAPE, AT_OBJECT + OBJECTS.index(STAR)),
        HEART: (AT_COLOUR + 1, AT_SHAPE + 1, AT_OBJECT + OBJECTS.index(HEART)),
    }
    assert (COLOURS[0], SHAPES[0], COLOURS[1], SHAPES[1]) == (*STAR, *HEART)
    for thing, cells in ((STAR, [0]), (HEART, [7, 8])):  # the heart lies across two cells
        for column in columns[thing]:
            assert np.flatnonzero(grid[:, column]).tolist() == cells
            assert grid[cells, column].tolist() == [1] * len(cells)
    assert grid[:, :AT_DIGITS].sum() == 9
    digits = grid[:, AT_DIGITS:AT_CONSTANT].reshape(CELLS * CELLS, 3, 10)
    assert (digits.argmax(-1) == [2, 0, 7]).all() and (digits.sum(-1) == 1).all(), "every cell"
    short = write_symbols(Panel((), 38))[:, AT_DIGITS:AT_CONSTANT].reshape(CELLS * CELLS, 3, 10)
    assert (short[:, :2].argmax(-1) == [3, 8]).all() and not short[:, 2].any()
    for any_panel in (grid, write_symbols(Panel(()))):
        assert (any_panel[:, AT_CONSTANT] == 1).all()
        assert (any_panel[:, AT_CELL:] == np.eye(CELLS * CELLS)).all(), "which cell it is"
    assert write_symbols(Panel(()))[:, :AT_CONSTANT].sum() == 0


def test_every_object_is_seen_somewhere():
    for seed in range(100):
        for panel in loose_panels(np.random.default_rng(seed), 2):
            for placed in panel.placed:
                cells = find_cells(placed)
                assert 1 <= cells.sum() <= 4
                column, row = (int(c // (336 / CELLS)) for c in (placed.x, placed.y))
                assert cells[CELLS * row + column], "where its middle lies"
