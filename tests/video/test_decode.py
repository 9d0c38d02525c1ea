"""Any file: the right frame from either reader, decoding no more than it takes."""

import os
import sys

import numpy as np
import pytest
from film_kinds import KINDS, MARKS, PAGE, make, table, turn
from films import encode, number_of, numbered
from PIL import Image

from numpro.video import probe, read_clip, write_video
from numpro.video.container import make_index
from numpro.video.decode import decoded, read_decord, read_pyav


def assert_same_readers(path):
    """Decord and PyAV give the same pixels, frame by frame, read in a row or a few."""
    index = make_index(path)
    every = np.arange(index.info.frames)
    whole, shown = read_pyav(index, every, None)
    np.testing.assert_array_equal(shown, every)
    np.testing.assert_array_equal(read_decord(index, every, None), whole)
    for some in (every[::9], every[-1:], every[len(every) // 2 :: 5]):
        np.testing.assert_array_equal(read_pyav(index, some, None)[0], whole[some])
        np.testing.assert_array_equal(read_decord(index, some, None), whole[some])


@pytest.mark.filterwarnings("ignore:.*video streams")
@pytest.mark.parametrize("name", KINDS)
def test_any_film(tmp_path, name):
    path = make(name, tmp_path)
    options, why = KINDS[name][1:]
    frames = options.get("frames", numbered(40))
    info = probe(path)
    assert (info.frames, info.height, info.width) == frames.shape[:3]
    late = 2.0 if name == "late start" else info.begins  # mp4's timeline begins before it
    assert info.begins == pytest.approx(late, abs=0.1)
    assert info.duration == pytest.approx(info.begins + len(frames) / 25, abs=1e-3)
    assert info.warnings == () if info.streams == ("video",) else "streams" in info.warnings[0]
    assert not info.variable and not info.gaps
    if "start" in options:
        assert info.start == pytest.approx(2.0, abs=0.1)
    step = min(4, len(frames) // 2 or 1)
    clip = read_clip(path, fps=25 / step, origin="first-picture")
    assert (clip.source["backend"], clip.source["why"]) == ("pyav", "default")
    wanted = list(range(0, len(frames), step))
    assert clip.source_index.tolist() == wanted
    pages = clip.frames[:, :, ::-1] if name == "mirrored" else clip.frames
    assert [number_of(page) for page in pages] == wanted
    if why is None:
        assert_same_readers(path)
        other = read_clip(path, fps=25 / step, origin="first-picture", reader="decord")
        assert other.source["backend"] == "decord" and other.source["warnings"] == info.warnings
    else:
        with pytest.warns(UserWarning, match=f"read by PyAV: decord .*{why}"):
            other = read_clip(path, fps=25 / step, origin="first-picture", reader="decord")
        assert other.source["backend"] == "pyav" and why in other.source["why"]
    np.testing.assert_array_equal(other.frames, clip.frames)


def test_the_table_of_readers_is_what_is_found():
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(MARKS[0])[2].partition(MARKS[1])[0] == table()


def test_variable_rate_in_both_readers(tmp_path):
    seconds = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.4, 60))
    path = write_video(tmp_path / "film.mp4", numbered(60), seconds=seconds)
    assert_same_readers(path)


def test_a_size_that_changes_on_the_way(tmp_path):
    parts = [(40, 64, 48), (40, 128, 96)]
    films = [encode(tmp_path / f"{p[1]}.h264", frames=numbered(*p)) for p in parts]
    path = tmp_path / "film.h264"
    path.write_bytes(b"".join(film.read_bytes() for film in films))
    clip = read_clip(path, fps=5)
    assert clip.frames.shape == (16, 48, 64, 3)
    assert [number_of(frame) for frame in clip.frames] == [*range(0, 40, 5)] * 2


def test_trimmed_without_encoding_again(tmp_path):
    path = encode(tmp_path / "film.mp4", start=-10)  # ten frames lie before the edit's start
    info = probe(path)
    assert (info.frames, info.warnings) == (30, ())
    assert info.duration == pytest.approx(30 / 25)
    clip = read_clip(path, fps=5)
    assert clip.source_index.tolist() == [0, 5, 10, 15, 20, 25]
    assert [number_of(frame) for frame in clip.frames] == [10, 15, 20, 25, 30, 35]
    with pytest.warns(UserWarning, match="read by PyAV: decord counts 32 frames of 30"):
        other = read_clip(path, fps=5, reader="decord")
    np.testing.assert_array_equal(other.frames, clip.frames)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_in_both_readers(tmp_path, rotation):
    frames = np.zeros((4, 60, 100, 3), np.uint8)
    frames[:, :30, :50, 0] = 255  # red, top left
    path = encode(tmp_path / "film.mp4", frames=frames, rotation=rotation, options={"bf": "0"})
    turned = np.rot90(frames, rotation // 90, axes=(1, 2))
    info = probe(path)
    assert (info.height, info.width) == turned.shape[1:3]
    assert info.rotation == 360 - rotation
    clip = read_clip(path, fps=25)
    assert np.abs(clip.frames.astype(int) - turned).mean() < 8
    assert_same_readers(path)
    small = Image.fromarray(clip.frames[1]).resize((20, 30), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read_clip(path, fps=25, size=(20, 30)).frames[1], small)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), lambda frame: frame[::-1]),
        ((-1, 0, 0, -1), lambda frame: frame[::-1, ::-1]),
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((0, -1, 1, 0), lambda frame: np.rot90(frame)),
        ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda frame: np.rot90(frame, 2).transpose(1, 0, 2)),
    ],
)
def test_a_display_matrix_turns_and_mirrors(tmp_path, matrix, shown):
    frames = np.zeros((4, 60, 100, 3), np.uint8)
    frames[:, :30, :50, 0], frames[:, 30:, 50:, 1] = 255, 255  # two corners that differ
    path = encode(tmp_path / "film.mp4", frames=frames, options={"bf": "0"})
    plain = read_clip(path, fps=25).frames
    turn(path, *matrix)
    clip = read_clip(path, fps=25)
    for picture, frame in zip(clip.frames, plain, strict=True):
        np.testing.assert_array_equal(picture, shown(frame))
    assert (probe(path).height, probe(path).width) == shown(plain[0]).shape[:2]


def test_without_decord(tmp_path, monkeypatch):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    wanted = read_clip(path, fps=2)
    monkeypatch.setitem(sys.modules, "decord", None)
    np.testing.assert_array_equal(read_clip(path, fps=2).frames, wanted.frames)
    with pytest.warns(UserWarning, match="read by PyAV: decord is not installed"):
        clip = read_clip(path, fps=2, reader="decord")
    assert clip.source["backend"] == "pyav"
    np.testing.assert_array_equal(clip.frames, wanted.frames)


@pytest.mark.parametrize("lie", ["gives other times", "gives frames of shape (47, 64, 3)"])
def test_decord_is_not_believed(tmp_path, monkeypatch, lie):
    import decord

    class Reader(decord.VideoReader):
        def get_frame_timestamp(self, indices):
            late = 0.04 * (np.arange(30) > 20) if "times" in lie else np.zeros(30)
            return super().get_frame_timestamp(indices) + late[:, None]

        def next(self):
            frame = super().next()
            return decord.nd.array(frame.asnumpy()[1:]) if "shape" in lie else frame

    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    wanted = read_clip(path, fps=2, reader="decord")
    assert wanted.source["backend"] == "decord"
    monkeypatch.setattr(decord, "VideoReader", Reader)
    with pytest.warns(UserWarning, match="read by PyAV"):
        clip = read_clip(path, fps=2, reader="decord")
    assert (clip.source["backend"], clip.source["why"]) == ("pyav", f"decord {lie}")
    np.testing.assert_array_equal(clip.frames, wanted.frames)


def test_only_the_needed_frames_are_decoded(tmp_path):
    wanted = np.array([3, 7, 110, 199])
    options = {"g": "20", "sc_threshold": "0"}
    films = [
        encode(tmp_path / f"{bf}.mp4", frames=numbered(200), options={**options, "bf": bf})
        for bf in ("0", "3")
    ]
    index = make_index(films[0])
    needed = [at for at, _ in decoded(index, wanted, sparing=True)]
    # a seek only where the next wanted frame lies beyond the next keyframe
    assert needed == [*range(8), *range(100, 111), *range(180, 200)]
    index = make_index(films[1])
    spared = [at for at, _ in decoded(index, wanted, sparing=True)]
    assert set(wanted) <= set(spared) < set(needed) and len(spared) < 0.7 * len(needed)
    frames, shown = read_pyav(index, wanted, None)
    assert shown.tolist() == wanted.tolist()
    np.testing.assert_array_equal(frames, read_pyav(index, np.arange(200), None)[0][wanted])


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize("name", ["h264", "h264 with B-frames", "av1"])
def test_reading_takes_one_thread_more_at_most(tmp_path, monkeypatch, name):
    import decord  # after PyAV: before it, libvpx of the two wheels get mixed up

    path, counts = make(name, tmp_path), []

    class Reader(decord.VideoReader):
        def next(self):
            counts.append(len(os.listdir("/proc/self/task")))
            return super().next()

    monkeypatch.setattr(decord, "VideoReader", Reader)
    before, index = len(os.listdir("/proc/self/task")), make_index(path)
    if name == "h264":
        read_decord(index, np.arange(40), None)
    else:
        for _ in decoded(index, np.arange(40), sparing=True):
            counts.append(len(os.listdir("/proc/self/task")))
    assert counts and max(counts) <= before + 1
