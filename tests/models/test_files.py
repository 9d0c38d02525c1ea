"""What a model on the hub takes on the disk is known before a run, where the hub tells."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from numpro.models import check_model, files

NAME, GB = "someone/film-7b", 10**9
FILES = {"model-00001-of-00002.safetensors": 5 * GB, "model-00002-of-00002.safetensors": 3 * GB,
         "model.safetensors.index.json": 900, "pytorch_model.bin": 16 * GB,
         "original/model.safetensors": 16 * GB}  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one model; its answer, what is there already and the free disk can be set."""
    state = SimpleNamespace(there=set(), fault=None, free=50e9, files=FILES)

    def model_info(name, files_metadata, timeout):
        assert name == NAME and files_metadata and timeout <= 30
        if state.fault:
            raise state.fault
        found = [SimpleNamespace(rfilename=k, size=v) for k, v in state.files.items()]
        return SimpleNamespace(siblings=found)

    def cached(name, file):
        return str(tmp_path / file) if file in state.there else None

    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "not" / "made"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=state.free))
    monkeypatch.setattr("numpro.models.registry._class", lambda _: None)
    return state


def test_what_is_to_be_downloaded_is_told(hub, capsys, tmp_path):
    check_model(NAME)
    expected = f"{NAME}: 8.0 GB are to be downloaded, 50.0 GB are free in {tmp_path}\n"
    assert capsys.readouterr().out == expected
    hub.there = {"model-00001-of-00002.safetensors"}
    check_model(NAME)
    assert ": 3.0 GB are to be downloaded" in capsys.readouterr().out
    hub.there |= {"model-00002-of-00002.safetensors"}
    check_model(NAME)
    assert capsys.readouterr().out == ""
    hub.files = {"pytorch_model-1.bin": 2 * GB}
    check_model(NAME)
    assert ": 2.0 GB are to be downloaded" in capsys.readouterr().out


def test_a_model_that_does_not_fit_is_refused_before_it_is_downloaded(hub):
    hub.free = 7.9e9
    with pytest.raises(OSError, match="8.0 GB are to be downloaded, 7.9 GB are free .*HF_HOME"):
        check_model(NAME)


def test_a_hub_that_does_not_tell_stops_nothing(hub, capsys, tmp_path):
    client = HfHubHTTPError.__bases__[0]  # as its library raises where there is no network
    for fault in (OfflineModeIsEnabled("offline"), client("no route")):
        hub.fault = fault
        check_model(NAME)
        text = capsys.readouterr().out
        assert f"what {NAME} needs on the disk is not known" in text and "50.0 GB are free" in text
        assert type(fault).__name__ in text
    hub.there = {"config.json"}
    (tmp_path / "model.safetensors").touch()
    check_model(NAME)
    assert capsys.readouterr().out == "", "its weights are here"


def test_a_folder_and_a_served_model_ask_no_hub(hub, longva_dir, capsys):
    hub.fault = AssertionError("the hub was asked")
    check_model(str(longva_dir))
    check_model("openai:someone/large")
    files.check_space("flipbook/longva")
    assert capsys.readouterr().out == ""


def test_a_model_of_the_hub_is_found_without_the_files_that_were_not_wanted(tmp_path, monkeypatch):
    place, commit = tmp_path / "models--somebody--tiny", 40 * "a"
    for folder in ("refs", "trees", f"snapshots/{commit}"):
        (place / folder).mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    listed = [{"type": "file", "path": name, "size": 2} for name in ("config.json", "README.md")]
    (place / "trees" / f"{commit}.json").write_text(json.dumps(listed))
    (place / "snapshots" / commit / "config.json").write_text("{}")
    cached = partial(huggingface_hub.try_to_load_from_cache, cache_dir=tmp_path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    assert files.weights_folder("somebody/tiny") == place / "snapshots" / commit
    assert files.weights_folder("somebody/else") == Path("somebody/else")
