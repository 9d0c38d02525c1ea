"""Digits that a model's own resizing makes too small: measured in pixels, and warned of."""

import warnings

import numpy as np
import pytest
from PIL import Image

from numpro import NumberStyle, number_frames
from numpro.numbers.legibility import READABLE_HEIGHT, warn_unreadable


def digit_height(*sizes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return warn_unreadable(*sizes)


def seen_height(style, frame_size, model_size):
    """Draw all digits, resize as a model does and measure the ink's rows, by their darkness."""
    blank = np.zeros((frame_size[1], frame_size[0], 3), np.uint8)
    page = number_frames(blank, style, labels="08")
    small = Image.fromarray(page).resize(model_size, Image.Resampling.BICUBIC)
    rows = np.asarray(small).max(axis=(1, 2)).astype(float)
    return rows.sum() / rows.max()


@pytest.mark.parametrize("size", [16, 40, 97.5])
@pytest.mark.parametrize("model_size", [(400, 400), (200, 200), (300, 100)], ids=str)
def test_the_height_is_that_of_the_ink_in_the_resized_frame(size, model_size):
    style = NumberStyle("center", size, "white")
    measured = seen_height(style, (400, 400), model_size)
    assert digit_height(style, (400, 400), model_size) == pytest.approx(measured, abs=1.3)


def test_a_squeezed_width_counts():
    assert digit_height(NumberStyle(), (640, 360), (160, 360)) == digit_height(
        NumberStyle(), (640, 360), (160, 90)
    )


@pytest.mark.parametrize(
    ("style", "frame_size", "model_size", "figure", "remedy"),
    [
        (NumberStyle(size=20), (336, 336), (96, 96), "4.3 pixels", "size 38 or more"),
        (NumberStyle(), (1280, 720), (140, 84), "3.3 pixels", "size 97 or more"),
    ],
    ids=["small font", "few pixels a frame"],
)
def test_small_digits_are_warned_of_with_the_figure(style, frame_size, model_size, figure, remedy):
    with pytest.warns(UserWarning, match=f"{figure}.*{remedy}") as caught:
        height = warn_unreadable(style, frame_size, model_size)
    assert height < READABLE_HEIGHT and caught[0].filename == __file__
    larger = NumberStyle(size=float(remedy.split()[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_unreadable(larger, frame_size, model_size) >= READABLE_HEIGHT


@pytest.mark.parametrize("model_size", [(96, 96), (336, 336), (672, 672)], ids=str)
def test_the_published_style_is_readable_for_the_models_of_the_workbook(model_size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unreadable(NumberStyle(), (336, 336), model_size)


def test_sizes_must_be_sizes():
    with pytest.raises(ValueError, match=r"model_size must be \(width, height\).*\(96, 0\)"):
        digit_height(NumberStyle(), (336, 336), (96, 0))
