"""What reading and numbering a video cost, beside the plain ways: ``python benchmarks/video.py``.

Seconds are of CPU, of all threads, the least of several rounds of this run. The plain ways need
OpenCV, which NumPro does not::

    pip install --target /tmp/opencv --no-deps opencv-python-headless
    PYTHONPATH=/tmp/opencv python benchmarks/video.py
"""

import argparse
import importlib.util
import json
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import plain_video
from PIL import Image

from numpro import number_frames, read_clip
from numpro.provenance import provenance
from numpro.video.container import _kept_index, make_index
from numpro.video.decode import decoded, read_decord

FILMS = {  # name: seconds, (width, height), frames a second
    "150 s, 640x360, 30 fps": (150, (640, 360), Fraction(30)),
    "30 s, 480x270, 14.985 fps": (30, (480, 270), Fraction(15000, 1001)),
}
LONGEST = max(seconds for seconds, *_ in FILMS.values())
QUERIES = 3.5  # a video, in ActivityNet Captions
SIZE = (336, 336)


def make_film(path, seconds, size, rate, seed=0):
    """Write H.264 as x264 does by default: moving texture, grain, eight patches, cuts."""
    (w, h), rng = size, np.random.default_rng(seed)
    grain = [rng.integers(-6, 7, (h, w, 3), dtype=np.int16) for _ in range(7)]
    spots, colours = rng.uniform(0, 1, (8, 4)), rng.integers(0, 256, (8, 3))
    coarse = rng.integers(40, 216, (h // 8, w // 4, 3), dtype=np.uint8)
    texture = np.asarray(Image.fromarray(coarse).resize((2 * w, h)), dtype=np.int16)
    with av.open(str(path), "w", format="mp4") as out:
        options = {"preset": "medium", "crf": "23", "threads": "1"}
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        for at in range(round(seconds * rate)):
            t = float(at / rate)
            shift = int(t * 20) % w
            frame = np.roll(texture, 17 * int(t // 12), axis=0)[:, shift : shift + w]
            frame = frame + grain[at % 7]
            for (a, b, c, d), colour in zip(spots, colours, strict=True):
                x = int((a + c * np.sin(t * (0.3 + d))) * w) % w
                y = int((b + d * np.cos(t * (0.2 + c))) * h) % h
                frame[y : y + h // 6, x : x + w // 8] = colour
            picture = np.clip(frame, 0, 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())


def read_and_number(path, size=None):
    _kept_index.cache_clear()  # as for a film that is met for the first time
    clip = read_clip(path, fps=1, size=size)
    return number_frames(clip.frames, out=clip.frames)


def measure(ways, rounds):
    """Return the least CPU seconds of each way, all of them in turn in every round."""
    least = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            least[name] = min(least[name], time.process_time() - start)
    return least


def time_film(name, path, rounds, opencv, folder):
    clip, index = read_clip(path, fps=1), make_index(path)
    wanted, stamps = clip.source_index, index.pts[clip.source_index].tolist()
    ways = {
        "numpro": lambda: read_and_number(path),
        "numpro, 336x336": lambda: read_and_number(path, SIZE),
        "bare PyAV": lambda: plain_video.bare_pyav(path, stamps),
        "bare PyAV, sparing": lambda: plain_video.bare_sparing_pyav(path, stamps),
        "bare decord": lambda: plain_video.bare_decord(path, wanted),
        "bare PyAV, sparing, 336x336": lambda: plain_video.bare_sparing_pyav(path, stamps, SIZE),
        "numpro's decord": lambda: read_decord(index, wanted, None),
        "index": lambda: make_index(path),
        "decoding alone": lambda: sum(1 for _ in decoded(index, wanted, sparing=True)),
        "drawing": lambda: number_frames(clip.frames, out=clip.frames),
    }
    for other in ("bare PyAV", "bare PyAV, sparing", "bare decord", "numpro's decord"):
        if not np.array_equal(ways[other](), clip.frames):
            raise SystemExit(f"{other} gives other frames than read_clip")
    scaled = ways["bare PyAV, sparing, 336x336"]().astype(int)
    apart = np.abs(scaled - read_clip(path, fps=1, size=SIZE).frames)
    if opencv:
        ways["sampling"] = lambda: plain_video.sample_sequentially(path, 1)
        ways["published"] = lambda: plain_video.number_every_frame(path, folder / "plain.mp4")
    seconds = measure(ways, rounds)
    ours, bare = seconds["numpro"], seconds["bare PyAV, sparing"]
    ratios = {"numpro to bare decoding of the same frames by the same reader": ours / bare}
    if opencv:
        ratios["published way to numpro, one query"] = seconds["published"] / ours
        ratios[f"published way to numpro, {QUERIES} queries"] = (
            QUERIES * seconds["published"] / ours
        )
        ratios["sampling alone to numpro"] = seconds["sampling"] / ours
        ratios["published way to decoding alone, the limit"] = (
            seconds["published"] / seconds["decoding alone"]
        )
    profile = {name: seconds[name] / ours for name in ("index", "decoding alone", "drawing")}
    profile["conversion and the rest"] = 1 - sum(profile.values())
    about = {"rounds": rounds, "frames": index.info.frames, "keyframes": int(index.keyframe.sum())}
    about |= {"wanted": len(wanted), "decoded": ways["decoding alone"]()}
    reader = {name: clip.source[name] for name in ("backend", "why")}
    figures = {"cpu_s": seconds, "ratios": ratios, "profile": profile}
    scaler = {"mean_difference": float(apart.mean()), "largest_difference": int(apart.max())}
    return {"film": name, **about, **reader, **figures, "decoders_scaler": scaler}


def time_index(path, hours, folder):
    """Time `make_index` on a film of hours: the packets of `path` over and over."""
    long = folder / "long.mkv"
    with av.open(str(path)) as film, av.open(str(long), "w") as out:
        stream = film.streams.video[0]
        copy, length = out.add_stream_from_template(stream), stream.duration
        packets = [p for p in film.demux(stream) if p.size]
        turns = round(hours * 3600 / float(length * stream.time_base))
        for _ in range(turns):
            for packet in packets:
                packet.stream = copy
                out.mux(packet)
                packet.pts, packet.dts = packet.pts + length, packet.dts + length
    seconds = measure({"index": lambda: make_index(long)}, 2)["index"]
    return {"frames": len(packets) * turns, "bytes": long.stat().st_size, "cpu_s": seconds}


def grow(path, videos):
    """Return the growth of the peak memory, in MB, from a tenth of so many readings on."""
    for at in range(videos):
        read_and_number(path)
        if at == videos // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def show(row):
    counts = f"{row['decoded']} decoded for {row['wanted']}"
    print(f"{row['film']}: {row['frames']} frames, {counts}, by {row['backend']} ({row['why']})")
    for name, seconds in row["cpu_s"].items():
        print(f"  {seconds:8.3f} s  {name}")
    for name, ratio in row["ratios"].items():
        print(f"  {ratio:8.2f}    {name}")
    for name, share in row["profile"].items():
        print(f"  {share:8.1%}    of numpro: {name}")
    mean, largest = row["decoders_scaler"].values()
    print(f"  {mean:8.2f}    mean difference of the decoder's scaler to Pillow's, of 255")
    print(f"  {largest:8d}    the largest")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep the generated films here")
    parser.add_argument("--rounds", type=int, default=3, help="of the longest film")
    parser.add_argument("--videos", type=int, default=500, help="readings, to see memory stay flat")
    parser.add_argument("--hours", type=float, default=2, help="length of the film to index")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("video.json"))
    arguments = parser.parse_args()
    opencv = importlib.util.find_spec("cv2") is not None
    if not opencv:
        print(
            "no OpenCV here, so the plain ways are left out. " + __doc__[__doc__.index("The pl") :]
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder, scratch, rows = arguments.folder or Path(scratch), Path(scratch), []
        for at, (name, film) in enumerate(FILMS.items()):
            path = folder / f"film-{at}.mp4"
            if not path.exists():
                make_film(path, *film)
            rounds = round(arguments.rounds * LONGEST / film[0])  # noise weighs more in a short one
            rows.append(time_film(name, path, rounds, opencv, scratch))
            show(rows[-1])
        index = time_index(path, arguments.hours, scratch)
        tiny = scratch / "tiny.mp4"
        make_film(tiny, 3, (160, 96), Fraction(10))
        growth = grow(tiny, arguments.videos)
    print(f"  {index['cpu_s']:8.3f} s  index of {index['frames']} frames")
    print(f"  {growth:8.1f} MB more peak memory after {arguments.videos} readings")
    about = provenance()
    report = {
        "machine": about["machine"]["processor"],
        "versions": about["versions"],
        "films": rows,
        "index_of_a_long_film": index,
        "memory_growth_mb": growth,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['machine']}; wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
