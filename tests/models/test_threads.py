"""How many threads a model is asked with."""

import pytest
import torch

from numpro.models import load_model, threads
from numpro.studies.attention import frame_attention


@pytest.fixture(autouse=True)
def two():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def counted(longva_dir, monkeypatch):
    """A tiny model, and with how many threads it was run."""
    counts, model = [], load_model(str(longva_dir), dtype="float32")
    prefill = model.prefill

    def counted(*args):
        counts.append(torch.get_num_threads())
        return prefill(*args)

    monkeypatch.setattr(model, "prefill", counted)
    return model, counts


def test_a_small_model_is_asked_and_looked_into_with_one_thread(counted, clip):
    model, counts = counted
    model.answer(clip, ["a red star", "a blue star"])
    assert counts == [1] and torch.get_num_threads() == 2
    frame_attention(model, clip, "a red star")
    assert counts == [1, 1] and torch.get_num_threads() == 2


def test_a_larger_one_keeps_them(counted, clip, monkeypatch):
    model, counts = counted
    monkeypatch.setattr(threads, "SMALL_BYTES", 1000)
    model.answer(clip, ["a red star"])
    assert counts == [2]


def test_they_are_set_back_when_asking_fails(counted, clip, monkeypatch):
    model, _ = counted
    monkeypatch.setattr(model, "prefill", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.answer(clip, ["a red star"])
    assert torch.get_num_threads() == 2


def test_what_is_no_local_model_is_left_alone():
    assert threads.fit_threads(lambda name, more: (name, more))("a name", 3) == ("a name", 3)
