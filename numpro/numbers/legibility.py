"""How high the digits are that a model sees, after its own resizing of the frames."""

import warnings
from math import ceil

from numpro.numbers.overlay import NumberStyle, ink_height

# What is known of digits by their height in the picture that the model sees:
# - the workbook's own study (notebook 02, its tiny CLIP, 96 x 96; both committed runs): of the
#   numbers 0 to 99 at the bottom right, 93 to 100 % are read when they are 8.6 pixels high (size
#   40 on 336 x 336), 38 to 51 % at 4.3 (size 20), by colour;
# - the paper (Table 3, Qwen2-VL-7B on Charades-STA, 336 x 336): mIoU 38.5 with digits of 30 pixels,
#   34.6 with 15 (sizes 40 and 20). It tried nothing smaller.
# So numbers have been read from a height of about 8 on; that is not enough for every model.
READABLE_HEIGHT = 8.0


def warn_unreadable(
    style: NumberStyle, frame_size: tuple[int, int], model_size: tuple[int, int],
    stacklevel: int = 1, remedy: str = "",
) -> float:  # fmt: skip
    """Return the height of a style's digits, in pixels of the picture that the model sees.

    Warn when it is under `READABLE_HEIGHT`, with the figure and the remedy.

    Parameters
    ----------
    style : NumberStyle
        How the numbers are drawn.
    frame_size : (width, height)
        Of the frames they are drawn on.
    model_size : (width, height)
        What the model resizes a whole frame to. Where it shrinks the width more than the height,
        the width counts: a squeezed digit reads no better than one that is as small in both
        directions.
    stacklevel : int
        Whose line the warning names: 1 is the caller's.
    remedy : str
        What lets the model see larger pictures, where that is known.

    Raises
    ------
    ValueError
        For a width or height that is not above 0.

    Warns
    -----
    UserWarning
        When the digits are lower than `READABLE_HEIGHT`.

    Examples
    --------
    >>> round(warn_unreadable(NumberStyle(), (336, 336), (336, 336)), 2)
    30.24
    >>> round(warn_unreadable(NumberStyle(), (336, 336), (96, 96)), 2)
    8.64
    """
    for name, size in (("frame_size", frame_size), ("model_size", model_size)):
        if len(size) != 2 or min(size) <= 0:
            raise ValueError(f"{name} must be (width, height) above 0; got {size!r}")
    scale = min(new / old for new, old in zip(model_size, frame_size, strict=True))
    height = ink_height(style) * scale
    if height < READABLE_HEIGHT:
        drawn, resized = ("{} x {}".format(*size) for size in (frame_size, model_size))
        larger = ceil(style.size * READABLE_HEIGHT / height)
        by = f" ({remedy})" if remedy else ""
        warnings.warn(
            f"digits of size {style.size:g} on frames of {drawn} are {height:.1f} pixels high in "
            f"the {resized} that the model sees; under {READABLE_HEIGHT:g} they are hardly read; "
            f"draw them in size {larger} or more, or let the model see larger pictures{by}",
            stacklevel=stacklevel + 1,
        )
    return height
