"""Features of the frozen tower are computed once, kept within bounds, and never mistaken."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

import numpro
from numpro import NumberStyle
from numpro.training.features import FeatureCache, feature_key, tower_fingerprint
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import Samples, collate

MB = 2**20


@pytest.fixture
def runs(longva, monkeypatch):
    """How many frames the tower was run on, one entry for each time."""
    counts, run = [], type(longva).patch_features
    monkeypatch.setattr(
        type(longva), "patch_features", lambda self, f: counts.append(len(f)) or run(self, f)
    )
    return counts


def loss(longva, videos, **config):
    """The loss over all samples of an epoch, without dropout."""
    samples = Samples(videos, longva, FinetuneConfig(**config))
    with torch.no_grad():
        return longva.model(
            **collate(longva, [samples[i] for i in range(len(samples))])
        ).loss.item()


def test_features_of_frames_on_the_old_clock_are_not_found(tmp_path):
    gone = tmp_path / "gone"
    old = json.dumps([numpro.__version__, str(gone), "tower", [["fps", 1.0]]])
    key = feature_key(gone, "tower", fps=1.0)
    assert key == feature_key(gone, "tower", fps=1.0) != feature_key(gone, "tower", fps=2.0)
    assert key != hashlib.sha256(old.encode()).hexdigest()[:32]


def test_a_second_run_finds_them_on_disk_and_has_the_same_loss(films, longva, runs, tmp_path):
    plain = loss(longva, films)
    first = loss(longva, films, cache=str(tmp_path))
    assert len(runs) == 2 * len(films)
    again = loss(longva, films, cache=str(tmp_path), feature_cache_gib=0)
    assert len(runs) == 2 * len(films) and plain == pytest.approx(first) == pytest.approx(again)


def test_a_frame_shown_otherwise_is_another_one(films, longva, runs, tmp_path):
    first, _ = films
    for changes in (
        {},
        {"style": NumberStyle("top_left")},
        {"style": NumberStyle(size=20), "fps": 0.5},
        {"time_encoding": "overlay-seconds"},
        {"time_encoding": "none"},
        {"size": (96, 96)},
        {"max_frames": 4},
    ):
        count = len(runs)
        for _ in range(2):
            loss(longva, [first], cache=str(tmp_path), **changes)
        assert len(runs) == count + 1, changes


def test_so_is_a_file_that_was_changed_and_a_tower_that_was_trained(films, longva, runs, tmp_path):
    copy = tmp_path / "film.mp4"
    copy.write_bytes(films[0].path.read_bytes())
    video, cache = replace(films[0], path=copy), str(tmp_path / "cache")
    loss(longva, [video], cache=cache)
    os.utime(copy, ns=(1, 1))
    loss(longva, [video], cache=cache)
    assert len(runs) == 2
    name = tower_fingerprint(longva)
    with torch.no_grad():
        next(longva.model.vision_tower.parameters()).view(-1)[0] += 1
    loss(longva, [video], cache=cache)
    assert len(runs) == 3 and tower_fingerprint(longva) != name
    longva.model.to(torch.bfloat16)
    assert Samples([video], longva, FinetuneConfig(cache=cache))[0]["image_patches"].dtype == (
        torch.bfloat16
    )


def test_memory_and_disk_are_bounded_and_the_latest_is_kept(tmp_path):
    cache = FeatureCache(2.5 / 1024, tmp_path, disk_gib=8 / 1024)
    for n in range(30):
        cache.put(str(n), torch.full((MB // 4,), float(n)))
    assert len(cache._memory) == 2 and cache.get("29")[0] == 29 and cache.get("0") is None
    on_disk = sum(file.stat().st_size for file in tmp_path.rglob("*.val"))
    assert 4 * MB < on_disk <= 9 * MB


def test_what_is_damaged_is_computed_anew(films, longva, runs, tmp_path):
    whole = loss(longva, films, cache=str(tmp_path))
    for n, file in enumerate(sorted(tmp_path.rglob("*.val"))):
        os.truncate(file, 100) if n else file.unlink()
    assert loss(longva, films, cache=str(tmp_path)) == whole and len(runs) == 4
    assert loss(longva, films, cache=str(tmp_path)) == whole and len(runs) == 4


def test_a_full_disk_costs_a_warning_and_nothing_else(films, longva, tmp_path):
    plain, limit = loss(longva, films), resource.getrlimit(resource.RLIMIT_FSIZE)
    samples = Samples(films, longva, FinetuneConfig(cache=str(tmp_path)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.warns(UserWarning, match="no more features are kept in .*free some space"):
            found = [samples[i] for i in range(len(samples))]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    with torch.no_grad():
        assert longva.model(**collate(longva, found)).loss.item() == plain


WRITER = """
import sys, torch
from numpro.training.features import FeatureCache
cache = FeatureCache(0, sys.argv[1])
for n in range(10**6):
    cache.put(str(n), torch.full((2_000_000,), float(n)))
    print(n, flush=True)
"""


def test_a_kill_while_writing_leaves_whole_features_only(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        for _ in range(3):
            last = int(writer.stdout.readline())
        time.sleep(0.005)
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / "half.val").write_bytes(b"what a kill leaves")
    cache = FeatureCache(0, tmp_path)
    for n in range(last + 1):
        assert (cache.get(str(n)) == n).all()
    found = cache.get(str(last + 1))  # whole, or not at all
    assert found is None or (found == last + 1).all()
    assert not (tmp_path / "ab" / "half.val").exists(), "swept, or it would count in no bound"


def test_a_key_tells_what_it_is_of(tmp_path):
    file = tmp_path / "a.mp4"
    gone = feature_key(file, "t", fps=1)
    file.write_bytes(b"x")
    keys = [feature_key(file, "t", fps=1), feature_key(file, "u", fps=1)]
    keys += [feature_key(file, "t", fps=1, labels=("0",)), feature_key(file, "t", fps=0.5), gone]
    assert len(set(keys)) == 5 and feature_key(file, "t", fps=1) == keys[0]
