"""Instruction data: the questions and true answers a model is fine-tuned on, also as files.

`question` and `answer_text` are what `numpro.training` learns from; `build_samples` makes them of
any dataset, and `export` writes them for other trainers, each sample a row about one video. The
formats, as their tools document them:

- ``conversations``: a JSON list of ``video, source, conversations``, what the loader in NumPro's
  ``longva/train/train.py`` reads (github.com/yongliang-wu/NumPro; VTimeLLM's stage 2 and 3 have the
  same turns, github.com/huangb23/VTimeLLM, ``docs/data.md``). It knows the sources ``anet``,
  ``didemo`` and ``internvid``, a folder each, and appends ``.mp4`` to ``video``. ``fps`` and
  ``duration`` are ours; with them `numpro.datasets` reads labels back as seconds.
- ``ms-swift``: JSON Lines of ``messages`` and ``videos``
  (swift.readthedocs.io/en/latest/Customization/Custom-dataset.html, "Supervised Fine-tuning" and
  "Multimodal": one ``<video>`` for each file, absolute paths preferred).
- ``llama-factory``: a JSON list in the sharegpt format with ``videos``, and its entry in
  ``dataset_info.json`` (github.com/hiyouga/LLaMA-Factory, ``data/README.md``, "Multimodal Video
  Dataset": as many ``<video>`` as files; human in odd places, gpt in even ones).

Let the trainer sample the videos at the fps of the export, or its frames have other numbers.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpro.datasets.loading import VideoFiles
from numpro.datasets.records import Query, VideoQueries
from numpro.datasets.rows import fields, items, json_rows, naming, need, row_name, text
from numpro.numbers.overlay import NumberStyle, number_frames
from numpro.paths import write_whole, yaml_beside
from numpro.progress import progress_bar
from numpro.prompting import TASKS, Prompt, asked_unit, build_prompt, prompts
from numpro.prompting.encodings import ENCODINGS, EXPORTED, to_percent
from numpro.spans import ROUNDINGS, Span, labels_to_seconds, one_of, seconds_to_labels, temporal_iou
from numpro.video import VideoError, probe, read_clip, sampling_times, write_video

_TABLE = yaml_beside(__file__)
SOURCES, FORMATS = _TABLE["sources"], _TABLE["formats"]


@dataclass(frozen=True)
class InstructionConfig:
    """How a video is shown, and with which question, in training; `templates` are by task."""

    time_encoding: str = "overlay-index"
    fps: float = 1.0
    highlight_fps: float = 0.5
    size: tuple[int, int] | None = (336, 336)
    max_frames: int | None = 240
    style: NumberStyle = field(default_factory=NumberStyle)
    rounding: str = "nearest"
    templates: dict = field(default_factory=dict)

    def sampling(self, task: str) -> dict:
        """Return what `read_clip` and `sampling_times` are given for a task."""
        fps = self.fps if task == "moment_retrieval" else self.highlight_fps
        return {"fps": fps, "max_frames": self.max_frames}


class Shown(NamedTuple):
    """The times of a video's sampled frames and its length: what labels need of a clip.

    `first` is the number of the first frame, where numbers are used.
    """

    seconds: np.ndarray
    duration: float
    first: int = 0


class Sample(NamedTuple):
    """One question about one video with its true answer."""

    video: VideoQueries
    query: Query
    path: Path
    question: str
    answer: str
    shown: Shown
    fps: float


def unlearnable(query: Query, task: str, duration: float | None) -> str | None:
    """Return why a query cannot be learned from; None when it can.

    Parameters
    ----------
    query, task
        The query, and the task it is put for; of a moment the first span counts.
    duration
        Seconds of the video; None where unknown.
    """
    if task != "moment_retrieval":
        return None if query.saliency and query.saliency.clip_ids else "has no saliency to learn"
    if not query.spans:
        return "has no span to learn"
    start, end = query.spans[0]
    if end < start:
        return f"has a span that ends before it starts: {start:g} to {end:g} s"
    outside = end < 0 or (duration is not None and start >= duration)
    return f"has a span outside the video: {start:g} to {end:g} s" if outside else None


def question(query: Query, clip: Any, task: str, config: InstructionConfig) -> Prompt:
    """Return the prompt for a clip (of which ``seconds`` and ``duration`` are used)."""
    first = getattr(clip, "first", 0)
    labels = range(first, first + len(clip.seconds)) if first else None
    template = config.templates.get(task)
    color = config.style.color if isinstance(config.style.color, str) else "small"
    return build_prompt(
        query.text, clip.seconds, task, config.time_encoding, clip.duration, labels, template, color
    )


def answer_text(query: Query, clip: Any, task: str, config: InstructionConfig) -> str:
    """Return the true answer to a query in the words the model is to learn.

    A moment is the first of several; a highlight frame's score is 1 plus the annotators' mean.

    Raises
    ------
    ValueError
        When the query has no truth for the task, or no span inside the video.
    """
    if reason := unlearnable(query, task, clip.duration):
        raise ValueError(f"query {query.qid!r} {reason}")
    unit = asked_unit(config.time_encoding)
    first = getattr(clip, "first", 0) or ENCODINGS[config.time_encoding].first

    def shown(label: int, time: float) -> float:
        if unit == "frame":
            return first + label
        return time if unit == "second" else to_percent(time, clip.duration)

    if task == "moment_retrieval":
        labels = seconds_to_labels(query.spans[0], clip.seconds, config.rounding)
        inside = config.rounding == "inner"  # then seconds, too, are those of frames
        times = [float(clip.seconds[k]) for k in labels] if inside else query.spans[0]
        return prompts.format_moment(*map(shown, labels, times), config.time_encoding)
    graded = dict(zip(query.saliency.clip_ids, query.saliency.scores, strict=True))
    frames = [(i, float(t)) for i, t in enumerate(clip.seconds) if int(t // 2) in graded]
    scores = [1 + float(np.mean(graded[int(t // 2)])) for _, t in frames]
    labels = [shown(*frame) for frame in frames]
    return prompts.format_highlights(labels, scores, config.time_encoding)


def rounding_cost(samples: Sequence[tuple[Span, Sequence[float]]]) -> dict[str, float]:
    """Return what giving moments in labels costs under each rounding rule.

    Parameters
    ----------
    samples
        A true span in seconds with the times of the sampled frames, for each query.

    Returns
    -------
    dict
        Rule of `numpro.spans.ROUNDINGS` -> mean temporal IoU lost against the truth, in percent
        ("inner" labels are read "halfway", the others as instants).

    Examples
    --------
    >>> rounding_cost([(Span(0.9, 4.0), [0.0, 1.0, 2.0, 3.0, 4.0])])["nearest"].__round__(2)
    3.23
    """
    lost, truth = {}, [span for span, _ in samples]
    for rule in ROUNDINGS if samples else ():
        end = "halfway" if rule == "inner" else "instant"
        labels = [(seconds_to_labels(span, times, rule), times) for span, times in samples]
        rounded = [labels_to_seconds(*pair, end=end) for pair in labels]
        lost[rule] = 100 * (1 - float(np.mean(temporal_iou(rounded, truth))))
    return lost


def build_samples(
    videos: Iterable[VideoQueries], task: str = "moment_retrieval",
    config: InstructionConfig | None = None, numbered: Path | None = None, need_videos: bool = True,
) -> tuple[list[Sample], dict]:  # fmt: skip
    """Turn a dataset into questions with true answers.

    Parameters
    ----------
    videos
        From `numpro.datasets.load_dataset`.
    task
        One of `numpro.prompting.prompts.TASKS`.
    config
        How videos are shown, and with which question.
    numbered
        Folder to write the videos to as the model is to see them: sampled, resized, numbered.
        Without it samples name the videos as they are.
    need_videos
        False also takes videos that are not there, with the duration of the annotations.

    Returns
    -------
    samples
        In the order of the dataset.
    report
        ``samples``, ``videos`` (with samples), ``skipped`` (rows ``video, qid, reason``; no qid
        where the video is at fault), ``rounding``, and ``cost`` as of `rounding_cost` (empty where
        the answers have no labels).
    """
    config, samples, skipped = config or InstructionConfig(), [], []
    # text between frames has no place in rows that say <video> once
    one_of("time_encoding of an export", config.time_encoding, EXPORTED)
    one_of("rounding", config.rounding, ROUNDINGS)
    fps = config.sampling(one_of("task", task, TASKS))["fps"]
    for video in progress_bar(videos, "instructions", unit="video"):
        try:
            shown, path = _shown(video, task, config, numbered, need_videos)
        except VideoError as error:
            skipped.append({"video": video.video, "qid": None, "reason": error.reason})
            continue
        for query in video.queries:
            if reason := unlearnable(query, task, shown.duration):
                skipped.append({"video": video.video, "qid": query.qid, "reason": reason})
                continue
            prompt = question(query, shown, task, config)
            answer = answer_text(query, shown, task, config)
            samples.append(Sample(video, query, path, prompt.text, answer, shown, fps))
    labelled = task == "moment_retrieval" and asked_unit(config.time_encoding) == "frame"
    cost = rounding_cost([(s.query.spans[0], s.shown.seconds) for s in samples if labelled])
    report = {"samples": len(samples), "videos": len({id(s.video) for s in samples})}
    return samples, report | {"skipped": skipped, "rounding": config.rounding, "cost": cost}


def _shown(video: VideoQueries, task: str, config, numbered, needed) -> tuple[Shown, Path]:
    """Return the times of a video's sampled frames and its file, with `numbered` the new one."""
    sampling = config.sampling(task)
    if numbered is None:
        absent = not (needed or video.path.is_file())
        seconds = (absent and video.duration) or probe(video.path).duration
        return Shown(sampling_times(seconds, **sampling), seconds), video.path
    path = VideoFiles([numbered]).find(f"{video.video.removesuffix('.mp4')}.mp4")
    if path.resolve() == video.path.resolve():
        raise ValueError(f"numbered videos need another folder than {numbered}: it has {path.name}")
    clip = read_clip(video.path, size=config.size, **sampling)
    labels = question(Query("", "", ()), clip, task, config).frame_labels
    frames = number_frames(clip.frames, config.style, labels) if labels else clip.frames
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, seconds=clip.seconds, duration=clip.duration)
    return Shown(clip.seconds, clip.duration), path


# --- files ---


def _row(sample: Sample, name: str) -> dict:
    """Return a sample as a row of a format."""
    _, tag, turns, who, words, human, model = FORMATS[name]
    texts = {human: tag + sample.question, model: sample.answer}
    talk = {turns: [{who: role, words: content} for role, content in texts.items()]}
    if name != "conversations":
        return talk | {"videos": [str(sample.path.absolute())]}
    video = sample.video.video.removesuffix(".mp4")  # the loader appends it
    source = SOURCES.get(sample.video.dataset, sample.video.dataset)
    facts = {"fps": sample.fps, "duration": sample.shown.duration}
    return {"video": video, "source": source} | facts | talk


def _info(path: Path) -> dict:
    """Return the entry of a file in LLaMA-Factory's ``dataset_info.json``."""
    columns = {"messages": FORMATS["llama-factory"][2], "videos": "videos"}
    return {"file_name": path.name, "formatting": "sharegpt", "columns": columns}


def _listed(path: Path) -> dict:
    """Return the ``dataset_info.json`` beside a file; {} where there is none."""
    info = path.with_name("dataset_info.json")
    with naming(info):
        found = json.loads(info.read_text(encoding="utf-8")) if info.exists() else {}
        need(found)
    return found


def export(samples: Sequence[Sample], path: Path, name: str) -> Path:
    """Write samples for a trainer and check what was written.

    For ``llama-factory`` the file is also entered, by its name without suffix, in the
    ``dataset_info.json`` beside it.

    Parameters
    ----------
    samples
        From `build_samples`.
    path
        The file; its suffix is that of the format.
    name
        One of `FORMATS`.

    Raises
    ------
    ValueError
        For no samples, another suffix, a query that the format cannot hold (one with ``<video>``
        in it), or a ``dataset_info.json`` that is not one; nothing is written then.
    """
    one_of("format", name, FORMATS)
    if not samples:
        raise ValueError("there are no samples to write")
    if path.suffix != (suffix := FORMATS[name][0]):
        raise ValueError(f"a file for {name} must end in {suffix}; got {path.name}")
    lines = []
    for sample in samples:
        with naming(f"query {sample.query.qid!r}"):
            _check_row(row := _row(sample, name), name)
        lines.append(json.dumps(row, ensure_ascii=False))
    whole = "\n".join(lines) if suffix == ".jsonl" else "[" + ",\n ".join(lines) + "]"
    listed = _listed(path) | {path.stem: _info(path)} if name == "llama-factory" else None
    write_whole(path, whole + "\n")
    if listed:
        write_whole(path.with_name("dataset_info.json"), json.dumps(listed, indent=2) + "\n")
    check_export(path, name)
    return path


def check_export(path: Path, name: str) -> int:
    """Check a file against the rules of its format, and return its number of rows.

    Raises
    ------
    ValueError
        For the first row that breaks a rule, named with its file and number.
    """
    one_of("format", name, FORMATS)
    with naming(path):
        rows = list(json_rows(path))
        for key, row in rows:
            with naming(row_name(key)):
                _check_row(row, name)
        if not rows:
            raise ValueError("is empty")
        if name == "llama-factory" and _listed(path).get(path.stem) != _info(path):
            raise ValueError(f"dataset_info.json beside it must hold it as {_info(path)}")
    return len(rows)


def _check_row(row: Any, name: str) -> None:
    """Refuse a row that breaks a rule of its format."""
    _, _, turns, who, words, *roles = FORMATS[name]
    talk = [need(turn, who, words) for turn in fields(row, **{turns: items})[0]]
    talk = talk[1:] if talk and talk[0][0] == "system" else talk
    if not talk or len(talk) % 2:
        raise ValueError(f"{turns} must be questions with answers; got {len(talk)} turns")
    for n, (role, content) in enumerate(talk):
        if role != roles[n % 2]:
            raise ValueError(f"{who} must be {roles[n % 2]!r} in turn {n + 1}; got {role!r:.80}")
        text(content, words)
    if name == "conversations":
        files = fields(row, video=text, source=text)[:1]
    else:
        files = [text(file, "videos") for file in fields(row, videos=items)[0]]
    tags = re.findall("<(?:video|image|audio)>", "".join(content for _, content in talk))
    if tags != ["<video>"] * len(files):
        got = f"{' '.join(tags) or 'none'} for {len(files)}"
        raise ValueError(f"{turns} must have one <video> for each video; got {got}")
