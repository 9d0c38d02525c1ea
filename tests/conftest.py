"""What all tests share: no hub, few threads, and throw-away projects with real notebooks."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# before anything imports torch or transformers; kernels inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

# where processes that tests start find the helpers; pytest has it from pyproject.toml
os.environ["PYTHONPATH"] = (
    f"{Path(__file__).parent / 'helpers'}{os.pathsep}{Path(__file__).parents[1]}"
)

import matplotlib
import pytest
from hypothesis import settings
from projects import PATH_VARIABLES, longva_config
from torchvision_shim import prepare_torchvision

prepare_torchvision()  # before transformers looks for it

# the same examples on every machine; HYPOTHESIS_PROFILE=explore draws new ones
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

matplotlib.use("agg")  # in this process only: a notebook's kernel shows pictures its own way

# What takes longest, first, so that no file runs on alone at the end. Notebook 04 finds the
# answers that 05 has stored, and 01 films that test_datasets_check has drawn: not side by side.
LONGEST = ["03_fine_tune_with_lora", "A1_pretrain_the_tiny_models", "test_real_data",
           "test_every_recipe", "test_workers", "06_controls", "07_compare", "05_measure",
           "A2_look_inside", "A3_reward",
           "02_design_the_numbers", "test_checkpoints", "test_distributed", "test_datasets_check",
           "test_predictions", "test_features", "test_validation", "01_prepare_data",
           "test_finetune", "test_samples", "test_flipbook", "test_memory", "04_find_the_moment",
           "test_runs", "test_predict", "test_openai_api", "test_ask_and_predict",
           "00_start_here", "test_plots"]  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while all is imported: a third of the time of collecting tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; each stays whole and in its order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def no_picture_left() -> Iterator[None]:
    """Let go of the pictures of a test: pyplot, once a test has loaded it, keeps all there are."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project root in a folder of its own, for this process and its kernels."""
    monkeypatch.setenv("NUMPRO_ROOT", str(tmp_path))
    for name, value in PATH_VARIABLES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "papermill_runs").mkdir()
    return tmp_path


# --- a tiny random LongVA and two films: real parts, made once -----------------------------------


@pytest.fixture(scope="session")
def tokenizer():
    """The flipbook tokenizer."""
    from numpro.flipbook.pretraining.tokenizer import make_tokenizer

    return make_tokenizer()


@pytest.fixture(scope="session")
def longva_dir(tokenizer, tmp_path_factory) -> Path:
    """A checkpoint folder of a tiny LongVA with random weights."""
    import torch
    from transformers import CLIPImageProcessorPil
    from transformers.utils import logging

    from numpro.models.longva.modeling import LongvaForConditionalGeneration

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("longva")
    torch.manual_seed(0)
    model = LongvaForConditionalGeneration(longva_config(tokenizer))
    with torch.no_grad():  # so that answers differ from film to film, and from query to query
        model.language_model.embed_tokens.weight.normal_(std=0.3)
        for layer in (model.projector.linear_1, model.projector.linear_2):
            layer.weight.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"height": 96, "width": 96}, do_center_crop=False).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def longva(longva_dir):
    """The tiny LongVA, loaded anew: fine-tuning changes it."""
    from numpro.models import load_model

    return load_model(str(longva_dir), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Two short flipbook films with their queries, written as mp4."""
    from numpro.datasets import load_dataset

    return load_dataset("flipbook", "test", tmp_path_factory.mktemp("films"), limit=2)


@pytest.fixture(scope="session")
def clip(films):
    """The first film, sampled at 1 fps."""
    from numpro import read_clip

    return read_clip(films[0].path, fps=1.0, size=(336, 336))
