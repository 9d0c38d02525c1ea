"""The flipbook world is what its promises say: the same pixels, honest truth, no way around it."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from drawn import sample_frames

from numpro import probe, read_clip
from numpro.datasets import Query, Saliency, VideoQueries, load_dataset
from numpro.flipbook import COLOURS, MANNERS, OBJECTS, SHAPES, SIZE, world
from numpro.flipbook.films import _write_films, absent_row, annotation_rows, make_films, write_film
from numpro.flipbook.scenes import WIDTHS
from numpro.flipbook.world import RATES, SPLITS, draw_frame, make_film, sprite
from numpro.metrics import baselines, highlight_detection, moment_retrieval
from numpro.spans import Span

FILMS = {split: [make_film(split, i) for i in range(SPLITS[split].films)] for split in SPLITS}
EVENTS = {split: [e for film in FILMS[split] for e in film.events] for split in SPLITS}
every_split = pytest.mark.parametrize("split", SPLITS)


@cache  # counting what is on screen takes long
def annotated(split):
    """The records of a split, without drawing its films."""
    videos = []
    for film in FILMS[split]:
        queries = [
            Query(
                row["qid"],
                row["query"],
                tuple(Span(*w) for w in row["relevant_windows"]),
                Saliency(tuple(row["relevant_clip_ids"]), tuple(row["saliency_scores"])),
            )
            for row in annotation_rows(film)
        ]
        videos.append(
            VideoQueries(
                film.name, Path(film.name), film.duration, tuple(queries), "flipbook", split
            )
        )
    return videos


def mean_iou(predicted, videos):
    return moment_retrieval(predicted, [q.spans for v in videos for q in v.queries], resamples=1)[
        "mIoU"
    ][0]


def on_screen(film, t):
    """The time of the frame that is on screen at second t."""
    return max(time for time in film.frame_times() if time <= t + 1e-9)


# --- stories ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_pixels_in_another_process():
    code = (
        "import hashlib; from numpro.flipbook.world import draw_frame, make_film\n"
        "film = make_film('train', 3)\n"
        "print(hashlib.sha256(b''.join(draw_frame(film, t).tobytes() for t in (0, 3.3, 7)))"
        ".hexdigest(), film)"
    )
    env = os.environ | {
        "PYTHONPATH": str(Path(world.__file__).resolve().parents[2]),
        "PYTHONHASHSEED": "77",
    }
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    film = make_film("train", 3)
    drawn = b"".join(draw_frame(film, t).tobytes() for t in (0, 3.3, 7))
    assert printed.stdout == f"{hashlib.sha256(drawn).hexdigest()} {film}\n"
    other = make_film("train", 4)
    assert (draw_frame(film, 3.3) != draw_frame(other, 3.3)).any()


def test_the_seeds_of_the_splits_are_disjoint():
    seeds = [film.seed for split in SPLITS for film in FILMS[split]]
    assert len(set(seeds)) == len(seeds) == sum(spec.films for spec in SPLITS.values())
    stories = [film.events for split in SPLITS for film in FILMS[split]]
    assert len(set(stories)) == len(stories)


@every_split
def test_films_have_the_promised_length_and_number_of_events(split):
    spec = SPLITS[split]
    for film in FILMS[split]:
        assert spec.seconds[0] <= film.duration <= spec.seconds[1]
        assert spec.events[0] <= len(film.queries) <= spec.events[1]


def test_long_films_are_longer_than_any_in_the_short_training_split():
    longest = max(film.duration for film in FILMS["train"])
    for film in FILMS["test_long"] + FILMS["val_long"]:
        assert 2 * longest <= film.duration <= 4.05 * longest
    assert max(film.duration for film in FILMS["train_more"]) > 3 * longest * 0.9


@every_split
def test_films_come_at_every_native_rate(split):
    rates = {film.rate for film in FILMS[split]}
    assert rates == set(RATES) or (split.endswith("_long") and len(rates) >= 3)
    for film in FILMS[split]:
        times = film.frame_times()
        gaps = np.diff(times)
        assert times[0] == 0 and film.duration - gaps.max() <= times[-1] < film.duration
        if film.rate == "variable":
            assert gaps.std() > 0.005 and gaps.max() < 0.1
        else:
            top, _, bottom = film.rate.partition("/")
            np.testing.assert_allclose(gaps, int(bottom or 1) / float(top), atol=1e-9)


@every_split
def test_every_event_lasts_four_seconds_and_shows_in_the_samples_inside_it_only(split):
    for film in FILMS[split]:
        for event in film.events:
            assert event.end - event.start >= 4
            assert 0 <= event.start < event.end <= film.duration - 0.3
        for k in range(int(np.ceil(film.duration))):
            t = on_screen(film, k)
            assert k - 0.1 < t <= k
            for event in film.events:  # also what blinks: it shows at whole seconds
                assert (event.width(t) > 0) == (event.start <= t < event.end)


@pytest.mark.parametrize("end", ["start", "end"])
def test_events_begin_and_end_anywhere_between_two_samples(end):
    times = np.array([getattr(event, end) for event in EVENTS["train"] + EVENTS["train_more"]])
    for fps in (1.0, 2.0):
        shares = np.histogram(times * fps % 1, 10, (0, 1))[0] / len(times)
        assert shares.min() > 0.075 and shares.max() < 0.125, "uniform at every rate"


@every_split
def test_an_event_can_be_seen_in_the_pixels_of_the_samples_inside_it_only(split):
    for film in FILMS[split][: 1 if split.endswith("_long") else 4]:
        for second in range(int(np.ceil(film.duration))):
            t = on_screen(film, second)
            whole = draw_frame(film, t)
            for number, event in enumerate(film.events):
                differs = (draw_frame(film, t, without=number) != whole).any(-1).sum()
                if event.start <= t < event.end:
                    # not hidden behind another: a good part of what it covers
                    assert differs > 0.2 * event.width(t) ** 2, (film.name, second, event.query)
                else:
                    assert differs == 0, (film.name, second, event.query)


@every_split
def test_every_event_has_a_rival_of_its_colour_or_shape(split):
    for film in FILMS[split]:
        things = {(event.colour, event.shape) for event in film.events}
        assert len(things) == len(film.queries), "a thing does one thing only"
        for event in film.events:
            rivals = [
                e for e in film.events if (e.colour == event.colour) != (e.shape == event.shape)
            ]
            assert rivals, (film.name, event.query)
    assert any(
        a is not b and a.start < b.end and b.start < a.end
        for film in FILMS[split]
        for a, b in product(film.events, repeat=2)
    ), "events overlap in time"


@every_split
def test_some_things_happen_twice_apart_from_each_other_and_are_one_query_with_two_spans(split):
    twice = [events for film in FILMS[split] for events in film.queries.values() if events[1:]]
    assert 0.02 < len(twice) / sum(len(film.queries) for film in FILMS[split]) < 0.25
    for first, second in twice:
        assert max(first.start - second.end, second.start - first.end) >= 2
    rows = [row for film in FILMS[split] for row in annotation_rows(film)]
    assert sum(len(row["relevant_windows"]) == 2 for row in rows) == len(twice)
    assert all(row["relevant_windows"] == sorted(row["relevant_windows"]) for row in rows)


@every_split
def test_what_is_asked_for_in_vain_is_like_what_is_there_but_not_there(split):
    for film in FILMS[split]:
        _, colour, shape, manner = film.absent.split()
        things = {(event.colour, event.shape) for event in film.events}
        assert (colour, shape) not in things and manner in MANNERS
        assert any((colour == c) or (shape == s) for c, s in things)
        assert absent_row(film)["relevant_windows"] == []


def test_queries_about_what_is_absent_are_splits_of_their_own(tmp_path):
    for videos in (load_dataset("flipbook", "val_absent", tmp_path, limit=2),):
        assert [v.split for v in videos] == ["val_absent"] * len(videos)
        pairs = zip(videos, FILMS["val"], strict=False)
        for video, film in pairs:
            assert video.path.is_file() and video.path.parent.name == "val"
            assert [(q.text, q.spans) for q in video.queries] == [(film.absent, ())]


def test_every_kind_of_event_is_there():
    for words, of in ((COLOURS, "colour"), (SHAPES, "shape"), (MANNERS, "manner")):
        assert {getattr(event, of) for event in EVENTS["train"]} == set(words)
    assert {event.query for event in EVENTS["train"]} <= {
        f"a {c} {s} {m}" for (c, s), m in product(OBJECTS, MANNERS)
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_what_turns_is_not_symmetric(shape):
    still = np.asarray(sprite("blue", shape, 80, 0), int)
    for angle in range(15, 360, 15):
        turned = np.asarray(sprite("blue", shape, 80, angle), int)
        changed = (np.abs(turned - still).max(-1) > 40).mean()
        assert changed > 0.015, f"a {shape} turned by {angle} degrees looks the same"


def test_each_manner_shows_from_sample_to_sample():
    by_manner = {m: [e for e in EVENTS["train"] if e.manner == m] for m in MANNERS}
    for event in by_manner["spins"]:
        assert event.angle(event.start + 1) - event.angle(event.start) > 30
    for event in by_manner["moves"]:
        assert event.x(event.start) == event.x0
        assert event.x(event.end) == pytest.approx(event.x1)
        assert abs(event.x1 - event.x0) >= 80
    for event in by_manner["grows"]:
        assert event.width(event.end - 0.01) > 1.5 * event.width(event.start)
    for event in by_manner["blinks"]:
        half = np.floor(event.start) + 1.5
        assert event.width(half) == 0 < event.width(half + 0.5)
    for event in by_manner["appears"] + by_manner["glows"]:
        assert event.angle(event.end) == 0 and event.x0 == event.x1


@pytest.mark.parametrize("colour", COLOURS)
def test_a_still_picture_shows_what_glows(colour):
    plain, glowing = (np.asarray(sprite(colour, "star", 80, 0, g), float) for g in (False, True))
    lit = [
        (np.abs(p[..., :3] - world.GLOW).sum(-1) < 30) & (p[..., 3] > 200) for p in (plain, glowing)
    ]
    assert lit[1].sum() > 10 * max(1, lit[0].sum())


@every_split
def test_nothing_in_a_film_is_narrower_than_what_the_eyes_learned_from(split):
    for event in EVENTS[split]:
        times = np.arange(event.start, event.end, 0.05)
        widths = [w for w in map(event.width, times) if w]
        assert min(widths) > WIDTHS[0], (event.query, "would not be seen as it begins")
        assert max(widths) < 1.02 * WIDTHS[1]


# --- no way around watching ---------------------------------------------------------------------


def read_only_the_query(train, videos, words):
    """Answer from the query's words alone: the best window of each word, fitted on train."""

    def queries_with(word, within):
        return [
            replace(v, queries=tuple(q for q in v.queries if word in q.text.split()))
            for v in within
        ]

    windows = {word: baselines.best_fixed_window(queries_with(word, train)) for word in words}
    return [
        Span(*(x * video.duration for x in windows[word]))
        for video in videos
        for query in video.queries
        for word in words
        if word in query.text.split()
    ]


@pytest.mark.parametrize("split", ["val", "test", "test_long"])
@pytest.mark.parametrize("words", [COLOURS, SHAPES, MANNERS], ids=["colour", "shape", "manner"])
def test_reading_the_query_alone_stays_at_the_floor(split, words):
    train, videos = annotated("train"), annotated(split)
    window = baselines.best_fixed_window(train)
    floor = mean_iou(baselines.fixed_window(videos, window), videos)
    blind = mean_iou(read_only_the_query(train, videos, words), videos)
    assert blind < floor + 2.5
    assert floor < 60, "and the floor leaves room above it"


def test_a_world_whose_words_tell_the_position_would_be_found_out():
    def leaky(split):
        videos = []
        for video in annotated(split):
            queries = [
                replace(q, text="a red star spins" if sum(q.spans[0]) < video.duration else "moves")
                for q in video.queries
            ]
            videos.append(replace(video, queries=tuple(queries)))
        return videos

    train, videos = leaky("train"), leaky("test")
    window = baselines.best_fixed_window(train)
    floor = mean_iou(baselines.fixed_window(videos, window), videos)
    assert mean_iou(read_only_the_query(train, videos, ("spins", "moves")), videos) > floor + 5


@every_split
def test_a_perfect_reader_of_numbered_frames_reaches_a_ceiling_that_rises_with_the_rate(split):
    videos = annotated(split)
    low, one, two, four = (
        mean_iou(baselines.frame_grid(videos, r), videos) for r in (0.5, 1, 2, 4)
    )
    assert 75 < low < one - 4 and one < two - 2 and two < four - 1 and four < 99
    shown = [mean_iou(baselines.frame_grid(videos, 1.0, rule, "instant"), videos)
             for rule in ("inner", "outer")]  # fmt: skip
    assert max(shown) < one - 1, "an instant on a frame that shows it is late, or early"
    nearest = mean_iou(baselines.frame_grid(videos, 1.0, "nearest", "instant"), videos)
    assert one == pytest.approx(nearest, abs=1.5), "half a step on gives back what that costs"


# --- saliency -----------------------------------------------------------------------------------


@every_split
def test_saliency_is_graded_inside_the_event_and_fits_the_scorer(split):
    videos = annotated(split)
    queries = [(v, q) for v in videos for q in v.queries]
    given = set()
    for video, query in queries:
        for clip_id, scores in zip(query.saliency.clip_ids, query.saliency.scores, strict=True):
            assert 2 * clip_id + 2 <= video.duration
            clip = (2 * clip_id, 2 * clip_id + 2)
            assert any(min(b, clip[1]) - max(a, clip[0]) >= 0.5 for a, b in query.spans)
            assert len(scores) == 3 and set(scores) <= {0, 1, 2, 3, 4}
            given |= set(scores)
    assert given == {0, 1, 2, 3, 4}
    truth, durations = [q.saliency for _, q in queries], [v.duration for v, _ in queries]
    perfect = []
    for video, query in queries:
        grades = np.zeros(int(video.duration // 2))
        grades[list(query.saliency.clip_ids)] = np.mean(query.saliency.scores, axis=1)
        perfect.append(grades)
    best = highlight_detection(perfect, truth, durations, resamples=1)
    floor = highlight_detection(baselines.centre_prior(videos), truth, durations, resamples=1)
    assert best["mAP@Fair"][0] > floor["mAP@Fair"][0] + 15
    assert best["HIT@1"][0] > floor["HIT@1"][0] + 15


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_a_written_film_reads_back_as_it_was_drawn(tmp_path, rate):
    films = FILMS["test"]
    index = min((i for i in range(40) if films[i].rate == rate), key=lambda i: films[i].duration)
    film = films[index]
    path = write_film(tmp_path, "test", index)
    info = probe(path)
    times = film.frame_times()
    assert (info.frames, info.width, info.height) == (len(times), SIZE, SIZE)
    assert info.duration == pytest.approx(film.duration, abs=1e-4)
    assert info.variable == (rate == "variable")
    clip = read_clip(path, fps=1.0)
    drawn, seconds = sample_frames(film)
    np.testing.assert_allclose(clip.seconds, seconds)
    shown_at = [int(np.flatnonzero(times <= s + 1e-6)[-1]) for s in seconds]
    assert clip.source_index.tolist() == shown_at
    assert clip.source["backend"] == "pyav"
    error = np.abs(clip.frames.astype(int) - drawn).mean((1, 2, 3))
    assert error.max() < 4, "yuv420p and crf 18 change pixels a little"
    for number, frame in enumerate(clip.frames):  # and each is its own frame, not a neighbour
        others = np.abs(drawn.astype(int) - frame).mean((1, 2, 3))
        assert others[number] <= others.min() + 0.05


def test_films_are_written_once_and_a_broken_run_is_taken_up(tmp_path):
    folder = make_films("train", tmp_path, limit=3, workers=2, progress=False)
    names = [f"train_{i:04d}.mp4" for i in range(3)]
    assert sorted(p.name for p in folder.glob("[!.]*")) == [
        "absent.jsonl",
        "annotations.jsonl",
        *names,
    ]
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("[!.]*")}
    (folder / names[1]).unlink()
    (folder / "annotations.jsonl").write_text("of an older world\n")
    assert make_films("train", tmp_path, limit=3, progress=False) == folder
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("[!.]*")}
    assert after["annotations.jsonl"][1] == before["annotations.jsonl"][1]
    assert after[names[0]] == before[names[0]] and after[names[2]] == before[names[2]]
    again = read_clip(folder / names[1], fps=2.0)
    (folder / "first.mp4").write_bytes(before[names[1]][1])
    first = read_clip(folder / "first.mp4", fps=2.0)
    error = np.abs(again.frames.astype(int) - first.frames).mean((1, 2, 3))
    assert error.max() < 1, "drawn in this process or in another: the same but for the encoder"
    kept = [n for n in names if n != names[1]]
    assert [after[n][0] for n in kept] == [before[n][0] for n in kept]


@pytest.mark.parametrize("missing", [[0], [0, 1, 2]], ids=["here", "in a worker"])
def test_a_film_that_cannot_be_written_is_an_error(tmp_path, missing):
    with pytest.raises(
        RuntimeError, match="(?s)drawing val films into .*nowhere failed: .*no such folder"
    ):
        _write_films(tmp_path / "nowhere", "val", missing, workers=1, progress=False)


def test_the_dataset_has_the_worlds_records(films):
    assert [v.video for v in films] == ["test_0000", "test_0001"]
    for video, wanted in zip(films, annotated("test"), strict=False):
        assert video.path.is_file()
        assert (video.dataset, video.split) == ("flipbook", "test")
        assert video.duration == wanted.duration
        assert [(q.qid, q.text, q.spans) for q in video.queries] == [
            (q.qid, q.text, q.spans) for q in wanted.queries
        ]
        assert all(isinstance(span, Span) for q in video.queries for span in q.spans)
        assert [q.saliency.clip_ids for q in video.queries] == [
            q.saliency.clip_ids for q in wanted.queries
        ]


def test_an_unknown_split_is_refused_with_the_ones_there_are(tmp_path):
    accepted = "train, val, test, test_long, val_long, train_more; got 'dev'"
    with pytest.raises(ValueError, match=accepted):
        make_films("dev", tmp_path)
    with pytest.raises(ValueError, match=accepted):
        load_dataset("flipbook", "dev", tmp_path)
    assert not list(tmp_path.iterdir())
