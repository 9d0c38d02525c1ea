"""How fast the scorers are, beside the obvious way: ``python benchmarks/scorer.py --help``.

All are timed in this run, in seconds of CPU, and must give the same scores. With ``--official``
moment_detr's own script is timed, too, and beside it the whole ``numpro evaluate`` command. It
needs scikit-learn, and its repository on PYTHONPATH.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import plain_scorer

from numpro.metrics import bootstrap_interval, evaluate_highlight_predictions
from numpro.provenance import provenance


def made_up(folder, queries=1550, clips=75):
    """Write predictions and annotations as large as QVHighlights val."""
    rng, predictions, true = random.Random(0), [], []
    for qid in range(queries):
        ends = sorted(rng.sample(range(0, 2 * clips + 1, 2), 4))
        ids = sorted(rng.sample(range(clips), 20))
        windows = [ends[:2], ends[2:]][: rng.choice((1, 1, 2))]
        wanted = {"qid": qid, "vid": f"v{qid}", "duration": 2 * clips, "relevant_windows": windows}
        rated = [[rng.randrange(5) for _ in range(3)] for _ in ids]
        true.append(wanted | {"relevant_clip_ids": ids, "saliency_scores": rated})
        found = [sorted((rng.uniform(0, 150), rng.uniform(0, 150))) for _ in range(10)]
        found[0] = [t + rng.gauss(0, 3) for t in windows[0]]
        row = {"qid": qid, "pred_relevant_windows": [[*sorted(w), rng.random()] for w in found]}
        predictions.append(row | {"pred_saliency_scores": [rng.gauss(0, 1) for _ in range(clips)]})
    for name, rows in (("said", predictions), ("true", true)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "said.jsonl", folder / "true.jsonl"


def score_plainly(predictions, annotations):
    rows = ([json.loads(x) for x in p.read_text().splitlines()] for p in (predictions, annotations))
    return plain_scorer.score(*rows)


def bootstrap_plainly(values, groups, resamples):
    rng, sums = random.Random(0), {}
    for value, group in zip(values[:, 0].tolist(), groups, strict=True):
        total, count = sums.get(group, (0.0, 0))
        sums[group] = total + value, count + 1
    videos, means = list(sums.values()), []
    for _ in range(resamples):
        drawn = rng.choices(videos, k=len(videos))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    return [sorted(means)[int(q * resamples)] for q in (0.025, 0.975)]


def timed(function, *arguments, repeats=1):
    """Return what a function returns and its least CPU time."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = function(*arguments)
        seconds.append(time.process_time() - start)
    return result, min(seconds)


def time_scorer(predictions, annotations):
    plain, slow = timed(score_plainly, predictions, annotations)
    ours, fast = timed(evaluate_highlight_predictions, predictions, annotations, repeats=5)
    if differing := [name for name in plain if plain[name] != ours[name]]:
        raise SystemExit(f"the two ways differ in {', '.join(differing)}")
    about = f"QVHighlights, all scores of {ours['n']} queries, from files"
    return {"what": about, "plain_s": slow, "numpro_s": fast, "ratio": slow / fast}


def timed_command(*command):
    """Return the CPU time of a command, start and all."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def time_official(script, predictions, annotations, folder):
    """Time the official script beside the scorer, and beside the whole command."""
    saved, files = folder / "official.json", (predictions, annotations)
    paths = ("--submission_path", predictions, "--gt_path", annotations, "--save_path", saved)
    slow = timed_command(sys.executable, script, *paths)
    mine, scored = timed(evaluate_highlight_predictions, *files, repeats=5)
    theirs = json.loads(saved.read_text())
    if differing := [name for name in theirs if theirs[name] != mine[name]]:
        raise SystemExit(f"the official script differs in {', '.join(differing)}")
    ours = (sys.executable, "-m", "numpro", "evaluate", "highlight-detection", *files, "--json")
    ran = min(timed_command(*ours) for _ in range(5))
    about = f"the same {mine['n']} queries, official script beside"
    return [
        {"what": f"{about} {what}", "official_s": slow, "numpro_s": fast, "ratio": slow / fast}
        for what, fast in (("numpro.metrics", scored), ("numpro evaluate, start and all", ran))
    ]


def time_bootstrap(resamples, queries=17031, videos=4885):
    rng = np.random.default_rng(0)
    values, groups = rng.random((queries, 4)), rng.integers(videos, size=queries).tolist()
    few = max(resamples // 100, 10)  # the plain way, of one column, is measured on a part
    _, slow = timed(bootstrap_plainly, values, groups, few)
    _, fast = timed(bootstrap_interval, values, groups, resamples, repeats=3)
    slow *= 4 * resamples / few
    about = f"bootstrap by video, {resamples} resamples of {queries} queries, 4 scores"
    return {"what": about, "plain_s": slow, "numpro_s": fast, "ratio": slow / fast}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path, nargs="?", help="QVHighlights rows [made up]")
    parser.add_argument("annotations", type=Path, nargs="?", help="and their truth [made up]")
    parser.add_argument("--official", type=Path, help="moment_detr's standalone_eval/eval.py")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("scorer.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.predictions, arguments.annotations
        if None in files:
            files = made_up(Path(folder))
        rows = [time_scorer(*files)]
        if arguments.official:
            rows += time_official(arguments.official, *files, Path(folder))
        rows.append(time_bootstrap(arguments.resamples))
    about = provenance()
    print(f"{about['machine']['processor']}, one process")
    print(f"{'other way':>10} {'numpro':>10} {'ratio':>6}")
    for row in rows:
        other = row.get("plain_s") or row["official_s"]
        print(f"{other:8.2f} s {row['numpro_s']:8.3f} s {row['ratio']:6.0f}  {row['what']}")
    report = {"machine": about["machine"]["processor"], "versions": about["versions"], "rows": rows}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
