"""Plain description is scored as it is drawn."""

import numpy as np
import pytest

from numpro.flipbook import SIZE
from numpro.flipbook.description import KINDS, description_accuracy
from numpro.flipbook.scenes import describe
from numpro.models.base import VideoModel


class Says(VideoModel):
    """A model that says what it is told to, and remembers what it saw."""

    notes, name = {}, "says"

    def __init__(self, say):
        self.say, self.calls = say, []

    def respond(self, frames, prompts, max_new_tokens):
        self.calls.append((frames, prompts[0].text))
        return [self.say(frames)]


def test_descriptions_are_held_against_what_was_drawn(monkeypatch):
    from numpro.flipbook import description as module

    scenes = []
    scene = module._scene
    monkeypatch.setattr(
        module, "_scene", lambda kind, *a: scenes.append((kind, scene(kind, *a))) or scenes[-1][1]
    )
    truth = lambda: module._truth(scenes[-1][1])  # noqa: E731
    right = description_accuracy(Says(lambda frames: describe(truth())), count=3, longest=5)
    assert [(r["kind"], r["n"], r["exact"], r["objects"]) for r in right] == [
        (kind, 3, 100.0, 100.0) for kind in KINDS
    ]
    half = description_accuracy(Says(lambda frames: describe(truth()[:1])), count=3, longest=5)
    for row in half:
        counts = [len(set(module._truth(p))) for k, p in scenes[-9:] if k == row["kind"]]
        assert row["objects"] == pytest.approx(
            100 * np.mean([2 / (1 + n) for n in counts]), abs=0.01
        )
        assert row["exact"] == pytest.approx(100 * np.mean([n == 1 for n in counts]), abs=0.01)
    wrong = description_accuracy(Says(lambda frames: "nothing"), count=2, longest=5)
    assert {r["objects"] for r in wrong} == {0.0}


def test_a_numbered_video_is_the_plain_one_with_numbers_on_it():
    model = Says(lambda frames: "")
    description_accuracy(model, count=1, longest=5)
    (picture, text), (plain, _), (numbered, same) = model.calls
    assert picture.shape == (1, SIZE, SIZE, 3) and "picture" in text and "video" in same
    assert plain.shape == numbered.shape and len(plain) >= 4
    changed = (plain != numbered).any(-1)
    assert changed.any(axis=(1, 2)).all() and changed[:, : SIZE // 2].sum() == 0
