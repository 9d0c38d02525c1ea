"""Any file: the right frame from either reader, decoding no more than it takes."""

import os
import sys

import numpy as np
import pytest
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


QUIET = {"x265-params": "log-level=none:keyint=8:open-gop=0"}
OPEN = {"x265-params": "log-level=none:keyint=8:open-gop=1"}
LONG = {"g": "250", "bf": "3", "x264-params": "b-pyramid=normal"}
INTERLACED = {"flags": "+ildct+ilme", "tff": "1", "bf": "3"}
FILES = {  # name: (suffix, encoder options, "decord" or why it is PyAV; "both": decord could)
    "h264": ("mp4", {"options": {"bf": "0"}}, "decord"),
    "h264 with B-frames": ("mp4", {"options": {"bf": "3"}}, "both"),
    "h264 long gop": ("mp4", {"frames": numbered(200), "options": LONG}, "both"),
    "h264 open gop": ("mp4", {"options": {"x264-params": "open-gop=1:keyint=8"}}, "both"),
    "h264 interlaced": ("mp4", {"options": INTERLACED}, "both"),
    "h264 in mkv": ("mkv", {"options": {"bf": "2"}}, "both"),
    "h264 in mkv without duration": ("mkv", {"container": {"live": "1"}}, "B-frames"),
    "h264 in flv": ("flv", {}, "both"),
    "h264 in avi": ("avi", {}, "B-frames"),
    "h264 in ts": ("ts", {"start": 50}, "MPEG-TS"),
    "h264 alone": ("h264", {}, "B-frames"),
    "hevc": ("mp4", {"codec": "libx265", "options": QUIET}, "decord"),
    "hevc open gop": ("mp4", {"codec": "libx265", "options": OPEN}, "open groups"),
    "vp8": ("webm", {"codec": "libvpx"}, "decord"),
    "vp9": ("webm", {"codec": "libvpx-vp9"}, "decord"),
    "vp9 alpha": ("webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}, "decord"),
    "av1": ("mp4", {"codec": "libsvtav1", "options": {"svtav1-params": "keyint=8"}}, "no av1"),
    "mpeg-2": ("mkv", {"codec": "mpeg2video", "options": {"bf": "2"}}, "open groups"),
    "mpeg-4": ("mp4", {"codec": "mpeg4"}, "decord"),
    "mjpeg": ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "decord"),
    "ffv1": ("mkv", {"codec": "ffv1"}, "decord"),
    "wmv": ("asf", {"codec": "wmv2"}, "decord"),
    "gif": ("gif", {"codec": "gif", "pix_fmt": "rgb8"}, "fails on it"),
    "grey": ("mp4", {"pix_fmt": "gray"}, "both"),
    "10 bit": ("mp4", {"pix_fmt": "yuv420p10le"}, "8 bits"),
    "10 bit alpha": ("mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, "8 bits"),
    "8 bit alpha": ("mov", {"codec": "png", "pix_fmt": "rgba"}, "decord"),
    "odd sizes": ("mp4", {"pix_fmt": "yuv444p", "frames": numbered(40, 67, 35)}, "both"),
    "16 x 16": ("mp4", {"frames": numbered(2, 16, 16), "options": {"bf": "0"}}, "fails on it"),
    "late start": ("mp4", {"start": 50}, "both"),
    "late start in mkv": ("mkv", {"start": 50}, "both"),
    "fragmented": ("mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}, "both"),
    "two streams": ("mp4", {"streams": 2}, "more than one"),
    "second stream is the default": ("mkv", {"streams": 2, "default": 1}, "more than one"),
    "one frame": ("mp4", {"frames": numbered(1)}, "both"),
    "two frames": ("mp4", {"frames": numbered(2)}, "both"),
}


@pytest.mark.parametrize("name", FILES)
def test_any_file(tmp_path, name, capfd):
    suffix, options, reader = FILES[name]
    path = encode(tmp_path / f"film.{suffix}", **options)
    frames = options.get("frames", numbered(40))
    info = probe(path)
    assert (info.frames, info.height, info.width) == frames.shape[:3]
    assert info.duration == pytest.approx(len(frames) / 25, abs=1e-3)
    assert not info.warnings and not info.variable
    if "start" in options:
        assert info.start == pytest.approx(2.0, abs=0.1)
    step = min(4, len(frames) // 2 or 1)
    clip = read_clip(path, fps=25 / step)
    assert clip.source["backend"] == ("decord" if reader == "decord" else "pyav"), clip.source
    assert {"decord": "default", "both": "B-frames"}.get(reader, reader) in clip.source["why"]
    wanted = list(range(0, len(frames), step))
    assert clip.source_index.tolist() == wanted
    assert [number_of(frame) for frame in clip.frames] == wanted
    if reader in ("decord", "both"):
        assert_same_readers(path)


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
    assert clip.source["backend"] == "decord"
    assert np.abs(clip.frames.astype(int) - turned).mean() < 8
    assert_same_readers(path)
    small = Image.fromarray(clip.frames[1]).resize((20, 30), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read_clip(path, fps=25, size=(20, 30)).frames[1], small)


def test_rotation_where_decord_fails(tmp_path):
    path = encode(tmp_path / "film.mp4", rotation=90, options={"bf": "0"})
    clip = read_clip(path, fps=5)
    assert clip.frames.shape[1:] == (64, 48, 3)
    assert clip.source["backend"] == "pyav" and "fails on it" in clip.source["why"]
    upright = np.rot90(clip.frames, -1, axes=(1, 2))
    assert [number_of(frame) for frame in upright] == clip.source_index.tolist()


def test_pyav_where_decord_is_missing(tmp_path, monkeypatch):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    wanted = read_clip(path, fps=2)
    monkeypatch.setitem(sys.modules, "decord", None)
    clip = read_clip(path, fps=2)
    assert clip.source["backend"] == "pyav" and "not installed" in clip.source["why"]
    np.testing.assert_array_equal(clip.frames, wanted.frames)


@pytest.mark.parametrize("lie", ["gives other times", "gives frames of shape (47, 64, 3)"])
def test_decord_is_not_believed(tmp_path, monkeypatch, lie):
    import decord

    class Reader(decord.VideoReader):
        def get_frame_timestamp(self, indices):
            late = 0.04 * (np.arange(30) > 20) if "times" in lie else np.zeros(30)
            return super().get_frame_timestamp(indices) + late[:, None]

        def get_batch(self, indices):
            batch = super().get_batch(indices)
            return decord.nd.array(batch.asnumpy()[:, 1:]) if "shape" in lie else batch

    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    wanted = read_clip(path, fps=2)
    assert wanted.source["backend"] == "decord"
    monkeypatch.setattr(decord, "VideoReader", Reader)
    clip = read_clip(path, fps=2)
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

    suffix, options, _ = FILES[name]
    path, counts = encode(tmp_path / f"film.{suffix}", **options), []

    class Reader(decord.VideoReader):
        def get_batch(self, indices):
            counts.append(len(os.listdir("/proc/self/task")))
            return super().get_batch(indices)

    monkeypatch.setattr(decord, "VideoReader", Reader)
    before, index = len(os.listdir("/proc/self/task")), make_index(path)
    if name == "h264":
        read_decord(index, np.arange(40), None)
    else:
        for _ in decoded(index, np.arange(40), sparing=True):
            counts.append(len(os.listdir("/proc/self/task")))
    assert counts and max(counts) <= before + 1
