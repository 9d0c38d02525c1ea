"""Attention over frames is what the model really pays, and its peaks read as an answer."""

import numpy as np
import pytest
import torch
from tiny_models import KINDS, QWEN, tiny_model

from numpro import plots, read_clip
from numpro.models import Question, load_model
from numpro.models.sharing import decode
from numpro.studies.attention import _frames_of, frame_attention, peaks, readings, two_peaks


@pytest.mark.parametrize("layer", [None, -1, 0])
@pytest.mark.parametrize("time_encoding", ["overlay-index", "text-seconds"])
def test_weights_are_those_of_whole_forward_passes_that_share_nothing(
    longva, clip, films, layer, time_encoding
):
    query, clip = films[0].queries[0].text, clip.select(range(4))
    tokens, weights = frame_attention(
        longva, clip, query, Question(time_encoding=time_encoding, max_new_tokens=5), layer
    )
    # the answer token by token, each from the whole sequence, by the documented order:
    # frames (with their texts), question, answer
    frames, (prompt,) = longva.prepare(clip, [query], Question(time_encoding=time_encoding))
    ids = longva.video_ids(4, prompt.frame_texts) + longva.question_ids(prompt.text)
    pictures = [i for i, t in enumerate(ids) if t == longva.model.config.image_token_id]
    pixels, answer, by_hand = longva.pixels(frames), [], []
    longva.model.set_attn_implementation("eager")
    with torch.no_grad():
        for _ in range(5):
            out = longva.model(
                input_ids=torch.tensor([ids + answer]), pixel_values=pixels, output_attentions=True
            )
            rows = torch.stack(out.attentions)[:, 0, :, -1].mean(1)  # [layers, tokens]
            row = rows.mean(0) if layer is None else rows[layer]
            by_hand.append(row[pictures].reshape(4, -1).sum(1).numpy())
            answer.append(int(out.logits[0, -1].argmax()))
    assert tokens == [longva.tokenizer.decode([token]) for token in answer]
    np.testing.assert_allclose(weights, by_hand, rtol=1e-3, atol=1e-6)
    assert (weights >= 0).all() and (weights.sum(1) <= 1 + 1e-6).all()


WAYS = [(kind, "images") for kind in KINDS] + [("qwen2_vl", "video"), ("qwen3_vl", "video")]


@pytest.mark.parametrize(("kind", "frames_as"), WAYS, ids=lambda value: value)
def test_every_kind_of_local_model_shows_its_attention(kind, frames_as, films):
    clip = read_clip(films[0].path, num_frames=3, size=(56, 56))
    model = load_model(str(tiny_model(kind)), device="cpu", dtype="float32", frames_as=frames_as)
    query, encoding = films[0].queries[0].text, "overlay-index"
    tokens, weights = frame_attention(model, clip, query, Question(max_new_tokens=4), layer=-1)
    # one whole pass over prompt and answer, with the inputs that the library's model takes
    frames, (prompt,) = model.prepare(clip, [query], Question(time_encoding=encoding))
    ids = model.prompt_ids(frames.shape, prompt)
    prefix = model.prefill(ids[:-1], frames, prompt)
    with model.branches(prefix, 1) as branches:
        ((answer,), _) = decode(branches, [ids[-1:]], 4, model.ends)
    inputs = model.inputs(frames, prompt)
    inputs |= {"input_ids": torch.tensor([ids + answer[:-1]]), "attention_mask": None}
    config = model.model.config
    kinds = [(t == config.image_token_id) + 2 * (t == config.video_token_id) for t in ids + answer]
    if kind in QWEN:
        inputs["mm_token_type_ids"] = torch.tensor([kinds[: len(ids + answer) - 1]])
    model.model.set_attn_implementation("eager")
    with torch.no_grad():
        last = model.model(**inputs, output_attentions=True).attentions[-1][0].mean(0)
    video = last[-len(answer) :, np.flatnonzero(kinds)].numpy()
    assert tokens == [model.tokenizer.decode([token]) for token in answer]
    np.testing.assert_allclose(weights.sum(1), video.sum(1), rtol=1e-3)
    if frames_as == "video":  # the third frame is repeated and has a group of its own
        pairs = video.reshape(len(answer), 2, -1).sum(2)
        np.testing.assert_allclose(weights, pairs[:, [0, 0, 1]] / [2, 2, 1], rtol=1e-3)
    else:
        np.testing.assert_allclose(weights, video.reshape(len(answer), 3, -1).sum(2), rtol=1e-3)


def test_frames_merged_in_time_share_their_tokens_and_a_rest_belongs_to_none(longva):
    longva.frames_as, longva.model.config.vision_config.temporal_patch_size = "video", 2
    parts = _frames_of(longva, 7, 5)  # three groups of two tokens, and a line break
    assert parts.tolist() == [
        [0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5, 0],
        [0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0],
    ]  # fmt: skip


def test_the_reading_stands_beside_the_models_own_answer(longva, clip, monkeypatch):
    answer = longva.encode("From Frame 1 to Frame 3.")
    weights = np.zeros((len(answer), len(clip)))
    digits = [i for i, t in enumerate(answer) if longva.tokenizer.decode([t]).strip().isdigit()]
    weights[:, 5] = 1  # looked at most over all
    weights[:, 2] = 0.9
    weights[digits, [4, 6]] = 2  # looked at for the numbers

    def answered(ids, most, **how):
        tokens = [longva.tokenizer.decode([token]) for token in ids]
        found = tokens, longva.answer_text(ids, [], most), weights
        monkeypatch.setattr("numpro.studies.attention._answer_and_look", lambda *_: found)
        return readings(longva, clip, "x", **how)

    seconds = clip.seconds.tolist()
    assert (whole := answered(answer, 32)) == {
        "answer": (seconds[1], seconds[3]),
        "two peaks": (seconds[2], seconds[5]),
        "at its numbers": (seconds[4], seconds[6]),
    }
    for name, (start, end) in answered(answer, 32, end="halfway").items():
        first, last = (seconds.index(second) for second in whole[name])
        assert start == (seconds[first - 1] + seconds[first]) / 2, name
        assert end == (seconds[last] + seconds[last + 1]) / 2, name
    short = answer[: digits[-1] + 1]
    assert answered(short, len(short)) == whole | {"answer": None}, "it was cut in its last number"
    assert answered(short, len(short) + 1) == whole, "it ended there"
    found = answered(longva.encode("I do not know."), 32)
    assert (found["answer"], found["at its numbers"]) == (None, None)


def test_one_frame_has_one_peak_and_no_answer_has_none():
    assert two_peaks(np.ones((2, 1))) == (0, 0)
    assert two_peaks(np.zeros((0, 4))) is None


def test_a_model_elsewhere_shows_no_attention(clip):
    from numpro.models.openai_api import ServedModel

    served = ServedModel("openai:tiny", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(TypeError, match="local models only; 'openai:tiny' is none"):
        frame_attention(served, clip, "x")


def test_the_model_is_left_as_it_was(longva, clip, films):
    before, query = longva.model.config._attn_implementation, films[0].queries[0].text
    text = longva.answer(clip, [query], time_encoding="none")[0].text
    tokens, _ = frame_attention(longva, clip, query, Question(time_encoding="none"))
    assert longva.model.config._attn_implementation == before
    assert longva.answer(clip, [query], time_encoding="none")[0].text == text


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        (["From", " ", "3", " to", " ", "1", "2"], (2, 5)),
        (["From", " ", "1", "3"], None),
        (["nothing"], None),
    ],
)
def test_peaks_are_read_at_the_first_digit_of_each_number(tokens, wanted):
    weights = np.eye(len(tokens), 8)
    assert peaks(tokens, weights) == wanted


def test_a_moment_told_backwards_is_put_in_order():
    assert peaks(["5", "-", "2"], np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])) == (0, 2)


@pytest.mark.parametrize("count", [6, 40])
def test_the_map_shows_every_token_the_truth_and_the_numbered_strip(count):
    weights, frames = np.eye(2, count), np.zeros((count, 12, 16, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(count)[:, None, None]
    labels = range(10, 10 + count)
    figure = plots.attention_map(["From", "3"], weights, (1, 4), labels, frames=frames)
    strip, ax = figure.axes[:2]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["From", "3"]
    ticks = [int(t.get_text()) for t in ax.get_xticklabels()]
    assert ticks[0] == 10 and len(ticks) <= 16
    assert [line.get_xdata()[0] for line in ax.lines] == [1, 4]
    assert len(strip.images) == len(ticks), "a frame over every number that is written"
    figure.canvas.draw()
    for label, image in zip(ticks, strip.images, strict=True):
        assert image.get_array()[0, 0, 0] == label - 10, "in order"
        left, right = image.get_extent()[:2]
        middle = strip.transData.transform(((left + right) / 2, 0))[0]
        assert middle == pytest.approx(ax.transData.transform((label - 10, 0))[0], abs=1)
        assert left >= -0.5 and right <= count - 0.5
    empty = plots.attention_map([], np.zeros((0, count)), (1, 4), frames=frames).axes[1]
    assert [t.get_text() for t in empty.get_yticklabels()] == ["(no answer)"]
    with pytest.raises(ValueError, match="2 tokens need as many rows"):
        plots.attention_map(["a", "b"], np.eye(3))
    with pytest.raises(ValueError, match="5 frames, weights of 6"):
        plots.attention_map(["a", "b"], np.eye(2, 6), frames=np.zeros((5, 8, 8, 3), np.uint8))
