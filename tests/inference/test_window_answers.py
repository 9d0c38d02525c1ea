"""Long films a window at a time, over a dataset and one by one: nothing is asked twice."""

import json

import pytest
from asking import predict
from films import encode, number_of, numbered
from seeing import Seeing

from numpro import Sampling
from numpro.datasets import Query, VideoQueries
from numpro.inference import find_moment
from numpro.inference.prediction_files import WindowAnswers, read_rows
from numpro.models import Question
from numpro.spans import Span
from numpro.video import SamplingError

HOW = {"read": "ranked", "windows": (16, 8), "time_encoding": "text-index", "size": None}
STARTS = [*range(0, 84, 8), 84]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two films of 100 s and one of 10 s, a frame a second; the number of each can be seen."""
    folder, found = tmp_path_factory.mktemp("long"), []
    for name, count in (("one", 100), ("short", 10), ("two", 100)):
        path = encode(folder / f"{name}.mp4", frames=numbered(count), rate=1)
        spans = {"2-6": Span(2, 6), "3-8": Span(3, 8)}
        spans |= {"50-60": Span(50, 60), "84-97": Span(84, 97)} if count == 100 else {}
        queries = tuple(Query(f"{name} {text}", text, (span,)) for text, span in spans.items())
        found.append(VideoQueries(name, path, float(count), queries, "made", "test"))
    return found


def ask(videos, model, out, **options):
    return predict(videos, model, out, **HOW | options)


def test_every_query_of_long_and_short_films_is_found(videos, tmp_path):
    model, out = Seeing(number_of), tmp_path / "rows.jsonl"
    rows = ask(videos, model, out)
    assert [row["pred"][0] for row in rows] == [row["truth"][0] for row in rows]
    asked_of = [(start, 16) for start in STARTS]
    assert model.asked_of == [*asked_of, (0, 10), *asked_of]
    assert not out.with_name("rows.jsonl.windows").exists()
    config = json.loads(out.with_name("rows.jsonl.config.json").read_text())
    assert config["windows"] == [16, 8]
    assert ask(videos, model, out) == rows and len(model.asked_of) == 2 * len(STARTS) + 1


def test_a_run_that_breaks_inside_a_film_goes_on_there(videos, tmp_path):
    model, out = Seeing(number_of), tmp_path / "rows.jsonl"
    wanted = ask(videos, Seeing(number_of), tmp_path / "whole.jsonl")
    model.breaks_at = 48
    with pytest.raises(KeyboardInterrupt):
        ask(videos[:1], model, out)
    kept = out.with_name("rows.jsonl.windows")
    kept.write_text(kept.read_text() + '{"key": "cut')  # and a kill may cut a line
    model.breaks_at, model.asked_of = None, []
    assert ask(videos, model, out) == wanted
    assert model.asked_of[: len(STARTS) - 6] == [(start, 16) for start in STARTS if start >= 48]
    assert not kept.exists()


def test_answers_to_another_question_do_not_count(videos, tmp_path):
    model, out = Seeing(number_of), tmp_path / "rows.jsonl"
    model.breaks_at = 48
    with pytest.raises(KeyboardInterrupt):
        ask(videos[:1], model, out)
    model.breaks_at, model.asked_of = None, []
    ask(videos[:1], model, out, top=3)
    assert model.asked_of == [(start, 16) for start in STARTS]


def test_answers_that_are_kept_are_those_that_were_given(tmp_path):
    answers = WindowAnswers(tmp_path / "kept", "a")
    given = [{"spans": [[0.1, 2.0]], "probabilities": [0.5], "reason": None}]
    answers[4] = given
    assert dict(WindowAnswers(tmp_path / "kept", "a")) == {4: given}
    assert dict(WindowAnswers(tmp_path / "kept", "b")) == {}


def test_a_film_that_breaks_off_is_a_reason_and_stops_no_other(videos, tmp_path):
    path = tmp_path / "none.mp4"
    path.write_bytes(b"no film")
    queries = (Query("broken 2-6", "2-6", (Span(2, 6),)),)
    broken = VideoQueries("broken", path, 9.0, queries, "made", "test")
    rows = ask([broken, videos[1]], Seeing(number_of), tmp_path / "rows.jsonl")
    assert [row["reason"] is None for row in rows] == [False, True, True]
    assert rows[0]["reason"].startswith("video: ")


def test_windows_that_take_too_much_memory_end_the_run_with_reasons(videos, tmp_path):
    out = tmp_path / "rows.jsonl"  # the film can be opened, and no window of it be read
    with pytest.raises(SamplingError, match="too large for the memory: 64 frames"):
        ask(videos[:1], Seeing(number_of), out, max_memory=3e5, progress=False)
    assert [row["qid"] for row in read_rows(out)] == [q.qid for q in videos[0].queries]
    assert all("too large for the memory" in row["reason"] for row in read_rows(out))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "blank"}, "a control goes without windows; got 'blank' and .16, 8."),
        ({"read": "greedy"}, "windows go with ranked moments"),
        ({"windows": (16, 17)}, "windows must be"),
    ],
)
def test_windows_that_cannot_be_are_refused(videos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ask(videos, Seeing(number_of), tmp_path / "rows.jsonl", **options)


def test_one_long_film_is_asked_in_windows_and_it_is_said(videos):
    lines, model = [], Seeing(number_of)
    question = Question(time_encoding="text-index", windows=(16, 8))
    how = Sampling(size=None), question, lines.append
    found = find_moment(videos[0].path, "50-60", model, *how, top=3)
    best = found.ranked.moments[0]
    assert (best.start, best.end) == (50, 60) and found.spans == ((50, 60),)
    assert [str(line) for line in lines] == ["12 windows of 16 frames, one every 8"]
    find_moment(videos[1].path, "2-6", model, *how, top=3)
    assert str(lines[1]) == "windows of 16 frames: the film has 10, it is asked whole"


def test_what_a_window_costs_is_said_without_reading_the_film_once_more(videos, monkeypatch):
    from numpro.video import windows

    read, parts, sizes = [], windows.read_clip, []
    monkeypatch.setattr(
        windows, "read_clip", lambda *of, **how: read.append(of) or parts(*of, **how)
    )
    model = Seeing(number_of)
    how = Sampling(size=None), Question(time_encoding="text-index", windows=(16, 8))
    find_moment(videos[0].path, "50-60", model, *how, top=3)
    model.cost, usual = lambda clip, *_: sizes.append(len(clip)), len(read)
    find_moment(videos[0].path, "50-60", model, *how, sizes.append, top=3)
    assert 16 in sizes and len(read) == 2 * usual > 0
