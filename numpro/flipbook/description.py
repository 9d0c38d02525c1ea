"""What fine-tuning costs elsewhere: plain description of the flipbook world, before and after.

The paper asks general questions about videos once its numbers are there (its section on general
video QA). Here made-up scenes of seeds that no training drew are described, and the description
is held against what was drawn.
"""

import re

import numpy as np

from numpro.flipbook import COLOURS, SHAPES, SIZE, scenes
from numpro.flipbook.pictures import draw
from numpro.models import VideoModel
from numpro.numbers import number_frames
from numpro.progress import progress_bar
from numpro.prompting import Prompt

SEED = 77  # of scenes that neither pretraining nor its gates draw
# kind -> what is asked, and whether frames bear numbers
KINDS = {
    "picture": ("What is in the picture?", False),
    "video": ("What does the video show?", False),
    "numbered video": ("What does the video show?", True),
}
_NAMED = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b")


def description_accuracy(model: VideoModel, count: int = 50, longest: int = 24) -> list[dict]:
    """Have a model describe scenes, and compare with what is on them.

    Parameters
    ----------
    model : numpro.models.VideoModel
        A model of the flipbook world, with or without adapter.
    count
        Scenes of each kind; the same ones at every call.
    longest
        Frames a video has at most.

    Returns
    -------
    list of dict
        For each of `KINDS`: ``kind``, ``n``, ``exact`` (percent of scenes described word for word
        as in pretraining) and ``objects`` (percent: the mean F1 of the objects named).
    """
    rows = []
    for kind, (text, numbered) in KINDS.items():
        exact, named = [], []
        for number in progress_bar(range(count), f"describing: {kind}", unit="scene"):
            panels = _scene(kind, number, longest)
            wanted = _truth(panels)
            frames = draw(panels, (SEED, number), 1.0, SIZE)
            frames = number_frames(frames) if numbered else frames
            response = model.respond(frames, [Prompt(text)], 96)[0].strip()
            exact.append(response == scenes.describe(wanted))
            named.append(_f1(set(_NAMED.findall(response)), set(wanted)))
        figures = {"exact": 100 * np.mean(exact), "objects": 100 * np.mean(named)}
        rows.append({"kind": kind, "n": count} | {k: round(v, 2) for k, v in figures.items()})
    return rows


def _scene(kind: str, number: int, longest: int) -> list[scenes.Panel]:
    """Return the panels of a scene; both kinds of video show the same ones."""
    rng = np.random.default_rng([SEED, number, kind == "picture"])
    if kind == "picture":
        return scenes.loose_panels(rng, 1, numbered=False)
    return scenes.silent_video(rng, longest)


def _truth(panels: list[scenes.Panel]) -> list[scenes.Object]:
    """Return the objects in the order pretraining names them: a video's as they appear."""
    return list(dict.fromkeys(thing for panel in panels for thing in panel.named))


def _f1(named: set, wanted: set) -> float:
    return 2 * len(named & wanted) / (len(named) + len(wanted)) if named or wanted else 1.0
