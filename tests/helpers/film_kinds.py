"""Kinds of films that readers differ on: how each is made, and what decord does with it.

``python tests/helpers/film_kinds.py`` writes the table of docs/readers.md; a test compares it.
"""

import tempfile
import warnings
from pathlib import Path
from struct import pack, pack_into, unpack_from

import numpy as np
from films import encode, number_of, numbered

from numpro.video import read_clip
from numpro.video.container import make_index

QUIET = {"x265-params": "log-level=none:keyint=8:open-gop=0"}
OPEN = {"x265-params": "log-level=none:keyint=8:open-gop=1"}
LONG = {"g": "250", "bf": "3", "x264-params": "b-pyramid=normal"}
INTERLACED = {"flags": "+ildct+ilme", "tff": "1", "bf": "3"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=60:bframes=0:scenecut=0", "g": "60"}
STILL = np.random.default_rng(0).integers(0, 100, (96, 128, 3), dtype=np.uint8)  # behind numbers
REFRESHED = {"frames": numbered(200, 128, 96) ^ STILL, "options": REFRESH}
SIGNED = numbered(40) * (np.arange(48) > 11)[:, None, None].astype(np.uint8)  # black above
MOVING = {"frames": numbered(150), "options": {"g": "12"}}


def free_key_table(path: Path) -> None:
    """Take an mp4's table of keyframes away, as some cutters do."""
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))


def shift_key_table(path: Path) -> None:
    """Let an mp4's table of keyframes name others than there are, as a phone did."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stss") + 8
    (count,) = unpack_from(">I", data, at)
    for place in range(at + 8, at + 4 + 4 * count, 4):  # the first stays
        pack_into(">I", data, place, unpack_from(">I", data, place)[0] + 5)
    path.write_bytes(data)


def turn(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix: x = a * column + c * row, y = b * column + d * row."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # of version 0
    data[at : at + 36] = pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def mirror(path: Path) -> None:
    """Let left and right change places."""
    turn(path, -1, 0, 0, 1)


# name: (suffix, how it is encoded, why decord does not read it; None: it does)
KINDS = {
    "h264": ("mp4", {"options": {"bf": "0"}}, None),
    "h264 with B-frames": ("mp4", {"options": {"bf": "3"}}, None),
    "h264 long gop": ("mp4", {"frames": numbered(200), "options": LONG}, None),
    "h264 open gop": ("mp4", {"options": {"x264-params": "open-gop=1:keyint=8"}}, None),
    "h264 interlaced": ("mp4", {"options": INTERLACED}, None),
    "h264 in mkv": ("mkv", {"options": {"bf": "2"}}, None),
    "h264 in mkv without duration": ("mkv", {"container": {"live": "1"}}, "fails on it"),
    "h264 in flv": ("flv", {}, None),
    "h264 in avi": ("avi", {}, "gives other times"),
    "h264 in ts": ("ts", {"start": 50}, "MPEG-TS"),
    "h264 alone": ("h264", {}, "fails on it"),
    "hevc": ("mp4", {"codec": "libx265", "options": QUIET}, None),
    "hevc open gop": ("mp4", {"codec": "libx265", "options": OPEN}, None),
    "vp8": ("webm", {"codec": "libvpx"}, None),
    "vp9": ("webm", {"codec": "libvpx-vp9"}, None),
    "vp9 alpha": ("webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}, None),
    "av1": ("mp4", {"codec": "libsvtav1", "options": {"svtav1-params": "keyint=8"}}, "no av1"),
    "mpeg-2": ("mkv", {"codec": "mpeg2video", "options": {"bf": "2"}}, None),
    "mpeg-4": ("mp4", {"codec": "mpeg4"}, None),
    "mjpeg": ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, None),
    "ffv1": ("mkv", {"codec": "ffv1"}, None),
    "gif": ("gif", {"codec": "gif", "pix_fmt": "rgb8"}, "fails on it"),
    "grey": ("mp4", {"pix_fmt": "gray"}, None),
    "10 bit": ("mp4", {"pix_fmt": "yuv420p10le"}, "8 bits"),
    "10 bit alpha": ("mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, "8 bits"),
    "8 bit alpha": ("mov", {"codec": "png", "pix_fmt": "rgba"}, None),
    "odd sizes": ("mp4", {"pix_fmt": "yuv444p", "frames": numbered(40, 67, 35)}, None),
    "16 x 16": ("mp4", {"frames": numbered(2, 16, 16), "options": {"bf": "0"}}, "of shape"),
    "late start": ("mp4", {"start": 50}, None),
    "late start in mkv": ("mkv", {"start": 50}, None),
    "fragmented": ("mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}, None),
    "two streams": ("mp4", {"streams": 2}, "may take another"),
    "second stream is the default": ("mkv", {"streams": 2, "default": 1}, "may take another"),
    "one frame": ("mp4", {"frames": numbered(1)}, None),
    "two frames": ("mp4", {"frames": numbered(2)}, None),
    "h264 with intra refresh": ("mp4", REFRESHED, None),
    "h264 with intra refresh in mkv": ("mkv", REFRESHED, None),
    "h264 with intra refresh in flv": ("flv", REFRESHED, None),
    "wmv1": ("asf", MOVING | {"codec": "wmv1"}, None),
    "wmv2": ("asf", MOVING | {"codec": "wmv2"}, None),
    "msmpeg4": ("asf", MOVING | {"codec": "msmpeg4"}, None),
    "h263+ in avi": ("avi", MOVING | {"codec": "h263p", "frames": numbered(150, 352, 288)}, None),
    "h264 without key-frame table": ("mp4", MOVING | {"after": free_key_table}, None),
    "hevc without key-frame table": (
        "mp4", {"codec": "libx265", "options": QUIET, "frames": numbered(150),
                "after": free_key_table}, None,
    ),
    "mpeg-4 without key-frame table": (
        "mp4", MOVING | {"codec": "mpeg4", "after": free_key_table}, None,
    ),
    "h263 with a wrong key-frame table": (
        "3gp", {"codec": "h263", "frames": numbered(150, 176, 144), "options": {"g": "30"},
                "after": shift_key_table}, None,
    ),
    "mirrored": ("mp4", {"frames": SIGNED, "after": mirror}, "mirror"),
}  # fmt: skip


def make(name: str, folder: Path) -> Path:
    """Write the film of a kind."""
    suffix, how, _ = KINDS[name]
    how = dict(how)
    change = how.pop("after", None)
    path = encode(folder / f"film.{suffix}", **how)
    if change:
        change(path)
    return path


PAGE = Path(__file__).parents[2] / "docs" / "readers.md"
MARKS = "<!-- made by tests/helpers/film_kinds.py -->\n", "<!-- end -->\n"


def get_batch(path: Path, places: np.ndarray, pages: np.ndarray) -> str:
    """Say what decord's own ``get_batch`` gives, beside the right pages."""
    import decord

    if path.suffix == ".ts":
        return "not tried: it may never come back"
    try:
        frames = decord.VideoReader(str(path), num_threads=1).get_batch(places).asnumpy()
    except decord.DECORDError:
        return "fails"
    # of 10 bits it gives the pictures, but rounded otherwise
    same = frames.shape == pages.shape and np.abs(frames.astype(int) - pages).mean() < 20
    return "right" if same else "**wrong pictures**"


def table() -> str:
    """Return a row for each kind: who reads it, and why."""
    rows = ['| film | read by | `reader="decord"` | decord\'s `get_batch` |', "|---|---|---|---|"]
    for name, (suffix, _, _) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            path = make(name, Path(folder))
            index = make_index(path)
            places = np.arange(0, index.info.frames, max(1, index.info.frames // 8))
            clip = read_clip(path, times=index.seconds[places])
            numbers = [number_of(page) for page in clip.frames]
            assert numbers == places.tolist() or name == "mirrored", name
            other = read_clip(path, times=index.seconds[places], reader="decord")
            assert np.array_equal(other.frames, clip.frames), name
            by_name = {"decord": "the same"}.get(other.source["backend"], other.source["why"])
            found = get_batch(path, places, clip.frames)
            backend = {"pyav": "PyAV"}[clip.source["backend"]]
        rows.append(f"| {name} ({suffix}) | {backend} | {by_name} | {found} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    PAGE.write_text(before + MARKS[0] + table() + MARKS[1] + rest.partition(MARKS[1])[2])
