"""Datasets: one record, truth as annotated, and names of files that stay inside."""

import dataclasses
import json
from pathlib import Path

import pytest

from numpro.datasets import DATASETS, fingerprint, load_dataset, video_path

ROW = {"id": 1, "video": "a", "query": "a dog", "start_time": 1, "end_time": 2.5, "duration": 9}
ROWS = [
    ROW,
    ROW | {"id": 2, "video": "b.mkv", "query": "a cat", "start_time": 8.0, "end_time": 12.0},
    ROW | {"id": "x", "query": "a cow", "start_time": 5, "end_time": 4},
    ROW | {"id": 4, "duration": 10},
]


def write(folder: Path, rows, name="annotations.json") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return path


def test_numpro_json(tmp_path):
    write(tmp_path, ROWS)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.webm").touch()
    videos = load_dataset("numpro-json", "test", tmp_path)
    assert [(v.video, v.duration, len(v.queries)) for v in videos] == [
        ("a", 9.0, 2),
        ("b.mkv", 9.0, 1),
        ("a", 10.0, 1),
    ]
    assert [v.path.name for v in videos] == ["a.webm", "b.mkv", "a.webm"]
    assert {(v.dataset, v.split) for v in videos} == {("numpro-json", "test")}
    first, second = videos[0].queries
    assert (first.qid, first.text, first.spans) == ("1", "a dog", ((1.0, 2.5),))
    # nothing is put in order or clipped
    assert second.spans == ((5.0, 4.0),) and videos[1].queries[0].spans == ((8.0, 12.0),)
    assert load_dataset("numpro-json", "test", tmp_path, limit=2) == videos[:2]


def test_numpro_json_by_split_or_by_file(tmp_path):
    write(tmp_path, ROWS)
    path = write(tmp_path, ROWS[:1], "val.json")
    assert len(load_dataset("numpro-json", "val", tmp_path)) == 1
    assert len(load_dataset("numpro-json", "test", tmp_path)) == 3
    (named,) = load_dataset("numpro-json", "train", path)
    assert (named.split, named.path) == ("train", tmp_path / "videos" / "a.mp4")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param("[{", "annotations.json: not JSON", id="not-json"),
        pytest.param([], "non-empty list", id="empty"),
        pytest.param({"a": ROW}, "non-empty list", id="not-a-list"),
        pytest.param([ROW, 3], "row 2: must be an object; got int", id="not-an-object"),
        pytest.param([{"id": 1}], "row 1: has no video, query, start_time", id="keys"),
        pytest.param([ROW | {"query": " "}], "row 1: query must be text; got ' '", id="query"),
        pytest.param([ROW | {"end_time": "2"}], "end_time must be a number.*'2'", id="text"),
        pytest.param([ROW | {"end_time": float("nan")}], "end_time must be.*nan", id="nan"),
        pytest.param([ROW | {"duration": 0}], "duration must be above 0; got 0", id="duration"),
        pytest.param([ROW, ROW], "row 2: id '1' is there twice", id="twice"),
        pytest.param([ROW | {"video": "../../etc/passwd"}], "stay inside", id="outside"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, rows, says):
    write(tmp_path, rows)
    with pytest.raises(ValueError, match=says):
        load_dataset("numpro-json", "test", tmp_path)


def test_bad_requests(tmp_path):
    with pytest.raises(ValueError, match="one of flipbook, numpro-json; got 'charade'"):
        load_dataset("charade", "test")
    with pytest.raises(ValueError, match="split of numpro-json.*test, train, val; got 'testing'"):
        load_dataset("numpro-json", "testing", tmp_path)
    with pytest.raises(ValueError, match="at least 1 video.*got 0"):
        load_dataset("numpro-json", "test", tmp_path, limit=0)
    with pytest.raises(ValueError, match="needs data_root"):
        load_dataset("numpro-json", "test")
    with pytest.raises(FileNotFoundError, match=r"annotations\.json"):
        load_dataset("numpro-json", "test", tmp_path)


@pytest.mark.parametrize(
    "name", ["-dash", "v_a.b", "a b", "日本", "d41d8cd98f", "sub/film", "..dots", "a..b", "x.MP4"]
)
def test_odd_names_work(tmp_path, name):
    path = video_path(tmp_path, name)
    assert path.is_relative_to(tmp_path) and path.suffix.lower() == ".mp4"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert video_path(tmp_path, name) == path


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../a", "a/../../b", "/etc/passwd", "C:\\a", "..\\a", "a\0b"]
)
def test_names_do_not_lead_out(tmp_path, name):
    with pytest.raises(ValueError, match="must stay inside"):
        video_path(tmp_path, name)


def test_fingerprint_sees_annotations_only(tmp_path):
    write(tmp_path / "one", ROWS)
    write(tmp_path / "two", ROWS)
    one, two = (load_dataset("numpro-json", "test", tmp_path / n) for n in ("one", "two"))
    assert fingerprint(one) == fingerprint(two)
    changed = dataclasses.replace(two[0].queries[0], spans=((1.0, 2.4),))
    two[0] = dataclasses.replace(two[0], queries=(changed, *two[0].queries[1:]))
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(one[:1]) != fingerprint(one)


def test_the_registry_loads_on_demand():
    import subprocess
    import sys

    names = ", ".join(f"'numpro.datasets.{module}'" for module in DATASETS.values())
    code = f"import sys, numpro.datasets; assert not {{{names}, 'torch'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
