"""Many short films, beside decord, torchcodec and another checkout: see benchmarks/README.md.

Films are of 10 s, 640 x 360, H.264 with B-frames, read at 1 fps. Ways run in turns, each in a
process of its own, and are timed by the clock, so the machine should do nothing else::

    python benchmarks/short_films.py --before OTHER_CHECKOUT --torchcodec FOLDER

FOLDER is where ``pip install --target FOLDER --no-deps torchcodec`` has put a version that fits the
torch that is installed; it needs the libraries of FFmpeg.
"""

import argparse
import json
import shutil
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
from side_by_side import run_child

ROOT = Path(__file__).resolve().parents[1]
KINDS, SECONDS, SIZE = 6, 10, (336, 336)


def read_by_numpro(paths, workers, cache=None):
    """Yield numbered frames."""
    from numpro import number_frames
    from numpro.video import ClipCache
    from numpro.video.workers import Request, read_many

    requests = [Request(path, {"fps": 1.0, "size": SIZE}) for path in paths]
    for _, clip in read_many(requests, workers, cache=cache and ClipCache(cache)):
        yield number_frames(clip.frames, out=clip.frames)


def read_by_decord(paths):
    """Yield frames as they come: neither resized nor numbered."""
    import decord

    for path in paths:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        yield reader.get_batch([30 * second for second in range(SECONDS)]).asnumpy()


def read_by_torchcodec(paths):
    """Yield frames as they come: neither resized nor numbered."""
    from torchcodec.decoders import VideoDecoder

    for path in paths:
        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
        yield decoder.get_frames_played_at([float(s) for s in range(SECONDS)]).data.numpy()


def ask_all(paths, workers, folder):
    """Ask a model that is no model one question about each film; return films a second."""
    from numpro.datasets import Query, VideoQueries
    from numpro.models import VideoModel
    from numpro.spans import Span

    class Stub(VideoModel):
        name, notes, adapter, fingerprint = "stub", {}, None, "stub"

        def respond(self, frames, prompts, max_new_tokens):
            return ["From 3 to 7."] * len(prompts)

    films = [
        VideoQueries(
            p.stem, p, float(SECONDS), (Query(p.stem, "a star", (Span(3.0, 7.0),)),), "x", "y"
        )
        for p in paths
    ]
    try:
        from numpro.inference import Execution, predict

        how = {"execution": Execution(workers=workers, progress=False)}
    except ImportError:  # the version of 0.1.0
        from numpro.predict import predict

        how = {"workers": workers, "progress": False}
    with tempfile.TemporaryDirectory(dir=folder) as out:
        predict(films[:2], Stub(), Path(out, "first.jsonl"), **how)  # what is started once is
        began = time.perf_counter()
        rows = predict(films, Stub(), Path(out, "rows.jsonl"), **how)
        taken = time.perf_counter() - began
    assert len(rows) == len(films) and all(row["pred"] for row in rows)
    return len(films) / taken


def run(way, folder):
    """Read all films in one way; print the seconds, the peak memory by fifths, and a checksum."""
    import zlib

    import psutil

    paths = sorted(Path(folder).glob("*.mp4"))
    if "predict" in way:
        return print(json.dumps(ask_all(paths, int(way.split()[-1]), folder)))
    ways = {
        "numpro": lambda: read_by_numpro(paths, 2),
        "before": lambda: read_by_numpro(paths, 2),
        "numpro, no workers": lambda: read_by_numpro(paths, 0),
        "to the cache": lambda: read_by_numpro(paths, 2, Path(folder, "cache")),
        "from the cache": lambda: read_by_numpro(paths, 2, Path(folder, "cache")),
        "decord": lambda: read_by_decord(paths),
        "torchcodec": lambda: read_by_torchcodec(paths),
    }
    next(ways[way]()).sum()  # what is imported and started once is
    here, checksum, peaks, paused = psutil.Process(), 0, [0] * 5, 0.0
    began = time.perf_counter()
    for number, frames in enumerate(ways[way]()):
        pause = time.perf_counter()
        if number < KINDS:
            checksum = zlib.crc32(np.ascontiguousarray(frames), checksum)
        at = 5 * number // len(paths)
        peaks[at] = max(peaks[at], here.memory_info().rss >> 20)
        paused += time.perf_counter() - pause
    seconds = time.perf_counter() - began - paused
    print(json.dumps({"seconds": seconds, "checksum": checksum, "rss_mib": peaks}))


def ask_child(way, folder, before, torchcodec):
    """Run one way in a process of its own."""
    paths = [torchcodec] * (way == "torchcodec")
    return run_child(__file__, ["--run", way, folder], before if "before" in way else ROOT, paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--predict", action="store_true", help="only whole runs of `predict`")
    parser.add_argument("--before", help="another checkout of this project")
    parser.add_argument("--torchcodec", help="the folder that it was installed to")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    if arguments.run:
        return run(*arguments.run)
    from video import make_film

    from numpro.provenance import provenance

    ways = ["numpro", "numpro, no workers", "decord"]
    ways += ["before"] * bool(arguments.before) + ["torchcodec"] * bool(arguments.torchcodec)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.films):
            path = Path(folder, f"{number:04d}.mp4")
            if number < KINDS:
                make_film(path, SECONDS, (640, 360), Fraction(30), seed=number)
            else:
                shutil.copy(Path(folder, f"{number % KINDS:04d}.mp4"), path)
        others = folder, arguments.before, arguments.torchcodec
        if arguments.predict:
            builds = ["predict", *(["before: predict"] if arguments.before else [])]
            ways = [f"{build}, workers {n}" for n in (0, 1, 2, 4) for build in builds]
            rounds = [
                {way: ask_child(way, *others) for way in ways} for _ in range(arguments.rounds)
            ]
            middle = {way: round(median(found[way] for found in rounds), 2) for way in ways}
            report = {"machine": provenance()["machine"], "films": arguments.films}
            report["films_a_second"] = middle
            arguments.out.with_stem("predict_short_films").write_text(
                json.dumps(report, indent=1) + "\n"
            )
            return print(json.dumps(report, indent=1))
        rounds = [{way: ask_child(way, *others) for way in ways} for _ in range(arguments.rounds)]
        kept = {way: ask_child(way, *others) for way in ("to the cache", "from the cache")}
    same = {found["checksum"] for r in (*rounds, kept) for way, found in r.items()
            if way not in ("decord", "torchcodec")}  # fmt: skip
    if len(same) > 1:
        raise SystemExit("frames differ between numpro's ways")
    seconds = {way: [found[way]["seconds"] for found in rounds] for way in ways}
    middle = {way: median(times) for way, times in seconds.items()}
    report = {"machine": provenance()["machine"], "versions": provenance()["versions"]}
    report |= {"films": arguments.films, "seconds": seconds}
    report["numpro_to"] = {way: middle["numpro"] / middle[way] for way in ways[1:]}
    report["cache"] = {way: found["seconds"] for way, found in kept.items()}
    report["rss_mib_by_fifths"] = rounds[-1]["numpro"]["rss_mib"]
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return None


if __name__ == "__main__":
    main()
