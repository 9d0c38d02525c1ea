"""Paths to read count from where one stands, then from the project root."""

import pytest

from numpro import VideoError, probe, write_video
from numpro.datasets import load_dataset
from numpro.paths import find, find_model, places


@pytest.fixture
def standing(project, tmp_path_factory, monkeypatch):
    """A working folder that is not the root; both hold a.mp4, the root alone b.mp4."""
    import numpy as np

    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    for folder, frames in ((here, 2), (project, 4)):
        write_video(folder / "a.mp4", np.zeros((frames, 16, 16, 3), np.uint8), fps=2)
    (project / "a.mp4").rename(project / "b.mp4")
    write_video(project / "a.mp4", np.zeros((6, 16, 16, 3), np.uint8), fps=2)
    return here


def test_first_where_one_stands_then_the_root(standing, project):
    assert find("a.mp4") == standing / "a.mp4" and find("b.mp4") == project / "b.mp4"
    assert probe("a.mp4").frames == 2 and probe("b.mp4").frames == 4
    assert probe(project / "a.mp4").frames == 6
    (project / "model").mkdir()
    assert find_model("model") == str(project / "model")


def test_the_message_says_where_was_looked(standing, project):
    both = f"looked in {standing} and {project}"
    with pytest.raises(VideoError, match=f"c.mp4: no such file .{both}"):
        probe("c.mp4")
    with pytest.raises(FileNotFoundError, match=both):
        load_dataset("didemo", "test", "films")
    assert places("/c.mp4") == ""
