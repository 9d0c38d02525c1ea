"""What asking any video LLM of transformers costs: ``--help`` tells how to run it.

Tiny random checkpoints with their own processors at their real geometry. First the CPU seconds of
making the inputs of 64 frames, for every time encoding and four questions each; with ``--before``
beside another build of this project, in turn. Then four questions about one video together, beside
each alone, for a class of full, of sliding and of linear layers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
HELPERS = HERE.parent / "tests" / "helpers"
QUERIES = ("a red star", "the blue heart that grows", "a green circle", "a dog")
KINDS = ("qwen2_vl", "qwen3_vl", "llava_next_video")  # what the build before took, too
LAYERS = {"internvl": "full", "gemma4": "sliding", "qwen3_5": "linear"}
ENCODINGS = ("none", "overlay-index", "overlay-seconds", "text-index", "text-seconds")


def make_inputs(model, pages, prompts):
    """Make all inputs of questions about numbered frames, as `respond` of that build does."""
    if hasattr(model, "take_frames"):
        model.take_frames(pages, prompts[0])
        model.encode_prompts(pages.shape, prompts)
    else:  # up to 0.1.0
        model.encode_prompts(pages.shape, prompts)
        model.family.tensors(pages, prompts[0].seconds)


def prepare(folder, count=64, rounds=4):
    """Return the least CPU seconds of making the inputs of frames for all encodings."""
    from numpro import NumberStyle, number_frames
    from numpro.models import load_model
    from numpro.prompting.prompts import build_prompt

    model = load_model(folder, device="cpu", dtype="float32")
    seconds, best = np.arange(count) * 2.0, float("inf")
    for seed in range(rounds):
        film = np.random.default_rng(seed).integers(0, 256, (count, 336, 336, 3), np.uint8)
        drawn_for = []
        for encoding in ENCODINGS:
            prompts = [
                build_prompt(query, seconds, time_encoding=encoding, duration=2.0 * count)
                for query in QUERIES
            ]
            labels = prompts[0].frame_labels
            drawn = number_frames(film, style=NumberStyle(), labels=labels) if labels else film
            drawn_for.append((drawn, prompts))
        start = time.process_time()
        for drawn, prompts in drawn_for:
            make_inputs(model, drawn, prompts)
        best = min(best, time.process_time() - start)
    return best


def share(name, count=24, tokens=6, rounds=3):
    """Return the least CPU seconds of four questions together, and of each with nothing shared."""
    from zoo import zoo_model

    from numpro.models import load_model
    from numpro.prompting.prompts import build_prompt

    model = load_model(
        str(zoo_model(name)), device="cpu", dtype="float32",
        template_kwargs={"enable_thinking": False},
    )  # fmt: skip
    seconds, times = np.arange(count) * 2.0, {"together": [], "alone": []}
    for seed in range(rounds):
        for how in times:
            film = np.random.default_rng(seed).integers(0, 256, (count, 336, 336, 3), np.uint8)
            film[0, 0, 0] = len(times[how])  # pixels are not those of the other way
            prompts = [build_prompt(query, seconds) for query in QUERIES]
            start = time.process_time()
            if how == "together":
                model.respond(film, prompts, tokens)
            for prompt in prompts if how == "alone" else ():
                model.frame_inputs._last.clear()  # the pixels that were made
                model.respond(film, [prompt], tokens)
            times[how].append(time.process_time() - start)
    return {how: min(seconds) for how, seconds in times.items()}


def in_build(root, kind, folder):
    """Run `prepare` in a process with the package of `root`."""
    command = [sys.executable, str(HERE / "video_llms.py"), "--prepare", str(folder)]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
             "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of another build")
    parser.add_argument("--rounds", type=int, default=2, help="how often builds take turns")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)  # in a process of one build
    arguments = parser.parse_args()
    if arguments.prepare:
        print(prepare(arguments.prepare))
        return
    sys.path[:0] = [str(HELPERS)]
    from tiny_models import build

    builds = {"now": HERE.parent}
    if arguments.before:
        builds = {"before": arguments.before.resolve(), **builds}
    found = {"preprocessing": {}, "sharing": {}}
    with tempfile.TemporaryDirectory() as home:
        for kind in KINDS:
            folder = build(kind, Path(home) / kind, side=336)
            rows = {name: [] for name in builds}
            for _ in range(arguments.rounds):
                for name, root in builds.items():
                    rows[name].append(in_build(root, kind, folder))
            row = {name: min(seconds) for name, seconds in rows.items()}
            row["share"] = row["now"] / row["before"] if "before" in row else None
            found["preprocessing"][kind] = row
            print(kind, {k: v and round(v, 3) for k, v in row.items()}, flush=True)
    for name, layers in LAYERS.items():
        row = share(name)
        found["sharing"][name] = row | {"layers": layers, "share": row["together"] / row["alone"]}
        print(name, layers, {k: round(v, 3) for k, v in row.items()},
              f"{row['together'] / row['alone']:.2f}", flush=True)  # fmt: skip
    (HERE / "video_llms.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
