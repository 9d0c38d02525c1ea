"""One video of your own, one sentence: ask, look, cut the moment out."""

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from numpro import plots
from numpro.inference.embedded import caution
from numpro.models import Question, RankedMoments, VideoModel
from numpro.prompting import MomentAnswer, Prompt
from numpro.spans import Span, to_seconds
from numpro.video import Clip, Sampling, probe, read_clip, sampling_times, write_video
from numpro.video.windows import open_windows

_AT_ONCE = 64  # frames read together while cutting


@dataclass(frozen=True)
class Found:
    """A model's answer to one query about one video.

    Attributes
    ----------
    query
        As asked.
    clip : Clip
        What was sampled, not numbered.
    pages : uint8 [T, H, W, 3]
        The frames as the model saw them.
    prompt : Prompt
        The question as it was put.
    answer : MomentAnswer
        As the model gave it.
    spans : tuple of Span
        In seconds; empty when nothing could be read (`answer.reason`).
    ranked : RankedMoments or None
        The moments in order of the IoU that the model expects of them, where they were asked for.
    caution : str or None
        Why the answer means nothing (`numpro.inference.embedded`).
    """

    query: str
    clip: Clip
    pages: np.ndarray
    prompt: Prompt
    answer: MomentAnswer
    spans: tuple[Span, ...]
    ranked: RankedMoments | None = None
    caution: str | None = None

    def figure(self) -> "plots.style.Figure":
        """Return the sampled frames as the model saw them, the answer below (a Figure).

        Of ranked moments that is the first.
        """
        first = [Span(m.start, m.end) for m in self.ranked.moments] if self.ranked else self.spans
        answered = {"predicted": first[:1], "title": self.query}
        return plots.contact_strip(self.pages, self.clip.seconds, **answered)

    def __str__(self) -> str:
        text = ", ".join(f"{start:.2f} s to {end:.2f} s" for start, end in self.spans)
        text = text or f"no span could be read from {self.answer.text!r} ({self.answer.reason})"
        return f"{text}\n{self.caution}" if self.caution else text


def find_moment(
    video: str | os.PathLike, query: str, model: VideoModel, sampling: Sampling = Sampling(),
    question: Question = Question(), tell: Callable[[object], None] | None = None,
    top: int | None = None,
) -> Found:  # fmt: skip
    """Ask a model when something happens in a video.

    Parameters
    ----------
    video
        A video file.
    query
        What to look for, such as ``"a red star spins"``.
    model
        From `numpro.models.load_model`.
    sampling, question
        How the video is sampled, and how the question is put; by default as published.
    tell : callable, optional
        Is given, before the question is asked, that a long film was thinned, and what it will cost
        where the model can say it.
    top
        Rank so many moments, too (`VideoModel.moments`), of a long film a window at a time.

    Raises
    ------
    ValueError
        For an empty query, or a `top` below 1.
    VideoError
        When the file cannot be read as a video.
    """
    if not query.strip():
        raise ValueError("the query is empty; say what to look for")
    size = None if top is None else question.window_size(model.notes)
    windows = size and open_windows(video, size, sampling)
    clip = read_clip(video, **asdict(sampling))
    if tell and not windows and (thinned := _thinned(clip, sampling.fps)):
        tell(thinned)
    pages, (prompt,) = model.prepare(clip, [query], question)
    with warnings.catch_warnings(action="ignore"):  # prepare has warned already
        if tell and windows:
            tell(windows)
        if tell and hasattr(model, "cost"):
            part = clip.select(range(min(windows.size[0], len(clip)))) if windows else clip
            tell(model.cost(part, [query], question, None, len(windows.starts) if windows else 1))
        film = windows or clip
        ranked = None if top is None else model.moments(film, [query], question, top=top)[0]
        answer = ranked.answer if ranked else model.answer(clip, [query], question)[0]
    unit, labels = model.answer_unit(question, len(clip))
    spans = tuple(to_seconds(answer, clip, labels, unit=unit))
    return Found(query, clip, pages, prompt, answer, spans, ranked, caution(model, clip))


def _thinned(clip: Clip, fps: float) -> str:
    """Say that a film was too long to be sampled at the rate that was asked for, if it was."""
    wanted, every = len(sampling_times(clip.duration, fps)), clip.duration / len(clip)
    if wanted <= len(clip):
        return ""
    lost = f"at {fps:g} frames a second it has {wanted}, and {len(clip)} are shown"
    return f"The film lasts {clip.duration:.0f} s: {lost}, one every {every:.2g} s."


def cut_out(
    video: str | os.PathLike, span: tuple[float, float], out: str | os.PathLike,
    origin: str = "beginning",
) -> Path:  # fmt: skip
    """Write the part of a video from ``span[0]`` to ``span[1]`` seconds as an mp4 without sound.

    Frames are those on screen, at most 30 a second; the file appears whole or not at all.
    `origin` is what second 0 is, as in the sampling that the span comes from.

    Raises
    ------
    ValueError
        When the span is not inside the video.
    VideoError
        When the file cannot be read as a video.
    """
    info = probe(video, origin)
    start, end = span[0], min(span[1], info.duration)
    if not 0 <= start < end:
        raise ValueError(f"span must be start < end in 0..{info.duration:.2f} s; got {tuple(span)}")
    rate = min(30.0, info.fps)
    seconds = start + np.arange(max(1, round((end - start) * rate))) / rate
    parts = np.split(seconds, range(_AT_ONCE, len(seconds), _AT_ONCE))
    frames = (f for part in parts for f in read_clip(video, times=part, origin=origin).frames)
    return write_video(out, frames, fps=rate)
