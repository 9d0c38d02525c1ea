"""Wall times of `make test` and of the notebooks: ``python benchmarks/wall_times.py --help``.

Checkouts of two versions, each with its `.venv` built (or a link to one that suits both), are
measured in turns on one machine, so that what else it does falls on both. Nothing else should run
beside it. The films are drawn anew for the notebooks, as in a fresh clone.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from numpro.provenance import provenance

PYTHON = ".venv/bin/python"
WAYS = {
    "tests": ["make", "test"],
    "notebooks": [PYTHON, "-m", "numpro", "run", "--run", "wall-times"],
}


def seconds_of(way: str, checkout: Path) -> float:
    """Run one of `WAYS` in a checkout; a failure ends the measurement."""
    if way == "notebooks":
        for made in ("papermill_runs/wall-times", "data/flipbook/films"):
            shutil.rmtree(checkout / made, ignore_errors=True)
    start = time.monotonic()
    env = os.environ | {"PYTHONPATH": str(checkout)}  # a shared .venv has one of the two installed
    done = subprocess.run(WAYS[way], cwd=checkout, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{way} failed in {checkout}:\n{(done.stdout + done.stderr)[-2000:]}")
    return round(time.monotonic() - start, 1)


def commit_of(checkout: Path) -> str:
    """Return the commit that a checkout is at."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="checkout of the version before")
    parser.add_argument("after", type=Path, help="checkout of the version after")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help="by default both")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    places = {"before": given.before.resolve(), "after": given.after.resolve()}
    ways = [given.only] if given.only else list(WAYS)
    times = {way: {name: [] for name in places} for way in ways}
    for _ in range(given.repeats):
        for way in ways:
            for name, checkout in places.items():
                times[way][name].append(seconds_of(way, checkout))
                print(f"{way:10} {name:7} {times[way][name][-1]:7.1f} s", flush=True)
    report = {"machine": provenance()["machine"], "seconds": times}
    report["commits"] = {name: commit_of(checkout) for name, checkout in places.items()}
    report["ratio"] = {
        way: round(statistics.median(t["after"]) / statistics.median(t["before"]), 3)
        for way, t in times.items()
    }
    print("ratio of the medians:", report["ratio"])
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
