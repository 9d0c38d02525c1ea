"""Numbered videos as a browser gets them, decoded again; the list of sampled frames."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
import tracemalloc
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from click.testing import CliRunner
from films import encode, numbered, on_screen

from numpro import NumberStyle, number_frames, read_clip, write_video
from numpro.cli import main
from numpro.numbers import numbered_video as numbering
from numpro.numbers.numbered_video import list_frames, number_video
from numpro.video import VideoError


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Write films with B-frames at several rates, one with frames of any length."""
    folder = tmp_path_factory.mktemp("films")
    counts = {"25": 40, "30000/1001": 40, "3/10": 4}
    made = {
        rate: encode(folder / f"{len(rate)}.mp4", frames=numbered(count), rate=Fraction(rate))
        for rate, count in counts.items()
    }
    times = np.cumsum([0, 0.04, 0.5, 0.033, 1.2, 0.1, 0.7])
    made["variable"] = write_video(folder / "v.mp4", numbered(7), seconds=times, duration=3.1)
    made["odd sides"] = encode(folder / "odd.mkv", "ffv1", numbered(40, 63, 47), "yuv444p")
    return made


def played(path):
    """Decode a file to the end: stream facts, and each frame's second, length and picture."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        facts = stream.codec.canonical_name, stream.pix_fmt, len(file.streams)
        lengths = [float(p.duration * p.time_base) for p in file.demux(stream) if p.size]
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        seconds = [float(frame.pts * frame.time_base) for frame in frames]
        length = float(file.duration / 1e6)
    return facts, seconds, lengths, [f.to_ndarray(format="rgb24") for f in frames], length


def moov_before_mdat(path):
    data = path.read_bytes()
    return 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", ["25", "30000/1001", "3/10", "variable", "odd sides"])
@pytest.mark.parametrize("fps", [0.5, 7.0])
def test_a_browser_gets_one_frame_a_sample_at_its_time_and_length(films, tmp_path, name, fps):
    style, out = NumberStyle("top_left", 14, outline="white"), tmp_path / "out.mp4"
    wrote = number_video(films[name], out, fps, style=style)
    clip = read_clip(films[name], fps=fps)
    facts, seconds, lengths, pictures, length = played(out)
    assert facts == ("h264", "yuv420p", 1) and moov_before_mdat(out)
    assert seconds == pytest.approx(clip.seconds.tolist(), abs=1e-5)
    wanted = np.diff([*clip.seconds, clip.duration])
    assert lengths == pytest.approx(wanted.tolist(), abs=1e-5)
    assert length == pytest.approx(clip.duration, abs=1e-3)
    height, width = clip.frames.shape[1:3]
    for picture, page in zip(pictures, number_frames(clip.frames, style), strict=True):
        assert picture.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(picture[:height, :width].astype(int) - page).mean() < 12
    assert wrote == {"out": str(out), "frames": len(clip), "seconds": clip.duration, "warnings": []}


def test_stretch_by_stretch_gives_the_same_file_in_little_memory(films, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.mp4", tmp_path / "parts.mp4"
    options = {"fps": 100, "size": (120, 80), "style": NumberStyle(size=20)}
    number_video(films["25"], whole, **options)
    everything = 160 * 120 * 80 * 3
    monkeypatch.setattr(numbering, "_STRETCH_BYTES", everything // 16)
    tracemalloc.start()
    number_video(films["25"], parts, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parts.read_bytes() == whole.read_bytes()
    assert peak < everything / 3
    monkeypatch.setattr(numbering, "_STRETCH_FRAMES", 3)
    assert list_frames(films["25"], 8) == rows_of(films["25"], 8)


def test_a_picture_that_begins_late_is_shown_before_and_warned_of(tmp_path):
    film, out = encode(tmp_path / "film.mp4", start=50), tmp_path / "out.mp4"
    late = r"its first picture comes at 2.00 s; 8 of the \d+ frames"
    with pytest.warns(UserWarning, match=late):
        rows = list_frames(film, 4)
    assert [row["source_index"] for row in rows][:10] == [0] * 9 + [6]
    assert len(list_frames(film, 4, "first-picture")) == 7 == len(rows) - 8
    with pytest.warns(UserWarning, match=late):
        wrote = number_video(film, out, 4)
    assert (wrote["frames"], wrote["seconds"]) == (15, pytest.approx(3.6))
    assert re.search(late, wrote["warnings"][0])
    wrote = number_video(film, out, 4, origin="first-picture")
    assert (wrote["frames"], wrote["seconds"], wrote["warnings"]) == (7, pytest.approx(1.6), [])


def test_seconds_are_drawn_as_the_models_get_them(films, tmp_path):
    out, style = tmp_path / "out.mp4", ("--font-size", 14, "--position", "top_left")
    drawn = ("--time-encoding", "overlay-seconds", "--fps", 2, "--box", "#000080")
    invoke("number", films["25"], out, *drawn, *style)
    look = NumberStyle("top_left", 14, box="#000080")
    pages = number_frames(
        read_clip(films["25"], fps=2).frames, look, ["0.0s", "0.5s", "1.0s", "1.5s"]
    )
    pictures = np.stack(played(out)[3][:4]).astype(int)
    near, far = (np.abs(pictures - p).mean(axis=(1, 2, 3)) for p in (pages, np.roll(pages, 1, 0)))
    assert (near < far).all() and near.max() < 12


def test_the_command_says_what_it_wrote(films, tmp_path):
    out = tmp_path / "out.mp4"
    plain = invoke("number", films["25"], out, "--fps", "2", "--width", 96, "--height", 72)
    assert plain.stdout == f"wrote {out}: 4 numbered frames, 1.60 s\n"
    printed = invoke("number", films["25"], out, "--color", "#0000ff", "--json").stdout
    assert json.loads(printed) == {"out": str(out), "frames": 2, "seconds": 1.6, "warnings": []}


def test_progress_goes_to_the_terminal_and_json_alone_to_standard_output(films, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-m", "numpro", "number", films["25"], tmp_path / "o.mp4", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=300, check=True)
    os.close(theirs)
    assert json.loads(done.stdout)["frames"] == 2
    shown = b""
    with suppress(OSError):  # how a terminal that nobody writes to any more says so
        while part := os.read(ours, 10_000):
            shown += part
    assert b"numbering: 100%" in shown
    os.close(ours)


def rows_of(path, fps):
    """The rows of a constant-rate film, from the rule."""
    with av.open(str(path)) as file:
        shown = sorted(float(p.pts * p.time_base) for p in file.demux(video=0) if p.size)
    seconds = [s - shown[0] for s in shown]
    times = np.arange(0, seconds[-1] + seconds[1] - 1e-6, 1 / fps).round(9).tolist()
    columns = enumerate(zip(times, on_screen(times, seconds), strict=True))
    return [{"label": i, "seconds": s, "source_index": n} for i, (s, n) in columns]


@pytest.mark.parametrize(("name", "fps"), [("25", 0.8), ("30000/1001", 3), ("3/10", 1)])
def test_frames_lists_label_second_and_source_frame(films, name, fps):
    rows = json.loads(invoke("frames", films[name], "--fps", fps, "--json").stdout)
    wanted = rows_of(films[name], fps)
    assert [r["source_index"] for r in rows] == [r["source_index"] for r in wanted]
    assert [r["label"] for r in rows] == list(range(len(rows)))
    assert [r["seconds"] for r in rows] == pytest.approx([r["seconds"] for r in wanted])
    lines = [
        line.split() for line in invoke("frames", films[name], "--fps", fps).stdout.splitlines()
    ]
    assert lines == [
        [str(r["label"]), f"{r['seconds']:.3f}", "s", "frame", str(r["source_index"])] for r in rows
    ]


@pytest.mark.parametrize("kind", ["same", "symlink", "hard link"])
def test_the_video_itself_is_never_written_to(films, tmp_path, kind):
    film, link = tmp_path / "film.mp4", tmp_path / "other.mp4"
    film.write_bytes(films["25"].read_bytes())
    if kind == "symlink":
        link.symlink_to(film)
    elif kind == "hard link":
        link.hardlink_to(film)
    with pytest.raises(ValueError, match="another file than the video"):
        number_video(film, film if kind == "same" else link)
    assert film.read_bytes() == films["25"].read_bytes()


@pytest.mark.parametrize(
    ("out", "options", "error", "words"),
    [
        ("out.avi", {}, ValueError, "named .mp4; got .*out.avi"),
        ("folder.mp4", {}, IsADirectoryError, "is a directory"),
        ("no/out.mp4", {}, FileNotFoundError, "no such folder"),
        ("out.mp4", {"fps": 0}, ValueError, "fps must be above 0"),
        ("out.mp4", {"size": (0, 9)}, ValueError, "size must be"),
        ("out.mp4", {"time_encoding": "text-index"}, ValueError, "overlay-index.*text-index"),
    ],
    ids=["no mp4", "folder", "no folder", "fps", "size", "not drawn"],
)
def test_bad_arguments_are_named_and_write_nothing(films, tmp_path, out, options, error, words):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(error, match=words):
        number_video(films["25"], tmp_path / out, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_film_damaged_later_on_leaves_what_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(numbering, "_STRETCH_FRAMES", 10)
    container = {"movflags": "faststart"}
    film, out = encode(tmp_path / "film.mp4", container=container, frames=numbered(100)), "out.mp4"
    data = film.read_bytes()
    film.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    (tmp_path / out).write_bytes(b"older")
    with pytest.raises(VideoError, match="damaged"):
        number_video(film, tmp_path / out, fps=25)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4", out]
    assert (tmp_path / out).read_bytes() == b"older"
