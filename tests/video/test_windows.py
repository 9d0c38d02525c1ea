"""Windows over a film: every frame is shown, and few are in memory."""

import numpy as np
import pytest
from films import encode, number_of, numbered
from hypothesis import given
from hypothesis import strategies as st

from numpro import Sampling, read_clip
from numpro.video import Clip, VideoError, Windows, cut_windows, open_windows

SIZES = st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


def made_clip(count):
    frames = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 3), np.uint8)
    seconds = np.arange(count) / 2
    return Clip(frames, seconds, np.arange(count), {"duration": count / 2, "warnings": ()})


@given(st.integers(1, 200), SIZES)
def test_every_frame_is_in_a_window_and_few_are_read_at_once(count, size):
    clip, reads = made_clip(count), []

    def read(first, last):
        reads.append((first, last))
        return clip.select(range(first, last))

    windows = Windows(clip.seconds, clip.source, size, read)
    shown = []
    for start, part in windows.clips():
        assert part.seconds.tolist() == clip.seconds[start : start + size[0]].tolist()
        assert part.frames[:, 0, 0, 0].tolist() == list(range(start, start + len(part)))
        assert len(part) == min(size[0], count)
        shown += part.source_index.tolist()
    assert set(shown) == set(range(count))
    assert [start for start, _ in windows.clips()] == windows.starts
    once = reads[: len(reads) // 2]
    assert max(last - first for first, last in once) <= 4 * size[0]
    assert sum(last - first for first, last in once) <= 2 * count


def test_windows_of_a_file_have_its_frames_and_seconds(tmp_path):
    path = encode(tmp_path / "film.mp4", frames=numbered(200))  # 8 s
    windows = open_windows(path, (16, 4), Sampling(fps=12.5, size=None, max_frames=20))
    whole = read_clip(path, fps=12.5)
    assert len(windows) == len(whole) == 100  # not thinned to 20
    assert windows.starts == [*range(0, 84, 4), 84]
    for start, clip in windows.clips():
        assert clip.seconds.tolist() == whole.seconds[start : start + 16].tolist()
        wanted = whole.source_index[start : start + 16].tolist()
        assert [number_of(frame) for frame in clip.frames] == clip.source_index.tolist() == wanted
    assert windows.duration == whole.duration


def test_windows_that_have_answered_are_not_read_again():
    clip, reads = made_clip(300), []
    windows = Windows(clip.seconds, clip.source, (16, 8), lambda a, b: reads.append((a, b)) or
                      clip.select(range(a, b)))  # fmt: skip
    rest = [start for start, _ in windows.clips(skip=windows.starts[:-3])]
    assert rest == windows.starts[-3:]
    assert reads == [(rest[0], 300)]


def test_a_film_that_is_no_longer_than_a_window_is_one():
    assert cut_windows(made_clip(16), (16, 4)).starts == [0]
    ((start, clip),) = cut_windows(made_clip(5), (16, 4)).clips()
    assert (start, len(clip)) == (0, 5)


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (16, 0), (16,), (8.0, 2), 16, "16,4"])
def test_windows_that_would_leave_frames_out_are_refused(size, tmp_path):
    with pytest.raises(ValueError, match="windows must be .frames, stride.: .* got"):
        cut_windows(made_clip(20), size)
    with pytest.raises(ValueError, match="windows must be"):
        open_windows(tmp_path / "none.mp4", size, Sampling())


def test_a_file_that_is_no_film_is_refused(tmp_path):
    with pytest.raises(VideoError):
        open_windows(tmp_path / "none.mp4", (16, 4), Sampling())
