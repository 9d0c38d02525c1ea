"""A cached clip is the fresh one, whatever became of the file, the folder or another writer."""

import hashlib
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from films import encode

import numpro.video.cache
from numpro import read_clip, write_video
from numpro.training.features import FeatureCache
from numpro.video import VideoError
from numpro.video.cache import ClipCache, Store
from numpro.video.workers import Request, read_many

SAMPLING = {"fps": 5.0, "size": (32, 24), "max_frames": 6}


@pytest.fixture
def film(tmp_path):
    return encode(tmp_path / "film.mp4")


@pytest.fixture
def reads(monkeypatch):
    """Which films were decoded."""
    paths = []

    def counting(path, **sampling):
        paths.append(str(path))
        return read_clip(path, **sampling)

    monkeypatch.setattr(numpro.video.cache, "read_clip", counting)
    return paths


def assert_same(clip, fresh):
    for name in ("frames", "seconds", "source_index"):
        ours, theirs = getattr(clip, name), getattr(fresh, name)
        np.testing.assert_array_equal(ours, theirs)
        assert (ours.dtype, ours.flags.writeable) == (theirs.dtype, True)
    assert clip.source == fresh.source
    assert {k: type(v) for k, v in clip.source.items()} == {
        k: type(v) for k, v in fresh.source.items()
    }


@pytest.mark.parametrize(
    "sampling",
    [SAMPLING, {"times": [0.4, 0.1, 0.1]}, {"num_frames": 3, "start": 0.2, "end": 1.0}],
    ids=lambda s: next(iter(s)),
)
def test_a_cached_clip_equals_a_fresh_one(film, tmp_path, reads, sampling):
    cache, fresh = ClipCache(tmp_path / "cache"), read_clip(film, **sampling)
    first = cache.read(film, **sampling)
    first.frames[:] = 0  # what a reader does with its clip stays its own
    for again in (cache, ClipCache(cache.store.folder), pickle.loads(pickle.dumps(cache))):
        assert_same(again.read(film, **sampling), fresh)
    assert len(reads) == 1


def test_another_file_or_sampling_is_another_clip(film, tmp_path, reads, monkeypatch):
    cache = ClipCache(tmp_path / "cache")
    for sampling in (SAMPLING, SAMPLING | {"size": (24, 32)}, SAMPLING | {"start": 0.2}):
        assert_same(cache.read(film, **sampling), read_clip(film, **sampling))
    assert len(reads) == 3
    assert_same(cache.read(film, fps=5, size=[32, 24], max_frames=6, end=None), read_clip(
        film, **SAMPLING))  # fmt: skip
    same = {"origin": "beginning", "reader": "pyav", "max_memory": 1e9}
    assert_same(cache.read(film, **SAMPLING, **same), read_clip(film, **SAMPLING))
    assert len(reads) == 3, "the same, said differently"
    about = film.stat()
    encode(film, frames=np.full((40, 48, 64, 3), 9, np.uint8))
    for later in (0, 1):  # another size, then another time
        os.utime(film, ns=(about.st_atime_ns, about.st_mtime_ns + later))
        assert cache.read(film, **SAMPLING).frames.max() < 20, "the film is another now"
        assert len(reads) == 4 + later
    monkeypatch.setattr(numpro.video.cache, "__version__", "another")
    cache.read(film, **SAMPLING)
    assert len(reads) == 6


def test_as_many_frames_as_a_rate_are_another_clip(film, tmp_path):
    cache = ClipCache(tmp_path / "cache")
    for sampling in ({"fps": 5}, {"num_frames": 5}):
        assert_same(cache.read(film, **sampling), read_clip(film, **sampling))


def test_another_clock_or_reader_is_another_clip(tmp_path):
    cache, film = ClipCache(tmp_path / "cache"), encode(tmp_path / "film.mp4", start=10)
    for _ in range(2):
        for how in ({}, {"origin": "first-picture"}, {"reader": "decord"}):
            assert_same(cache.read(film, fps=1, **how), read_clip(film, fps=1, **how))
    assert cache.read(film, fps=1).source["begins"] == pytest.approx(0.4)


def test_a_clip_that_was_kept_on_the_old_clock_is_not_found(tmp_path, monkeypatch):
    film = encode(tmp_path / "film.mp4")
    stat = film.stat()
    old = [str(film), stat.st_size, stat.st_mtime_ns, [["fps", 1.0]], numpro.__version__]
    key = hashlib.sha256(json.dumps(old).encode()).hexdigest()
    assert numpro.video.cache._key(film, {"fps": 1.0}) != key


def test_two_files_of_one_size_and_time_are_two_clips(tmp_path):
    cache, films = ClipCache(tmp_path / "cache"), []
    for number in range(2):
        frames = np.full((40, 48, 64, 3), 200 * number, np.uint8)
        films.append(encode(tmp_path / f"{number}.mp4", frames=frames))
    size = 8 + max(film.stat().st_size for film in films)
    for film in films:
        room = size - film.stat().st_size
        with film.open("ab") as file:  # an empty box at the end
            file.write(room.to_bytes(4, "big") + b"free" + bytes(room - 8))
        os.utime(film, ns=(0, 0))
    assert films[0].stat().st_size == films[1].stat().st_size
    for film in films:
        assert_same(cache.read(film, **SAMPLING), read_clip(film, **SAMPLING))


def test_a_film_that_changes_while_it_is_read_is_not_kept(film, tmp_path, monkeypatch):
    def read_and_change(path, **sampling):
        clip = read_clip(path, **sampling)
        os.utime(path, ns=(0, 0))
        return clip

    monkeypatch.setattr(numpro.video.cache, "read_clip", read_and_change)
    cache = ClipCache(tmp_path / "cache")
    for kept in (0, 1):  # the second time nothing changes
        cache.read(film, **SAMPLING)
        assert len(cache.store.database) == kept


def test_a_path_is_the_one_asked_for(film, tmp_path, reads, monkeypatch):
    cache = ClipCache(tmp_path / "cache")
    cache.read(film, **SAMPLING)
    monkeypatch.chdir(tmp_path)
    assert_same(cache.read("film.mp4", **SAMPLING), read_clip("film.mp4", **SAMPLING))
    assert len(reads) == 1


def test_warnings_and_errors_are_those_of_read_clip(tmp_path):
    cache = ClipCache(tmp_path / "cache")
    path = write_video(tmp_path / "short.mp4", np.zeros((40, 24, 32, 3), np.uint8), fps=10)
    path.write_bytes(path.read_bytes()[:-3])
    for _ in range(2):
        with pytest.warns(UserWarning, match="short.mp4: 39 of the 40 frames it promises"):
            cache.read(path, fps=2.0)
    with pytest.raises(VideoError, match="no such file"):
        cache.read(tmp_path / "gone.mp4", fps=1.0)
    with pytest.raises(ValueError, match="exactly one of fps"):
        cache.read(path)
    with pytest.raises(ValueError, match="size_limit must be above 0 bytes; got 0"):
        ClipCache(tmp_path, size_limit=0)


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "gone"])
def test_a_damaged_entry_is_read_anew(film, tmp_path, reads, harm):
    cache, sampling = ClipCache(tmp_path / "cache"), {"fps": 25.0}  # beyond what SQLite holds
    cache.read(film, **sampling)
    (value,) = cache.store.folder.rglob("*.val")
    data = bytearray(value.read_bytes())
    data[len(data) // 2] ^= 255
    whole = {"cut": data[: len(data) // 2], "flipped": data, "emptied": b""}
    value.write_bytes(whole[harm]) if harm in whole else value.unlink()
    for _ in range(2):
        assert_same(cache.read(film, **sampling), read_clip(film, **sampling))
    assert len(reads) == 2


def test_its_size_is_bounded_and_the_longest_unused_go_first(tmp_path, reads):
    films = [tmp_path / f"{name}.mp4" for name in "abcdef"]
    for path in films:
        write_video(path, np.zeros((8, 96, 128, 3), np.uint8), fps=2)
    one = 8 * 96 * 128 * 3
    cache = ClipCache(tmp_path / "cache", size_limit=4 * one)
    for path in films:
        cache.read(films[0], fps=2.0)
        cache.read(path, fps=2.0)
    assert reads == [str(path) for path in films], "the one in use stays"
    stored = sum(file.stat().st_size for file in cache.store.folder.rglob("*.val"))
    assert one <= stored <= 4 * one
    for frame in range(26):  # many small ones make room for a large one
        cache.read(films[0], times=[frame / 8])
    assert len(cache.read(films[1], fps=2.0)) == 8
    assert cache.store.database.volume() <= 4 * one
    small = ClipCache(tmp_path / "small", size_limit=one - 1)
    for sampling in ({"times": [0]}, {"fps": 2.0}):  # one larger than all drives none out
        small.read(films[0], **sampling)
    (kept,) = small.store.folder.rglob("*.val")
    assert kept.stat().st_size < one


def test_a_full_disk_is_said_and_the_clip_is_there(film, tmp_path):
    code = (
        "import resource, sys, warnings\nfrom numpro.video.cache import ClipCache\n"
        "cache = ClipCache(sys.argv[2])\ncache.store.database\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    print(len(cache.read(sys.argv[1], fps=25.0)), [str(w.message) for w in caught])\n"
    )
    command = [sys.executable, "-c", code, film, tmp_path / "cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("40 [") and "no more clips are kept in" in done.stdout
    assert "File too large" in done.stdout and done.stderr == ""
    assert_same(ClipCache(tmp_path / "cache").read(film, fps=25.0), read_clip(film, fps=25.0))


WRITER = """
import sys
from numpro.video.cache import ClipCache
cache = ClipCache(sys.argv[1], size_limit=600_000)  # one of the clips: what is kept changes
print("begins", flush=True)
while True:
    for path in sys.argv[2:]:
        assert len(cache.read(path, fps=25.0)) == 40
"""


def test_two_writers_and_kills_in_the_middle_leave_whole_clips(tmp_path):
    films = []
    for number in range(3):
        frames = np.full((40, 48, 64, 3), 40 * number, np.uint8)
        films.append(encode(tmp_path / f"{number}.mp4", frames=frames))
    folder = tmp_path / "cache"
    command = [sys.executable, "-c", WRITER, folder, *films]
    for wait in (0.05, 0.21):
        both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in "ab"]
        for process in both:
            assert process.stdout.readline() == b"begins\n"
        time.sleep(wait)
        cache = ClipCache(folder, size_limit=600_000)
        for path in films:  # a third one, meanwhile
            assert_same(cache.read(path, fps=25.0), read_clip(path, fps=25.0))
        for process in both:
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for path in films:
                assert_same(cache.read(path, fps=25.0), read_clip(path, fps=25.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that a kill left without an entry
        for _ in range(2):  # their folder, then the folder of that
            cache.store.database.check(fix=True)
    assert not cache.store.database.check()


def test_a_store_keeps_whole_values_within_its_size(tmp_path):
    store = Store(tmp_path / "store", size_limit=100_000)
    for size in (0, 1, 50_000, 100_001):
        store.put(str(size), bytes(size))
    assert [store.get(key) for key in ("0", "1", "50000")] == [b"", b"\0", bytes(50_000)]
    assert store.get("100001") is None and "100001" not in store and "1" in store
    store.put("1", b"new")
    (value,) = (f for f in store.folder.rglob("*.val") if f.read_bytes() == b"new")
    value.write_bytes(b"old")  # of the same length
    assert store.get("1") is None
    store.put("1", b"new")
    assert pickle.loads(pickle.dumps(store)).get("1") == b"new"


def test_a_store_that_cannot_be_used_warns_once(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file", content="responses")
    with pytest.warns(UserWarning, match="no more responses are kept in .*file: ") as caught:
        store.put("a", b"1")
        store.put("a", b"1")
        assert store.get("a") is None and "a" not in store
        store.sweep()
    assert len(caught) == 1


@pytest.mark.parametrize("kind", [ClipCache, FeatureCache])
def test_its_database_is_closed_with_it(tmp_path, kind):
    cache = ClipCache(tmp_path) if kind is ClipCache else FeatureCache(0, tmp_path)
    store = cache.store if kind is ClipCache else cache._disk
    connection = store.database._con
    del store
    assert connection.execute("SELECT 1").fetchone() == (1,)
    del cache
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_workers_share_it(film, tmp_path):
    cache = ClipCache(tmp_path / "cache")
    requests = [Request(film, SAMPLING)] * 3
    for workers in (1, 0):
        for _, clip in read_many(requests, workers, cache=cache):
            assert_same(clip, read_clip(film, **SAMPLING))
    assert len(cache.store.database) == 1
