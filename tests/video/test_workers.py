"""Many videos are read ahead, in order, and whatever one of them does, the others go on."""

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from functools import partial

import numpy as np
import psutil
import pytest
from films import encode
from worker_tasks import SAMPLING, hang_in_files, planted

from numpro import read_clip, write_video
from numpro.video import VideoError, workers
from numpro.video.cache import ClipCache
from numpro.video.workers import Request, TemporaryFolderError, read_many, run_many


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("film") / "film.mp4")


def test_clips_are_those_of_read_clip_in_the_order_asked(film, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    requests = [Request(film, SAMPLING), Request(broken, SAMPLING), Request(film, {"fps": 2.0})]
    for count in (0, 2):
        (_, first), (request, error), (_, last) = read_many(iter(requests), count)
        for clip, sampling in ((first, SAMPLING), (last, {"fps": 2.0})):
            fresh = read_clip(film, **sampling)
            np.testing.assert_array_equal(clip.frames, fresh.frames)
            np.testing.assert_array_equal(clip.seconds, fresh.seconds)
            np.testing.assert_array_equal(clip.source_index, fresh.source_index)
            assert clip.source == fresh.source and clip.frames.flags.writeable
        assert request.path == broken and type(error) is VideoError and error.path == broken
        assert "not a readable video" in error.reason


def test_clips_that_are_kept_are_read_here_and_in_their_turn(film, tmp_path, monkeypatch):
    cache, fast = ClipCache(tmp_path / "cache"), {"fps": 4.0, "size": (32, 24)}
    slow = fast | {"fps": 1.0}
    kept = cache.read(film, **slow)
    with monkeypatch.context() as patched:
        patched.setattr(workers, "_start_pool", lambda *_: pytest.fail("a worker was started"))
        found = [clip for _, clip in read_many([Request(film, slow)] * 3, 2, cache=cache)]
    assert len(found) == 3 and all(np.array_equal(c.frames, kept.frames) for c in found)
    requests = [Request(film, sampling) for sampling in (slow, fast, slow, fast | {"fps": 2.0})]
    found = list(read_many(requests, 2, cache=cache))
    assert [request for request, _ in found] == requests
    assert [round(1 / np.diff(clip.seconds)[0]) for _, clip in found] == [1, 4, 1, 2]


def test_workers_that_hang_or_die_are_replaced_and_the_others_go_on():
    names = ["a", "sleep_600", "b", "hold_600", f"signal_{signal.SIGSEGV:d}", "c", "exit_3",
             f"signal_{signal.SIGKILL:d}", "memory", "disk", "d"]  # fmt: skip
    began = time.monotonic()
    found = list(run_many(planted, [Request(name) for name in names], workers=2, limit=8))
    assert time.monotonic() - began < 500, "not waited for"
    assert [request.path for request, _ in found] == names
    values = {r.path: v.reason if isinstance(v, VideoError) else v for r, v in found}
    assert {k: v for k, v in values.items() if k == v} == {k: k for k in "abcd"}
    assert values["sleep_600"] == values["hold_600"] == "not read within 8 s"
    assert values["signal_11"] == "reading it ended the worker process (SIGSEGV)"
    assert values["signal_9"] == "reading it ended the worker process (SIGKILL)"
    assert values["exit_3"] == "reading it ended the worker process (status 3)"
    assert values["memory"] == "out of memory while it was read"
    assert values["disk"] == "cannot be read: OSError: [Errno 5] Input/output error"


def test_a_real_file_that_hangs_is_given_up(film, tmp_path):
    requests = [Request(path, SAMPLING) for path in (film, hang_in_files(tmp_path), film)]
    (_, first), (_, error), (_, last) = read_many(requests, workers=1, limit=12)
    assert error.reason == "not read within 12 s"
    np.testing.assert_array_equal(first.frames, last.frames)


def test_whatever_one_film_raises_the_others_are_read(film):
    for count in (0, 1):
        found = [v for _, v in run_many(planted, map(Request, ["a", "bug", "b"]), count)]
        assert [found[0], found[2]] == ["a", "b"] and isinstance(found[1], VideoError)
        assert found[1].reason == "cannot be read: ZeroDivisionError: a fault of the program"
        requests = [Request(film, {"fps": 5.0}), Request(film, {"fps": 5.0, "start": 99.0})] * 2
        reasons = [getattr(value, "reason", None) for _, value in read_many(requests, count)]
        assert reasons[::2] == [None, None] and "start < duration 1.600 s" in reasons[1]


def test_arguments_that_suit_no_film_are_refused(film):
    wrong = [{"fps": -1}, {"fps": 1, "size": (0, 1)}, {}]
    wrong += [{"fps": 1, "origin": "x"}, {"fps": 1, "reader": "x"}]
    for count in (0, 1):
        for sampling in wrong:
            with pytest.raises(ValueError, match=r"fps|size|origin|reader"):
                list(read_many([Request(film, sampling)], count))
        with pytest.raises(TypeError, match="speed"):
            list(read_many([Request(film, {"fps": 1, "speed": 2})], count))
    with pytest.raises(ValueError, match="got -1 and 300"):
        run_many(planted, [], workers=-1)


def test_a_temporary_folder_without_room_is_no_fault_of_a_film(film, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clips = read_many([Request(film, SAMPLING)] * 9, workers=1)
    next(clips)
    (folder,) = tmp_path.glob("numpro-read-*")
    shutil.rmtree(folder)  # as one that cleans up may do
    with pytest.raises(OSError, match=f"(temporary folder {folder}.*TMPDIR|{folder}/.*npy)"):
        list(clips)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(workers, "_folder", str(tmp_path))
    monkeypatch.setattr("numpy.save", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(TemporaryFolderError, match="No space left on device.*make room.*TMPDIR"):
        workers._value(partial(workers._read, cache=None), Request(film, SAMPLING))


KILLED = """
import sys, worker_tasks as here
from numpro.video.workers import *
for request, _ in read_many([Request(sys.argv[1], here.SAMPLING)] * 99, workers=1):
    print("read", flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_process_left_is_removed_by_the_next(film, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, film], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)}, start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == b"read\n"
        (lock,) = tmp_path.glob("numpro-read-*/lock")
        os.utime(lock, (0, 0))  # long ago
        list(read_many([Request(film, SAMPLING)], workers=1))
        assert lock.exists(), "it is in use"
        os.killpg(process.pid, signal.SIGKILL)  # the workers too: no one tidies up
        process.stdin.close()
    until = time.monotonic() + 60
    while lock.exists() and time.monotonic() < until:
        list(read_many([Request(film, SAMPLING)], workers=1))
    assert not list(tmp_path.glob("numpro-read-*"))


def test_an_idle_worker_that_is_killed_breaks_nothing():
    def requests():
        yield Request("pid_0")
        yield Request("pid_1")
        while not pids:
            pytest.fail("taken before the first result was given")
        os.kill(pids[0], signal.SIGKILL)
        time.sleep(0.5)  # the pool sees it while nothing runs
        yield from map(Request, "ab")

    pids = []
    for _, value in run_many(planted, requests(), workers=1, limit=30):
        pids.append(value)
    assert pids[2:] == ["a", "b"]


def test_two_a_worker_are_read_ahead_and_no_more():
    taken = []

    def requests():
        for number in range(40):
            taken.append(number)
            yield Request(f"n{number}")

    for given, _ in enumerate(run_many(planted, requests(), workers=1)):
        assert len(taken) == min(given + 2, 40)


def test_workers_import_neither_torch_nor_the_main_script(film, tmp_path):
    script = tmp_path / "script.py"  # unguarded, as people write them
    script.write_text(
        "import sys, warnings\n"
        "import worker_tasks as here\nfrom numpro.video.workers import *\n"
        "print('main runs')\nrequests = [Request(sys.argv[1], here.SAMPLING), Request('modules')]\n"
        "print(*[len(clip) for _, clip in read_many(requests[:1], workers=1)])\n"
        "_, found = next(run_many(here.planted, requests[1:], workers=1))\n"
        "print(*{'torch', 'transformers', 'pandas', 'matplotlib'} & set(found))\n"
        "warnings.simplefilter('ignore')\n"  # a worker leaves its warnings to its parent
        "print(*[len(c) for _, c in read_many([Request(sys.argv[2], here.SAMPLING)], workers=1)])\n"
    )
    short = write_video(tmp_path / "short.mp4", np.zeros((40, 24, 32, 3), np.uint8), fps=10)
    short.write_bytes(short.read_bytes()[:-3])
    command = [sys.executable, script, film, short]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("main runs\n8\n\n20\n", "")


ALONE = """
import signal, time
from numpro.video import workers
workers._GRACE = 0
workers._value(str, workers.Request("a"), 100)
assert signal.alarm(0) == 0, "of a video that was read in time nothing is left"
workers._value(lambda path: time.sleep(60), workers.Request("a"), 1)
"""


def test_a_worker_that_no_one_stops_ends_by_itself():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, timeout=300)
    assert (done.returncode, done.stderr) == (-signal.SIGALRM, b"")


LONG = """
import signal, sys, worker_tasks as here
from numpro.video.workers import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests may ignore it
try:
    for request, _ in run_many(here.planted, map(Request, ["a", "b", *sys.argv[1:]]), workers=2):
        print(request.path, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_process_that_asked(number):
    """The signal goes to the whole group for Ctrl-C, as a terminal sends it."""
    command = [sys.executable, "-c", LONG, "sleep_600", "sleep_600", "c"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert [process.stdout.readline() for _ in "ab"] == ["a\n", "b\n"]
    time.sleep(0.3)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    assert process.wait(300) == (0 if number == signal.SIGINT else -number)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            with process.stdout:
                assert process.stdout.read() == ("stopped\n" if number == signal.SIGINT else "")
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("there are processes left")


def test_handing_over_fills_no_disk(film, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in read_many([Request(film, SAMPLING)] * 6, workers=1):
        assert len(list(tmp_path.glob("numpro-read-*/*.npy"))) <= 2
    assert not list(tmp_path.glob("numpro-read-*"))  # multiprocessing may have a folder here, too


def test_what_is_left_half_read_leaves_nothing(film, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clips = read_many([Request(film, SAMPLING)] * 5, workers=2)
    next(clips)
    assert list(tmp_path.glob("numpro-read-*"))
    clips.close()
    assert not list(tmp_path.glob("numpro-read-*"))
    pids = run_many(planted, [Request("pid_0")] * 5, workers=1)
    _, worker = next(pids)
    pids.close()
    until = time.monotonic() + 60
    while psutil.pid_exists(worker):
        assert time.monotonic() < until, "the worker is left"
        time.sleep(0.05)


def test_warnings_of_the_workers_reach_the_asker(tmp_path):
    short = write_video(tmp_path / "short.mp4", np.zeros((40, 24, 32, 3), np.uint8), fps=10)
    short.write_bytes(short.read_bytes()[:-3])
    with warnings.catch_warnings(record=True) as here:
        warnings.simplefilter("always")
        fresh = read_clip(short, fps=2.0)
    assert fresh.source["warnings"]
    for cache in (None, ClipCache(tmp_path / "cache")):
        for _ in range(2 if cache else 1):
            with pytest.warns(UserWarning) as caught:
                list(read_many([Request(short, {"fps": 2.0})], 1, cache=cache))
            assert [str(w.message) for w in caught] == [str(w.message) for w in here]


def test_it_works_in_a_notebook(film, project):
    from nbclient import NotebookClient
    from nbformat import read
    from projects import write_notebook

    path = write_notebook(
        project / "notebooks" / "01_a.ipynb",
        "from numpro.video.workers import Request, read_many\n"
        f"[len(clip) for _, clip in read_many([Request({str(film)!r}, {{'fps': 5.0}})] * 3, 2)]",
    )
    book = read(path, 4)
    NotebookClient(
        book, timeout=300, startup_timeout=300, extra_arguments=["--log-level=ERROR"]
    ).execute()
    assert book.cells[-1].outputs[0]["data"]["text/plain"] == "[8, 8, 8]"
