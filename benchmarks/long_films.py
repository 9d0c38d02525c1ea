"""Long films of the embedded world, asked at once and a window at a time.

``python benchmarks/long_films.py windows`` asks three arms about every film of a split, at once
(greedy) and in windows, and scores several rules of putting windows together (the package's is
``mean``). ``heads`` chooses attention heads on short validation films and asks again about the
frames that they look at. ``batch`` measures what asking windows as a batch saves on a CPU,
``hours`` what a film of two hours takes.
Choices are made on ``val_long`` (the default); ``test_long`` is for a measurement. All print a
table and write JSON.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from numpro import Question, Sampling, read_clip, write_video
from numpro.datasets import load_dataset, loader
from numpro.metrics import moment_retrieval
from numpro.models import load_model
from numpro.provenance import provenance
from numpro.spans import labels_to_seconds, temporal_iou, to_seconds
from numpro.studies import ask_crop, brightest_stretch, choose_heads, question_attention
from numpro.studies.design import ClipEncoder
from numpro.video import cut_windows, open_windows

END = loader("flipbook").end
ARMS = {
    "base + numbers": (None, "overlay-index"),
    "fine-tuned + numbers": ("flipbook/numpro-ft", "overlay-index"),
    "fine-tuned": ("flipbook/ft", "none"),
    "base": (None, "none"),
}


def films(split, count):
    """Yield each film's record and its clip at 1 fps."""
    for video in load_dataset("flipbook", split, limit=count):
        yield video, read_clip(video.path, fps=1.0, size=(336, 336))


def ask_once(model, clip, queries, question):
    """Return the greedy answers about the whole film, in seconds."""
    unit, labels = model.answer_unit(question, len(clip))
    answers = model.answer(clip, queries, question)
    return [to_seconds(answer, clip, labels, END, unit)[:1] for answer in answers]


def plain_rules(windows, answers):
    """Return the moments that simpler rules take first: name to span."""
    shown = windows.seconds[[(a, windows.stop(a) - 1) for a in windows.starts]]
    tables = [np.reshape(one["spans"], (-1, 2)) for one in answers]
    weights = [np.array(one["probabilities"]) for one in answers]
    pairs = list(zip(tables, weights, strict=True))
    firsts = [table[by.argmax()] for table, by in pairs if len(by)]
    surest = np.array([by.max() for by in weights if len(by)])
    film, spans = windows.seconds[[0, -1]], np.unique(np.concatenate(tables), axis=0)
    inner = []
    for (table, by), (first, last) in zip(pairs, shown, strict=True):
        begins = (table[:, 0] > first) | (first == film[0])
        ends = (table[:, 1] < last) | (last == film[1])
        inner.append(np.where(begins & ends, by, 0.3 * by))

    def mixed(by):
        total = sum(
            temporal_iou(spans[:, None], table) @ w for table, w in zip(tables, by, strict=True)
        )
        return tuple(spans[total.argmax()])

    agreement = [sum(temporal_iou(one, np.array(firsts)) * surest) for one in firsts]
    return {
        "likeliest answer": tuple(firsts[int(surest.argmax())]),
        "agreement of answers": tuple(firsts[int(np.argmax(agreement))]),
        "mixture": mixed(weights),
        "mixture, inner answers first": mixed(inner),
    }


def clip_rules(windows, answers, likes, seconds, ranked):
    """Return the moments that rules with a CLIP score take first: name to span.

    Parameters
    ----------
    likes : float [T]
        CLIP's logits of the query and each frame; the rest is as in `plain_rules`.
    """
    first, last = seconds[[0, -1]]
    shown = [slice(a, windows.stop(a)) for a in windows.starts]
    shares = np.array([likes[part].mean() for part in shown])
    shares = np.exp(shares - shares.max())
    tables = [np.reshape(one["spans"], (-1, 2)) for one in answers]
    spans = np.unique(np.concatenate(tables), axis=0)
    mixture = sum(
        share * temporal_iou(spans[:, None], table) @ np.array(one["probabilities"])
        for share, table, one in zip(shares, tables, answers, strict=True)
    )

    def inside(span):  # how much more CLIP likes its frames than the film's
        part = (seconds >= span[0]) & (seconds <= span[1])
        return (likes[part].mean() if part.any() else -np.inf) - likes.mean()

    best = [(m.start, m.end) for m in ranked.moments]
    best_window = answers[int(shares.argmax())]["answer"]["spans"]
    return {
        "CLIP: its best window": tuple(best_window[0]) if best_window else (first, last),
        "CLIP: mixture by its share of windows": tuple(spans[mixture.argmax()]),
        "CLIP: the one of the best five that it likes most": max(best, key=inside, default=None),
    }


def windows_table(arguments):
    """Measure each arm, asked once and in windows, under every rule."""
    table, size = [], tuple(arguments.windows)
    clip_model = ClipEncoder(arguments.clip) if arguments.clip else None
    for name, (adapter, encoding) in list(ARMS.items())[: arguments.arms]:
        model, question = (
            load_model("flipbook/longva", adapter=adapter),
            Question(time_encoding=encoding),
        )
        found, truth, names, seconds = {}, [], [], {"asked once": 0.0, "in windows": 0.0}
        for video, clip in films(arguments.split, arguments.films):
            queries = [query.text for query in video.queries]
            began = time.process_time()
            once = ask_once(model, clip, queries, question)
            seconds["asked once"] += time.process_time() - began
            windows, began = cut_windows(clip, size), time.process_time()
            ranked = model.moments(windows, queries, question, end=END)
            seconds["in windows"] += time.process_time() - began
            for number, query in enumerate(video.queries):
                truth.append(query.spans)
                names.append(video.video)
                best = [(m.start, m.end) for m in ranked[number].moments]
                spoken = [windows.answers[start][number] for start in windows.starts]
                rows = {"asked once": once[number][0] if once[number] else None}
                rows |= {"mean": best[0] if best else None} | plain_rules(windows, spoken)
                if clip_model:
                    similar = clip_model.see(list(clip.frames)) @ clip_model.read([query.text])[0]
                    likes = similar * float(clip_model.model.logit_scale.exp())
                    rows |= clip_rules(windows, spoken, likes, clip.seconds, ranked[number])
                rows["best of five"] = max(
                    best, key=lambda s: max(temporal_iou(s, t) for t in query.spans), default=None
                )
                for rule, span in rows.items():
                    found.setdefault(rule, []).append(span)
        scores = {
            rule: moment_retrieval(spans, truth, names)["mIoU"] for rule, spans in found.items()
        }
        ratio = seconds["in windows"] / seconds["asked once"]
        table.append(
            {"arm": name, "n": len(truth), "mIoU": scores, "cpu_seconds": seconds, "ratio": ratio}
        )
        print(
            name,
            len(truth),
            {k: [round(x, 1) for x in v] for k, v in scores.items()},
            f"cost x {ratio:.1f}",
            flush=True,
        )
    return table


def heads_table(arguments):
    """Choose heads on short validation films, then ask again about what they look at."""
    table = []
    for name, (adapter, encoding) in ARMS.items():
        model, question = (
            load_model("flipbook/longva", adapter=adapter),
            Question(time_encoding=encoding),
        )
        looks, inside = [], []
        for video, clip in films("val", None):
            looks += list(
                question_attention(model, clip, [q.text for q in video.queries], question)
            )
            inside += [(clip.seconds >= q.spans[0].start) & (clip.seconds <= q.spans[0].end)
                       for q in video.queries]  # fmt: skip
        heads, found, truth, names = choose_heads(looks, inside), {}, [], []
        for video, clip in films(arguments.split, arguments.films):
            queries = [query.text for query in video.queries]
            once = ask_once(model, clip, queries, question)
            looks = question_attention(model, clip, queries, question)
            for query, answer, look in zip(video.queries, once, looks, strict=True):
                first, last = brightest_stretch(look, heads)
                spans = {"answer": answer[0] if answer else None}
                bright = (first, last)
                how = {"end": END, "duration": clip.duration}
                spans["heads"] = labels_to_seconds(bright, clip.seconds, **how)
                spans["asked again"] = ask_crop(model, clip, query.text, bright, question, end=END)
                for what, span in spans.items():
                    found.setdefault(what, []).append(span)
                truth.append(query.spans)
                names.append(video.video)
        scores = {
            what: moment_retrieval(spans, truth, names)["mIoU"] for what, spans in found.items()
        }
        table.append({"arm": name, "heads": heads, "n": len(truth), "mIoU": scores})
        print(
            name,
            heads,
            len(truth),
            {k: [round(x, 1) for x in v] for k, v in scores.items()},
            flush=True,
        )
    return table


def batch_table(arguments):
    """Measure what windows as a batch save: CPU seconds of ranked moments, on one thread."""
    import torch
    from inference import SMALL, build

    torch.set_num_threads(1)
    made = {"embedded": lambda: load_model("flipbook/longva", adapter="flipbook/numpro-ft"),
            "60 M, random": lambda: build("longva", SMALL, "cpu", torch.float32)}  # fmt: skip
    table, ((video, clip),) = [], films(arguments.split, 1)
    queries = [query.text for query in video.queries][:4]
    for name, make in made.items():
        model, spent, spans = make(), {}, set()
        for _ in range(arguments.repeats):
            for together in (1, 2, 4, 8):
                model.windows_at_once = lambda frames, together=together: together
                windows, began = cut_windows(clip, tuple(arguments.windows)), time.process_time()
                ranked = model.moments(windows, queries, end=END, max_new_tokens=12)
                spent.setdefault(together, []).append(time.process_time() - began)
                spans.add(tuple((m.start, m.end) for one in ranked for m in one.moments[:1]))
        best = {together: min(seconds) for together, seconds in spent.items()}
        saved = {together: 1 - seconds / best[1] for together, seconds in best.items()}
        what = {"model": name, "windows": len(windows.starts), "queries": len(queries)}
        same = {"same first moments": len(spans) == 1}
        table.append(what | {"cpu_seconds": best, "saved": saved} | same)
        print(table[-1], flush=True)
    return table


def hours_table(arguments):
    """Ask about one event in two hours of training films, and measure seconds and memory."""
    import resource

    every = [*load_dataset("flipbook", "train_more"), *load_dataset("flipbook", "train")]
    with_it = [v for v in every if any("green square" in q.text for q in v.queries)]
    target = next(v for v in with_it if all(len(q.spans) == 1 for q in v.queries))
    query = next(q for q in target.queries if "green square" in q.text)
    films = [v for v in every if v not in with_it][: (arguments.films or 212) - 1]
    films.insert(len(films) // 2, target)
    begins = sum(int(v.duration) for v in films[: films.index(target)])

    def frames():
        for video in films:
            times = np.arange(2 * int(video.duration)) / 2
            yield from read_clip(video.path, times=times, size=(336, 336)).frames

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    model = load_model("flipbook/longva", adapter="flipbook/numpro-ft")
    with TemporaryDirectory() as folder:
        film, before = write_video(Path(folder) / "long.mp4", frames(), fps=2.0), peak()
        began, windows = time.process_time(), open_windows(film, (16, 8), Sampling())
        (ranked,) = model.moments(windows, [query.text], end=END)
        seconds = time.process_time() - began
    row = {"films": len(films), "frames": len(windows), "windows": len(windows.starts)}
    row |= {"query": query.text, "truth": [begins + second for second in query.spans[0]]}
    row |= {"cpu_seconds": seconds, "peak_mib": peak(), "mib_before": before}
    row["moments"] = [vars(moment) for moment in ranked.moments]
    print(row)
    return [row]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["windows", "heads", "batch", "hours"])
    parser.add_argument("--split", default="val_long")
    parser.add_argument("--films", type=int, help="only the first films")
    parser.add_argument("--windows", type=int, nargs=2, default=[16, 4], help="frames and stride")
    parser.add_argument("--arms", type=int, default=len(ARMS), help="only the first arms")
    parser.add_argument("--clip", help="of windows: also rules with the score of this CLIP")
    parser.add_argument("--repeats", type=int, default=3, help="of a batch; the best is taken")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("long_films.json"))
    arguments = parser.parse_args()
    tables = {"windows": windows_table, "heads": heads_table, "batch": batch_table}
    tables["hours"] = hours_table
    rows = tables[arguments.what](arguments)
    stored = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    usual = arguments.windows == parser.get_default("windows")
    size = "" if usual else f" {tuple(arguments.windows)}"
    stored[f"{arguments.what} {arguments.split}{size}"] = {"rows": rows, "about": provenance()}
    arguments.out.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
