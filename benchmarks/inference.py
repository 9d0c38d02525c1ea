"""How fast questions about a video are answered when they share it: ``--help`` tells how to run it.

Models with random weights in the shape of LongVA and of Qwen2-VL: on the CPU of 50 to 100 million
parameters, on a GPU (``--shape 7b``) of their real size in bfloat16. Every question is answered
with the same number of tokens. On a CPU seconds are of CPU time, on a GPU of the clock on the wall.
"""

import argparse
import ctypes
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from side_by_side import memory_kib, run_child

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

MODELS = ("longva", "qwen2_vl")
QUESTIONS = (1, 3, 4, 10)
SMALL = {
    "side": 112,
    "text": {
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 14,
        "num_attention_heads": 8, "num_key_value_heads": 2,
    },
    "longva": {
        "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 7,
        "num_attention_heads": 4,
    },
    "qwen2_vl": {"embed_dim": 256, "hidden_size": 512, "depth": 6, "num_heads": 4, "mlp_ratio": 4},
}  # fmt: skip
NANO = {
    "side": 56,
    "text": {
        "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    },
    "longva": {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "qwen2_vl": {"embed_dim": 32, "hidden_size": 64, "depth": 1, "num_heads": 2, "mlp_ratio": 1},
}  # fmt: skip
REAL = {
    "side": 336,
    "text": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    },
    "longva": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
    "qwen2_vl": {
        "embed_dim": 1280, "hidden_size": 3584, "depth": 32, "num_heads": 16, "mlp_ratio": 4,
    },
}  # fmt: skip


def build(kind, shape, device, dtype):
    """Return a model with random weights that was never on a disk."""
    import torch
    from tiny_models import QWEN_CHAT, make_tokenizer, qwen_config

    torch.manual_seed(0)
    with torch.device(device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        made = (_longva if kind == "longva" else _qwen)(
            shape, make_tokenizer(QWEN_CHAT), qwen_config
        )
        torch.set_default_dtype(before)
    made.model.eval()
    return made


def _longva(shape, tokenizer, _):
    from transformers import CLIPImageProcessorPil

    from numpro.models.longva.modeling import LongvaConfig, LongvaForConditionalGeneration
    from numpro.models.longva.video_model import Longva

    config = LongvaConfig(
        vision_config={"image_size": shape["side"], "patch_size": 14, **shape["longva"]},
        text_config={"vocab_size": 400, "max_position_embeddings": 65536, **shape["text"]},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content'] is string", "true"
    )
    side = {"height": shape["side"], "width": shape["side"]}
    pictures = CLIPImageProcessorPil(size=side, do_center_crop=False)
    return Longva("random LongVA", LongvaForConditionalGeneration(config), tokenizer, pictures)


def _qwen(shape, tokenizer, qwen_config):
    from types import SimpleNamespace

    from transformers import Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil
    from transformers.models.qwen2_vl import Qwen2VLProcessor

    from numpro.models.frame_inputs import FrameInputs
    from numpro.models.positions import correct_positions
    from numpro.models.transformers_vlm import TransformersVlm

    text = {**shape["text"], "head_dim": None}
    width = text["hidden_size"] // text["num_attention_heads"] // 2
    sections = [width // 4, (width - width // 4) // 2, (width - width // 4) // 2]
    text["rope_parameters"] = {
        "rope_type": "default", "rope_theta": 1e6, "mrope_section": sections,
    }  # fmt: skip
    del text["head_dim"]
    config = qwen_config("qwen2_vl", tokenizer, text, shape["qwen2_vl"])
    config.text_config.head_dim = None
    model = Qwen2VLForConditionalGeneration(config)
    correct_positions(model)
    pictures = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 1 << 20})
    lenient = {"check_argument_for_proper_class": lambda *_: None}
    kind = type("Qwen2VLProcessor", (Qwen2VLProcessor,), lenient)
    processor = kind(pictures, tokenizer, SimpleNamespace(), chat_template=tokenizer.chat_template)
    inputs = FrameInputs("random", processor, config, False, {}, {}, True)
    return TransformersVlm("random Qwen2-VL", model, inputs)


def flops(model, patches, tokens, text_parameters, tower_parameters):
    """Return the products and sums of a prefill: weights, and attention below the diagonal."""
    text = model.model.config.get_text_config()
    attention = 2 * text.num_hidden_layers * tokens**2 * text.hidden_size
    return 2 * text_parameters * tokens + attention + 2 * tower_parameters * patches


def matrix_rate(device, dtype, clock, size):
    """Return the best measured rate of a square matrix product, in FLOP/s."""
    import torch

    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        began = clock()
        left @ right
        seconds.append(clock() - began)
    return 2 * size**3 / min(seconds)


def measure(kind, frames, shape_name, tokens, threads, repeats):
    """Measure one model on one length of video; in a process of its own, for its peak memory."""
    import torch

    torch.set_num_threads(threads)
    gpu = torch.cuda.is_available() and shape_name == "7b"
    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)

    def clock():
        if not gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    shape = REAL if shape_name == "7b" else SMALL
    rate = matrix_rate(device, dtype, clock, 8192 if gpu else 1024)
    _ask(build(kind, NANO, device, dtype), _film(2, NANO), 2, 2, clock, 1)  # loads what is needed
    empty = 0 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model = build(kind, shape, device, dtype)
    parts = {"all": sum(p.numel() for p in model.model.parameters())}
    tower = getattr(model.model, "vision_tower", None) or model.model.model.visual
    parts["tower"] = sum(p.numel() for p in tower.parameters())
    rows = [_ask(model, _film(frames, shape), count, tokens, clock, repeats) for count in QUESTIONS]
    alone = rows[0]
    for row in rows:
        q = row["questions"]
        row["alone_s"] = q * (alone["prefill_s"] + alone["decode_s"])
        row["speedup"] = row["alone_s"] / (row["prefill_s"] + row["decode_s"])
        row["prefill_share"] = row["prefill_s"] / (q * alone["prefill_s"])
        row["questions_per_s"] = q / (row["prefill_s"] + row["decode_s"])
    words = parts["all"] - parts["tower"] - model.model.get_input_embeddings().weight.numel()
    patches = frames * (shape["side"] // 14) ** 2
    work = flops(model, patches, alone["prompt_tokens"], words, parts["tower"])
    peak = torch.cuda.max_memory_allocated() if gpu else None
    peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - empty
    return {
        "model": kind, "parameters": parts["all"], "frames": frames, "device": device,
        "dtype": str(dtype).removeprefix("torch."), "matrix_gflops": rate / 1e9,
        "prefill_gflops": work / alone["prefill_s"] / 1e9,
        "matrix_share": work / alone["prefill_s"] / rate,
        "peak_gib": peak / 2**30, "predicted_gib": rows[-1]["predicted_gib"], "rows": rows,
    }  # fmt: skip


def _film(frames, shape):
    side = shape["side"]
    return np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8)


def _ask(model, frames, count, tokens, clock, repeats):
    from numpro.models.cost import predict_cost
    from numpro.models.sharing import decode
    from numpro.prompting.prompts import build_prompt

    wanted = [f"a red star number {i} spins and {'grows ' * (i % 3)}" for i in range(count)]
    prompts = [build_prompt(query, np.arange(len(frames)) * 2.0) for query in wanted]
    ids, shared = model.encode_prompts(frames.shape, prompts)
    rest = [each[shared:] for each in ids]
    times = []
    for _ in range(repeats):
        marks = [clock()]
        prefix = model.prefill(ids[0][:shared], frames, prompts[0])
        for most in (1, tokens):
            marks.append(clock())
            with model.branches(prefix, len(rest)) as branches:
                decode(branches, rest, most, set())
        marks.append(clock())
        prefill, first, whole = np.diff(marks)
        times.append((prefill + first, max(0.0, whole - first)))
        del prefix
    cost = predict_cost(model, frames, prompts, tokens)
    prefill, decoding = np.min(times, axis=0)
    return {
        "questions": count, "prompt_tokens": len(ids[0]), "shared_tokens": shared,
        "answer_tokens": tokens, "prefill_s": prefill, "decode_s": decoding,
        "predicted_gib": cost.memory / 2**30,
    }  # fmt: skip


def at_three_and_a_half(rows, field):
    """Return the mean of 3 and 4 questions: Charades-STA has about 3.5 a video."""
    return float(np.mean([row[field] for row in rows if row["questions"] in (3, 4)]))


JOBS = ("plain 1", "plain 4", "plain 10", "constrained 4", "ranked 4", "by copies 4")


def measure_job(kind, job, frames, tokens):
    """Measure one job in this process: CPU seconds, those after the prefill, peak memory."""
    import torch

    from numpro import Clip

    torch.set_num_threads(1)
    model = build(kind, SMALL, "cpu", torch.float32)
    model.constrained, (way, count) = not job.startswith("plain"), job.rsplit(" ", 1)
    if way == "by copies":
        model.takes_tree = False
    film, prefill, spent = _film(frames, SMALL), model.prefill, []

    def timed(*given):
        began = time.process_time()
        made = prefill(*given)
        spent.append(time.process_time() - began)
        return made

    model.prefill, seconds = timed, 2.0 * np.arange(frames)
    clip = Clip(film, seconds, np.arange(frames), {"duration": 2.0 * frames})
    ask = model.moments if way in ("ranked", "by copies") else model.answer
    queries = [f"a red star number {i} spins and {'grows ' * (i % 3)}" for i in range(int(count))]
    ask(Clip(film[:2], seconds[:2], np.arange(2), {"duration": 4.0}), queries[:1])
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, or it would hide a part
    before = memory_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    began = time.process_time()
    found = ask(clip, queries, max_new_tokens=tokens)
    whole = time.process_time() - began
    pairs = [len(one.probabilities) for one in found] if way in ("ranked", "by copies") else None
    return {"cpu_s": whole, "after_prefill_s": whole - spent[-1], "pairs": pairs,
            "peak_mib": (memory_kib("VmHWM") - before) / 1024}  # fmt: skip


def compare(kind, frames, tokens, before, repeats):
    """Run all jobs with this build and with another in turn; print them and their ratios."""
    builds = {"now": Path(__file__).resolve().parents[1]} | ({"before": before} if before else {})
    rows = {}
    for job in JOBS:
        for name, folder in builds.items():
            if name == "before" and job.startswith(("ranked", "by copies")):
                continue
            given = ["--job", kind, job, frames, tokens]
            times = 1 if job.startswith("by copies") else repeats
            runs = [run_child(__file__, given, folder) for _ in range(times)]
            rows[f"{name} {job}"] = min(runs, key=lambda run: run["cpu_s"])
            print(f"{kind:9} {name:6} {job:14}", rows[f"{name} {job}"], flush=True)
    old = "before" if before else "now"
    cpu = {name: row["cpu_s"] for name, row in rows.items()}
    after = {name: row["after_prefill_s"] for name, row in rows.items()}
    peak = {name: row["peak_mib"] for name, row in rows.items()}
    ratios = {
        "memory of 10 questions to 1 (goal 1.1)": peak["now plain 10"] / peak["now plain 1"],
        "the same before": peak[f"{old} plain 10"] / peak[f"{old} plain 1"],
        "constrained after the prefill, now to before (goal 0.5)":
            after["now constrained 4"] / after[f"{old} constrained 4"],
        "ranked to plain before (goal 1.3)": cpu["now ranked 4"] / cpu[f"{old} plain 4"],
        "ranked to a batch of copies (goal 0.1), after the prefill":
            after["now ranked 4"] / after["now by copies 4"],
    }  # fmt: skip
    print(*(f"{kind:9} {name}: {value:.2f}" for name, value in ratios.items()), sep="\n")
    return {"model": kind, "frames": frames, "rows": rows, "ratios": ratios}


def show(found):
    print(f"{'model':9} frames  q   prefill   decode  speed-up  prefill share (goal)  questions/s")
    for one in found:
        for row in one["rows"]:
            q, goal = row["questions"], 1 / row["questions"] + 0.1
            print(
                f"{one['model']:9} {one['frames']:6} {q:2} {row['prefill_s']:7.2f} s "
                f"{row['decode_s']:6.2f} s {row['speedup']:8.2f}x {row['prefill_share']:13.2f} "
                f"({goal:.2f}) {row['questions_per_s']:13.2f}"
            )
        print(
            f"{'':9} 3.5 questions a video: {at_three_and_a_half(one['rows'], 'speedup'):.2f}x "
            f"(goal 2.5x); prefill {one['prefill_gflops']:.0f} GFLOP/s, "
            f"{one['matrix_share']:.0%} of the matrix rate {one['matrix_gflops']:.0f} (goal on a "
            f"GPU 50%); peak {one['peak_gib']:.2f} GiB, predicted {one['predicted_gib']:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("small", "7b"), default="small")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--frames", nargs="+", type=int, default=(32, 64, 120))
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--repeats", type=int, default=1, help="the best is taken")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("inference.json"))
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--shared", action="store_true", help="only one prefix for everything")
    parser.add_argument("--before", type=Path, help="another checkout, to run beside this one")
    given = parser.parse_args()
    if given.job:
        kind, job, frames, tokens = given.job
        return print(json.dumps(measure_job(kind, job, int(frames), int(tokens))))
    import torch

    from numpro.provenance import provenance

    if given.shape == "7b" and not torch.cuda.is_available():
        parser.error("--shape 7b needs a GPU; there is none here")
    found = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        for kind in given.models:
            for frames in () if given.shared else given.frames:
                how = (kind, frames, given.shape, given.tokens, given.threads, given.repeats)
                found.append(processes.submit(measure, *how).result())
                show(found[-1:])
    about = provenance()
    report = {"machine": about["machine"], "versions": about["versions"], "threads": given.threads}
    report |= {"shape": given.shape, "repeats": given.repeats, "found": found}
    if given.shared:
        last = given.frames[-1]
        how = last, given.tokens, given.before, given.repeats
        compared = [compare(kind, *how) for kind in given.models]
        earlier = json.loads(given.out.read_text()) if given.out.exists() else {}
        report = earlier | {"one_prefix": compared}
    given.out.write_text(json.dumps(report, indent=1, default=float) + "\n")
    print(f"wrote {given.out.name}")


if __name__ == "__main__":
    main()
