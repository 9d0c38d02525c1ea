"""Heads that look at the moment while the question is read."""

import numpy as np
import pytest

from numpro.models import Question, VideoModel
from numpro.studies import ask_crop, brightest_stretch, choose_heads, question_attention


def test_heads_that_look_at_the_truth_are_chosen():
    rng = np.random.default_rng(0)
    looks, truths = [], []
    for _ in range(6):
        true = np.zeros(20, bool)
        first = int(rng.integers(0, 15))
        true[first : first + 4] = True
        look = rng.uniform(0, 0.1, (3, 4, 20))
        look[1, 2] += true
        look[2, 0] += 0.5 * true
        look[0, 3] += 2 * ~true  # looks hard, at the rest
        looks.append(look)
        truths.append(true)
    looks.append(np.ones((3, 4, 20)))  # a film that is true everywhere tells nothing
    truths.append(np.ones(20, bool))
    assert choose_heads(looks, truths, 2) == [(1, 2), (2, 0)]
    for look, true in zip(looks[:-1], truths[:-1], strict=True):
        first, last = brightest_stretch(look, [(1, 2), (2, 0)])
        assert np.flatnonzero(true)[[0, -1]].tolist() == [first, last]


def test_a_level_look_is_one_stretch():
    first, last = brightest_stretch(np.ones((1, 1, 5)), [(0, 0)])
    assert 0 <= first <= last < 5


def test_attention_of_a_question_is_above_that_of_a_neutral_one(longva, clip):
    queries = ["a red star spins", "a blue heart moves", "something"]
    looks = question_attention(longva, clip, queries)
    config = longva.model.config.get_text_config()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    assert looks.shape == (3, layers, heads, len(clip))
    assert np.abs(looks[2]).max() < 1e-6 < np.abs(looks[0]).max()  # the neutral question itself
    alone = question_attention(longva, clip, queries[1:2], Question())
    np.testing.assert_allclose(alone[0], looks[1], atol=1e-5)
    assert longva.model.config._attn_implementation == "sdpa"  # as it was


def test_a_crop_is_asked_as_a_film_of_its_own(clip):
    class Edges(VideoModel):
        name, notes = "edges", {}

        def respond(self, frames, prompts, max_new_tokens):
            self.shown = len(frames)
            return [f"From Frame 1 to Frame {len(frames) - 2}." for _ in prompts]

    model = Edges()
    span = ask_crop(model, clip, "a red star", (3, 5), margin=2)
    assert model.shown == 7 and span == (clip.seconds[2], clip.seconds[6])
    wider = ask_crop(model, clip, "a red star", (3, 5), margin=2, end="halfway")
    assert (wider.start, wider.end) == pytest.approx((span.start - 0.5, span.end + 0.5), abs=0.05)
    ask_crop(model, clip, "a red star", (0, len(clip) - 1))
    assert model.shown == len(clip)
    assert ask_crop(model, clip, "a red star", (0, 0), margin=0) is None
    with pytest.raises(TypeError, match="local models only; 'edges' is none"):
        question_attention(model, clip, ["a red star"])
