"""The arms of the comparison, asked and scored alike, beside floors and the ceiling.

Four arms share one base model: without numbers and with them, each before and after
fine-tuning. Their answers go into a run folder; what is there already is not asked again.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from numpro.datasets import VideoQueries
from numpro.inference import predict
from numpro.metrics import baselines, highlight_detection, moment_retrieval, ranked_retrieval
from numpro.models import Question, load_model
from numpro.models.kept import forget_large, load_kept
from numpro.paths import find_model, relative, resolve
from numpro.prompting import TIME_ENCODINGS
from numpro.prompting.answers import NOT_PRESENT
from numpro.spans import temporal_iou
from numpro.video import Sampling

Folder = str | os.PathLike


@dataclass(frozen=True)
class Arm:
    """One way of asking: which adapter, if any, and how the time is told."""

    name: str
    time_encoding: str
    adapter: str = ""

    @property
    def method(self) -> str:
        """``base`` or ``fine-tuned``, as score rows name it."""
        return "fine-tuned" if self.adapter else "base"


def four_arms(tuned_without: str = "flipbook/ft", tuned_with: str = "flipbook/numpro-ft") -> list:
    """Return the paper's four arms; an empty adapter leaves its arm out.

    Examples
    --------
    >>> [arm.name for arm in four_arms("", "mine")]
    ['base', 'base + numbers', 'fine-tuned + numbers']
    """
    arms = [Arm("base", "none"), Arm("base + numbers", "overlay-index")]
    if tuned_without:
        arms.append(Arm("fine-tuned", "none", tuned_without))
    if tuned_with:
        arms.append(Arm("fine-tuned + numbers", "overlay-index", tuned_with))
    return arms


def first_spans(rows: Sequence[dict], key: str = "pred") -> list[tuple[float, float] | None]:
    """Return the first predicted span of each row, None where nothing could be read."""
    return [tuple(row[key][0]) if row[key] else None for row in rows]


def ask_arms(
    arms: Sequence[Arm], model: str, videos: Sequence[VideoQueries], folder: Folder,
    question: Question = Question(), loading: Mapping | None = None, **options,
) -> dict[str, list[dict]]:  # fmt: skip
    """Ask every arm every query; return prediction rows by arm name.

    Rows are stored under ``predictions/`` of a run folder, in a file named after the arm and its
    whole configuration (the weights too), so that a second call only reads them.

    Parameters
    ----------
    arms
        From `four_arms`, or any others.
    model
        The base model's name.
    videos
        One part of a dataset.
    folder
        The run folder, where the rows go.
    question
        How it is put; the time encoding is each arm's.
    loading
        Options of `numpro.models.load_model`, the same for every arm.
    options
        ``sampling``, ``execution``, ``end``, ``control``, ``read`` and ``top`` as
        `numpro.inference.predict` takes them.
    """
    depends_on = {k: v for k, v in options.items() if k != "execution"} | dict(loading or {})

    def ask(arm: Arm) -> list[dict]:  # by itself: no model lives longer than it is needed
        loaded = load_kept(load_model, model, arm.adapter, loading)
        put = replace(question, time_encoding=arm.time_encoding)
        whole = depends_on | {"question": put, "name": arm.name, "weights": loaded.fingerprint}
        rare = {"max_new_tokens": put.max_new_tokens, "windows": put.windows}
        whole |= {name: value for name, value in rare.items() if value}
        text = json.dumps(whole, default=str, sort_keys=True)
        mark = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = re.sub(r"[^A-Za-z0-9_.]+", "-", arm.name)
        part = f"{videos[0].dataset}-{videos[0].split}-{put.task}"
        out = resolve(folder) / "predictions" / f"{part}-{name}-{mark}.jsonl"
        return predict(videos, loaded, out, question=put, **options)

    try:
        return {arm.name: ask(arm) for arm in (arms if videos else ())}
    finally:
        forget_large()  # what comes next may need the memory


def score_arms(
    arms: Sequence[Arm], rows: dict[str, list[dict]], videos: Sequence[VideoQueries], model: str,
    task: str = "moment_retrieval", fps: float = 1.0,
) -> list[dict]:  # fmt: skip
    """Return one score row per arm, as ``results.json`` holds them (95 % intervals by video).

    Rows of ranked moments get the scores of `numpro.metrics.ranked_retrieval`, too.
    """
    scored = []
    for arm in arms:
        key = "pred" if task == "moment_retrieval" else "pred_saliency_scores"
        found = rows[arm.name]
        ranked = ranked_retrieval(found) if "greedy" in found[0] else {}
        predicted = [row[key][:1] if ranked else row[key] for row in found]
        row = _score(videos, task, arm.method, predicted, model, arm.time_encoding, fps) | ranked
        scored.append(row | ({"adapter": arm.adapter} if arm.adapter else {}))
    return scored


def score_floors(
    videos: Sequence[VideoQueries], train: Sequence[VideoQueries], task: str = "moment_retrieval",
    fps: float = 1.0, seed: int = 0,
) -> list[dict]:  # fmt: skip
    """Return score rows of answers that never look at the video, and of the frame-grid ceiling.

    The fixed window and the random moments come from `train`, never from what is scored; without
    any (`numpro.studies.fit_parts`) these two are left out.
    """
    if task == "highlight_detection":
        return [_score(videos, task, "centre-prior", baselines.centre_prior(videos))]
    guesses = {"whole-video": baselines.whole_video(videos)}
    if train:
        window = baselines.best_fixed_window(train)
        guesses["random-moment"] = baselines.random_moment(videos, train, seed)
        guesses["best-fixed-window"] = baselines.fixed_window(videos, window)
    floors = [_score(videos, task, k, [[s] for s in spans]) for k, spans in guesses.items()]
    ceiling = baselines.frame_grid(videos, fps, every=True)
    return [*floors, _score(videos, task, "frame-grid", ceiling, fps=fps)]


def _score(videos, task, method, predicted, model=None, time_encoding=None, fps=None) -> dict:
    """Return the score row of predictions, in the order of the queries."""
    queries = [query for video in videos for query in video.queries]
    names = [video.video for video in videos for _ in video.queries]
    if task == "moment_retrieval":
        first = [spans[0] if spans else None for spans in predicted]
        scores = moment_retrieval(first, [q.spans for q in queries], names, sets=predicted)
    else:
        durations = [video.duration for video in videos for _ in video.queries]
        scores = highlight_detection(predicted, [q.saliency for q in queries], durations, names)
        scores = {name: scores[name] for name in ("n", "unparsed", "mAP", "HIT@1")}
    row = {"dataset": videos[0].dataset, "split": videos[0].split, "task": task, "method": method}
    return row | {"model": model, "time_encoding": time_encoding, "fps": fps} | scores


def claims(rows: Mapping[str, Sequence[dict]]) -> list[dict]:
    """Count how often each arm claims to see what its films do not show.

    Parameters
    ----------
    rows
        Rows by arm, as `ask_arms` returns them, about things that are not there (the embedded
        splits ``val_absent`` and ``test_absent``). Answers must be free (``constrained=False``):
        one held to the form of a moment has no way to say no.

    Returns
    -------
    list of dict
        ``arm``, ``n``, and in percent: ``claims`` (a moment is answered), ``none`` (the answer says
        that it is not there), ``unread`` (neither).
    """
    found = []
    for arm, answers in rows.items():
        claimed = sum(bool(row["pred"]) for row in answers)
        none = sum(row["reason"] == NOT_PRESENT for row in answers)
        counts = {"claims": claimed, "none": none, "unread": len(answers) - claimed - none}
        shares = {name: 100 * count / len(answers) for name, count in counts.items()}
        found.append({"arm": arm, "n": len(answers)} | shares)
    return found


def choose_arms(adapters: str, folder: Folder, seed: int = 0) -> list[Arm]:
    """Return the arms a notebook asks.

    Parameters
    ----------
    adapters
        ``flipbook``: the four arms with the committed adapters; ``run``: with those notebook 03
        left in the run folder (an arm whose adapter is not there is left out); ``none``: the two
        training-free arms; an adapter's folder: those, and it with numbers.
    folder, seed
        Which run folder, and which seed of notebook 03.

    Raises
    ------
    ValueError
        For another word, or when the run folder holds no adapter.
    """
    if adapters == "flipbook":
        return four_arms()
    if adapters == "none":
        return four_arms("", "")
    if adapters != "run" and Path(find_model(adapters)).is_dir():
        return four_arms("", adapters)
    if adapters != "run":
        raise ValueError(f"adapters must be flipbook, run, none or a folder; got {adapters!r}")
    found = [trained(folder, encoding, seed) for encoding in ("none", "overlay-index")]
    if not any(found):
        raise ValueError(
            f"adapters = run, but in {relative(resolve(folder))}/adapters there is neither "
            f"none-seed{seed} nor overlay-index-seed{seed}; run notebook 03 first"
        )
    return four_arms(*found)


def trained(folder: Folder, encoding: str, seed: int = 0, videos: int = 0) -> str:
    """Return the adapter folder notebook 03 wrote, "" when it is not there.

    `videos` is not 0 for an adapter of the learning curve, made from so many videos.
    """
    part = f"-{videos}videos" if videos else ""
    adapter = resolve(folder) / "adapters" / f"{encoding}{part}-seed{seed}"
    return relative(adapter) if (adapter / "adapter_config.json").is_file() else ""


def encoding_arms(
    folder: Folder, seed: int = 0, encodings: Sequence[str] = TIME_ENCODINGS
) -> list[Arm]:
    """Return an arm for each way of telling the time: the base, and the adapters of a run."""
    arms = [Arm(f"base, {encoding}", encoding) for encoding in encodings]
    tuned = {encoding: trained(folder, encoding, seed) for encoding in encodings}
    return arms + [Arm(f"fine-tuned, {e}", e, path) for e, path in tuned.items() if path]


def learning_curve(
    folder: Folder, train: Sequence, videos: Sequence, model: str, seed: int = 0, **options
) -> list[dict]:
    """Score notebook 03's adapters, also those made from the first of the training videos only.

    Parameters
    ----------
    folder, seed
        Where the adapters are, and which.
    train, videos
        What they learned from, and what they are asked.
    model
        The base.
    options
        As `ask_arms` takes them.

    Returns
    -------
    list of dict
        Score rows with ``queries``, how many were learned from.
    """
    names = [path.name for path in resolve(folder).glob(f"adapters/*videos-seed{seed}")]
    sizes = {int(re.search(r"-(\d+)videos", name)[1]) for name in names}
    fps = options.get("sampling", Sampling()).fps
    rows = []
    for size in [*sorted(sizes), 0]:
        made = {e: trained(folder, e, seed, size) for e in ("none", "overlay-index")}
        arms = [Arm(f"{e}, {size or 'all'} videos", e, f) for e, f in made.items() if f]
        answers = ask_arms(arms, model, videos, folder, **options)
        queries = sum(len(v.queries) for v in train[: size or None])
        scored = score_arms(arms, answers, videos, model, fps=fps)
        rows += [row | {"queries": queries} for row in scored]
    return rows


def worst(rows: Sequence[dict], count: int = 3) -> list[dict]:
    """Return the prediction rows with the least IoU, unreadable answers first.

    Rows of videos that could not be read are no answers.
    """

    def iou(row: dict) -> float:
        return max(temporal_iou(row["pred"][0], row["truth"])) if row["pred"] else -1.0

    answered = [r for r in rows if r["truth"] and not (r["reason"] or "").startswith("video: ")]
    return sorted(answered, key=iou)[:count]
