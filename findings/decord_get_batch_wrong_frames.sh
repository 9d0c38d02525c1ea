#!/bin/sh
# decord 0.6.0: get_batch gives other frames than reading the same reader frame by frame does, for
# valid films (WMV 8, and H.264 with intra refresh), and nothing tells. Many projects of video LLMs
# sample videos with get_batch. Exits 0 while it is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --target "$folder/packages" decord==0.6.0 av==18.1.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PYTHON'
import sys
from fractions import Fraction

import av
import decord
import numpy as np

RATE, COUNT = 25, 200
still = np.random.default_rng(0).integers(0, 100, (96, 128, 3), dtype=np.uint8)
films = {
    "film.wmv": ("wmv2", {"g": "12"}),
    "film.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=60:bframes=0:scenecut=0"}),
}


def number_of(frame):
    return sum(int(frame[:, 16 * b + 2 : 16 * b + 14].mean() > 127) << b for b in range(8))


print("decord", decord.__version__, "PyAV", av.__version__)
wrong = []
for name, (codec, options) in films.items():
    path = f"{sys.argv[1]}/{name}"
    with av.open(path, "w", format="asf" if name.endswith("wmv") else None) as out:
        stream = out.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for at in range(COUNT):  # each picture carries its number in eight bars
            bars = np.repeat([255 * (at >> b & 1) for b in range(8)], 16).astype(np.uint8)
            picture = bars[None, :, None] ^ still
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    wanted = list(range(0, COUNT, RATE))  # one a second
    reader = decord.VideoReader(path, num_threads=1)
    batch = [number_of(frame) for frame in reader.get_batch(wanted).asnumpy()]
    reader = decord.VideoReader(path, num_threads=1)
    one_by_one = [number_of(reader.next().asnumpy()) for _ in range(COUNT)]
    print(f"{name} ({codec}), {len(reader)} frames")
    print("  asked for       ", wanted)
    print("  get_batch gives ", batch)
    print("  next() gives    ", [one_by_one[at] for at in wanted])
    wrong.append(batch != wanted and [one_by_one[at] for at in wanted] == wanted)
sys.exit(0 if all(wrong) else 1)
PYTHON
