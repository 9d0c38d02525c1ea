"""What of a dataset is there, and what its sources say."""

import json
import re
from pathlib import Path
from threading import Event
from time import monotonic
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from player_films import copy, make_source
from worker_tasks import hang_in_files

from numpro import datasets, write_video
from numpro.cli import main
from numpro.datasets.check import check_dataset, report_lines
from numpro.datasets.loading import measured
from numpro.datasets.sources import downloads, sources


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> dict[str, bytes]:
    """Films of four seconds and of one frame."""
    folder, frames = tmp_path_factory.mktemp("films"), np.zeros((8, 32, 32, 3), np.uint8)
    made = {"whole": write_video(folder / "whole.mp4", frames, fps=2)}
    made["frame"] = write_video(folder / "frame.mp4", frames[:1], fps=1)
    return {name: path.read_bytes() for name, path in made.items()}


@pytest.fixture
def root(tmp_path, films) -> Path:
    """A data root with a video of every kind."""
    rows = {"fine": [1, 2, 4], "gone": [1, 2, 4], "broken": [1, 2, 4], "late": [4, 5, 4.5]}
    rows |= {"longer": [1, 2, 2.9], "near": [1, 2, 3.1], "-one": [0, 1, 1]}
    table = "".join(f"{name},q,{a},{b},{d}\n" for name, (a, b, d) in rows.items())
    (tmp_path / "test.csv").write_text("video,query,start,end,duration\n" + table)
    for name in rows:
        (tmp_path / f"{name}.mp4").write_bytes(films["whole"])
    (tmp_path / "gone.mp4").unlink()
    (tmp_path / "broken.mp4").write_bytes(films["whole"][:200])
    (tmp_path / "-one.mp4").write_bytes(films["frame"])
    return tmp_path


def test_every_fault_is_counted_and_listed(root):
    found = check_dataset("folder", root)
    assert found["splits"] == [
        {"split": "test", "queries": 7, "videos": 7, "present": 6, "readable": 5, "too_short": 2,
         "other_duration": 1, "damaged": 0, "late_picture": 0, "odd_spans": 1,
         "published": None}
    ]  # fmt: skip
    listed = {fault: [row["video"] for row in found[fault]] for fault in datasets.check.FAULTS}
    assert listed == {
        "missing": ["gone"],
        "unreadable": ["broken"],
        "too_short": ["late", "-one"],
        "other_duration": ["longer"],
        "damaged": [],
        "late_picture": [],
        "odd_spans": ["late"],
    }
    assert found["without_annotations"] == ["train", "val"]
    (row,) = found["other_duration"]
    assert row["reason"] == "the film is 4.00 s long, annotated are 2.90 s"
    assert "a span starts at 4.00 s" in found["too_short"][0]["reason"]


def test_a_file_that_hangs_is_unreadable_and_the_others_are_looked_at(root):
    (root / "fine.mp4").unlink()
    hang_in_files(root).rename(root / "fine.mp4")
    # the limit also holds for films that are read, on a machine that does much else
    found = check_dataset("folder", root, limit=10, workers=1)
    assert (found["splits"][0]["present"], found["splits"][0]["readable"]) == (6, 4)
    reasons = {row["video"]: row["reason"] for row in found["unreadable"]}
    assert reasons.pop("fine") == "not read within 10 s" and list(reasons) == ["broken"]


def test_it_can_look_without_workers(root):
    assert check_dataset("folder", root, workers=0) == check_dataset("folder", root, workers=2)


def test_whatever_one_film_raises_the_others_are_looked_at(root, films):
    (root / "near.mp4").write_bytes(films["whole"].replace(b"avc1", b"zzzz"))
    for count in (0, 1):
        found = check_dataset("folder", root, workers=count)
        assert found["splits"][0]["readable"] == 4
        reasons = {row["video"]: row["reason"] for row in found["unreadable"]}
        assert reasons["near"] == "its codec is not known to FFmpeg" and "broken" in reasons


def test_damage_and_a_late_picture_are_counted_apart(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    source = make_source(folder / "source.mp4", 4, options={"g": "1", "bf": "0"}, sound=False)
    for name, by in (("fine", 0.52), ("near", 0.48)):
        copy(source, root / f"{name}.mp4", lambda _, second, by=by: second + by)
    copy(source, root / "late.mkv", lambda _, s: None if 1 < s < 2 else s)
    (root / "late.mp4").unlink()
    found = check_dataset("folder", root)
    (late,), (damaged,) = found["late_picture"], found["damaged"]
    assert (late["video"], late["reason"]) == ("fine", "its first picture comes at 0.52 s")
    assert damaged["video"] == "late" and "from 1.00 to 2.00 s" in damaged["reason"]
    assert (found["splits"][0]["damaged"], found["splits"][0]["late_picture"]) == (1, 1)


def test_the_command_prints_a_table_or_json(root):
    def invoke(*options):
        result = CliRunner().invoke(main, ["check-data", "folder", "--data-root", root, *options])
        assert result.exit_code == 1
        return result.stdout

    head, counts, *lines = invoke().splitlines()
    numbers = dict(zip(head.split()[:9], counts.split(), strict=False))
    assert numbers == {"split": "test", "queries": "7", "videos": "7", "present": "6",
                       "readable": "5", "too_short": "2", "other_duration": "1", "damaged": "0",
                       "late_picture": "0"}  # fmt: skip
    assert lines[0] == "no annotations for: train, val"
    assert lines[1].startswith("missing: test gone: ") and lines[1].endswith("gone.mp4")
    found = json.loads(invoke("--json", "--split", "test"))
    assert found["missing"][0]["video"] == "gone" and found["without_annotations"] == []


def test_a_long_list_is_cut_for_people_only(tmp_path):
    row = {"duration": 9, "timestamps": [[0, 1]], "sentences": ["a"]}
    content = {f"v_{i}": row for i in range(30)}
    (tmp_path / "val_2.json").write_text(json.dumps(content))
    found = check_dataset("activitynet-captions", tmp_path, ["val_2"])
    lines = report_lines(found)
    assert len(found["missing"]) == 30 and sum("missing: val_2" in line for line in lines) == 10
    assert "missing: 20 more; --json lists them all" in lines
    # 30 of the published 4,885: a part is told from the whole
    assert "4885/17031" in lines[1] and found["splits"][0]["videos"] == 30
    assert lines[-1].startswith("to download: videos at 1 fps, anet_1FPS.tar: https://")
    assert found["source"]["get"] == sources()["activitynet-captions"]["get"]


def test_one_file_for_all_splits_is_looked_at_once(root):
    (root / "test.csv").rename(root / "queries.csv")
    assert [row["split"] for row in check_dataset("folder", root)["splits"]] == ["test"]
    both = check_dataset("folder", root, ["test", "val"])
    assert [row["split"] for row in both["splits"]] == ["test", "val"]


def test_bad_names_are_refused(root):
    with pytest.raises(ValueError, match="split of folder must be one of test, train, val"):
        check_dataset("folder", root, ["all"])
    with pytest.raises(ValueError, match="dataset must be one of"):
        check_dataset("mine", root)


def test_a_split_asked_for_must_be_there(root):
    with pytest.raises(FileNotFoundError, match="folder, split val"):
        check_dataset("folder", root, ["test", "val"])


def test_the_embedded_world_has_nothing_missing():
    found = check_dataset("flipbook", splits=["val"])
    assert found["splits"][0]["readable"] == 24 and not found["other_duration"]


def test_sources_are_complete_and_of_known_datasets():
    not_published = {"flipbook", "folder", "grouped-json"}
    assert set(sources()) == set(datasets.DATASETS) - not_published
    for name, source in sources().items():
        assert set(source["published"]) <= set(datasets.loader(name).files)
        assert len(downloads(name)) == len(source["get"]) >= 2
        for got in source["get"]:
            assert set(got) == {"what", "url", "size", "licence"} and all(got.values())
            assert re.fullmatch(r"https?://\S+", got["url"])


def test_the_data_readme_says_what_the_package_says():
    text = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    for name, source in sources().items():
        for got in source["get"]:
            assert f"| `{name}` | [{got['what']}]({got['url']}) | {got['size']} | " in text
        for split, has in source["published"].items():
            assert f"| `{name}` | `{split}` | {has['videos']:,} | {has['queries']:,} | " in text
    assert all(f"| `{name}` |" in text for name in datasets.DATASETS)


def test_a_film_that_hangs_is_not_measured_for_ever(root, monkeypatch):
    released = Event()
    monkeypatch.setattr("numpro.video.probe", lambda path: released.wait(30) and info)
    info = SimpleNamespace(duration=1.0)
    began = monotonic()
    assert measured(root / "fine.mp4", limit=0.2) is None and monotonic() - began < 20
    released.set()
    monkeypatch.undo()
    assert measured(root / "fine.mp4") == pytest.approx(4.0)
    assert measured(root / "broken.mp4") is None and measured(root / "gone.mp4") is None


def test_an_empty_folder_lists_all_there_is_to_get_the_videos_first(tmp_path):
    done = CliRunner().invoke(main, ["check-data", "charades-sta", "--data-root", str(tmp_path)])
    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert [line.partition(" in ")[0] for line in lines[:2]] == [
        "charades-sta, split train: no charades_sta_train.txt",
        "charades-sta, split test: no charades_sta_test.txt",
    ]
    fetch = [line for line in lines if line.startswith("to download: ")]
    assert len(fetch) == 4 and fetch[0].startswith("to download: videos, Charades_v1_480.zip")
    assert any("Charades_v1_train.csv" in line for line in fetch)


def test_spans_that_no_film_can_have_are_told(root):
    (root / "test.csv").write_text(
        "video,query,start,end\nfine,a,3,1\nfine,b,-1,2\nfine,c,0:01,0:02\nfine,d,1,9\n"
        "near,a,1,2\ngone,a,2,1\n"
    )
    found = check_dataset("folder", root)
    reasons = {row["video"]: row["reason"] for row in found["odd_spans"]}
    assert reasons == {
        "fine": "query 2: 3 to 1 is reversed; query 3: -1 to 2 is negative; "
        "query 5: 1 to 9 is past the end",
        "gone": "query 7: 2 to 1 is reversed",
    }
    (root / "test.csv").write_text("video,query,start,end\nfine,a,nan,1\n")
    with pytest.raises(ValueError, match="test.csv: row 2: start must be a number of seconds"):
        check_dataset("folder", root)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:02", 2.0), ("1:02:03.5", 3723.5), (" 75:30 ", 4530.0), ("00:00:13", 13.0), ("2.5", 2.5)],
)
def test_clock_times_are_read(text, seconds):
    from numpro.datasets import rows

    assert rows.seconds(text, "start") == seconds
    with pytest.raises(ValueError, match="start must be a number of seconds; got '1:75'"):
        rows.seconds("1:75", "start")
