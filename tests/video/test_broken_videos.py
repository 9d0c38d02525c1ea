"""Broken files: the frames that are there with a warning, or an error in a few words; no hang."""

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import av
import numpy as np
import pytest
from films import assert_right, encode, number_of, numbered
from PIL import Image

from numpro.video import VideoError, probe, read_clip, write_video
from numpro.video.workers import Request, read_many


def bad_file(kind, folder):
    path = folder / "film.mp4"
    if kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to(os.devnull)
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
    elif kind == "cover":
        with av.open(str(path), "w") as out:
            stream = out.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            page = av.VideoFrame.from_ndarray(np.ascontiguousarray(numbered(1)[0]), format="rgb24")
            out.mux(stream.encode(page))
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
        path.write_bytes(data[: len(data) // 2])
    return path


BAD = {
    "missing": "no such file",
    "directory": "a directory",
    "device": "a device, not a file",
    "empty": "empty file",
    "text": "not a readable video",
    "audio": "no video stream.*audio",
    "cover": "no video stream",
    "picture": "not a readable video|no frame can be decoded|cut short",
    "cut": "cut short: [23]. of the 60 frames",
    "no header": "not a readable video",
}


@pytest.mark.parametrize(("kind", "reason"), BAD.items())
def test_bad_files(tmp_path, kind, reason):
    path = bad_file(kind, tmp_path)
    with pytest.raises(VideoError, match=reason) as error:
        read_clip(path, fps=1)
    assert error.value.path == path and 0 < len(error.value.reason) < 100
    assert str(error.value) == f"{path}: {error.value.reason}"
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(VideoError, match=reason):
        probe(path)


def test_bad_files_among_many_are_named_in_time(tmp_path):
    for kind in BAD:
        (tmp_path / kind).mkdir()
    films = [bad_file(kind, tmp_path / kind) for kind in BAD]
    whole = write_video(tmp_path / "whole.mp4", numbered(3), fps=1)
    found = read_many([Request(path, {"fps": 1}) for path in (*films, whole)], 1, limit=100)
    *errors, clip = [value for _, value in found]
    for error, reason in zip(errors, BAD.values(), strict=True):
        assert isinstance(error, VideoError) and re.match(reason, error.reason)
    assert_right(clip, range(3))


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
    with pytest.warns(UserWarning) as caught:
        clip = read_clip(path, fps=5)
    first, other = (str(warning.message) for warning in caught)
    found = re.search(
        r"damaged: (\d+) of the 30 frames asked for.* between (\S+) and (\S+) s", first
    )
    lost = clip.seconds[clip.source_index != np.arange(0, 60, 2)]
    assert tuple(map(float, found.groups())) == (len(lost), lost[0], lost[-1])
    found = re.search(r"about (\d+) of 60 frames are missing inside, from (\S+) to (\S+) s", other)
    begin, end = map(float, found.groups()[1:])
    assert probe(path).gaps == ((begin, end),) and 2 < begin < lost[0] + 0.2
    assert end - begin == pytest.approx(int(found[1]) / 10)
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


@pytest.mark.parametrize(("missing", "refused"), [(1, False), (2, True), (3, True), (30, True)])
def test_more_than_a_hundredth_missing_is_an_error(tmp_path, missing, refused):
    path = write_video(tmp_path / "film.mp4", numbered(120), fps=10)
    with av.open(str(path)) as film:
        places = [packet.pos for packet in film.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: places[-missing]])
    found = f"{120 - missing} of the 120 frames it promises are there"
    if refused:
        with pytest.raises(VideoError, match=f"cut short: {found}"):
            probe(path)
    else:
        assert probe(path).warnings == (found,)


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


# --- whole packets and times that are wrong --------------------------------------------------


def copied(source, path, change):
    """Copy the packets of a film; `change` (place, packet) moves or, with False, drops them."""
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        for at, packet in enumerate(p for p in film.demux(video=0) if p.size):
            if change(at, packet) is not False:
                packet.stream = stream
                out.mux(packet)
    return path


def test_packets_lost_in_the_middle_are_said(tmp_path):
    whole = encode(tmp_path / "whole.mkv", "mjpeg", numbered(60), "yuvj420p")
    path = copied(whole, tmp_path / "film.mkv", lambda at, _: not 20 <= at < 35)
    assert probe(whole).warnings == ()
    with pytest.warns(UserWarning, match="about 15 of 60 frames are missing inside, from 0.76 to"):
        clip = read_clip(path, fps=5)
    assert probe(path).gaps == ((0.76, 1.4),) and probe(whole).gaps == ()
    there = [at for at in range(60) if not 20 <= at < 35]  # 19 stays on screen until 35 comes
    shown = [max(at for at in there if at <= 5 * second) for second in range(12)]
    assert [number_of(frame) for frame in clip.frames] == shown


def test_times_that_are_far_off_are_an_error(tmp_path):
    def leap(at, packet):
        packet.pts = packet.dts = packet.pts + 10**11 * (at == 39)

    whole = encode(tmp_path / "whole.mkv", "mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(VideoError, match=r"damaged: its frames span 1000000\d\d s"):
        read_clip(copied(whole, tmp_path / "film.mkv", leap), fps=1)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_one_lost_packet_is_a_gap_where_none_can_be_meant(tmp_path, suffix):
    whole = encode(tmp_path / f"whole.{suffix}", "mjpeg", numbered(60), "yuvj420p")
    info = probe(copied(whole, tmp_path / f"film.{suffix}", lambda at, _: at != 20))
    if suffix == "mp4":  # there a picture may be meant to stay for longer
        assert info.gaps == () == info.warnings
    else:
        assert info.gaps == ((0.76, 0.84),) and "about 1 of 60 frames" in info.warnings[0]


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_zeros_between_are_a_gap(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 60, (60, 64, 64, 3), dtype=np.uint8)
    frames, how = numbered(60, 64, 64) ^ noise, {"g": "1", "bf": "0"}
    path, brief = tmp_path / f"film.{suffix}", {"cluster_time_limit": "200"}
    encode(path, frames=frames, options=how, container=brief if suffix == "mkv" else {})
    with av.open(str(path)) as film:
        places = [packet.pos for packet in film.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[places[20] : places[30]] = bytes(places[30] - places[20])
    path.write_bytes(data)
    info = probe(path)
    ((begin, end),) = info.gaps
    assert 0.6 < begin <= 0.8 and 1.2 <= end < 1.6
    missing = f"frames are missing inside, from {begin:.2f} to {end:.2f} s"
    assert missing in info.warnings[0]
    with pytest.warns(UserWarning, match=missing):
        clip = read_clip(path, fps=25)
    shown = [number_of(frame) for frame in clip.frames]
    first, last = round(begin * 25), round(end * 25)
    assert shown == [*range(first), *[first] * (last - first), *range(last, 60)]


def test_zeros_that_are_pictures_are_no_gap(tmp_path):
    black = encode(tmp_path / "black.avi", "rawvideo", numbered(40) * 0, "bgr24")
    assert probe(black).warnings == () == probe(black).gaps


def test_a_clip_larger_than_the_memory_is_refused(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    refused = (
        r"too large for the memory: 4000 frames of 30000x30000 may need 10800.00 GB.*lower fps"
    )
    with pytest.raises(VideoError, match=refused):
        read_clip(path, num_frames=4000, size=(30000, 30000))
    assert len(read_clip(path, fps=1000, max_frames=3)) == 3
    with pytest.raises(VideoError, match="20 frames of 336x336 may need 0.01 GB, allowed"):
        read_clip(path, num_frames=20, size=(336, 336), max_memory=4_000_000)
    assert len(read_clip(path, num_frames=20, size=(336, 336), max_memory=6_900_000)) == 20
    with pytest.raises(VideoError, match="too large"):  # 6.77 MB, and what the decoder keeps
        read_clip(path, num_frames=20, size=(336, 336), max_memory=6_800_000)


def test_the_bound_is_a_quarter_of_the_memory_unless_it_is_given(tmp_path, monkeypatch):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=28_000_000))
    assert len(read_clip(path, num_frames=20, size=(336, 336))) == 20  # 6.9 MB
    with pytest.raises(VideoError, match="21 frames .* may need 0.01 GB, allowed are 0.01"):
        read_clip(path, num_frames=21, size=(336, 336))
    assert len(read_clip(path, num_frames=21, size=(336, 336), max_memory=8e6)) == 21


LARGE = """
import sys
from numpro.video import VideoError, probe, read_clip
for call in (probe, lambda *a, **b: read_clip(*a, fps=1, size=(8, 8), **b)):
    try:
        call(sys.argv[1], max_memory=1e9)
    except VideoError as error:
        print(error.reason)
status = open("/proc/self/status").read()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the peak is read from /proc")
def test_frames_too_large_for_the_memory_are_not_decoded(tmp_path):
    path = encode(tmp_path / "film.mp4", "mpeg4", numbered(1, 8000, 8000))
    run = subprocess.run([sys.executable, "-c", LARGE, path], capture_output=True, text=True)
    *refused, mib = run.stdout.splitlines()
    assert len(refused) == 2 and all("frames being decoded may need 2.11 GB" in r for r in refused)
    assert int(mib) < 400, "one frame as RGB is 192 MB"


# --- films that are not what they seem -----------------------------------------------------------


def test_a_codec_that_is_unknown(tmp_path):
    path = encode(tmp_path / "film.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    for call in (probe, lambda p: read_clip(p, fps=1)):
        with pytest.raises(VideoError, match="its codec is not known to FFmpeg"):
            call(path)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_titles_that_are_no_utf_8(tmp_path, suffix):
    path = encode(tmp_path / f"film.{suffix}", metadata={"title": "th\u00e9s"})
    data = path.read_bytes()
    assert "th\u00e9s".encode() in data
    path.write_bytes(data.replace("th\u00e9s".encode(), b"th\xe9xs"))
    assert_right(read_clip(path, fps=5), np.arange(40) / 25)


@pytest.mark.parametrize("name", ["12:30 walk.mp4", "file:a.mp4", "100% %d.mp4", "a?b#c.mp4"])
def test_any_file_name_is_a_file(tmp_path, monkeypatch, name):
    encode(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        assert_right(read_clip(path, fps=5), np.arange(40) / 25)
        assert_right(read_clip(path, fps=5, reader="decord"), np.arange(40) / 25)


def test_any_other_failure_is_a_video_error(tmp_path, monkeypatch):
    path = encode(tmp_path / "film.mp4")

    def fail(*arguments):
        raise IndexError("a fault of some library")

    for module, name in (("container", "_scan"), ("decode", "read_pyav")):
        with monkeypatch.context() as patch:
            patch.setattr(f"numpro.video.{module}.{name}", fail)
            with pytest.raises(VideoError, match="indexerror: a fault of some library"):
                read_clip(path, fps=1)


def test_a_stream_may_be_chosen(tmp_path):
    path = encode(tmp_path / "film.mp4", streams=2)
    with pytest.warns(UserWarning, match="2 video streams: stream 0 is read; stream=1 of"):
        assert number_of(read_clip(path, times=[0.2]).frames[0]) == 5
    with pytest.warns(UserWarning, match="2 video streams: stream 1 is read; stream=0"):
        assert number_of(read_clip(path, times=[0.2], stream=1).frames[0]) == 255 - 5
    with pytest.raises(VideoError, match="stream 2 is not one of its video streams: 0, 1"):
        probe(path, stream=2)


def test_a_cover_beside_sound_is_no_film(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound, cover = out.add_stream("aac", rate=8000), out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        page = av.VideoFrame.from_ndarray(np.ascontiguousarray(numbered(1)[0]), format="rgb24")
        out.mux(cover.encode(page))
        out.mux(cover.encode())
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        quiet.rate = 8000
        out.mux(sound.encode(quiet))
        out.mux(sound.encode())
    with pytest.raises(VideoError, match=r"no video stream \(it holds audio, video\)"):
        probe(path)


def test_a_header_that_promises_a_thousand_million_frames(tmp_path):
    path = write_video(tmp_path / "film.mp4", numbered(30), fps=10)
    data = bytearray(path.read_bytes())
    for box, place in ((b"stsz", 12), (b"stts", 12)):  # the counts of samples
        at = data.index(box) + place
        data[at : at + 4] = (10**9).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(VideoError):
        read_clip(path, fps=1)


def test_a_film_that_grows_while_it_is_read(tmp_path):
    whole = encode(tmp_path / "whole.mkv", "mjpeg", numbered(200), "yuvj420p").read_bytes()
    path = tmp_path / "film.mkv"
    for share in (0.3, 0.6, 1):
        path.write_bytes(whole[: int(share * len(whole))])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clip = read_clip(path, fps=5)
        assert_right(clip, np.arange(clip.source["frames"]) / 25)
        assert clip.source["frames"] == pytest.approx(200 * share, abs=8)
        promised = [w for w in caught if "promises 8.00 s" in str(w.message)]
        assert len(promised) == (share < 1)


CHILD = """
import json, sys, warnings
from films import number_of
from numpro.video import VideoError, read_clip

warnings.simplefilter("ignore")
for line in sys.stdin:
    try:
        clip = read_clip(line.strip(), fps=5)
        found = [number_of(frame) for frame in clip.frames], clip.source_index.tolist()
    except VideoError as error:
        found = error.reason
    print(json.dumps(found), flush=True)
"""
DAMAGED = {
    "h264": {"options": {"bf": "0"}},
    "h264 with B-frames": {"options": {"bf": "3"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8"}},
    "mpeg-4": {"codec": "mpeg4"},
}


def untouched(path, start: int, end: int) -> set[int]:
    """Return the frames that need nothing of the file's bytes ``start`` to ``end``.

    A frame is decoded from those before it, back to a keyframe; one shown before a keyframe
    that follows it in the file needs that keyframe too. So a frame is left out when its group
    of pictures, or the one before or after, is touched.
    """
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    group = np.cumsum([packet.is_keyframe for packet in packets])
    hit = [packet.pos < end and packet.pos + packet.size > start for packet in packets]
    near = {int(number) + by for number in group[hit] for by in (-1, 0, 1)}
    order = np.argsort(np.argsort([packet.pts for packet in packets]))
    return {int(n) for n, number in zip(order, group, strict=True) if number not in near}


def test_no_damage_hangs_or_ends_the_process(tmp_path):
    rng, paths, kept = np.random.default_rng(0), [], []
    frames = numbered(60, 64, 64) ^ rng.integers(0, 60, (60, 64, 64, 3), dtype=np.uint8)
    for name, options in DAMAGED.items():
        whole = encode(tmp_path / f"{name}.mp4", frames=frames, **options)
        data = whole.read_bytes()
        for kind in ("one bit", "many bits", "zeros", "zero tail", "cut out"):
            broken, at = bytearray(data), int(rng.integers(len(data) // 8, len(data) // 2))
            if kind.endswith("s") and kind != "zeros":
                for place in rng.integers(len(data) // 8, len(data), 30):
                    broken[place] ^= 1 << rng.integers(8)
            broken[at] ^= 1
            if kind.startswith("zero"):
                end = at + 3000 if kind == "zeros" else len(data)
                broken[at:end] = bytes(end - at)
                kept.append(untouched(whole, at, end))
            else:
                kept.append(set())  # flipped bits may show as a smear, anywhere after them
            if kind == "cut out":
                del broken[at : at + 500]
            paths.append(tmp_path / f"{name} {kind}.mp4")
            paths[-1].write_bytes(broken)
    child = [sys.executable, "-c", CHILD]
    lines = "".join(f"{path}\n" for path in paths)
    run = subprocess.run(child, input=lines, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    outcomes = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(outcomes) == len(paths)
    compared = 0
    for path, whole, outcome in zip(paths, kept, outcomes, strict=True):
        if isinstance(outcome, str):
            continue  # an error names its reason
        shown = {source: number for number, source in zip(*outcome, strict=True)}
        right = {source: source for source in shown if source in whole}
        assert {source: shown[source] for source in right} == right, (path.name, outcome)
        compared += len(right)
    assert compared
