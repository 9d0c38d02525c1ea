"""Every picture stands at the second at which a player shows it, in whatever way a film was cut.

The films, and the pictures at 0, 2.5 and 5 seconds, are those of a comparison of Chromium, ffmpeg,
PyAV, torchcodec, OpenCV and decord; where a player's seek goes wrong (edit lists with a piece
twice, or in another order), the timeline of the file decides.
"""

import struct
from functools import partial

import numpy as np
import pytest
from films import encode, number_of, numbered
from player_films import BARS, copy, edit, make_source

from numpro import read_clip
from numpro.video import VideoError, probe

WRAP = 2**33 / 90000  # seconds, after which a transport stream's clock begins anew


def part(begin, end, to=0.0, video_from=None):
    """Keep seconds `begin` to `end`, moved to begin at `to`; the picture from another second on."""

    def place(kind, second):
        first = video_from if kind == "video" and video_from is not None else begin
        return second - begin + to if first <= second < end else None

    return place


def after_key(at, end, to=0.0):
    """Keep what follows a keyframe in the file, also what is shown before it."""
    began = []

    def place(_, second):
        began.extend([True] * (abs(second - at) < 1e-3))
        return second - at + to if began and second < end else None

    return place


def late(kind, by, end=17.0):
    """Move the sound or the picture back by so many seconds."""
    return lambda stream, second: second + by * (stream == kind) if second < end else None


CUT = part(7.3, 17.3, video_from=0)
ALL = part(0, 20)
PHONE = sorted(
    [t / 30 for t in range(300) if not (39 < t < 59 or 99 < t < 131)]
    + [t / 30 for t in range(300, 600, 2)]
)  # nothing for a while, twice, and half the rate from ten seconds on
EDITS = {
    "el_two": ([(4, 0), (6, 19)], (0, 75, 600)),
    "el_empty": ([(2, None), (8, 7.3)], (219, 234, 309)),
    "el_loop": ([(3, 5), (3, 5)], (150, 225, 210)),
    "el_swap": ([(4, 20), (4, 4 + 29 / 30)], (600, 675, 179)),
    "el_endtrim": ([(8, 0)], (0, 75, 150)),
}
# name: (source, suffix, where its packets go, options of the muxer, what is shown)
COPIES = {
    "cut_va": ("film", "mp4", CUT, {}, (219, 294, 369)),
    "cut_nob": ("no_b", "mp4", CUT, {}, (219, 294, 369)),
    "cut": ("film", "mov", CUT, {}, (219, 294, 369)),
    "cut_out": ("film", "mp4", part(7.3, 17.4, video_from=10), {}, (300, 300, 369)),
    "cut_mz": ("film", "mp4", CUT, {"avoid_negative_ts": "make_zero"}, (0, 73, 148)),
    "cut_noel": ("film", "mp4", CUT, {"use_editlist": "0"}, (0, 73, 148)),
    "cut_frag": ("film", "mp4", CUT, {"movflags": "frag_keyframe+empty_moov"}, (0, 73, 148)),
    "cut.mkv": ("film", "mkv", late("video", 0.012), {}, (0, 74, 149)),
    "cut.webm": ("vp9", "webm", ALL, {}, (0, 75, 150)),
    "cut.ts": ("film", "ts", part(0, 17.3), {}, (0, 75, 150)),
    "delay_v": ("film", "mp4", late("video", 1.5), {}, (0, 30, 105)),
    "delay_v.mkv": ("film", "mkv", late("video", 1.5), {}, (0, 29, 104)),
    "delay_only": ("silent", "mp4", late("video", 1.5), {}, (0, 30, 105)),
    "delay_a": ("film", "mp4", late("audio", 1.5, 20), {}, (0, 75, 150)),
    "plain": ("film", "ts", ALL, {}, (0, 75, 150)),
    "off100": ("film", "ts", part(0, 20, to=100), {}, (0, 75, 150)),
    "frag": ("film", "mp4", ALL, {"movflags": "frag_keyframe+empty_moov"}, (0, 73, 148)),
    "fragd": ("film", "mp4", ALL, {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
              (0, 73, 148)),
    "cut_open": ("open", "mp4", after_key(4, 14), {}, (120, 195, 270)),
    "cut_hevc": ("open_hevc", "mp4", after_key(4, 14), {}, (120, 195, 270)),
    "open": ("open", "mp4", part(0, 30), {}, (0, 75, 150)),
    "vfr": ("phone", "mp4", ALL, {}, (0, 75, 150)),
    "vfr.mkv": ("phone", "mkv", ALL, {}, (0, 75, 150)),
    "vfr.webm": ("phone_vp9", "webm", ALL, {}, (0, 75, 150)),
    "rec_vp8": ("recorded", "webm", ALL, {"live": "1"}, (0, 75, 150)),
    "rec_h264": ("phone", "mkv", ALL, {"live": "1"}, (0, 75, 150)),
    "rec_h264.mp4": ("phone_no_b", "mp4", ALL, {"movflags": "frag_keyframe+empty_moov"},
                     (0, 75, 150)),
    "rec_vp9_pause": ("phone_vp9", "webm", ALL, {"live": "1"}, (0, 75, 150)),
}  # fmt: skip

GROUPS = "open-gop=1:keyint=120:min-keyint=120:scenecut=0"
QUICK = {"deadline": "realtime", "cpu-used": "8"}
HEVC = {"x265-params": f"log-level=none:{GROUPS}"}
SOURCES = {  # what make_source is given
    "film": ("mp4", {}),
    "no_b": ("mp4", {"options": {"bf": "0"}}),
    "silent": ("mp4", {"options": {"bf": "0"}, "sound": False}),
    "open": ("mp4", {"options": {"x264-params": GROUPS}, "sound": False}),
    "open_hevc": ("mp4", {"codec": "libx265", "seconds": 20, "options": HEVC, "sound": False}),
    "vp9": ("webm", {"codec": "libvpx-vp9", "seconds": 20, "options": QUICK}),
    "phone": ("mp4", {"times": PHONE, "sound": False}),
    "phone_no_b": ("mp4", {"times": PHONE, "options": {"bf": "0"}, "sound": False}),
    "phone_vp9": (
        "webm",
        {"codec": "libvpx-vp9", "times": PHONE, "options": QUICK, "sound": False},
    ),
    "recorded": ("webm", {"codec": "libvpx", "times": PHONE, "options": QUICK, "sound": False}),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Sources by name, each made when it is first needed."""
    folder, made = tmp_path_factory.mktemp("sources"), {}

    def source(name):
        if name not in made:
            suffix, how = SOURCES[name]
            made[name] = make_source(folder / f"{name}.{suffix}", **how)
        return made[name]

    return source


def pictures(path, seconds, **how):
    return tuple(number_of(frame, BARS) for frame in read_clip(path, times=seconds, **how).frames)


@pytest.mark.filterwarnings("ignore:.*(first picture comes|promises)")
@pytest.mark.parametrize("name", [*COPIES, *EDITS])
def test_pictures_stand_where_a_player_shows_them(sources, tmp_path, name):
    if name in EDITS:
        pieces, shown = EDITS[name]
        path = edit(sources("silent"), tmp_path / "film.mp4", pieces)
    else:
        source, suffix, place, options, shown = COPIES[name]
        path = copy(sources(source), tmp_path / f"film.{suffix}", place, **options)
    assert pictures(path, [0, 2.5, 5]) == shown
    assert pictures(path, [5, 0, 2.5]) == (shown[2], *shown[:2])
    if "phone" in COPIES.get(name, "") or "recorded" in COPIES.get(name, ""):
        assert pictures(path, [1.5, 3.35, 4.36, 11.04]) == (39, 99, 99, 330), "in gaps"
    info = probe(path)
    if name.split(".")[0] in ("plain", "off100", "cut_va", "cut_mz", "frag", "delay_v", "vfr"):
        clip = read_clip(path, fps=2)
        first = shown[0] - info.begins * 30
        wanted = [max(shown[0], int(first + 30 * second + 1e-3)) for second in clip.seconds]
        if "vfr" not in name:
            assert [number_of(frame, BARS) for frame in clip.frames] == wanted


def test_another_clock_counts_from_the_first_picture(sources, tmp_path):
    path = copy(sources("silent"), tmp_path / "film.mp4", late("video", 1.5))
    info, old = probe(path), probe(path, "first-picture")
    assert (info.begins, info.duration) == (1.5, pytest.approx(18.5, abs=0.01))
    assert (old.begins, old.duration) == (0, pytest.approx(17.0, abs=0.01))
    assert pictures(path, [0, 2.5, 5], origin="first-picture") == (0, 75, 150)
    clip = read_clip(path, fps=1, origin="first-picture")
    assert clip.source["origin"] == "first-picture" and clip.source["warnings"] == ()
    assert clip.seconds.tolist() == list(range(17))
    with pytest.raises(ValueError, match="origin must be one of beginning, first-picture; got 'x'"):
        read_clip(path, fps=1, origin="x")


def test_a_picture_that_begins_late_is_warned_of(sources, tmp_path):
    path = copy(sources("silent"), tmp_path / "film.mp4", late("video", 1.5))
    with pytest.warns(UserWarning, match=r"first picture comes at 1.50 s; 3 of the 37 frames"):
        clip = read_clip(path, fps=2)
    assert [number_of(frame, BARS) for frame in clip.frames[:5]] == [0, 0, 0, 0, 15]
    read_clip(path, fps=0.3)  # 1.5 s is not more than half a sample: filterwarnings is error
    read_clip(path, fps=1, start=1.5)
    with pytest.warns(UserWarning, match=r"comes at 1.50 s; 1 of the 1 frames"):
        read_clip(path, times=[0.5])


def test_films_of_this_package_begin_at_second_0(films):
    for video in films:
        for origin in ("beginning", "first-picture"):
            info = probe(video.path, origin)
            assert (info.begins, info.start) == (0, 0)
        clips = [read_clip(video.path, fps=3, origin=o) for o in ("beginning", "first-picture")]
        np.testing.assert_array_equal(clips[0].seconds, clips[1].seconds)
        np.testing.assert_array_equal(clips[0].source_index, clips[1].source_index)


# --- transport streams ---------------------------------------------------------------------------


def test_joined_transport_streams_are_read_through(sources, tmp_path):
    places = {"a": part(0, 6), "b": part(10, 16), "late": part(0, 6, to=30)}
    parts = {name: copy(sources("film"), tmp_path / f"{name}.ts", p) for name, p in places.items()}
    for first, other in (("a", "b"), ("late", "b"), ("b", "a")):
        path = tmp_path / f"{first} {other}.ts"
        path.write_bytes(parts[first].read_bytes() + parts[other].read_bytes())
        with pytest.warns(UserWarning, match=r"its times jump back at 6.0\d s, where another"):
            clip = read_clip(path, fps=1)
        assert clip.duration == pytest.approx(12, abs=0.1) and len(clip) in (12, 13)
        begins = [300 if name == "b" else 0 for name in (first, other)]
        shown = [number_of(frame, BARS) for frame in clip.frames[:12]]
        wanted = [begins[second >= 6] + 30 * (second % 6) for second in range(12)]
        assert np.abs(np.subtract(shown, wanted)).max() <= 2, shown


def joined(tmp_path, suffix, *parts):
    paths = [make(tmp_path / f"{at}.{suffix}") for at, make in enumerate(parts)]
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in paths))
    return path


@pytest.mark.filterwarnings("ignore:.*are missing inside")
def test_joined_matroska_is_read_through_at_its_own_times(tmp_path):
    gaps = (1.0, 1.7), (1.0, 2.4)  # the times of the two are not the same
    times = [[k / 30 for k in range(150) if not a < k / 30 < b] for a, b in gaps]
    how = {"options": {"g": "30"}, "sound": False}
    path = joined(tmp_path, "mkv", *(partial(make_source, times=t, **how) for t in times))
    with pytest.warns(UserWarning, match=r"its times jump back at 5.0\d s, where another"):
        clip = read_clip(path, fps=1)
    shown = [number_of(frame, BARS) for frame in clip.frames]
    wanted = [0, 30, 60, 90, 120, 0, 30, 30, 90, 120]
    assert np.abs(np.subtract(shown, wanted)).max() <= 2, shown


KINDS = {
    "flv": "libx264", "mp4": "libx264", "mov": "libx264", "3gp": "libx264", "wmv": "wmv2",
    "ivf": "libvpx", "nut": "libx264",
}  # fmt: skip


@pytest.mark.parametrize("suffix", KINDS)
def test_a_recording_behind_another_that_is_not_read_is_refused_with_the_second(suffix, tmp_path):
    parts = [partial(encode, codec=KINDS[suffix], frames=numbered(n)) for n in (100, 60)]
    path = joined(tmp_path, suffix, *parts)
    assert probe(tmp_path / f"0.{suffix}").duration == pytest.approx(4, abs=0.05)
    with pytest.raises(VideoError, match=r"another recording begins at 4.0\d s: write both"):
        read_clip(path, fps=1)


def old_mov(path, count, *, moov_first):
    """Write a mov file as QuickTime did before it had ``ftyp``."""
    how = {"container": {"movflags": "faststart"} if moov_first else {}}
    content = bytearray(encode(path, "libx264", numbered(count), **how).read_bytes())
    assert content[4:8] == b"ftyp"
    del content[: (shift := int.from_bytes(content[:4], "big"))]
    at = content.index(b"stco")
    places = struct.Struct(f">{int.from_bytes(content[at + 8 : at + 12], 'big')}I")
    moved = (place - shift for place in places.unpack_from(content, at + 12))
    places.pack_into(content, at + 12, *moved)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("first", [True, False])
def test_old_mov_files_without_a_type_are_read_and_refused_when_joined(first, tmp_path):
    olds = [partial(old_mov, count=n, moov_first=first == (n == 100)) for n in (100, 60)]
    for parts in (
        [olds[0]] * 2,
        olds,
        [olds[0], partial(encode, codec="libx264", frames=numbered(60))],
    ):
        path = joined(tmp_path, "mov", *parts)
        assert [number_of(f) for f in read_clip(tmp_path / "0.mov", times=[0, 3]).frames] == [0, 75]
        with pytest.raises(VideoError, match=r"another recording begins at 4.0\d s: write both"):
            read_clip(path, fps=1)


def test_a_film_that_is_described_twice_is_one_film(tmp_path):
    """As editors leave it that write the header again; FFmpeg reads the first."""
    path = old_mov(tmp_path / "film.mov", 100, moov_first=False)
    content = path.read_bytes()
    path.write_bytes(content + content[content.rindex(b"moov") - 4 :])
    assert probe(path).frames == 100


def test_a_transport_stream_over_the_wrap_gives_no_warning(sources, tmp_path):
    path = copy(sources("film"), tmp_path / "film.ts", part(0, 12, to=WRAP - 6.05))
    assert pictures(path, [0, 2.51, 5.01, 6.51, 11.51]) == (0, 75, 150, 195, 345)
    assert probe(path).warnings == () and probe(path).duration == pytest.approx(12, abs=0.05)


def test_frames_that_need_some_from_before_the_film_shift_nothing(sources, tmp_path):
    path = copy(sources("open_hevc"), tmp_path / "film.ts", after_key(4, 14, to=1))
    info = probe(path)
    assert info.frames == 300 and "its first" in info.warnings[0], info
    with pytest.warns(UserWarning, match=r"its first \d frames cannot be decoded"):
        assert pictures(path, [0, 2.5, 5]) == (120, 195, 270)


def test_a_recording_begun_inside_a_group_starts_at_its_first_picture(sources, tmp_path):
    whole = make_source(tmp_path / "film.mp4", 12, options={"g": "60", "bf": "0"}, sound=False)
    path = copy(whole, tmp_path / "film.ts", part(1, 12))
    with pytest.warns(UserWarning, match="its first 30 frames cannot be decoded"):
        clip = read_clip(path, times=[0, 2.5, 5])
    assert [number_of(frame, BARS) for frame in clip.frames] == [60, 135, 210]
    assert clip.duration == pytest.approx(10, abs=0.05)


@pytest.mark.parametrize("rate", [24, 25, 30])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_raw_streams_have_the_rate_that_they_state(tmp_path, codec, rate):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    suffix = "h264" if codec == "libx264" else "hevc"
    path = encode(tmp_path / f"film.{suffix}", codec, numbered(120), rate=rate, options=options)
    assert probe(path).duration == pytest.approx(120 / rate)
    clip = read_clip(path, fps=2)
    assert [number_of(frame) for frame in clip.frames] == [
        int(second * rate) for second in clip.seconds
    ]
