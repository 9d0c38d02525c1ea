"""Datasets: what all loaders share: one record, files found, names kept inside, faults named."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpro.datasets import DATASETS, fingerprint, load_dataset, loader, rows
from numpro.datasets.loading import VideoFiles

ROW = {"id": 1, "video": "a", "query": "a dog", "start_time": 1, "end_time": 2.5, "duration": 9}
ROWS = [
    ROW,
    ROW | {"id": 2, "video": "b.mkv", "query": "a cat", "start_time": 8.0, "end_time": 12.0},
    ROW | {"id": "x", "query": " a cow\n", "start_time": 5, "end_time": 4},
    ROW | {"id": 4, "duration": 10},
]
FILM = {"duration": 9, "timestamps": [[1, 2.5]], "sentences": ["a dog"]}
MOMENTS = {"qid": 7, "query": "a dog", "vid": "a", "duration": 10, "relevant_windows": [[0, 4]]}
GRADES = {"relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2, 3], [4, 4, 0]]}
PLACE = {"annotation_id": 3, "description": "a dog", "video": "1@N0_22_ff.mov", "num_segments": 6}
PLACE |= {"times": [[1, 1], [1, 1], [2, 2], [0, 1]]}
TALK = {"id": "v_a", "source": "anet", "meta": {"duration": 9, "token": {"<s0>": 1, "<e0>": 3}}}
TALK["conversations"] = [
    {"from": "human", "value": "<video>\nDuring which frames can we see a dog?"},
    {"from": "gpt", "value": "From <s0> to <e0>."},
]
MESSAGES = {"videos": ["b.mp4"], "duration": 9, "messages": [
    {"role": "user", "content": [{"type": "text", "text": "When?"}]},
    {"role": "assistant", "content": "From 1 to 2 seconds."},
]}  # fmt: skip


def write(folder: Path, content, name="annotations.json") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    content = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*found) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)


# --- the shared part, by way of the shortest format ---


def test_rows_become_videos_with_queries(tmp_path):
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
    assert (second.text, second.spans) == ("a cow", ((5.0, 4.0),))
    assert videos[1].queries[0].spans == ((8.0, 12.0),)
    assert load_dataset("numpro-json", "test", tmp_path, limit=2) == videos[:2]


def test_annotations_by_split_by_folder_or_by_file(tmp_path):
    write(tmp_path, ROWS)
    path = write(tmp_path, ROWS[:1], "val.json")
    write(tmp_path / "annotations", ROWS[:2], "train.json")
    counts = {
        split: sum(len(v.queries) for v in load_dataset("numpro-json", split, tmp_path))
        for split in ("val", "test")
    }
    assert counts == {"val": 1, "test": 4}
    (named,) = load_dataset("numpro-json", "train", path)
    assert (named.split, named.path) == ("train", tmp_path / "videos" / "a.mp4")
    trained = load_dataset("numpro-json", "train", tmp_path)
    assert [v.path.parent for v in trained] == [tmp_path / "videos"] * 2
    (tmp_path / "annotations" / "train.json").unlink()
    with pytest.raises(FileNotFoundError):  # what was published for testing is not learned from
        load_dataset("numpro-json", "train", tmp_path)


def test_the_flipbooks_annotations_may_be_a_file_too(films):
    path = films[0].path.with_name("annotations.jsonl")
    assert load_dataset("flipbook", "test", path, limit=2) == films


def test_bad_requests(tmp_path):
    with pytest.raises(ValueError, match="one of flipbook, charades-sta.*; got 'charade'"):
        load_dataset("charade", "test")
    with pytest.raises(ValueError, match="split of numpro-json.*test, train, val; got 'testing'"):
        load_dataset("numpro-json", "testing", tmp_path)
    with pytest.raises(ValueError, match="at least 1 video.*got 0"):
        load_dataset("numpro-json", "test", tmp_path, limit=0)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "flipbook"])
def test_what_is_absent_is_named(tmp_path, name):
    split, files = next(iter(loader(name).files.items()))
    with pytest.raises(ValueError, match=f"{name} needs data_root: .*{files[0]}"):
        load_dataset(name, split)
    with pytest.raises(FileNotFoundError, match=f"{name}, split {split}: no {files[0]}") as caught:
        load_dataset(name, split, tmp_path)
    assert ("to download" in str(caught.value)) == (name not in ("folder", "grouped-json"))


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
    modules = {value.rpartition(".")[0] for value in DATASETS.values()}
    names = ", ".join(f"'{module}'" for module in modules)
    code = f"import sys, numpro.datasets; assert not {{{names}, 'torch'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# --- names of files are data ---


@pytest.mark.parametrize(
    "name",
    ["-dash", "--help", "v_-9a.b", "a b", "日本", "26292851@N04_42_265c.m4v", "d41d8cd98f", "x.MP4"]
    + ["sub/film", "..dots", "a..b", "58@N0_85_fd25.", "$(id)", "%2e%2e", "a" * 300],
)
def test_odd_names_work(tmp_path, name):
    path = VideoFiles([tmp_path]).find(name)
    assert path.is_relative_to(tmp_path)
    assert path.suffix.lower() == (".m4v" if name.endswith("m4v") else ".mp4")
    if len(name) < 200:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert VideoFiles([tmp_path / "no", tmp_path]).find("nothing", name) == path


BAD_NAMES = ["", " ", ".", "..", "../a", "a/../../b", "/etc/passwd", "C:\\a", "..\\a", "a\0b", "/"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_do_not_lead_out(tmp_path, name):
    with pytest.raises(ValueError, match="must stay inside"):
        VideoFiles([tmp_path]).find("good", name)


@given(st.text(alphabet="./\\ab:\0-", max_size=12) | st.text(max_size=12))
def test_no_name_leads_out(name):
    root = Path("/data/root/videos")
    try:
        path = VideoFiles([root]).find(name)
    except ValueError:
        return
    assert ".." not in path.parts and path.is_relative_to(root) and path != root


@pytest.mark.parametrize(
    ("name", "split", "file", "content"),
    [
        ("charades-sta", "test", "charades_sta_test.txt", "../a 1 2##a dog"),
        ("activitynet-captions", "val_2", "val_2.json", {"../a": FILM}),
        ("didemo", "test", "test_data.json", [PLACE | {"video": "../a_b_c.mp4"}]),
        ("qvhighlights", "val", "highlight_val_release.jsonl", lines(MOMENTS | {"vid": "../a"})),
        ("timelens-bench", "charades", "charades-timelens.json", {"../a": FILM}),
        ("numpro-json", "test", "test.json", [ROW | {"video": "../a"}]),
        ("vtimellm", "stage3", "stage3.json", [TALK | {"id": "../a"}]),
        ("vtimellm", "stage3", "stage3.json", [TALK | {"source": "../a"}]),
        ("folder", "test", "queries.csv", "video,query\n../a,a dog"),
    ],
)
def test_no_annotation_leads_out(tmp_path, name, split, file, content):
    write(tmp_path / "data", content, file)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match=rf"{file}: row .*: a video's name must stay inside"):
        load_dataset(name, split, tmp_path / "data")


# --- malformed files ---


def bad(name, split, file, content, says, id):
    return pytest.param(name, split, file, content, says, id=f"{name}-{id}")


def numpro(content, says, id):
    return bad("numpro-json", "test", "test.json", content, says, id)


def grouped(row, says, id):
    return bad("grouped-json", "test", "test.json", {"v_x": row}, f"row 'v_x': .*{says}", id)


def charades(line, says, id):
    return bad("charades-sta", "test", "charades_sta_test.txt", line, says, id)


def qvh(change, says, id):
    content = lines(MOMENTS | GRADES, MOMENTS | GRADES | {"qid": 8} | change)
    return bad(
        "qvhighlights", "val", "highlight_val_release.jsonl", content, f"row 2: .*{says}", id
    )


def didemo(change, says, id):
    return bad("didemo", "test", "test_data.json", [PLACE | change], f"row 1: .*{says}", id)


def talk(change, says, id):
    return bad("vtimellm", "stage2", "stage2.json", [TALK | change], f"row 1: .*{says}", id)


def messages(change, says, id):
    content = lines(MESSAGES, MESSAGES | change)
    return bad("messages-jsonl", "train", "train.jsonl", content, f"row 2: .*{says}", id)


def table(content, says, id):
    return bad("folder", "test", "queries.csv", content, says, id)


GROUPED_TWICE = '{"a": {"timestamps": [[0, 1]], "sentences": ["it runs"], "duration": 2}, "a": 1}'


@pytest.mark.parametrize(
    ("name", "split", "file", "content", "says"),
    [
        numpro("[{", "not JSON", "not-json"),
        numpro("", "not JSON", "no-text"),
        numpro(b"[\xff]", "cannot be read", "not-utf-8"),
        numpro("[" * 100_000, "cannot be read", "nested"),
        numpro([], "non-empty list", "empty"),
        numpro({"a": ROW}, "non-empty list of rows; got dict", "not-a-list"),
        numpro([ROW, 3], "row 2: must be an object; got int", "not-an-object"),
        numpro([{"id": 1}], "row 1: has no video, query, start_time", "keys"),
        numpro([ROW | {"query": " "}], "row 1: query must be text; got ' '", "query"),
        numpro([ROW | {"end_time": None}], "end_time must be a number.*None", "null"),
        numpro([ROW | {"end_time": "two"}], "end_time must be a number.*'two'", "text"),
        numpro([ROW | {"end_time": float("nan")}], "end_time must be.*nan", "nan"),
        numpro([ROW | {"duration": 0}], "duration must be above 0; got 0", "duration"),
        numpro([ROW | {"end_time": 10**400}], "end_time must be.*got 1000", "endless-number"),
        numpro([ROW | {"video": "\ud800"}], "row 1: .*surrogates", "half-a-letter"),
        grouped(FILM | {"duration": 10**400}, "duration must be a number", "endless"),
        bad("grouped-json", "test", "test.json", {"\ud800": FILM}, "surrogates", "half-a-letter"),
        numpro([ROW, ROW], "row 2: qid '1' is there twice", "twice"),
        numpro([{**ROW, "id": None}], "row 1: has no id", "id"),
        numpro('[{"id": 1, "id": 2}]', "key 'id' is there twice", "key-twice"),
        grouped([], "must be an object; got list", "list"),
        bad("grouped-json", "test", "test.json", [FILM], "object of rows by video; got li", "rows"),
        bad("grouped-json", "test", "test.json", GROUPED_TWICE, "'a' is there twice", "twice"),
        grouped(FILM | {"sentences": ["a", "b"]}, "has 1 timestamps and 2 sentences", "more"),
        grouped(FILM | {"timestamps": [[1]]}, r"must hold \[start, end\].*got \[1\]", "one"),
        grouped(FILM | {"timestamps": [[1, "2"]]}, "finite numbers; got .1, '2'", "text"),
        grouped(FILM | {"timestamps": [[1, 10**400]]}, "finite numbers; got .1, 1", "endless-end"),
        grouped(FILM | {"timestamps": [[]]}, r"must hold .start, end. in.*got \[\]", "no-ends"),
        grouped(FILM | {"timestamps": [[[50, 60], [70, 80]]]}, "2 spans end after 60", "frames"),
        grouped(FILM | {"timestamps": 1}, "timestamps must be a list", "no-list"),
        grouped({"duration": 9}, "has no timestamps, sentences", "keys"),
        grouped(FILM | {"duration": -1}, "duration must be above 0", "duration"),
        charades("", "is empty", "empty"),
        charades("a 1 2##a dog\nb 1##a", "row 2: must be VIDEO START END##", "missing-end"),
        charades("a 1 2 a dog", "row 1: must be VIDEO START END##", "no-marks"),
        charades("a 1 two##a dog", "row 1: END must be a number.*'two'", "text"),
        charades("a 1 nan##a dog", "row 1: END must be a number.*nan", "nan"),
        charades("a 1 2##", "row 1: SENTENCE must be text", "no-sentence"),
        charades(b"a 1 2##a\nb 1 2##\xff", "row 2: cannot be read", "not-utf-8"),
        qvh({"relevant_windows": [[0]]}, "relevant_windows must hold", "window"),
        qvh({"relevant_windows": None}, "relevant_windows must be a list; got None", "null"),
        qvh({"relevant_clip_ids": [0, 1.5]}, "must be whole numbers; got .0, 1.5.", "clip"),
        qvh({"saliency_scores": [[1, 2, 3]]}, r"three scores for each.*\]\] for 2", "fewer"),
        qvh({"saliency_scores": [[1, 2], [3, 4]]}, "three scores for each", "two"),
        qvh({"saliency_scores": [[1, 2, "3"]] * 2}, "finite number; got '3'", "text"),
        qvh({"qid": 7}, "qid '7' is there twice", "twice"),
        bad("qvhighlights", "val", "highlight_val_release.jsonl", '{"qid": 1}\n{',
            "row 1: has no query, vid, duration", "keys"),
        bad("qvhighlights", "val", "highlight_val_release.jsonl", lines(MOMENTS) + "{",
            "row 2: not JSON", "broken-line"),
        didemo({"times": []}, "times must not be empty", "no-times"),
        didemo({"times": [[1, 0]]}, r"times must hold \[first, last\].*got \[1, 0\]", "reversed"),
        didemo({"times": [[1.0, 2]]}, "times must hold", "fraction"),
        didemo({"times": [[1, 10**400]]}, "times must hold", "endless"),
        didemo({"num_segments": "6"}, "num_segments must be a whole number", "segments"),
        talk({"conversations": []}, "must not be empty", "no-turns"),
        talk({"conversations": [{"from": "me", "value": "a"}]}, "human or gpt; got 'me'", "who"),
        talk({"meta": {"duration": 9, "token": {}}}, "token <s0> has no time", "token"),
        talk({"meta": {"duration": 9, "token": {"<s0>": "x"}}}, "<s0> must be a number", "time"),
        bad("numpro-instructions", "train", "train.json", [TALK | {"video": "a", "fps": 0}],
            "row 1: fps must be above 0; got 0", "fps"),
        talk({"meta": 3}, "must be an object; got int", "meta"),
        messages({"videos": "b.mp4"}, "videos must be a list; got 'b.mp4'", "one-video"),
        messages({"videos": {"a": 1}}, "videos must be a list; got {'a': 1}", "named-video"),
        messages({"videos": []}, "video must be text; got None", "no-video"),
        messages({"messages": [{"role": "user", "content": [{"video_url": "b.mp4"}]}]},
                 "must be an object; got str", "address"),
        table("film,query\na,b\n", "row 2: has no video", "column"),
        table("video,query,start,end\na,b,1,\n", "row 2: has no end", "half"),
        table("video,query\na,b\nc,d,e\n", "row 3: has more values", "more"),
        table("video,query\na\n", "row 2: query must be text; got None", "fewer"),
        table('video,query\na,"b\n', "row 2: not CSV", "quote"),
        table("video,query\n", "is empty", "header-only"),
        bad("folder", "test", "queries.jsonl", '{"video": "a", "query": "b", "spans": [1]}',
            "row 1: spans must hold", "spans"),
    ],
)  # fmt: skip
def test_malformed_annotations_are_named(tmp_path, name, split, file, content, says):
    write(tmp_path, content, file)
    with pytest.raises(ValueError, match=f"{file}: .*{says}") as caught:
        load_dataset(name, split, tmp_path)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("charades-sta", "test", "charades_sta_test.txt"),
        ("qvhighlights", "val", "highlight_val_release.jsonl"),
        ("folder", "test", "queries.csv"),
    ],
)
def test_an_endless_line_is_not_read(tmp_path, name, split, file):
    import tracemalloc

    path = tmp_path / file
    with path.open("wb") as out:
        out.truncate(2**30)  # a hole: one line of a gigabyte that takes no room on the disk
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"{file}: row 1: longer than {rows._LONGEST} bytes"):
        load_dataset(name, split, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * rows._LONGEST


def test_a_huge_json_file_is_not_read(tmp_path):
    with (tmp_path / "test.json").open("wb") as out:
        out.truncate(10**9)
    with pytest.raises(ValueError, match="test.json: must be at most 536870912 bytes; got 1000000"):
        load_dataset("numpro-json", "test", tmp_path)


VALID = {
    "qvhighlights": MOMENTS | GRADES,
    "didemo": PLACE,
    "numpro-json": ROW,
    "grouped-json": FILM,
    "vtimellm": TALK,
    "numpro-instructions": TALK | {"video": "a", "fps": 1, "duration": 9},
    "folder": ROW | {"start": 1, "end": 2, "spans": [[1, 2]], "qid": 3},
    "messages-jsonl": MESSAGES,
    "timelens-jsonl": {
        "video_path": "a",
        "duration": 9,
        "events": [{"query": "a", "span": [1, 2]}],
    },
    "hirest": {"a.mp4": {"clip": True, "v_duration": 60, "bounds": [1, 2.5]}},
}
KEYS = sorted({key for row in VALID.values() for key in row} | {"from", "value", "split", "token"})
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 2, 10**400])
    | st.floats()
    | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(KEYS), x, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(VALID)), st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=2) | JUNK
)
def test_no_row_breaks_a_loader(name, junk):
    row = VALID[name] | junk if isinstance(junk, dict) else junk
    with contextlib.suppress(ValueError):
        for found in loader(name).read("x" if name == "grouped-json" else 1, row):
            assert isinstance(found.video, str) and found.video.strip()
            if found.query is not None:
                assert isinstance(found.query.text, str)
                assert np.isfinite(np.ravel(found.query.spans)).all()


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr("numpro.datasets.loading.os.scandir", refuse)
    with pytest.raises(PermissionError, match="videos"):
        VideoFiles([tmp_path / "videos"]).find("film")


def test_a_json_file_is_read_in_pieces(tmp_path, monkeypatch):
    from numpro.datasets import rows

    path = tmp_path / "rows.json"
    whole = {"a": [{"x": -2.5}, "]}, é"], "b": {"y": 1e-7}, "c": None}
    for chunk in (1, 2, 7, 1000):
        monkeypatch.setattr(rows, "_CHUNK", chunk)
        path.write_text(json.dumps(whole, indent=1), encoding="utf-8-sig")
        assert dict(rows.json_rows(path, keyed=True)) == whole
        path.write_text(json.dumps([-2.5, 12, *whole.values()], ensure_ascii=False))
        assert [row for _, row in rows.json_rows(path)] == [-2.5, 12, *whole.values()]
        for text in ('[{"a": 1}, {"a": ', "[1] 2", "[1,]", '{"a": 1}', "[]", "7"):
            path.write_text(text)
            with pytest.raises(ValueError, match="must be a non-empty list|line 1 column"):
                list(rows.json_rows(path))


def test_a_large_json_file_is_never_in_memory_as_a_whole(tmp_path):
    from numpro.datasets.rows import json_rows

    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"qid": n, "text": "x" * 1000} for n in range(16_000)]))
    tracemalloc.start()
    assert sum(1 for _ in json_rows(path)) == 16_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2
