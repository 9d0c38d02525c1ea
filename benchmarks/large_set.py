"""A large set, and all that is not the model: see benchmarks/README.md.

A set in the shape of Charades-STA's test part (3,720 queries on 1,334 films, all small) is loaded,
checked, asked of a model that answers at once, scored and reported, with the clips in a cache.
Each way runs in processes of its own, in turns::

    python benchmarks/large_set.py --before OTHER_CHECKOUT
"""

import argparse
import csv
import json
import resource
import shutil
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
from side_by_side import memory_kib, run_child

ROOT = Path(__file__).resolve().parents[1]
FILMS, QUERIES, KINDS, SECONDS = 1334, 3720, 6, 8
PARTS = ("load", "check", "ask", "ask again", "score", "report")


def write_set(folder, films, queries):
    """Write films and annotations in the layout of Charades-STA."""
    from video import make_film

    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        names = [f"{split}{number:04d}" for number in range(films)]
        lines = []
        for number in range(queries):
            start, end = sorted(rng.uniform(0, SECONDS, 2).round(1))
            lines.append(f"{names[number % films]} {start} {end + 0.1:.1f}##person does {number}.")
        Path(folder, f"charades_sta_{split}.txt").write_text("\n".join(lines) + "\n")
        with open(Path(folder, f"Charades_v1_{split}.csv"), "w", newline="") as file:
            rows = [("id", "length"), *((name, f"{SECONDS:.2f}") for name in names)]
            csv.writer(file).writerows(rows)
    videos = Path(folder, "Charades_v1_480")
    videos.mkdir()
    for number in range(films):
        path = videos / f"test{number:04d}.mp4"
        if number < KINDS:
            make_film(path, SECONDS, (160, 120), Fraction(30), seed=number)
        else:
            shutil.copy(videos / f"test{number % KINDS:04d}.mp4", path)


def run(folder, cache):
    """Walk from the files to the report once; print seconds by part and the peak memory."""
    from numpro.datasets import load_dataset
    from numpro.datasets.check import check_dataset
    from numpro.inference import Execution, predict
    from numpro.models import VideoModel
    from numpro.studies import score_arms, score_floors
    from numpro.studies.arms import Arm
    from numpro.workbook.report import render_report

    class Stub(VideoModel):
        notes = {}
        name = "stub"

        def respond(self, frames, prompts, max_new_tokens):
            return [f"From {len(frames) // 4} to {3 * len(frames) // 4}." for _ in prompts]

    marks = [(time.perf_counter(), cpu())]

    def mark():
        marks.append((time.perf_counter(), cpu()))

    test = load_dataset("charades-sta", "test", folder)
    train = load_dataset("charades-sta", "train", folder)
    mark()
    found = check_dataset("charades-sta", folder, ("test",))
    assert found["splits"][0]["readable"] == len(test), found["splits"]
    mark()
    with tempfile.TemporaryDirectory() as out:
        rows = Path(out, "rows.jsonl")
        rows_of_all = predict(test, Stub(), rows, execution=Execution(cache=cache, progress=False))
        mark()
        again = predict(test, Stub(), rows, execution=Execution(cache=cache, progress=False))
        assert again == rows_of_all and not any(row["reason"] for row in again)
        mark()
    arm = Arm("stub", "overlay-index")
    scores = score_arms([arm], {"stub": again}, test, "stub") + score_floors(test, train)
    mark()
    results = {"run": "x", "status": "complete", "started": "", "seconds": 0.0, "recipe": None}
    results |= {"parameters": {}, "seed": 0, "numpro": "", "commit": None, "dirty": None}
    results |= {"versions": {}, "machine": {"processor": "", "cores": 0, "accelerators": []}}
    render_report(results | {"notebooks": [], "notes": {}, "scores": scores}, [])
    mark()
    spent = {
        part: [round(b - a, 2) for a, b in zip(marks[n], marks[n + 1], strict=True)]
        for n, part in enumerate(PARTS)
    }
    total = [round(b - a, 2) for a, b in zip(marks[0], marks[-1], strict=True)]
    peak = memory_kib("VmHWM") >> 10
    answer = {"wall_and_cpu": spent, "all": total, "peak_mib": peak}
    print(json.dumps(answer | {"mIoU": [row["mIoU"][0] for row in scores]}))


def cpu():
    """Return the CPU seconds of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "CACHE"), help=argparse.SUPPRESS)
    parser.add_argument("--films", type=int, default=FILMS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", help="another checkout of this project")
    parser.add_argument("--folder", help="where the set and the caches are kept [nowhere]")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    if arguments.run:
        return run(*arguments.run)
    from numpro.provenance import provenance

    ways = {"now": ROOT} | ({"before": arguments.before} if arguments.before else {})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        if not (folder / "set").is_dir():
            (folder / "set").mkdir(parents=True)
            write_set(folder / "set", arguments.films, arguments.queries)
        data = folder / "set"
        places = {
            way: (checkout, data, folder / f"cache of {way}") for way, checkout in ways.items()
        }
        for place in places.values():  # fills its cache
            run_child(__file__, ["--run", *place[1:]], place[0])
        rounds = [
            {
                way: run_child(__file__, ["--run", *place[1:]], place[0])
                for way, place in places.items()
            }
            for _ in range(arguments.rounds)
        ]
    if len({str(found["mIoU"]) for each in rounds for found in each.values()}) > 1:
        raise SystemExit("scores differ")
    report = {"machine": provenance()["machine"], "versions": provenance()["versions"]}
    report |= {"films": arguments.films, "queries": arguments.queries, "rounds": rounds}
    for unit, at in (("wall_s", 0), ("cpu_s", 1)):
        report[unit] = {way: median(r[way]["all"][at] for r in rounds) for way in ways}
        if "before" in ways:
            report[unit]["share"] = round(report[unit]["now"] / report[unit]["before"], 3)
    report["peak_mib"] = {way: max(r[way]["peak_mib"] for r in rounds) for way in ways}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return None


if __name__ == "__main__":
    main()
