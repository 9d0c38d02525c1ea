"""What CONTRIBUTING.md shows does work: its code blocks run, and their parts fit together."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from asking import predict

from numpro import datasets, models, spans
from numpro.datasets import registry
from numpro.models import registry as model_registry
from numpro.prompting import encodings

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
DATASET, MODEL, ENCODING, NOTEBOOK = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def made(monkeypatch):
    """Modules of the blocks on data sets and models, under the names the text gives them."""
    for name, block in (("numpro.datasets.my_captions", DATASET), ("my_model", MODEL)):
        module = ModuleType(name)
        exec(block, module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(registry.DATASETS, "my-captions", "numpro.datasets.my_captions.MyCaptions")
    monkeypatch.setitem(model_registry._CLASSES, "my_model", ("my_model", "AlwaysTheMiddle"))


def test_the_dataset_and_the_model_work_together(made, films, tmp_path):
    rows = [{"id": 1, "film": str(films[0].path.name), "from": 1.0, "to": 3.5, "says": "a star"}]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    (tmp_path / films[0].path.name).write_bytes(films[0].path.read_bytes())
    videos = datasets.load_dataset("my-captions", "test", tmp_path)
    assert videos[0].queries[0].spans == (spans.Span(1.0, 3.5),) and videos[0].path.is_file()
    rows[0].pop("to")
    (tmp_path / "test.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"test\.json.*to"):
        datasets.load_dataset("my-captions", "test", tmp_path)

    folder = tmp_path / "middle"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "my_model"}')
    rows = predict(videos, models.load_model(str(folder)), tmp_path / "out.jsonl", progress=False)
    count = int(videos[0].duration - 1e-6) + 1
    assert rows[0]["pred"] == [[count // 4, 3 * count // 4]]


def test_the_encoding_is_asked_like_the_others():
    exec(ENCODING, {})
    assert encodings.ENCODINGS.pop("text-hash")


def test_a_notebook_leaves_its_results(project):
    exec(NOTEBOOK, {})
    assert (project / "papermill_runs/interactive/notes/06_mine.json").is_file()


def test_what_it_names_is_there():
    for path in re.findall(r"`((?:numpro|tests|data)/[\w./]+)`", TEXT):
        assert (Path(__file__).parents[1] / path).exists() or "my_captions" in path, path
