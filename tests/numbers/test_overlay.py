"""Numbers on frames: pixel for pixel what one Pillow draw call a frame gives."""

import json
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from numpro.numbers import overlay
from numpro.numbers.overlay import FONT, POSITIONS, NumberStyle, number_frames

SIZES = {"published": (336, 336), "wide": (57, 31), "tall": (20, 90), "tiny": (5, 3)}


def pillow(frame, text, style):
    """The rule of the method, written out once more with plain Pillow."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(FONT, style.size, layout_engine=ImageFont.Layout.BASIC)
    stroke = max(1, round(style.size / 20)) if style.outline else 0
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, stroke_width=stroke)
    w, h = right - left, bottom - top
    x, y = {
        "top_left": (0, 0),
        "top_right": (image.width - w, 0),
        "bottom_left": (0, image.height - h - h / 3),
        "bottom_right": (image.width - w, image.height - h - h / 3),
        "center": ((image.width - w) // 2, (image.height - h) // 2),
    }[style.position]
    if style.box and text.strip():
        around = max(1, round(style.size / 10))
        corners = floor(x + left), floor(y + top), ceil(x + right), ceil(y + bottom)
        corners = [c + around * side for c, side in zip(corners, (-1, -1, 1, 1), strict=True)]
        draw.rectangle(corners, fill=style.box)
    draw.text(
        (x, y), text, font=font, fill=style.color, stroke_width=stroke, stroke_fill=style.outline
    )
    return np.asarray(image)


def noise(count, width, height, seed=0):
    shape = (count, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def assert_like_pillow(frames, style, labels):
    for page, frame, label in zip(
        number_frames(frames, style, labels), frames, labels, strict=True
    ):
        np.testing.assert_array_equal(page, pillow(frame, str(label), style))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("color", ["red", "#12f", (3, 200, 77), "hsl(100, 40%, 30%)"], ids=str)
@pytest.mark.parametrize("size", [1, 12.5, 40, 200])
def test_pixels_are_pillows(position, size, color):
    for width, height in SIZES.values():
        frames = noise(4, width, height)
        assert_like_pillow(frames, NumberStyle(position, size, color), [0, 17, -4, "12.5 s Äg"])


COLORS = st.tuples(*[st.integers(0, 255)] * 3)


@settings(max_examples=100)
@given(
    position=st.sampled_from(POSITIONS),
    size=st.integers(1, 90) | st.floats(1, 90),
    colors=st.tuples(COLORS, st.none() | COLORS, st.none() | COLORS),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    label=st.integers(0, 10**6) | st.text("0123456789abc:.\n ", max_size=8),
)
@example("top_left", 6, ((1, 0, 0), (1, 0, 0), None), 12, 12, 6)  # outlined in its own colour
def test_pixels_are_pillows_for_any_style(position, size, colors, width, height, label):
    if colors[1]:  # the outline of a line may reach into the line above it, which Pillow drew first
        label = str(label).replace("\n", "")
    assert_like_pillow(noise(1, width, height), NumberStyle(position, size, *colors), [label])


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", [20, 40])
def test_outline_and_box_at_usual_sizes(position, size):
    style = NumberStyle(position, size, outline="white", box="#000080")
    assert_like_pillow(noise(3, 336, 336), style, [0, 88, "12.5s"])


def test_an_outline_and_a_box_are_seen_around_the_same_digits():
    frames = np.full((1, 100, 200, 3), 90, np.uint8)

    def shares(style):
        (page,) = number_frames(frames, style, [88])
        found = {"red": (255, 0, 0), "white": (255, 255, 255), "blue": (0, 0, 255)}
        return {name: int((page == rgb).all(axis=-1).sum()) for name, rgb in found.items()}

    plain = shares(NumberStyle("top_left"))
    outlined = shares(NumberStyle("top_left", outline="white"))
    boxed = shares(NumberStyle("top_left", box="blue"))
    assert plain["white"] == plain["blue"] == 0
    assert outlined["white"] > 200 and outlined["red"] >= 0.9 * plain["red"]
    assert boxed["blue"] > 800 and boxed["red"] == plain["red"]


def test_defaults_are_the_published_style():
    frames = noise(12, 336, 336)
    style = NumberStyle(position="bottom_right", size=40, color="red")
    assert NumberStyle() == style
    np.testing.assert_array_equal(
        number_frames(frames), number_frames(frames, style, labels=range(12))
    )
    changed = (number_frames(frames)[7] != frames[7]).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert rows.min() > 336 // 2 and columns.min() > 336 // 2


def test_the_input_is_never_changed():
    frames = noise(3, 64, 64)
    frames.setflags(write=False)
    before = frames.copy()
    pages = number_frames(frames)
    np.testing.assert_array_equal(frames, before)
    assert not np.shares_memory(pages, frames)
    assert (pages != frames).any()


def test_a_label_is_rendered_once_and_the_cache_is_bounded(monkeypatch):
    drawn, text = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda *a, **k: drawn.append(a[2]) or text(*a, **k)
    )
    monkeypatch.setattr(overlay, "_stamps", overlay._Stamps())
    style, labels = NumberStyle(size=17), [3, 4, 3, 3]
    for _ in range(2):
        number_frames(noise(4, 64, 64), style, labels)
    assert drawn == ["3", "4"]
    monkeypatch.setattr(overlay, "_CACHE_BYTES", 20_000)
    frames = noise(100, 64, 64)
    assert_like_pillow(frames, style, range(100))
    rendered = [p.nbytes for s in overlay._stamps.values() for layer in s for p in layer[2:]]
    assert 0 < sum(rendered) < overlay._stamps.total <= 20_000
    number_frames(frames, style, [" " * n for n in range(100)])
    assert len(overlay._stamps) <= 40  # what shows nothing is kept within the bound, too


def test_out_is_drawn_into():
    frames = noise(3, 64, 64)
    wanted = number_frames(frames)
    out = np.zeros_like(frames)
    assert number_frames(frames, out=out) is out
    np.testing.assert_array_equal(out, wanted)
    assert number_frames(frames, out=frames) is frames
    np.testing.assert_array_equal(frames, wanted)


@pytest.mark.parametrize("label", [7, "7", [7], np.int64(7)], ids=repr)
def test_one_frame(label):
    frame = noise(1, 64, 64)[0]
    np.testing.assert_array_equal(
        number_frames(frame, labels=label), pillow(frame, "7", NumberStyle())
    )


def test_frames_in_any_memory_order():
    frames = noise(4, 48, 64)
    views = {"flipped": frames[:, :, ::-1], "every other": frames[::2], "turned": frames[:, ::-1]}
    for view in views.values():
        np.testing.assert_array_equal(number_frames(view), number_frames(view.copy()))


def test_no_frames_and_no_text():
    frames = noise(2, 32, 32)
    assert number_frames(frames[:0]).shape == (0, 32, 32, 3)
    np.testing.assert_array_equal(number_frames(frames, labels=["", ""]), frames)


@pytest.mark.parametrize(
    ("frames", "options", "error", "words"),
    [
        pytest.param(noise(2, 8, 8), {"labels": [1]}, ValueError, "2 frames, 1 labels", id="few"),
        pytest.param(noise(2, 8, 8), {"labels": "12"}, TypeError, "sequence", id="one text"),
        pytest.param(noise(1, 8, 8), {"labels": [1.5]}, TypeError, "1.5", id="float"),
        pytest.param(noise(1, 8, 8), {"labels": [True]}, TypeError, "True", id="bool"),
        pytest.param(np.zeros((2, 8, 8, 3)), {}, TypeError, "float64", id="float frames"),
        pytest.param([[1]], {}, TypeError, "list", id="list"),
        pytest.param(np.zeros((8, 8), np.uint8), {}, ValueError, r"\(8, 8\)", id="grey"),
        pytest.param(np.zeros((2, 8, 8, 4), np.uint8), {}, ValueError, "8, 4", id="alpha"),
        pytest.param(
            noise(2, 8, 8), {"out": noise(1, 8, 8)}, ValueError, "shape of frames", id="out"
        ),
    ],
)
def test_bad_input(frames, options, error, words):
    with pytest.raises(error, match=words):
        number_frames(frames, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"position": "middle"}, "top_left.*middle"),
        ({"size": 0}, "above 0.*0"),
        ({"size": -3}, "-3"),
        ({"size": float("nan")}, "nan"),
        ({"size": "40"}, "number of pixels"),
        ({"color": "reddish"}, "reddish"),
        ({"color": (1, 2)}, r"\(1, 2\)"),
        ({"color": (1, 2, 300)}, "300"),
        ({"color": 7}, "color must be a name.*7"),
        ({"color": None}, "color must be"),
        ({"outline": "reddish"}, "outline must be.*reddish"),
        ({"box": (1, 2.5, 3)}, "box must be.*2.5"),
    ],
    ids=str,
)
def test_bad_style(options, words):
    with pytest.raises(ValueError, match=words):
        NumberStyle(**options)


def test_a_style_is_a_key():
    assert {NumberStyle(color=[255, 0, 0]): 1}[NumberStyle(color=(255, 0, 0))] == 1


@pytest.mark.parametrize(
    "style",
    [
        NumberStyle(),
        NumberStyle("center", np.int64(12), np.array([1, 2, 3]), outline="white", box=(0, 0, 9)),
    ],
    ids=["published", "other"],
)
def test_a_style_is_stored_as_json_and_read_back(style):
    assert NumberStyle(**json.loads(json.dumps(style.as_dict()))) == style
    assert list(NumberStyle().as_dict()) == ["position", "size", "color"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        NumberStyle(colour="red")


@pytest.mark.parametrize("width", [336, 57, 1])
@pytest.mark.parametrize("box", [None, "#204060"])
def test_a_bar_is_filled_along_the_bottom(width, box):
    """Pillow's two rectangles: the whole width, then the share that has passed."""
    frames, style = noise(4, width, 60), NumberStyle(size=40, color="blue", box=box)
    shares = [0.0, 12.5, 50.0, 99.0]
    pages = number_frames(frames, style, [f"▁{share}%" for share in shares])
    for page, frame, share in zip(pages, frames, shares, strict=True):
        image = Image.fromarray(frame)
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 50, width - 1, 59), fill=box or "white")
        if filled := round(share * width / 100):
            draw.rectangle((0, 50, filled - 1, 59), fill="blue")
        np.testing.assert_array_equal(page, np.asarray(image))


def test_an_empty_label_draws_nothing():
    frames = noise(2, 64, 64)
    pages = number_frames(frames, NumberStyle(size=20, box="white", outline="black"), ["", "1"])
    assert (pages[0] == frames[0]).all() and (pages[1] != frames[1]).any()
