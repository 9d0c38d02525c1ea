"""Any file: the right frame from either reader, or an error that says why in a few words."""

import os
import pickle
import sys

import av
import numpy as np
import pytest
from films import assert_right, encode, number_of, numbered
from PIL import Image

from numpro import decode
from numpro.video import VideoError, probe, read_clip, write_video


def assert_same_readers(path, wanted=None):
    """Decord and PyAV give the same pixels."""
    index = decode.make_index(path)
    if wanted is None:
        wanted = np.unique(np.linspace(0, index.info.frames - 1, 7).astype(int))
    other, shown = decode._read_pyav(index, wanted, None)
    assert shown.tolist() == wanted.tolist()
    np.testing.assert_array_equal(decode._read_decord(index, wanted, None), other)


QUIET = {"x265-params": "log-level=none:keyint=8:open-gop=0"}
OPEN = {"x265-params": "log-level=none:keyint=8:open-gop=1"}
FILES = {  # name: (suffix, encoder options, reader)
    "h264 with B-frames": ("mp4", {"options": {"bf": "3"}}, "decord"),
    "h264 in mkv": ("mkv", {"options": {"bf": "2"}}, "decord"),
    "h264 in flv": ("flv", {}, "decord"),
    "h264 in avi": ("avi", {}, "pyav"),
    "h264 in ts": ("ts", {"start": 50}, "pyav"),
    "h264 alone": ("h264", {}, "pyav"),
    "hevc": ("mp4", {"codec": "libx265", "options": QUIET}, "decord"),
    "hevc open gop": ("mp4", {"codec": "libx265", "options": OPEN}, "pyav"),
    "vp9": ("webm", {"codec": "libvpx-vp9"}, "decord"),
    "vp9 alpha": ("webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}, "decord"),
    "av1": ("mp4", {"codec": "libsvtav1", "options": {"svtav1-params": "keyint=8"}}, "pyav"),
    "mpeg-4": ("mp4", {"codec": "mpeg4"}, "decord"),
    "mjpeg": ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "decord"),
    "ffv1": ("mkv", {"codec": "ffv1"}, "decord"),
    "gif": ("gif", {"codec": "gif", "pix_fmt": "rgb8"}, "pyav"),
    "grey": ("mp4", {"pix_fmt": "gray"}, "decord"),
    "10 bit": ("mp4", {"pix_fmt": "yuv420p10le"}, "pyav"),
    "odd sizes": ("mp4", {"pix_fmt": "yuv444p", "frames": numbered(40, 67, 35)}, "decord"),
    "16 x 16": ("mp4", {"frames": numbered(2, 16, 16)}, "pyav"),
    "late start": ("mp4", {"start": 50}, "decord"),
    "late start in mkv": ("mkv", {"start": 50}, "decord"),
    "fragmented": ("mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}, "decord"),
    "two streams": ("mp4", {"streams": 2}, "pyav"),
    "one frame": ("mp4", {"frames": numbered(1)}, "decord"),
    "two frames": ("mp4", {"frames": numbered(2)}, "decord"),
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
    clip = read_clip(path, fps=25 / 4)
    assert clip.source["backend"] == reader, clip.source["why"]
    wanted = list(range(0, len(frames), 4))
    assert clip.source_index.tolist() == wanted
    if name != "16 x 16":  # too small for the bars
        assert [number_of(frame) for frame in clip.frames] == wanted
    if reader == "decord":
        assert_same_readers(path)
        assert_same_readers(path, np.array([len(frames) - 1]))


def test_variable_rate_in_both_readers(tmp_path):
    seconds = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.4, 60))
    path = write_video(tmp_path / "film.mp4", numbered(60), seconds=seconds)
    assert_same_readers(path)


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
    path = encode(tmp_path / "film.mp4", frames=frames, rotation=rotation)
    turned = np.rot90(frames, rotation // 90, axes=(1, 2))
    info = probe(path)
    assert (info.height, info.width) == turned.shape[1:3]
    assert info.rotation == 360 - rotation
    clip = read_clip(path, fps=25)
    assert clip.source["backend"] == "decord"
    assert np.abs(clip.frames.astype(int) - turned).mean() < 8
    assert_same_readers(path)


def test_rotation_where_decord_gives_broken_rows(tmp_path):
    path = encode(tmp_path / "film.mp4", rotation=90)
    clip = read_clip(path, fps=5)
    assert clip.frames.shape[1:] == (64, 48, 3)
    assert clip.source["backend"] == "pyav"
    upright = np.rot90(clip.frames, -1, axes=(1, 2))
    assert [number_of(frame) for frame in upright] == clip.source_index.tolist()


def test_pyav_where_decord_is_missing(tmp_path, monkeypatch):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    wanted = read_clip(path, fps=2)
    monkeypatch.setitem(sys.modules, "decord", None)
    clip = read_clip(path, fps=2)
    assert clip.source["backend"] == "pyav" and "not installed" in clip.source["why"]
    np.testing.assert_array_equal(clip.frames, wanted.frames)


def test_pyav_seeks_only_over_keyframes(tmp_path):
    options = {"g": "20", "sc_threshold": "0"}
    path = encode(tmp_path / "film.mp4", frames=numbered(200), options=options)
    index = decode.make_index(path)
    seen = [at for at, _ in decode._decoded(index, np.array([3, 7, 110, 199]), seeking=True)]
    assert seen == [*range(8), *range(100, 111), *range(180, 200)]


# --- files that cannot be read --------------------------------------------------------------


def bad_file(kind, folder):
    path = folder / "film.mp4"
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a film\n" * 100)
    elif kind == "audio":
        with av.open(str(path), "w") as out:
            stream = out.add_stream("aac", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.rate = 8000
            out.mux(stream.encode(sound))
            out.mux(stream.encode())
    elif kind == "picture":
        Image.new("RGB", (8, 8)).save(path, "png")
        path.write_bytes(path.read_bytes()[:30])
    elif kind != "missing":
        noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
        if kind == "cut":
            write_video(path, noise, fps=25)
        else:
            encode(path, frames=noise)
        data = path.read_bytes()
        if kind == "half zero":
            data = data[: len(data) // 3] + bytes(len(data) // 2) + data[-len(data) // 6 :]
        path.write_bytes(data if kind == "half zero" else data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("directory", "a directory"),
        ("empty", "empty file"),
        ("text", "not a readable video"),
        ("audio", "no video stream.*audio"),
        ("picture", "not a readable video|no frame can be decoded|cut short"),
        ("cut", "cut short: [23]. of the 60 frames"),
        ("no header", "not a readable video"),
    ],
)
def test_bad_files(tmp_path, kind, reason):
    path = bad_file(kind, tmp_path)
    with pytest.raises(VideoError, match=reason) as error:
        read_clip(path, fps=1)
    assert error.value.path == path and 0 < len(error.value.reason) < 100
    assert str(error.value) == f"{path}: {error.value.reason}"
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(VideoError, match=reason):
        probe(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_no_permission(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(3), fps=10)
    path.chmod(0)
    with pytest.raises(VideoError, match="permission denied"):
        read_clip(path, fps=1)


def test_a_file_that_may_not_be_opened(tmp_path, monkeypatch):
    path = write_video(tmp_path / "film.mp4", numbered(3), fps=10)

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(VideoError, match="permission denied"):
        read_clip(path, fps=1)


def damaged(path, where, share):
    """A film whose bytes from `where` on (a fraction) are zero for a share of the file."""
    noise = np.random.default_rng(0).integers(0, 60, (60, 64, 64, 3), dtype=np.uint8)
    write_video(path, numbered(60, 64, 64) ^ noise, fps=10)
    data = bytearray(path.read_bytes())
    begin, length = int(where * len(data)), int(share * len(data))
    data[begin : begin + length] = bytes(length)
    path.write_bytes(data)
    return path


def test_damage_in_the_middle_is_said(tmp_path):
    path = damaged(tmp_path / "film.mp4", 0.4, 0.2)
    with pytest.warns(UserWarning, match=r"damaged: \d+ of the 30 frames asked for"):
        clip = read_clip(path, fps=5)
    assert clip.source["warnings"] and clip.source["backend"] == "pyav"
    np.testing.assert_array_equal(clip.seconds, np.arange(30) / 5)
    late = clip.source_index < np.arange(0, 60, 2)
    assert 3 < late.sum() < 15
    assert [number_of(frame) for frame in clip.frames[late]] == clip.source_index[late].tolist()


def test_a_missing_last_frame_is_said(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(120), fps=10)
    path.write_bytes(path.read_bytes()[:-3])
    assert probe(path).warnings == ("119 of the 120 frames it promises are there",)
    with pytest.warns(UserWarning, match="film.mp4: 119 of the 120 frames"):
        clip = read_clip(path, fps=1)
    assert clip.duration == pytest.approx(11.9)
    assert_right(clip, np.arange(119) / 10)


def test_sound_longer_than_the_pictures_is_said(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as out:
        picture_stream, sound_stream = out.add_stream("libx264", rate=10), out.add_stream("aac")
        picture_stream.width = picture_stream.height = 32
        picture_stream.pix_fmt = "yuv420p"
        for frame in numbered(20, 32, 32):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            out.mux(picture_stream.encode(picture))
        out.mux(picture_stream.encode())
        for at in range(5 * 48):
            sound = av.AudioFrame.from_ndarray(np.zeros((2, 1000), np.float32), "fltp", "stereo")
            sound.rate, sound.pts = 48000, at * 1000
            out.mux(sound_stream.encode(sound))
        out.mux(sound_stream.encode())
    info = probe(path)
    assert info.duration == pytest.approx(2.0) and info.streams == ("video", "audio")
    assert len(info.warnings) == 1 and "promises 5.0" in info.warnings[0]
    with pytest.warns(UserWarning, match="its video ends at 2.00 s"):
        assert read_clip(path, fps=1).seconds.tolist() == [0, 1]


def test_damage_of_most_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"damaged: \d+ of 30 frames"):
        read_clip(damaged(tmp_path / "film.mp4", 0.2, 0.7), fps=5)
