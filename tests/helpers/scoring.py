"""What the tests of scores share: the field's own files, the plain scorer, rows in files."""

import importlib.util
import json
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the field's annotation files (../shared/reference) are absent"
)


def benchmark(name):
    """Load a module of benchmarks/."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jsonl(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
