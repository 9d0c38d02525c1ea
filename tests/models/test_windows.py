"""Moments of a long film, asked a window at a time: what the windows say becomes one list."""

import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeing import Seeing

from numpro.models import film_batches, load_model
from numpro.video import Clip, Windows, film_of_window

WINDOWS, ENCODING = (16, 4), "text-index"


def film(count=60):
    frames = (
        np.zeros((count, 8, 8, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    )
    source = {"duration": float(count), "warnings": ()}
    return Clip(frames, np.arange(count, dtype=float), np.arange(count), source)


def ask(query, model=None, clip=None, windows=WINDOWS, **options):
    how = {"windows": windows, "time_encoding": ENCODING} | options
    (ranked,) = (model or Seeing()).moments(clip or film(), [query], **how)
    return ranked


def pairs(ranked):
    return [(moment.start, moment.end) for moment in ranked.moments]


@given(st.integers(0, 55), st.integers(4, 12))
def test_an_event_is_found_wherever_it_is(start, length):
    start = min(start, 59 - length)
    ranked = ask(f"{start}-{start + length}")
    assert pairs(ranked)[0] == (start, start + length)
    assert ranked.answer.spans == (pairs(ranked)[0],) and ranked.answer.unit == "second"
    assert 0.3 < ranked.moments[0].expected_iou <= 1


def test_an_event_longer_than_a_window_is_found_in_part():
    start, end = pairs(ask("10-34"))[0]
    assert 10 <= start < end <= 34 and end - start >= 14


def test_two_events_come_first():
    assert set(pairs(ask("5-10, 40-47"))[:2]) == {(5, 10), (40, 47)}


def test_an_event_that_is_not_there_has_little_confidence():
    there, none = ask("20-30"), ask("200-230")
    first, *others = (m for m in none.moments if m.start >= 4)  # only one window shows 1 to 3 s
    assert first.expected_iou < there.moments[0].expected_iou / 2
    assert len(others) == 3


def test_each_window_is_asked_once_as_a_film_of_its_own():
    model = Seeing()
    ranked = ask("20-30", model)
    assert model.asked_of == [(start, 16) for start in [*range(0, 44, 4), 44]]
    assert ranked.reason == "Seeing gives no probabilities"
    part = film().select(range(20, 36))
    alone = film_of_window(part)
    assert (alone.seconds[0], alone.seconds[-1], alone.duration) == (0, 15, 16)
    assert part.seconds[0] == 20


def test_a_window_without_an_answer_is_the_reason():
    model = Seeing()
    model.fails_at = 8
    ranked = ask("20-30", model)
    assert ranked.moments == () and ranked.answer.text == ""
    assert ranked.reason == "out of memory: too much (window of 8.0 to 23.0 s)"


@pytest.mark.parametrize(
    ("notes", "windows", "asked_of"),
    [
        ({}, None, 1),
        ({"longest": 16}, None, 12),
        ({"longest": 16}, "whole", 1),
        ({"longest": 60}, None, 1),
        ({"longest": 16}, (30, 30), 2),
        ({}, (100, 10), 1),
    ],
)
def test_windows_go_by_what_an_adapter_was_trained_on(notes, windows, asked_of):
    model = Seeing()
    model.notes = notes
    assert pairs(ask("20-29", model, windows=windows))[0] == (20, 29)
    assert len(model.asked_of) == asked_of


def test_numbers_of_the_users_own_ask_the_film_whole():
    model = Seeing()
    model.notes = {"longest": 16}
    assert ask("20-30", model, windows=None, labels=range(100, 160)).moments
    assert len(model.asked_of) == 1
    with pytest.raises(ValueError, match="windows are numbered from 0 each"):
        ask("20-30", labels=range(100, 160))


def test_an_answer_takes_no_windows():
    with pytest.raises(ValueError, match="windows go with ranked moments"):
        Seeing().answer(film(), ["20-30"], windows=WINDOWS)
    with pytest.raises(ValueError, match="windows must be"):
        ask("20-30", windows=(16, 17))


def test_probabilities_of_a_real_model_are_put_together(longva, clip):
    frames, size = len(clip), (6, 3)
    queries = ["a red star spins", "a blue heart moves"]
    found = longva.moments(clip, queries, windows=size, least=0)
    parts = [clip.select(range(a, a + 6)) for a in [*range(0, frames - 6, 3), frames - 6]]
    alone = [longva.moments(film_of_window(part), queries, least=0) for part in parts]
    for number, ranked in enumerate(found):
        assert ranked.reason is None and len(ranked.moments) == 5
        mass = np.mean([one[number].probabilities.sum() for one in alone])
        assert ranked.probabilities.sum() == pytest.approx(mass)
        best = ranked.moments[0]
        agreed = shown = 0
        for part, one in zip(parts, alone, strict=True):
            begins, ends = part.seconds[[0, -1]]
            inside = min(best.end, ends) - max(best.start, begins)
            if inside < 0:
                continue
            shown += inside / (best.end - best.start)
            for span, p in zip(one[number].spans + begins, one[number].probabilities, strict=True):
                overlap = min(best.end, span[1]) - max(best.start, span[0])
                agreed += p * max(0, overlap) / (max(best.end, span[1]) - min(best.start, span[0]))
        assert best.expected_iou == pytest.approx(agreed / (shown + 0.1))
    whole = longva.moments(clip, queries, windows="whole")
    longer = longva.moments(clip, queries, windows=(frames + 1, 1))
    assert [one.moments for one in longer] == [one.moments for one in whole]


def batches_of(model):
    """Return a list that gets of each step of the model how many windows run as a batch."""
    rows = []

    def note(module, args, given):
        if "attention_mask" in given:  # behind the films
            rows.append(len(given["input_ids"]))

    model.model.register_forward_pre_hook(note, with_kwargs=True)
    return rows


def slowed(clip):
    """Return a clip whose later frames lie farther apart: longer times, more tokens and labels."""
    seconds = np.arange(len(clip)) + 5.0 * np.maximum(0, np.arange(len(clip)) - len(clip) // 2)
    return replace(clip, seconds=seconds, source={**clip.source, "duration": seconds[-1] + 1})


def same_moments(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert (one.answer.text, one.reason) == (other.answer.text, other.reason)
        np.testing.assert_array_equal(one.spans, other.spans)
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-3)
        ours, theirs = ([*map(vars, each.moments)] for each in (one, other))
        assert [(m["start"], m["end"]) for m in ours] == [(m["start"], m["end"]) for m in theirs]
        assert one.left_out == pytest.approx(other.left_out, abs=1e-5)


FITTING = {"windows": (4, 1), "least": 1e-2}
QUERIES = ["a red star spins", "a blue heart moves to the left", "what was there first?"]


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("encoding", ["overlay-index", "text-seconds"])
def test_windows_run_as_a_batch_and_say_what_each_says_alone(
    longva_dir, clip, encoding, constrained, monkeypatch
):
    how = {"device": "cpu", "dtype": "float32", "constrained": constrained}
    model = load_model(str(longva_dir), **how)
    options = {"windows": (4, 1), "time_encoding": encoding, "least": 1e-2}
    together = batches_of(model)
    clip = slowed(clip) if encoding == "text-seconds" else clip
    found = model.moments(clip, QUERIES, **options)
    assert model.windows_at_once(4) == min(8, len(clip) - 3) == 8
    assert max(together) == 8 if encoding == "overlay-index" else 1 < max(together) < 8
    used, model.usage = model.usage, Counter()
    monkeypatch.setattr(model, "windows_at_once", lambda frames: 1)
    together.clear()
    same_moments(found, model.moments(clip, QUERIES, **options))
    assert {*together} == {1} and used == model.usage


def test_windows_that_do_not_fit_together_are_asked_in_smaller_batches(longva, clip):
    how, sizes = {**FITTING, "time_encoding": "text-seconds"}, []
    clip = slowed(clip)  # so that windows have labels of their own
    wanted, used = longva.moments(clip, QUERIES, **how), {**longva.usage}

    def limited(module, args, given):
        if "attention_mask" in given:
            sizes.append(len(given["input_ids"]))
            if sizes[-1] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    longva.model.register_forward_pre_hook(limited, with_kwargs=True)
    same_moments(longva.moments(clip, QUERIES, **how), wanted)
    assert sizes[0] > 2 and {1, 2} <= {*sizes}
    assert longva.usage == {name: 2 * count for name, count in used.items()}


def test_what_was_run_before_the_memory_ended_is_counted_once(longva, clip, monkeypatch):
    how, sizes, join = {**FITTING, "time_encoding": "text-seconds"}, [], film_batches.join_prefixes
    clip = slowed(clip)  # so that windows go on in several batches
    wanted, used = longva.moments(clip, QUERIES, **how), {**longva.usage}

    def limited(prefixes):
        sizes.append(len(prefixes))
        if len(sizes) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return join(prefixes)

    monkeypatch.setattr(film_batches, "join_prefixes", limited)
    same_moments(longva.moments(clip, QUERIES, **how), wanted)
    assert len(sizes) > 2 and longva.usage == {name: 2 * count for name, count in used.items()}


def test_films_that_do_not_fit_into_memory_beside_each_other_are_run_alone(longva, clip):
    wanted = longva.moments(clip, QUERIES, **FITTING)
    kept, run = [], longva.prefill

    def prefill(*args):
        if any(one() is not None for one in kept):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        made = run(*args)
        kept.append(weakref.ref(made))
        return made

    longva.prefill = prefill
    same_moments(longva.moments(clip, QUERIES, **FITTING), wanted)
    longva.prefill = lambda *args: torch.empty(1 << 60)  # torch's own error
    ranked = longva.moments(clip, QUERIES, **FITTING)
    assert all(one.reason.startswith("out of memory: ") and not one.moments for one in ranked)


def test_windows_that_were_asked_are_gone_before_others_are_read():
    frames, alive, whole = [], [], film(300)

    class Watched(Windows):
        def clips(self, skip=()):
            for start, clip in super().clips(skip):
                alive.append(sum(one() is not None for one in frames))
                frames.append(weakref.ref(clip.frames))
                yield start, clip
                del clip

    model = Seeing()
    model.windows_at_once = lambda count: 3
    windows = Watched(whole.seconds, whole.source, (16, 16), lambda a, b: whole.select(range(a, b)))
    ask("20-30", model, windows, windows=None)
    assert len(alive) == 19 and max(alive) == 2, "of three at once only those before the third"


def test_as_many_windows_run_at_once_as_a_film_asked_whole_has_frames(longva):
    assert [longva.windows_at_once(n) for n in (4, 30, 48, 100, 240, 500)] == [8, 8, 5, 2, 1, 1]
    longva.takes_tree = False
    assert longva.windows_at_once(4) == 1, "without a tree there are copies already"
    assert Seeing().windows_at_once(4) == 1


def test_the_cost_of_windows_counts_those_that_run_at_once(longva, clip):
    part = clip.select(range(4))
    one, eight = longva.cost(part, QUERIES), longva.cost(part, QUERIES, parts=9)
    assert (eight.cache, eight.weights) == (8 * one.cache, one.weights)
    assert "(3 at a time, for 8 windows at once)" in str(eight) and "windows" not in str(one)
