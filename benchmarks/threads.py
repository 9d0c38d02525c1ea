"""How many threads suit a small model on a CPU: ``python benchmarks/threads.py --help``.

The embedded model answers the queries of test films that were read before, with one thread (as
`numpro.models.threads` asks it) and with two, whose waiting thread sleeps or spins; alone and
beside processes that keep cores busy. A process each, as the way of waiting is read at its start.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from numpro.provenance import provenance

WAYS = {
    "one thread": {},
    "two threads, waiting asleep": {"SMALL_BYTES": "0", "OMP_WAIT_POLICY": "PASSIVE"},
    "two threads, waiting spun": {"SMALL_BYTES": "0"},
}


def ask(films):
    """Print the seconds that the second of two rounds of questions took."""
    import torch

    from numpro import read_clip
    from numpro.datasets import load_dataset
    from numpro.models import load_model, threads

    threads.SMALL_BYTES = int(os.environ.get("SMALL_BYTES", threads.SMALL_BYTES))
    torch.set_num_threads(2)
    model = load_model("flipbook/longva", adapter="flipbook/numpro-ft")
    videos = load_dataset("flipbook", "test", limit=films)
    clips = [read_clip(video.path, fps=1.0) for video in videos]
    for _ in range(2):  # the first one warms up
        start = time.perf_counter()
        for video, clip in zip(videos, clips, strict=True):
            model.answer(clip, [query.text for query in video.queries])
        seconds = time.perf_counter() - start
    print(json.dumps(seconds))


def seconds_of(way, films, limit):
    """Return the seconds a way took, None where it took longer than the limit."""
    quiet = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"}
    told = {k: v for k, v in os.environ.items() if k not in quiet} | WAYS[way]
    command = [sys.executable, __file__, "--films", str(films), "--ask"]
    try:
        done = subprocess.run(
            command, env=told, timeout=limit, check=True, stdout=subprocess.PIPE, text=True
        )
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout.splitlines()[-1])


def main():
    about = argparse.ArgumentParser(description=__doc__)
    about.add_argument("--films", type=int, default=12)
    about.add_argument("--limit", type=float, default=150, help="seconds a way may take in all")
    about.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    about.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    given = about.parse_args()
    if given.ask:
        return ask(given.films)
    rows = []
    for count in (0, 1, 2):
        busy = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(count)]
        try:
            for way in WAYS:
                row = {"busy_processes": count, "way": way, "limit_s": given.limit}
                rows.append(row | {"seconds": seconds_of(way, given.films, given.limit)})
                print(rows[-1], flush=True)
        finally:
            for process in busy:
                process.kill()
    told = {"films": given.films, "rows": rows, **provenance()}
    given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
