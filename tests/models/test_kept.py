"""Models kept for the next question."""

import gc
import weakref

import pytest
import torch

from numpro.models import kept, load_model


class Model:
    def __init__(self, name, adapter="", **options):
        self.given = name, adapter, options
        self.model = torch.nn.Linear(10, 10, bias=False)  # 400 bytes


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(kept, "_kept", {})
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)


def test_a_model_is_loaded_once_for_the_same_files_and_options(tmp_path):
    one = kept.load_kept(Model, "one", "", {"dtype": "float32"})
    assert one.given == ("one", "", {"dtype": "float32"})
    assert kept.load_kept(Model, "one", "", {"dtype": "float32"}) is one
    assert kept.load_kept(Model, "one") is not one
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"1")
    first = kept.load_kept(Model, "one", str(tmp_path))
    assert kept.load_kept(Model, "one", str(tmp_path)) is first
    weights.write_bytes(b"2")
    assert kept.load_kept(Model, "one", str(tmp_path)) is not first, "trained anew since"


def test_small_models_are_kept_until_they_fill_the_bound_and_the_oldest_goes():
    one, two = (kept.load_kept(Model, name) for name in ("one", "two"))
    assert kept.load_kept(Model, "one") is one
    kept.load_kept(Model, "three")
    assert kept.load_kept(Model, "one") is one, "asked after two"
    assert kept.load_kept(Model, "two") is not two


def test_a_large_model_is_gone_before_another_is_loaded(monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    large = kept.load_kept(Model, "large")
    assert kept.load_kept(Model, "large") is large
    alive = weakref.ref(large)
    del large

    def load(name, **given):
        assert alive() is None
        return Model(name, **given)

    last = weakref.ref(kept.load_kept(load, "other"))
    assert last() is not None
    kept.forget_large()
    gc.collect()
    assert last() is None


def test_a_served_model_has_no_weights_here():
    assert kept.weight_bytes(object()) == 0
    served = load_model("openai:somebody/model", base_url="http://127.0.0.1:9/v1")
    assert kept.weight_bytes(served) == 0


def test_a_checkpoints_weights_are_counted(longva_dir):
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    one_by_one = {p.data_ptr(): 4 * p.numel() for p in model.model.parameters()}
    assert kept.weight_bytes(model) == sum(one_by_one.values())
