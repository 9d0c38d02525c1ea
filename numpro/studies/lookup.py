"""Lookup and reverse lookup: whether what an encoding shows is read, apart from finding an event.

After ViKey (CVPR 2026, arXiv 2603.23186), which asks "what is in frame k?" and "which frame shows
x?". Here a few frames of a real clip are painted in one plain colour each, so that the answer is
known in any video: "Look at Frame 7: what colour is it?" and "At which frame is it yellow?". Who
cannot see the time of a frame answers the first by chance; who sees it and scores low on moments
does not find the event.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np

from numpro.datasets import VideoQueries
from numpro.metrics.bootstrap import bootstrap_interval
from numpro.models import Question, VideoModel
from numpro.prompting import parse_moment
from numpro.prompting.encodings import value_of
from numpro.spans import to_seconds
from numpro.video import Clip, Sampling, read_clip

# light ones, on which red digits stand out
COLORS = {"yellow": (250, 220, 60), "white": (250, 250, 250), "green": (120, 220, 120),
          "blue": (150, 190, 250)}  # fmt: skip
_NAMES = ", ".join(COLORS)
LOOKUP = f"{{numbers}} Look at {{query}}: what colour is it? Answer with one word of {_NAMES}."
REVERSE = "{{numbers}} At which {noun} is it all {{query}}? Answer in the format: '{place}'."


def paint(clip: Clip, name: str = "", seed: int = 0) -> tuple[Clip, dict[str, int]]:
    """Return a clip with a frame painted in each colour, and which frames they are.

    Which frames they are depends on the video's name and the seed; a clip of fewer frames than
    colours gets fewer.
    """
    digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
    rng, count = np.random.default_rng(list(digest)), min(len(COLORS), len(clip))
    chosen = dict(zip(rng.permutation(list(COLORS)).tolist()[:count],
                      rng.permutation(len(clip)).tolist()[:count], strict=True))  # fmt: skip
    frames = clip.frames.copy()
    for color, frame in chosen.items():
        frames[frame] = COLORS[color]
    return replace(clip, frames=frames), chosen


def _ask(
    model: VideoModel, clip: Clip, chosen: dict, question: Question
) -> Iterator[tuple[float, ...]]:
    """Yield whether a lookup and its reverse are right, the reverse within one, and by chance."""
    value = value_of(question.time_encoding)
    shown = value.write_all(range(len(clip)), clip.seconds, clip.duration)
    reverse = REVERSE.format(noun=value.noun, place=value.place.format("x"))
    queries = [value.place.format(shown[frame]) for frame in chosen.values()]
    answers = []
    for template, asked_for in ((LOOKUP, queries), (reverse, list(chosen))):
        put = replace(question, template=template)
        frames, prompts = model.prepare(clip, asked_for, put)
        answers.append(model.respond(frames, prompts, 16))
    for color, text, back in zip(chosen, *answers, strict=True):
        named = re.search("|".join(COLORS), text.lower())
        spans = to_seconds(parse_moment(back), clip, unit=value.unit)
        off = np.inf
        if spans:
            off = abs(int(np.abs(clip.seconds - spans[0].start).argmin()) - chosen[color])
        yield bool(named) and named[0] == color, off == 0, off <= 1, 1 / len(clip)


def lookup(
    model: VideoModel, videos: Sequence[VideoQueries], encodings: Sequence[str],
    sampling: Sampling = Sampling(), question: Question = Question(), seed: int = 0,
) -> list[dict]:  # fmt: skip
    """Ask what is at a time, and at which time something is, under each encoding.

    Parameters
    ----------
    model, videos
        Who is asked, about which videos; of a data set only the files are used.
    encodings
        Names of `numpro.prompting.ENCODINGS`.
    sampling, question
        How videos are sampled and how numbers are drawn.
    seed
        Of the frames that are painted.

    Returns
    -------
    list of dict
        For each encoding ``time_encoding``, ``n`` (frames), and in percent with a 95 % interval
        by video ``lookup``, ``reverse`` and ``within one`` (the reverse, one frame off counted);
        ``by chance`` are the shares of `lookup` and `reverse` for an answer that sees nothing.

    Raises
    ------
    VideoError
        When a video cannot be read.
    """
    clips = [read_clip(video.path, **asdict(sampling)) for video in videos]
    painted = [paint(clip, v.video, seed) for clip, v in zip(clips, videos, strict=True)]
    rows = []
    for name in encodings:
        put = replace(question, time_encoding=name)
        answers = [list(_ask(model, *both, put)) for both in painted]
        groups = [n for n, found in enumerate(answers) for _ in found]
        scores = 100 * np.array([one for found in answers for one in found], float)
        means, around = scores.mean(0), bootstrap_interval(scores, groups)
        row = {"time_encoding": name, "n": len(scores)}
        for column, what in enumerate(("lookup", "reverse", "within one")):
            row[what] = [float(means[column]), *map(float, around[column])]
        rows.append(row | {"by chance": [100 / len(COLORS), float(means[3])]})
    return rows
