"""How fast prediction files are scored: ``python benchmarks/conventions.py --help``.

Three things, in seconds of CPU after the imports: one default evaluation, all conventions beside
it, and a file of a million rows by the whole command, with its peak of memory. With ``--before``
the default evaluation of an older checkout is timed in the same run.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from numpro.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
TIMED = """
import sys, time
from numpro.metrics import evaluate_moment_predictions
convention, *files = sys.argv[1:]
options = {} if convention == "default" else {"convention": convention}
for _ in range(5):
    start = time.process_time()
    for pair in zip(files[::2], files[1::2]):
        evaluate_moment_predictions(*pair, **options)
    print(time.process_time() - start)
"""


def made_up(folder, name, queries, windows, videos):
    """Write predictions and annotations of so many queries about so many films."""
    rng, rows, true = random.Random(0), [], []
    for qid in range(queries):
        row = {"qid": qid, "vid": f"film{qid % videos}", "query": f"the thing {qid} happens"}
        ends = [sorted((rng.uniform(0, 150), rng.uniform(0, 150))) for _ in range(windows + 1)]
        rows.append(row | {"pred_relevant_windows": [[*w, rng.random()] for w in ends[1:]]})
        true.append(row | {"duration": 150, "relevant_windows": ends[:1]})
    files = [folder / f"{name}_{part}.jsonl" for part in ("predictions", "annotations")]
    for file, lines in zip(files, (rows, true), strict=True):
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files


def large(folder, rows):
    """Write own prediction rows with their truth, 20 of them about a film."""
    rng, file = random.Random(0), folder / "large.jsonl"
    with file.open("w") as out:
        for qid in range(rows):
            a, b, c, d = (rng.uniform(0, 30) for _ in range(4))
            row = {"qid": f"q{qid}", "video": f"film{qid // 20}", "query": "a dog runs away"}
            row |= {"duration": 30.0, "response": f"From {a:.0f} to {b:.0f}.", "reason": None}
            row |= {"pred": [sorted((a, b))], "truth": [sorted((c, d))]}
            out.write(json.dumps(row) + "\n")
    return file


# the system's own "largest size of a child" begins with that of the process that started it
MEASURED = """
import runpy, sys, time
try:
    runpy.run_module("numpro", run_name="__main__", alter_sys=True)
except SystemExit as end:
    status = open("/proc/self/status").read()
    print(time.process_time(), status.split("VmHWM:")[1].split()[0], file=sys.stderr)
    raise
"""


def seconds(checkout, convention, files):
    """Return the least CPU time of five evaluations by this checkout, in a process of its own."""
    command = [sys.executable, "-c", TIMED, convention, *map(str, files)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return min(map(float, done.stdout.split()))


def time_conventions(files, before):
    default, every = (seconds(ROOT, convention, files) for convention in ("numpro", "all"))
    row = {"what": "all conventions", "default_s": default, "all_s": every}
    row |= {"before_s": seconds(before, "default", files)} if before else {}
    return row | {"ratio": every / row.get("before_s", default)}


def time_large(folder, rows):
    file = large(folder, rows)
    command = [sys.executable, "-c", MEASURED, "evaluate", "moment-retrieval", str(file), "--json"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, text=True)
    if done.returncode:
        raise SystemExit(f"{file.name} was not scored: {done.stderr}")
    cpu, peak = map(float, done.stderr.split()[-2:])
    what = f"{rows} rows, {file.stat().st_size / 2**20:.0f} MiB, numpro evaluate, start and all"
    return {"what": what, "numpro_s": cpu, "peak_mb": peak / 1e3}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="predictions, annotations, ...")
    parser.add_argument("--before", type=Path, help="an older checkout of this project")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large file; 0: none")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [file.absolute() for file in arguments.files] or [
            *made_up(Path(folder), "charades", 3720, 1, 1334),
            *made_up(Path(folder), "qvhighlights", 1550, 10, 1529),
        ]
        rows = [time_large(Path(folder), arguments.rows)] if arguments.rows else []
        rows.append(time_conventions(files, arguments.before))
    about = provenance()
    report = {"machine": about["machine"]["processor"], "versions": about["versions"], "rows": rows}
    for row in rows:
        print(", ".join(f"{k} {v:.2f}" if isinstance(v, float) else v for k, v in row.items()))
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
