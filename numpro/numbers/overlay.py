"""Write a number on every frame, exactly where the published method writes it.

The rule (Number-It, section 3; the released adapters were trained on this placement): with
``l, t, r, b = ImageDraw.textbbox((0, 0), text)``, ``w = r - l`` and ``h = b - t``, the text is
drawn with Pillow's default anchor at x = 0, W - w or (W - w) // 2 and y = 0, H - h or
(H - h) // 2; for both bottom positions h / 3 is taken from y, which stays fractional (Pillow
renders the glyph at the fraction). No margin. DejaVu Sans Bold 40, red, bottom right.

Not published, and off by default: an outline around the digits and a box behind them. An outlined
text is placed by the same rule, its outline being part of its ``textbbox``; a box moves nothing.
A label such as "▁25%" is no text: it draws a bar along the bottom, a quarter of `size` high, filled
to this share on white (or on the colour of the box).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from numpro.spans import one_of

FONT = Path(__file__).with_name("fonts") / "DejaVuSans-Bold.ttf"
POSITIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "center")
BAR = "▁"  # what a label begins with that is a bar, and no text
_CACHE_BYTES = 1 << 26  # of rendered labels: 3,000 of the published style

Color = str | tuple[int, int, int]


@dataclass(frozen=True)
class NumberStyle:
    """How a number looks; the defaults are the published ones.

    Parameters
    ----------
    position : {"top_left", "top_right", "bottom_left", "bottom_right", "center"}
        Where the number stands.
    size : int or float
        Font size in pixels.
    color : str or (int, int, int)
        Any colour Pillow knows by name or code, or red, green, blue in 0..255.
    outline : colour, optional
        Draw this around the digits, a twentieth of `size` wide (2 pixels at 40).
    box : colour, optional
        Fill a box of this behind the number, a tenth of `size` larger than it on each side.

    Raises
    ------
    ValueError
        For an unknown position or colour, or a size that is not above zero.

    Examples
    --------
    >>> NumberStyle(size=20, color="#00ff00").rgb
    (0, 255, 0)
    >>> NumberStyle(outline="white").as_dict()
    {'position': 'bottom_right', 'size': 40, 'color': 'red', 'outline': 'white'}
    """

    position: str = "bottom_right"
    size: float = 40
    color: Color = "red"
    outline: Color | None = None
    box: Color | None = None

    def __post_init__(self):
        one_of("position", self.position, POSITIONS)
        size = self.size.item() if isinstance(self.size, np.number) else self.size
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < 10_000:
            raise ValueError(f"size must be a number of pixels above 0, below 10000; got {size!r}")
        object.__setattr__(self, "size", size)
        for name in ("color", "outline", "box"):
            color = getattr(self, name)
            rgb = None if color is None and name != "color" else _rgb(name, color)
            object.__setattr__(self, name, color if isinstance(color, str) else rgb)

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as red, green, blue in 0..255."""
        return _rgb("color", self.color)

    def as_dict(self) -> dict:
        """Return the style as JSON keeps it; an outline or a box only where there is one.

        ``NumberStyle(**stored)`` is the style again.
        """
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}


def number_frames(
    frames: np.ndarray,
    style: NumberStyle | None = None,
    labels: Sequence[int | str] | int | str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Draw a label on every frame.

    Parameters
    ----------
    frames : uint8 array, shape [T, H, W, 3] or [H, W, 3]
        RGB frames; never changed, unless they are given as `out` too.
    style : NumberStyle, optional
        Place, size and colour; the published ones by default.
    labels : sequence of int or str, optional
        What to write, one a frame (for one frame of shape [H, W, 3] the bare label will do);
        0 .. T-1 by default; "" writes nothing, and "▁25%" draws a bar of which a quarter is
        filled.
    out : uint8 array of the shape of `frames`, optional
        Where to draw; `frames` itself is allowed and saves the copy.

    Returns
    -------
    uint8 array of the shape of `frames`
        The numbered frames (`out` where it was given), the same pixels as one Pillow
        ``ImageDraw.text`` a frame.

    Raises
    ------
    TypeError, ValueError
        For frames, labels or an `out` of another kind, shape or number.

    Examples
    --------
    >>> pages = number_frames(np.zeros((3, 64, 64, 3), np.uint8), NumberStyle(size=20))
    >>> pages[..., 0].any(axis=(1, 2)), pages[..., 1].any()
    (array([ True,  True,  True]), np.False_)
    """
    style = NumberStyle() if style is None else style
    _check_frames(frames, "frames")
    out = np.empty_like(frames) if out is None else out
    _check_frames(out, "out")
    if out.shape != frames.shape:
        raise ValueError(f"out must have the shape of frames {frames.shape}; got {out.shape}")
    if out is not frames:
        out[...] = frames
    pages = out[None] if out.ndim == 3 else out
    height, width = pages.shape[1:3]
    for page, text in zip(pages, _texts(labels, len(pages), frames.ndim == 3), strict=True):
        for layer in _stamps[text, style, width, height]:
            box = page[layer.rows, layer.columns]
            # Pillow's own rounding of (background * (255 - alpha) + ink * alpha) / 255
            blend = box * layer.keep
            blend += layer.add
            blend += blend >> 8
            np.right_shift(blend, 8, out=box, casting="unsafe")
    return out


def ink_height(style: NumberStyle) -> float:
    """Return how high the digits are in pixels, from the foot to the head of the ink."""
    _, top, _, bottom = _font(1000).getbbox("0123456789")
    return (bottom - top) / 1000 * style.size


class _Layer(NamedTuple):
    """One colour of a rendered label: its box in the frame, the terms of the blend (uint16)."""

    rows: slice
    columns: slice
    keep: np.ndarray  # [h, w, 3] 255 - alpha
    add: np.ndarray  # [h, w, 3] ink * alpha + 128


class _Stamps(dict):
    """The layers of each (text, style, width, height), rendered once; bounded in bytes."""

    total = 0  # bytes, about

    def __missing__(self, key: tuple) -> tuple[_Layer, ...]:
        layers = tuple(_render(*key))
        size = 500 + sum(layer.keep.nbytes + layer.add.nbytes for layer in layers)  # 500: the key
        if self.total + size > _CACHE_BYTES:
            self.clear()
            self.total = 0
        self.total += size
        self[key] = layers
        return layers


_stamps = _Stamps()


def _render(text: str, style: NumberStyle, width: int, height: int) -> Iterator[_Layer]:
    """Yield what is to be blended into frames of this size, the lowest layer first."""
    # White on a black "L" picture of the frame's size is the alpha that Pillow blends with, also
    # where the text is cut by the edge or stands at a fraction of a pixel.
    page = Image.new("L", (width, height))
    draw = ImageDraw.Draw(page)
    if text.startswith(BAR):
        top, shares = height - max(1, round(style.size / 4)), (1, float(text[1:-1]) / 100)
        for share, color in zip(shares, (style.box or "white", style.color), strict=True):
            if right := round(share * width):
                draw.rectangle((0, top, right - 1, height), fill=255)
                yield from _layer(page, color)
        return
    font = _font(style.size)
    stroke = 0 if style.outline is None else max(1, round(style.size / 20))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, stroke_width=stroke)
    place = _place(style.position, width, height, right - left, bottom - top)
    if style.box is not None and text.strip():
        pad = max(1, round(style.size / 10))
        left, top, right, bottom = draw.textbbox(place, text, font=font, stroke_width=stroke)
        corners = floor(left) - pad, floor(top) - pad, ceil(right) + pad, ceil(bottom) + pad
        draw.rectangle(corners, fill=255)
        yield from _layer(page, style.box)
    if stroke:
        draw.text(place, text, font=font, fill=255, stroke_width=stroke)
        yield from _layer(page, style.outline)
        if style.rgb == _rgb("outline", style.outline):
            return  # one colour: Pillow draws no text over it
    draw.text(place, text, font=font, fill=255)
    yield from _layer(page, style.color)


def _layer(page: Image.Image, color: Color) -> Iterator[_Layer]:
    """Yield what was drawn as a layer, nothing where no pixel of it shows; wipe the picture."""
    if box := page.getbbox():
        alpha = np.asarray(page.crop(box))
        keep = np.repeat(255 - alpha.astype(np.uint16), 3, axis=1)
        add = (255 - keep) * np.tile(np.array(_rgb("color", color), np.uint16), alpha.shape[1])
        add += 128
        keep, add = (part.reshape(*alpha.shape, 3) for part in (keep, add))
        yield _Layer(slice(box[1], box[3]), slice(box[0], box[2]), keep, add)
        page.paste(0, box)


def _place(position: str, width: int, height: int, w: float, h: float) -> tuple[float, float]:
    """Return the (x, y) that the text is drawn at."""
    if position == "center":
        return (width - w) // 2, (height - h) // 2
    x = 0 if position.endswith("left") else width - w
    y = 0 if position.startswith("top") else height - h - h / 3
    return x, y


@lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont:
    # BASIC: the picture must not depend on whether the system has libraqm
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _rgb(name: str, color: Color) -> tuple[int, int, int]:
    """Return a colour as Pillow draws it on an RGB picture."""
    if isinstance(color, str):
        try:
            return ImageColor.getcolor(color, "RGB")
        except ValueError as error:
            raise ValueError(f"{name} must be a name or code that Pillow knows; {error}") from None
    if np.shape(color) != (3,) or any(c not in range(256) for c in color):
        raise ValueError(f"{name} must be a name, a code or three of 0..255; got {color!r}")
    return tuple(int(c) for c in color)


def _texts(labels, count: int, single: bool) -> Iterator[str]:
    """Check the labels and turn them into texts, one a frame."""
    labels = range(count) if labels is None else labels
    if isinstance(labels, int | str | np.integer):
        if not single:
            raise TypeError(f"labels must be a sequence, one label a frame; got {labels!r}")
        labels = [labels]
    if len(labels) != count:
        raise ValueError(f"labels must be one a frame: {count} frames, {len(labels)} labels")
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int | str | np.integer):
            raise TypeError(f"labels must be whole numbers or texts; got {label!r}")
    return (str(label) for label in labels)


def _check_frames(frames: np.ndarray, name: str) -> None:
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise TypeError(f"{name} must be a numpy array of uint8; got {kind}")
    if frames.ndim not in (3, 4) or frames.shape[-1] != 3:
        raise ValueError(f"{name} must have shape [T, H, W, 3] or [H, W, 3]; got {frames.shape}")
