"""Every sampled frame is the one on screen at its second; films are written with true times."""

import os
import pickle
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from films import assert_right, number_of, numbered, on_screen
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from numpro.video import Clip, VideoError, container, probe, read_clip, sampling_times, write_video
from numpro.video.container import make_index

RATES = {
    "0.3": Fraction(3, 10),
    "0.5": Fraction(1, 2),
    "1": Fraction(1),
    "12.5": Fraction(25, 2),
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "60": Fraction(60),
}


# --- sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["decord", "pyav"])
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_the_frame_on_screen_at_every_second(tmp_path, rate, reader):
    count = 12 if rate < 2 else 90
    path = write_video(tmp_path / "film.mp4", numbered(count), fps=float(rate))
    end = float(count / rate)
    for fps in (0.3, 1.0, 3.0, 29.97):
        clip = read_clip(path, fps=fps, reader=reader)
        assert clip.duration == pytest.approx(end, abs=3e-6)
        np.testing.assert_array_equal(clip.seconds, np.arange(len(clip)) / fps)
        assert clip.seconds[-1] < end <= clip.seconds[-1] + 1 / fps + 1e-5
        assert_right(clip, [float(k / rate) for k in range(count)])
        assert clip.source["backend"] == reader
    every = read_clip(path, fps=float(rate))  # at its own rate, rounded floats on both sides
    assert every.source_index.tolist() == list(range(count))


@given(
    duration=st.floats(0.001, 20_000),
    fps=st.one_of(st.floats(0.001, 240), st.sampled_from([0.3, 0.5, 12.5, 23.976, 29.97])),
    most=st.integers(1, 300),
)
def test_sampling_times(duration, fps, most):
    if duration * fps > 1e4:
        fps = 1e4 / duration
    seconds = sampling_times(duration, fps)
    np.testing.assert_array_equal(seconds, np.arange(len(seconds)) / fps)
    assert len(seconds) == 1 or seconds[-1] < duration
    assert (len(seconds) / fps) >= duration - 2e-6
    thin = sampling_times(duration, fps, max_frames=most)
    assert len(thin) == min(most, len(seconds)) and np.isin(thin, seconds).all()
    steps = np.diff(np.searchsorted(seconds, thin))
    assert thin[0] == 0 and (not steps.size or np.ptp(steps) <= 1 and steps.min() > 0)


@settings(max_examples=25)
@given(
    gaps=st.lists(st.integers(1, 900), min_size=1, max_size=20),
    fps=st.floats(0.2, 40),
    start=st.floats(0, 0.99),
)
def test_any_times_any_rate(tmp_path_factory, gaps, fps, start):
    path = tmp_path_factory.mktemp("any") / "film.mp4"
    ends = np.cumsum(gaps) / 1000
    times = [0.0, *ends[:-1]]
    write_video(path, numbered(len(times), 32, 32), seconds=times, duration=ends[-1])
    info = probe(path)
    assert info.duration == pytest.approx(ends[-1], abs=3e-6)
    clip = read_clip(path, fps=fps, start=start * info.duration)
    assert clip.source_index.tolist() == on_screen(clip.seconds, times)
    assert clip.seconds[0] == start * info.duration
    assert ((clip.seconds >= 0) & (clip.seconds < info.duration)).all()


def test_variable_rate(tmp_path):
    seconds = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.4, 60))
    seconds -= seconds[0]
    path = write_video(tmp_path / "film.mp4", numbered(60), seconds=seconds, duration=20.0)
    info = probe(path)
    assert info.variable and info.frames == 60
    assert info.duration == pytest.approx(20.0, abs=3e-6)
    index = make_index(path)
    np.testing.assert_allclose(index.seconds, seconds, atol=2e-6)
    assert_right(read_clip(path, fps=4), seconds)


def test_times_in_any_order(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    clip = read_clip(path, times=[2.0, 0.0, 2.0, 0.19, 0.2, 3.0])
    assert clip.seconds.tolist() == [2.0, 0.0, 2.0, 0.19, 0.2, 3.0]
    assert clip.source_index.tolist() == [20, 0, 20, 1, 2, 29]
    assert [number_of(frame) for frame in clip.frames] == [20, 0, 20, 1, 2, 29]


def test_num_frames_part_and_thinning(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(100), fps=10)
    assert read_clip(path, num_frames=4).seconds.tolist() == [0, 2.5, 5, 7.5]
    part = read_clip(path, fps=1, start=2.5, end=5.5)
    assert part.seconds.tolist() == [2.5, 3.5, 4.5]
    assert_right(part, np.arange(100) / 10)
    assert read_clip(path, fps=1, start=8, end=99).seconds.tolist() == [8, 9]
    thin = read_clip(path, fps=2, max_frames=5)
    assert thin.seconds.tolist() == [0, 2, 4, 6, 8]
    assert_right(thin, np.arange(100) / 10)
    assert len(read_clip(path, fps=1, max_frames=50)) == 10


def test_a_film_is_looked_through_once_for_all_its_stretches(tmp_path, monkeypatch):
    looked = []
    counted = lambda p, *choices: looked.append(p) or make_index(p, *choices)  # noqa: E731
    monkeypatch.setattr(container, "make_index", counted)
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    for start in range(3):
        part = read_clip(path, fps=5, start=start, end=start + 1)
        assert_right(part, np.arange(30) / 10)
    assert probe(path).frames == 30 and looked == [path]
    os.utime(path, ns=(0, 0))  # it may be another film now
    assert_right(read_clip(path, fps=5), np.arange(30) / 10)
    assert looked == [path] * 2
    write_video(path, numbered(60), fps=20)
    assert_right(read_clip(path, fps=5), np.arange(60) / 20)
    assert looked == [path] * 3
    path.unlink()
    with pytest.raises(VideoError, match="no such file"):
        read_clip(path, fps=5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "exactly one.*none"),
        ({"fps": 1, "times": [0]}, "exactly one.*fps.*times"),
        ({"fps": 0}, "fps.*0"),
        ({"fps": float("nan")}, "fps.*nan"),
        ({"num_frames": 0}, "num_frames.*0"),
        ({"num_frames": 10**12}, "num_frames must be at most 10000000; got 1000000000000"),
        ({"fps": 1e9}, r"fps 1e\+09 takes more than 10000000 frames of 1.00 s; give a lower fps"),
        ({"num_frames": 1.5}, "num_frames.*1.5"),
        ({"times": []}, "times"),
        ({"times": 3}, "times.*3"),
        ({"times": [-0.1]}, "times.*0..1.000.*-0.1"),
        ({"times": [0.5, 1.5]}, "times.*1.5"),
        ({"times": [float("nan")]}, "times.*nan"),
        ({"times": [0.5], "start": 0}, "start and end"),
        ({"fps": 1, "start": -1}, "start.*-1"),
        ({"fps": 1, "start": 1}, "start.*duration"),
        ({"fps": 1, "start": 0.5, "end": 0.5}, "start < end"),
        ({"fps": 1, "max_frames": 0}, "max_frames.*0"),
        ({"fps": 1, "size": (0, 10)}, r"size.*\(0, 10\)"),
        ({"fps": 1, "size": (10.5, 10)}, "size.*10.5"),
        ({"fps": 1, "size": (10, 10, 3)}, "size"),
        ({"fps": 1, "size": 336}, "size.*336"),
        ({"fps": -1}, "fps.*-1"),
        ({"fps": 1, "reader": "cv2"}, "reader must be one of pyav, decord; got 'cv2'"),
    ],
    ids=str,
)
def test_wrong_arguments(tmp_path, options, words):
    path = write_video(tmp_path / "film.mp4", numbered(10), fps=10)
    with pytest.raises(ValueError, match=words) as error:
        read_clip(path, **options)
    assert not isinstance(error.value, VideoError)


# --- the clip -------------------------------------------------------------------------------


def test_clip_and_its_source(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(50), fps=12.5)
    clip = read_clip(str(path), fps=2, size=(30, 20))
    assert clip.frames.shape == (8, 20, 30, 3) and clip.frames.dtype == np.uint8
    assert clip.seconds.dtype == np.float64 and clip.source_index.dtype == np.int64
    facts = {"path": str(path), "frames": 50, "fps": 12.5, "variable": False, "codec": "h264"}
    assert clip.source.items() >= (facts | {"width": 64, "height": 48, "duration": 4.0}).items()
    kept = clip.select([5, 1])
    assert isinstance(kept, Clip) and kept.duration == 4.0 and len(kept) == 2
    assert kept.seconds.tolist() == [2.5, 0.5]
    np.testing.assert_array_equal(kept.frames, clip.frames[[5, 1]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clip)).frames, clip.frames)


def test_size_is_pillows_bicubic(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(10), fps=10)
    full, small = read_clip(path, fps=5), read_clip(path, fps=5, size=(31, 17))
    for one, other in zip(full.frames, small.frames, strict=True):
        wanted = Image.fromarray(one).resize((31, 17), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(other, np.asarray(wanted))


# --- writing --------------------------------------------------------------------------------


def test_written_for_browsers(tmp_path):
    path = tmp_path / "film.mp4"
    assert write_video(path, numbered(20), fps=10, duration=3.5) == path
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        times = [(packet.pts, packet.dts) for packet in film.demux(stream) if packet.size]
    assert all(pts == dts for pts, dts in times)
    assert all(a < b for a, b in pairwise(times))
    assert probe(path).duration == 3.5
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sizes_grow_by_a_pixel(tmp_path):
    frames = numbered(4, 67, 35)
    path = write_video(tmp_path / "film.mp4", iter(frames), fps=10, crf=1)
    clip = read_clip(path, fps=10)
    assert clip.frames.shape == (4, 36, 68, 3)
    assert [number_of(frame[:35, :67]) for frame in clip.frames] == [0, 1, 2, 3]
    assert np.abs(clip.frames[:, :35, :67].astype(int) - frames).mean() < 4


def test_times_count_from_the_first_frame(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(3), seconds=[10, 10.5, 12])
    np.testing.assert_array_equal(make_index(path).seconds, [0, 0.5, 2])
    assert probe(path).duration == 3.5
    assert probe(write_video(path, numbered(1), seconds=[7])).duration == 1


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        (numbered(2), {}, "one of them"),
        (numbered(2), {"fps": 1, "seconds": [0, 1]}, "one of them"),
        (numbered(2), {"fps": 0}, "fps.*0"),
        (numbered(2), {"seconds": [0, 0]}, "increase"),
        (numbered(2), {"seconds": [0, float("inf")]}, "finite"),
        (numbered(3), {"seconds": [0, 1]}, "more than"),
        (numbered(2), {"seconds": [0, 1, 2]}, "fewer than"),
        (numbered(2), {"fps": 1, "duration": 1.0}, "duration.*1.000 s.*1.0"),
        (numbered(0), {"fps": 1}, "at least one"),
        (numbered(2)[..., :2], {"fps": 1}, r"H, W, 3.*48, 64, 2"),
        (numbered(2) / 255, {"fps": 1}, "uint8"),
        ([numbered(1)[0], numbered(1, 32, 32)[0]], {"fps": 1}, "one size"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict | str) else "",
)
def test_wrong_films_leave_nothing(tmp_path, frames, options, words):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=words):
        write_video(path, frames, **options)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"before"


def test_no_folder_to_write_to(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        write_video(tmp_path / "none" / "film.mp4", numbered(2), fps=1)
