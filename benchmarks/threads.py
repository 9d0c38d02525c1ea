"""How many threads suit a small model on a CPU: ``python benchmarks/threads.py --help``.

The embedded model answers the queries of test films that were read before, with one thread (as
`numpro.models.threads` asks it) and with two, whose waiting thread sleeps or spins; alone and
beside processes that keep cores busy. Then models with random weights in the shape of LongVA, of
growing width, answer four questions about a film of 16 frames, alone: from which size on a second
thread gains. A process each, as the way of waiting is read at its start.
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


def ask_random(width):
    """Print the weights' bytes, and the least seconds of five rounds of questions."""
    import torch
    from inference import _film, build

    from numpro.models import threads
    from numpro.models.kept import weight_bytes
    from numpro.prompting.prompts import build_prompt

    threads.SMALL_BYTES = 0 if "SMALL_BYTES" in os.environ else 1 << 40
    torch.set_num_threads(2)
    words = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 8}
    sight = {"hidden_size": width // 2, "intermediate_size": 2 * width, "num_hidden_layers": 4}
    heads = {"num_attention_heads": width // 64}
    shape = {
        "side": 112,
        "text": {**words, **heads, "num_key_value_heads": 2},
        "longva": {**sight, **heads},
    }
    model, frames = build("longva", shape, "cpu", torch.float32), _film(16, shape)
    seconds = [float(n) for n in range(len(frames))]
    prompts = [build_prompt(f"a red star number {n} spins", seconds) for n in range(4)]
    took = []
    for _ in range(6):  # the first one warms up
        start = time.perf_counter()
        model.respond(frames, prompts, 12)
        took.append(time.perf_counter() - start)
    print(json.dumps([weight_bytes(model), min(took[1:])]))


def run(way, limit, *arguments):
    """Return what this script prints with these arguments; None past the limit."""
    quiet = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"}
    environment = {k: v for k, v in os.environ.items() if k not in quiet} | WAYS[way]
    command = [sys.executable, __file__, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, env=environment, timeout=limit, check=True, stdout=subprocess.PIPE, text=True
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main():
    about = argparse.ArgumentParser(description=__doc__)
    about.add_argument("--films", type=int, default=12)
    about.add_argument("--limit", type=float, default=150, help="seconds a way may take in all")
    about.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    about.add_argument("--widths", type=int, nargs="*", default=[128, 256, 384, 512, 768, 1024])
    about.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    about.add_argument("--ask-random", type=int, help=argparse.SUPPRESS)
    given = about.parse_args()
    if given.ask:
        return ask(given.films)
    if given.ask_random:
        return ask_random(given.ask_random)
    rows, sizes = [], []
    for count in (0, 1, 2):
        busy = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(count)]
        try:
            for way in WAYS:
                row = {"busy_processes": count, "way": way, "limit_s": given.limit}
                took = run(way, given.limit, "--films", given.films, "--ask")
                rows.append(row | {"seconds": took})
                print(rows[-1], flush=True)
        finally:
            for process in busy:
                process.kill()
    for width in given.widths:
        for way in WAYS:
            found = run(way, given.limit, "--ask-random", width) or [None, None]
            sizes.append({"width": width, "way": way, "weight_bytes": found[0]})
            sizes[-1]["seconds"] = found[1]
            print(sizes[-1], flush=True)
    report = {"films": given.films, "rows": rows, "sizes": sizes, **provenance()}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
