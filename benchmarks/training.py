"""What a step of fine-tuning costs: ``python benchmarks/training.py --help``.

A LongVA with random weights is trained as `numpro.training` does it (the same samples, batches,
LoRA and AdamW) on a film made here, in the shapes of the presets; beside each stands the same step
without one of the things that make it cheap:

- ``tower again``: vision features are not kept, so each step decodes the film and runs the tower;
- ``checkpointing off`` (or ``on``, where the preset has none);
- ``all logits``: computed for every token, not only where the loss needs them;
- ``freed kept`` (on a CPU): the C library is not told to give freed tensors back.

``--shape 100m`` is for a CPU: the presets with fewer frames, in float32. ``--shape 7b`` is LongVA
in its real size, at the paper's shape, and needs a GPU; without one its rows and goals are written
as not run. Each row is a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from numpro.training.presets import PRESETS

GIB = 2**30
TOWER = {"patch_size": 14, "image_size": 336, "projection_dim": 64}
SHAPES = {
    "100m": {
        "vision": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
                   "num_attention_heads": 6, **TOWER},
        "text": {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 10,
                 "num_attention_heads": 10, "num_key_value_heads": 2, "vocab_size": 32768,
                 "tie_word_embeddings": True},
        # the presets' values, and as many frames and samples as a CPU can take
        "presets": {"laptop": {"batch_size": 2, "max_frames": 3},
                    "24gb": {"batch_size": 1, "max_frames": 6},
                    "paper": {"batch_size": 1, "max_frames": 10}},
        "all": {"precision": "float32", "quantization": None, "max_tokens": None},
    },
    "7b": {
        "vision": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                   "num_attention_heads": 16, **TOWER},
        "text": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
                 "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
                 "tie_word_embeddings": False},
        # 60 frames: the mean video of ActivityNet Captions, 117 s, at the paper's 0.5 a second
        "presets": {"24gb": {"max_frames": 64}, "paper": {"max_frames": 60}},
        "all": {"max_tokens": None},
    },
}  # fmt: skip
GOALS = {
    "24gb": "the 24 GB preset takes at most 24 GiB with 64 frames",
    "paper": "the paper preset runs at 40 % or more of the measured matrix rate",
}
SECONDS = 130  # of the film: at 0.5 frames a second 65


def make_video(folder, queries):
    """Write a film of drifting blocks and return it with its queries."""
    from numpro import Span, write_video
    from numpro.datasets import Query, VideoQueries

    rng, path = np.random.default_rng(0), folder / "film.mp4"
    blocks = rng.integers(0, 256, (12, 12, 3), np.uint8).repeat(28, 0).repeat(28, 1)
    write_video(path, (np.roll(blocks, 7 * n, 1) for n in range(SECONDS)), fps=1)
    queries = tuple(
        Query(str(n), f"a person opens door number {n}", (Span(n, 9.0 + n),))
        for n in range(queries)
    )
    return VideoQueries("film", path, float(SECONDS), queries, "made", "all")


def make_model(shape, quantization, dtype, device):
    """Make a LongVA with random weights."""
    import torch
    from transformers import CLIPImageProcessorPil

    from numpro.flipbook.pretraining.tokenizer import make_tokenizer
    from numpro.models.longva.modeling import LongvaConfig, LongvaForConditionalGeneration
    from numpro.models.longva.video_model import Longva

    tokenizer = make_tokenizer()
    pictures = CLIPImageProcessorPil(size={"height": 336, "width": 336}, do_center_crop=False)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LongvaConfig(
        vision_config=shape["vision"],
        text_config={**shape["text"], "bos_token_id": None, "use_cache": False, **ends},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device(device):
        model = LongvaForConditionalGeneration(config)
    torch.set_default_dtype(kept)
    if quantization is None:
        return Longva("random", model.eval(), tokenizer, pictures)
    with tempfile.TemporaryDirectory() as folder:
        for part in (model, tokenizer, pictures):
            part.save_pretrained(folder)
        del model
        torch.cuda.empty_cache()
        return Longva.load(folder, device=device, dtype=dtype, quantization=quantization)


def resident(device, most=False):
    """Return the bytes held now, or at `most` since `forget_peak`; on a GPU, of its tensors."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() if most else torch.cuda.memory_allocated()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:" if most else "VmRSS:")[1].split()[0]) * 1024


def forget_peak(device):
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def clock(device):
    """Return seconds: of the wall where a GPU works, else of the CPU, all threads together."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def matrix_rate(dtype, device):
    """Return the operations a second of a large matrix product, the best of several."""
    import torch

    side = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    spent = []
    for _ in range(8):
        began = clock(device)
        left @ right
        spent.append(clock(device) - began)
    return 2 * side**3 / min(spent)


def operations(config, trained, tokens, checkpointing):
    """Return what one sample's step multiplies and adds, and the part of it that is run twice."""
    text = config.text_config
    width, kv = (
        text.hidden_size,
        text.num_key_value_heads * (text.hidden_size // text.num_attention_heads),
    )
    weights = text.num_hidden_layers * width * (2 * width + 2 * kv + 3 * text.intermediate_size)
    attention = 2 * text.num_hidden_layers * width * tokens**2  # causal: half of the square
    forward = 2 * weights * tokens + attention
    patches = tokens * config.pool_stride**2
    projector = 2 * width * (width + config.vision_config.hidden_size) * patches
    # backward: frozen weights pass gradients on, attention takes twice, LoRA and projector learn
    once = forward + 2 * weights * tokens + 2 * attention
    once += 3 * (2 * trained["lora"] * tokens + projector)
    return once, forward if checkpointing else 0


def run(name, preset, variant):
    """Measure one row in this process."""
    import torch
    from peft import get_peft_model

    import numpro.models.longva.video_model  # noqa: F401
    from numpro.training.memory import give_back_freed, predict_memory, trainable_parameters
    from numpro.training.samples import Samples, collate
    from numpro.training.trainer import lora_config

    shape, device = SHAPES[name], "cuda" if name == "7b" else "cpu"
    config = replace(PRESETS[preset], **shape["all"], **shape["presets"][preset], fps=0.5)
    if variant.startswith("checkpointing"):
        config = replace(config, gradient_checkpointing=not config.gradient_checkpointing)
    half = config.precision == "bfloat16"
    if device == "cpu" and config.gradient_checkpointing and variant != "freed kept":
        give_back_freed()
    program = resident(device)  # with all libraries, before there is a model
    model = make_model(shape, config.quantization, "bfloat16" if half else "float32", device)
    trained = trainable_parameters(model, config)
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder), config.batch_size)
        samples = Samples([video], model, config)
        tokens = max(samples.lengths)
        longest = samples.learned(samples.items[samples.lengths.index(tokens)])
        answers = tokens if variant == "all logits" else longest
        foretold = sum(predict_memory(model, config, tokens, answers).values())
        tuned = get_peft_model(model.model, lora_config(config, model))
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if config.gradient_checkpointing:
            tuned.gradient_checkpointing_enable({"use_reentrant": False})
        tuned.train()
        learned = [p for p in tuned.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=1e-4, weight_decay=0.0)
        casts = torch.autocast(device, torch.bfloat16) if half else nullcontext()

        def step():
            if variant == "tower again":
                samples._features = type(samples._features)(0)
            began = clock(device)
            batch = [samples[n] for n in range(config.batch_size)]
            batch = model.collate(batch) if variant == "all logits" else collate(model, batch)
            batch = {key: value.to(device) for key, value in batch.items()}
            fetched = clock(device)
            with casts:
                loss = tuned(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return fetched - began, clock(device) - fetched, loss.item()

        losses = [step()[2]]  # decodes, runs the tower, makes AdamW's state
        forget_peak(device)
        spent = [step() for _ in range(2 if device == "cpu" else 5)]
        most = resident(device, most=True) - program
    losses += [loss for *_, loss in spent]
    if not np.isfinite(losses).all() or losses[-1] >= losses[0]:
        raise SystemExit(f"the loss does not fall: {losses}")
    fetch, work = (min(each[n] for each in spent) for n in (0, 1))
    once, twice = operations(model.model.config, trained, tokens, config.gradient_checkpointing)
    kind = torch.bfloat16 if half else torch.float32
    rate = matrix_rate(kind, device)
    return {
        "preset": preset, "variant": variant, "frames": config.max_frames, "tokens": tokens,
        "batch": config.batch_size, "fetch_s": fetch, "step_s": work,
        "samples_per_s": config.batch_size / (fetch + work), "peak_gib": most / GIB,
        "foretold_gib": foretold, "matrix_rate_tflops": rate / 1e12,
        "share_of_matrix_rate": config.batch_size * (once + twice) / work / rate,
        "without_what_runs_twice": config.batch_size * once / work / rate,
    }  # fmt: skip


def in_process(name, preset, variant):
    """Measure one row in a process of its own; what keeps it from running is a value."""
    command = [sys.executable, __file__, "--row", name, preset, variant]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return {"preset": preset, "variant": variant, "failed": why}


def judge(rows):
    """Return each goal with what was measured; None where it was not run."""
    plain = {r["preset"]: r for r in rows if r["variant"] == "as trained" and "failed" not in r}
    found = []
    for preset, goal in GOALS.items():
        row, met, measured = plain.get(preset), None, None
        if row and preset == "24gb":
            measured = row["peak_gib"]
            met = measured <= 24
        elif row:
            measured = row["share_of_matrix_rate"]
            met = measured >= 0.4
        found.append({"goal": goal, "measured": measured, "met": met})
    return found


def variants(preset, shape="100m"):
    off = "off" if PRESETS[preset].gradient_checkpointing else "on"
    names = ["as trained", "tower again", f"checkpointing {off}"]
    names += ["all logits"] if preset == "24gb" else []
    return names + (["freed kept"] if (preset, shape) == ("paper", "100m") else [])


def merged(before, made, rows):
    """Return `rows` with those measured before in the same circumstances that are not among them.

    A file says once on which machine its rows were measured, so those of another one, or of other
    versions, are not kept.
    """
    if any(before.get(key) != value for key, value in made.items()):
        return rows
    now = {(row["preset"], row["variant"]) for row in rows}
    kept = [row for row in before["rows"] if (row["preset"], row["variant"]) not in now]
    order = list(PRESETS)
    return sorted(kept + rows, key=lambda row: (
        order.index(row["preset"]), variants(row["preset"]).index(row["variant"])
    ))  # fmt: skip


def store(path, shape, made, rows):
    """Write rows to the file, beside what was there; return the goals as judged by all of them."""
    found = json.loads(path.read_text()) if path.exists() else {}
    rows = merged(found.get(shape, {}), made, rows)
    goals = judge(rows) if shape == "7b" else []
    found[shape] = made | {"rows": rows} | ({"goals": goals} if goals else {})
    path.write_text(json.dumps(found, indent=1) + "\n")
    return goals


COLUMNS = (
    f"{'preset':7} {'step':17} {'frames':>6} {'fetch s':>8} {'step s':>8} {'samples/s':>9} "
    f"{'peak GiB':>8} {'foretold':>8} {'of matrix rate':>14}"
)


def summary(row):
    """Return a row as it is printed."""
    if "failed" in row:
        return f"{row['preset']:7} {row['variant']:17} {row['failed']}"
    return (
        "{preset:7} {variant:17} {frames:6} {fetch_s:8.2f} {step_s:8.2f} {samples_per_s:9.3f} "
        "{peak_gib:8.2f} {foretold_gib:8.2f} {share_of_matrix_rate:14.0%}".format(**row)
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="100m", help="[%(default)s]")
    parser.add_argument("--preset", action="append", help="only these [all]")
    parser.add_argument("--variant", action="append", help="only these [all]")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("training.json"))
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(run(*arguments.row)))
        return
    import torch

    from numpro.provenance import provenance

    about, missing = provenance(), arguments.shape == "7b" and not torch.cuda.is_available()
    seconds = "the wall" if arguments.shape == "7b" else "the CPU, all threads together"
    machine = about["machine"] | {"threads": torch.get_num_threads()}
    made = {"machine": machine, "versions": about["versions"], "seconds": seconds}
    rows, goals = [], []
    print(COLUMNS)
    for preset in arguments.preset or SHAPES[arguments.shape]["presets"]:
        for variant in arguments.variant or variants(preset, arguments.shape):
            row = {"preset": preset, "variant": variant, "failed": "not run: no GPU"}
            rows.append(row if missing else in_process(arguments.shape, preset, variant))
            print(summary(rows[-1]), flush=True)
            goals = store(arguments.out, arguments.shape, made, rows)
    for goal in goals:
        print({True: "met", False: "NOT MET", None: "not run"}[goal["met"]] + f": {goal['goal']}")
    print(f"seconds are of {seconds}")
    print(f"wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
