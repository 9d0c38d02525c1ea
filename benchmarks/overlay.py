"""How fast numbers are drawn, beside Pillow frame by frame: ``python benchmarks/overlay.py``.

The plain way loads the font and draws anew for every frame, as the published scripts do. All are
timed in this run, in seconds of CPU, in turns, the best of six; every pixel must be the same.
``first`` is the first clip of a process, in which the digits are rendered; ``copy`` copies the
frames and draws nothing, which is the limit of what returns a new array.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from numpro import number_frames
from numpro.numbers import overlay
from numpro.provenance import provenance

CLIPS = ((1000, 336, 336), (240, 640, 360))
LEAST = {"in place": 15, "new array": 4}  # what is asked of the ratios


def number_plainly(frames):
    """Draw with Pillow alone, in the published style."""
    pages = []
    for number, frame in enumerate(frames):
        image = Image.fromarray(frame)
        draw = ImageDraw.Draw(image)
        font = ImageFont.truetype(overlay.FONT, 40, layout_engine=ImageFont.Layout.BASIC)
        left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
        w, h = right - left, bottom - top
        place = image.width - w, image.height - h - h / 3
        draw.text(place, str(number), font=font, fill="red")
        pages.append(np.asarray(image))
    return pages


def first_time(frames):
    overlay._stamps.clear()
    overlay._stamps.stored = 0
    number_frames(frames, out=frames)


def seconds_of(function, *arguments, **more):
    start = time.process_time()
    function(*arguments, **more)
    return time.process_time() - start


def time_clip(count, width, height, repeats):
    """Return a row for a clip of noise: the least seconds of each way."""
    shape = (count, height, width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    target = frames.copy()  # what is drawn on in place; the second time on top of the first
    pairs = zip(number_frames(frames), number_plainly(frames), strict=True)
    if not all(np.array_equal(*pair) for pair in pairs):
        raise SystemExit(f"{count} frames {width} x {height}: the pixels differ from Pillow's")
    ways = {
        "Pillow": lambda: seconds_of(number_plainly, frames),
        "first": lambda: seconds_of(first_time, target),
        "in place": lambda: seconds_of(number_frames, target, out=target),
        "new array": lambda: seconds_of(number_frames, frames),
        "copy": lambda: seconds_of(frames.copy),
    }
    # each way again at once: a new array is first of all new memory, dear where it is in pieces
    tries = [{name: min(way(), way()) for name, way in ways.items()} for _ in range(repeats)]
    least = {name: min(row[name] for row in tries) for name in ways}
    ratios = {name: least["Pillow"] / spent for name, spent in least.items()}
    about = f"{count} frames {width} x {height}"
    return {"what": about, "identical": True, "seconds": least, "ratio": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="the best of twice so many counts")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    rows = [time_clip(*clip, arguments.repeats) for clip in CLIPS]
    about = provenance()
    print(f"{about['machine']['processor']}, one process; every pixel as Pillow's")
    print(f"{'':24} {'way':>10} {'ms':>8} {'frames/s':>9} {'ratio':>6} {'asked':>6}")
    for (count, *_), row in zip(CLIPS, rows, strict=True):
        for name, spent in row["seconds"].items():
            least = LEAST.get(name, "")
            figures = f"{1000 * spent:8.1f} {count / spent:9.0f} {row['ratio'][name]:6.1f}"
            print(f"{row['what']:24} {name:>10} {figures} {least:>6}")
    report = {"machine": about["machine"]["processor"], "versions": about["versions"], "rows": rows}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
