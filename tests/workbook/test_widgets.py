"""Controls move, and the picture follows; one's own video is asked about, and cut."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from films import encode, number_of
from PIL import Image

from numpro import read_clip
from numpro.inference.one_video import Found, cut_out, find_moment
from numpro.numbers.overlay import NumberStyle, number_frames
from numpro.prompting.answers import parse_moment
from numpro.spans import Span
from numpro.video import Sampling
from numpro.workbook import widgets


def shown(box):
    return np.asarray(Image.open(io.BytesIO(box.children[-1].value)).convert("RGB"))


def control(box, name):
    row = box.children[-2].children
    return next(c for c in row if c.description.startswith(name))


ROW = {"video": "a", "qid": "1", "query": "a star", "duration": 10.0, "truth": [[2, 4]]}


def test_a_number_moves_with_its_controls(clip):
    frame = clip.frames[0]
    box = widgets.number_style(frame, 7)
    np.testing.assert_array_equal(shown(box), number_frames(frame, NumberStyle(), [7]))
    control(box, "position").value = "center"
    control(box, "size").value = 60
    control(box, "colour").value = "blue"
    want = number_frames(frame, NumberStyle("center", 60, "blue"), [7])
    np.testing.assert_array_equal(shown(box), want)


def test_a_film_is_leafed_through_with_its_seconds(clip):
    box = widgets.scrub(clip)
    control(box, "page").value = 3
    np.testing.assert_array_equal(shown(box), number_frames(clip.frames)[3])
    assert f"page 3 shows second {clip.seconds[3]:.2f}" in box.children[0].children[1].value


def test_every_models_answer_follows_the_query():
    answer = {"reason": None, "response": "From 2 to 4", "pred": [[2, 4]]}
    rows = [ROW | answer, ROW | answer | {"qid": "2", "query": "a heart", "pred": [[6, 9]]}]
    box = widgets.answers({"base": rows, "fine-tuned": rows})
    before = shown(box)
    control(box, "query").value = 1
    assert before.shape != shown(box).shape or (before != shown(box)).any()
    assert [o[0] for o in control(box, "query").options] == ["a: a star", "a: a heart"]


def test_a_stricter_threshold_leaves_fewer_hits():
    box = widgets.threshold({"ours": ([(0, 10), (0, 5)], [[(0, 10)], [(0, 10)]])})
    before = shown(box)
    control(box, "IoU").value = 0.9
    assert (before != shown(box)).any()


def test_another_order_of_the_numbers_is_drawn_and_asked_about(clip, longva):
    orders, answer = [], longva.answer

    class Model:  # as it is, and it notes what was asked
        prepare = staticmethod(longva.prepare)

        def answer(self, clip, queries, question, labels):
            orders.append(labels)
            return answer(clip, queries, question, labels)

    box = widgets.shuffled(clip, "a red star", {"tiny": Model()}, [(1.0, 3.0), (5.0, 6.0)])
    first = shown(box)
    control(box, "order").value = 0
    rising = list(range(len(clip)))
    assert orders[0] != rising == sorted(orders[0]) and orders[1:] == [rising]
    assert first.shape != shown(box).shape or (first != shown(box)).any()


@pytest.fixture
def own_video(films, longva, tmp_path):
    box = widgets.own_video({"tiny": longva}, str(tmp_path))
    (path, upload), (query, _, button) = (row.children for row in box.children[:2])
    path.value = str(films[0].path)
    return box, path, upload, query, button


def test_an_own_video_is_asked_about_and_what_is_wrong_is_shown(own_video, films, tmp_path):
    box, path, upload, query, button = own_video
    message, picture = box.children[2:4]
    button.click()
    assert "the query is empty" in message.value and picture.layout.display == "none"
    query.value = "a <red> star"
    button.click()
    assert bytes(picture.value).startswith(b"\x89PNG") and picture.layout.display == ""
    assert "span" in message.value or " s to " in message.value
    file = {"name": "../up.mp4", "content": memoryview(films[0].path.read_bytes())}
    upload.set_trait(
        "value", ({**file, "type": "video/mp4", "size": 1, "last_modified": datetime.now(UTC)},)
    )
    assert path.value == str(tmp_path / "up.mp4") and (tmp_path / "up.mp4").is_file()
    path.value = "missing.mp4"
    button.click()
    assert "missing.mp4" in message.value and not button.disabled


def test_a_film_that_was_thinned_is_named_before_the_answer(films, longva):
    lines, path = [], films[0].path
    sampling = Sampling(size=(112, 112), max_frames=4)
    found = find_moment(path, "a star", longva, sampling, tell=lines.append)
    wanted = int(found.clip.duration) + 1
    assert lines[0].startswith(f"The film lasts {found.clip.duration:.0f} s: at 1 frames a second")
    assert f"it has {wanted}, and 4 are shown, one every" in lines[0] and len(lines) == 2
    find_moment(path, "a star", longva, Sampling(size=(112, 112)), tell=lines.append)
    assert len(lines) == 3 and not str(lines[2]).startswith("The film")


def test_the_moment_is_cut_out(films, tmp_path):
    film = films[0].path
    out = cut_out(film, (2.0, 4.5), tmp_path / "moment.mp4")
    cut, whole = read_clip(out, fps=4), read_clip(film, fps=4, start=2.0, end=4.5)
    assert cut.duration == pytest.approx(2.5, abs=0.05)
    assert np.abs(cut.frames.astype(int) - whole.frames[: len(cut)]).mean() < 4
    with pytest.raises(ValueError, match=r"span must be start < end in 0\.\."):
        cut_out(film, (5.0, 5.0), tmp_path / "none.mp4")


def test_the_moment_is_cut_out_on_the_clock_that_found_it(tmp_path):
    film = encode(tmp_path / "film.mp4", start=50)  # the first picture comes at 2 s
    for span, origin in (((2.4, 3.2), "beginning"), ((0.4, 1.2), "first-picture")):
        out = cut_out(film, span, tmp_path / "moment.mp4", origin)
        assert [number_of(frame) for frame in read_clip(out, times=[0, 0.4]).frames] == [10, 20]


def test_what_was_found_is_told_in_words(films, longva, clip):
    found = find_moment(films[0].path, "a star", longva, Sampling())
    np.testing.assert_array_equal(found.clip.frames, clip.frames)
    np.testing.assert_array_equal(found.pages, number_frames(clip.frames))
    asked_about = ("a star", clip, found.pages, found.prompt)
    unread = Found(*asked_about, parse_moment("never"), ())
    assert str(unread).startswith("no span could be read from 'never' (")
    read = Found(*asked_about, parse_moment("From 1 to 2"), (Span(1, 2),))
    assert str(read) == "1.00 s to 2.00 s" and read.figure().axes


def test_the_cost_is_told_before_the_model_is_asked(films, longva, monkeypatch):
    order, answer = [], longva.answer
    monkeypatch.setattr(longva, "answer", lambda *a, **k: order.append("asked") or answer(*a, **k))
    sampling = Sampling(fps=0.2, size=(112, 112))
    found = find_moment(films[0].path, "a star", longva, sampling, tell=order.append)
    assert order[1:] == ["asked"] and "tokens" in str(order[0])
    assert found.clip.frames.shape[1:3] == (112, 112)
