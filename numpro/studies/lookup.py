"""Lookup and reverse lookup: whether what an encoding shows is read, apart from finding an event.

After ViKey (CVPR 2026, arXiv 2603.23186), which asks "what is in frame k?" and "which frame shows
x?". Here a few frames of a real clip are painted in one plain colour each, so that the answer is
known in any video: "Look at Frame 7: what colour is it?" and "At which frame is it yellow?". Who
cannot see the time of a frame answers the first by chance; who sees it and scores low on moments
does not find the event.
"""

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from numpro.datasets import VideoQueries
from numpro.metrics.bootstrap import score_table
from numpro.metrics.moment_retrieval import moment_ious
from numpro.models import Question, VideoModel, load_model
from numpro.models.kept import load_kept
from numpro.progress import progress_bar
from numpro.prompting import parse_moment
from numpro.prompting.encodings import ENCODINGS, value_of
from numpro.spans import one_of, to_seconds
from numpro.studies.arms import first_spans
from numpro.video import Clip, Sampling, VideoError, read_clip

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
    rng = np.random.default_rng(list(hashlib.sha256(f"{name} {seed}".encode()).digest()))
    chosen = dict(zip(COLORS, rng.permutation(len(clip)).tolist(), strict=False))
    frames = clip.frames.copy()
    for color, frame in chosen.items():
        frames[frame] = COLORS[color]
    return replace(clip, frames=frames), chosen


def _ask(model: VideoModel, clip: Clip, chosen: dict, question: Question) -> Iterator[tuple]:
    """Yield how far a reverse lookup is off (None: unread), and whether the lookup is right."""
    value = value_of(model.resolve_encoding(question.time_encoding))
    unit, numbers = model.answer_unit(question, len(clip))
    shown = value.write_all(numbers or range(len(clip)), clip.seconds, clip.duration)
    reverse = REVERSE.format(noun=value.noun, place=value.place.format("x"))
    places = [value.place.format(shown[frame]) for frame in chosen.values()]
    prompts = []
    for template, queries in ((LOOKUP, places), (reverse, list(chosen))):
        frames, more = model.prepare(clip, queries, replace(question, template=template))
        prompts += more
    texts = model.respond(frames, prompts, 16)  # at once: the frames are encoded once
    halves = texts[: len(places)], texts[len(places) :]
    for (color, frame), text, back in zip(chosen.items(), *halves, strict=True):
        spans = to_seconds(parse_moment(back), clip, numbers, unit=unit)
        off = int(np.abs(clip.seconds - spans[0].start).argmin()) - frame if spans else None
        yield off, re.findall("|".join(COLORS), text.lower())[:1] == [color]


def ask_lookups(
    model: str, videos: Sequence[VideoQueries], encodings: Sequence[str],
    sampling: Sampling = Sampling(), question: Question = Question(),
    loading: Mapping | None = None, seed: int = 0,
) -> list[dict]:  # fmt: skip
    """Ask what is at a time, and at which time something is, under each encoding.

    Parameters
    ----------
    model, videos
        Who is asked, by name, about which videos; of a data set only the files are used.
    encodings
        Names of `numpro.prompting.ENCODINGS`.
    sampling, question, loading
        As for `numpro.studies.ask_arms`.
    seed
        Of the frames that are painted.

    Returns
    -------
    list of dict
        For each encoding ``time_encoding``, ``n`` (frames), ``unparsed`` (reverse lookups that
        name no time), and in percent with a 95 % interval by video ``lookup``, ``reverse`` and
        ``within one`` (the reverse, one frame off counted). Who sees no time has 25 and, of T
        frames, 100 / T.

    Raises
    ------
    ValueError
        For a name that is no encoding.

    Warns
    -----
    UserWarning
        For an encoding that the model cannot have, and a video that cannot be read: left out.
    """
    # what is asked has not the form of a moment
    plain = {name: value for name, value in (loading or {}).items() if name != "constrained"}
    loaded = load_kept(load_model, model, "", plain)
    found: dict[str, list] = {}
    for name in encodings:
        one_of("time_encoding", name, ENCODINGS)
        try:
            loaded.resolve_encoding(name)
            found[name] = []
        except ValueError as error:
            warnings.warn(f"{name} is left out: {error}", stacklevel=2)
    groups = []
    for video in progress_bar(videos, "looking up", unit="video"):
        try:
            clip, chosen = paint(read_clip(video.path, **asdict(sampling)), video.video, seed)
        except VideoError as error:
            warnings.warn(f"a video is left out: {error}", stacklevel=2)
            continue
        groups += [video.video] * len(chosen)
        for name, answers in found.items():
            answers += _ask(loaded, clip, chosen, replace(question, time_encoding=name))
    rows = []
    for name, answers in found.items():
        off, colored = zip(*answers, strict=True)
        near = np.array([np.inf if one is None else abs(one) for one in off])
        columns = {"lookup": np.array(colored), "reverse": near == 0, "within one": near <= 1}
        rows.append({"time_encoding": name} | score_table(off.count(None), columns, groups))
    return rows


def number_or_place(rows: Sequence[dict], iou: float = 0.5) -> dict:
    """Tell what answers under shuffled numbers follow: the number on a frame, or its place.

    Parameters
    ----------
    rows
        Of `numpro.inference.predict` with ``control="shuffled"``, with a truth each; those of
        earlier versions, without ``pred_by_place``, are left out.
    iou
        What counts as following.

    Returns
    -------
    dict
        ``n``, ``unparsed``, and in percent with a 95 % interval by video ``number`` and
        ``place``: the share of answers that fit the truth when each label is taken for the
        number on the frame, or for how many frames were before it, and fit it better so. The rest
        follows neither.
    """
    rows = [row for row in rows if "pred_by_place" in row]
    truth, videos = [row["truth"] for row in rows], [row["video"] for row in rows]
    keys = ("pred", "pred_by_place")
    number, place = (moment_ious(first_spans(rows, key), truth) for key in keys)
    columns = {"number": (number >= iou) & (number > place)}
    columns["place"] = (place >= iou) & (place > number)
    return score_table(sum(not row["pred"] for row in rows), columns, videos)
