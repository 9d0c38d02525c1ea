"""An embedded model that is given a film of another world says so, everywhere."""

import numpy as np
import pytest
from click.testing import CliRunner
from films import numbered

from numpro import Sampling, read_clip, write_video
from numpro.cli import main
from numpro.datasets import VideoQueries, load_dataset
from numpro.inference import find_moment, predict
from numpro.inference.embedded import caution
from numpro.models import load_model

KNOWS = "flipbook/longva is a tiny model that knows drawn coloured shapes only"


@pytest.fixture(scope="module")
def model():
    return load_model("flipbook/longva", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Films that are not drawn: of another size, and of the same with pixels as cameras have."""
    folder = tmp_path_factory.mktemp("real")
    noise = np.random.default_rng(0).integers(0, 90, (6, 336, 336, 3), np.uint8)
    write_video(folder / "noise.mp4", noise, fps=2)
    return write_video(folder / "small.mp4", numbered(6), fps=2), folder / "noise.mp4"


def test_films_of_the_validation_split_and_copies_of_them_are_of_its_world(model, tmp_path):
    for film in load_dataset("flipbook", "val", limit=3):
        clip = read_clip(film.path, fps=1.0)
        assert caution(model, clip) is None
    again = write_video(tmp_path / "again.mp4", read_clip(film.path, fps=8).frames[::-1], fps=8)
    assert caution(model, read_clip(again, fps=1.0, size=(336, 336))) is None


def test_other_films_are_not_and_other_models_are_not_asked_about(model, real, longva):
    for path in real:
        clip = read_clip(path, fps=1.0, size=(336, 336))
        assert KNOWS in caution(model, clip)
        assert caution(longva, clip) is None


def test_ask_and_widgets_say_it_with_the_answer(model, real, tmp_path):
    found = find_moment(real[0], "a dog runs", model)
    assert str(found).splitlines()[1].startswith(KNOWS)  # what the widget shows
    picture = str(tmp_path / "a.png")
    done = CliRunner().invoke(main, ["ask", str(real[0]), "a dog runs", "--picture", picture])
    assert done.exit_code == 0 and sum(KNOWS in line for line in done.stdout.splitlines()) == 1


def test_predict_warns_once_a_session(model, real, tmp_path):
    from numpro.datasets import Query

    videos = [
        VideoQueries(p.stem, p, None, (Query(p.stem, "a dog", ()),), "mine", "test") for p in real
    ]
    with pytest.warns(UserWarning, match=KNOWS) as warned:
        predict(videos, model, tmp_path / "a.jsonl", Sampling(1.0))
    assert len(warned) == 1
