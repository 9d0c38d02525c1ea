"""Each dataset in its own format, with made-up files; and the published files, where they are."""

import json
from pathlib import Path

import pytest
from scoring import REFERENCE, reference

from numpro import write_video
from numpro.datasets import Saliency, load_dataset
from numpro.datasets.conversations import conversation, moments
from numpro.datasets.didemo import one_span
from numpro.datasets.sources import sources


def put(folder: Path, name: str, content) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> bytes:
    """Four seconds of black, as a file."""
    import numpy as np

    frames = np.zeros((8, 32, 32, 3), np.uint8)
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames, fps=2).read_bytes()


def show(path: Path, film: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(film)
    return path


def contents(videos):
    """Return (video, duration, [(qid, text, spans)]) of each record."""
    return [(v.video, v.duration, [(q.qid, q.text, q.spans) for q in v.queries]) for v in videos]


# --- Charades-STA ---

STA = "3MSZA 24.3 30.4##person turn a light on.\nAMT7R  4 12.5 ##a ## b\n3MSZA 9 5##late.\n"


def test_charades_sta_with_the_official_lengths(tmp_path):
    put(tmp_path, "charades_sta_test.txt", STA)
    table = 'id,subject,script,length\n3MSZA,X,"a, ""b""\nc",30.96\nAMT7R,Y,d,30.08\n'
    put(tmp_path, "Charades/Charades_v1_test.csv", table)
    assert contents(load_dataset("charades-sta", "test", tmp_path)) == [
        ("3MSZA", 30.96, [("0", "person turn a light on.", ((24.3, 30.4),)),
                          ("2", "late.", ((9.0, 5.0),))]),
        ("AMT7R", 30.08, [("1", "a ## b", ((4.0, 12.5),))]),
    ]  # fmt: skip


def test_charades_sta_with_lengths_from_the_videos(tmp_path, film):
    put(tmp_path, "charades_sta_test.txt", STA.replace("\n", "\r\n"))
    path = show(tmp_path / "Charades_v1_480" / "AMT7R.mp4", film)
    first, second = load_dataset("charades-sta", "test", tmp_path)
    assert (first.duration, first.path) == (None, tmp_path / "videos" / "3MSZA.mp4")
    assert (second.duration, second.path) == (pytest.approx(4.0), path)
    assert second.queries[0].text == "a ## b"
    show(path, b"no film")
    assert [v.duration for v in load_dataset("charades-sta", "test", tmp_path)] == [None, None]
    put(tmp_path, "durations.csv", "video,duration\n3MSZA,31\n")
    assert [v.duration for v in load_dataset("charades-sta", "test", tmp_path)] == [31.0, None]


def test_a_malformed_table_of_lengths_is_named(tmp_path):
    put(tmp_path, "charades_sta_test.txt", STA)
    put(tmp_path, "Charades_v1_test.csv", "id,length\n3MSZA,long\n")
    with pytest.raises(ValueError, match="test.csv: row 2: length must be a number.*'long'"):
        load_dataset("charades-sta", "test", tmp_path)
    put(tmp_path, "Charades_v1_test.csv", "name,length\n3MSZA,long\n")
    with pytest.raises(ValueError, match="test.csv: row 2: has no id"):
        load_dataset("charades-sta", "test", tmp_path)


# --- by video ---


@pytest.mark.parametrize(
    ("name", "split", "file", "keys"),
    [
        ("activitynet-captions", "val_2", "val_2.json", ("timestamps", "sentences")),
        ("timelens-bench", "charades", "charades-timelens.json", ("spans", "queries")),
        ("grouped-json", "train", "train.json", ("spans", "queries")),
    ],
)
def test_grouped_by_video(tmp_path, film, name, split, file, keys):
    texts, times = ["One.", "  Two\n"], [[0, 4.14], [4, 3]]
    videos = {
        "v_-a": {"duration": 55.15, keys[0]: times, keys[1]: texts, "phrases": 1},
        "v_b": {"duration": 5, keys[0]: [], keys[1]: []},
    }
    put(tmp_path, file, videos)
    path = show(tmp_path / "videos" / "v_-a.mp4", film)
    found = load_dataset(name, split, tmp_path)
    assert contents(found) == [
        ("v_-a", 55.15, [("v_-a_0", "One.", ((0.0, 4.14),)), ("v_-a_1", "Two", ((4.0, 3.0),))]),
        ("v_b", 5.0, []),
    ]
    assert found[0].path == path


def test_grouped_with_several_spans_and_an_empty_sentence(tmp_path):
    row = {"duration": 9, "spans": [[[0, 1], [4, 5]], [2, 3]], "queries": ["a", ""]}
    put(tmp_path, "test.json", {"x": row})
    (video,) = load_dataset("grouped-json", "test", tmp_path)
    assert [(q.text, q.spans) for q in video.queries] == [
        ("a", ((0.0, 1.0), (4.0, 5.0))),
        ("", ((2.0, 3.0),)),
    ]


def test_each_timelens_set_has_its_own_videos(tmp_path, film):
    row = {"duration": 9, "spans": [[0, 1]], "queries": ["a"]}
    for split in ("charades", "qvhighlights"):
        put(tmp_path, f"{split}-timelens.json", {"x": row})
        show(tmp_path / "videos" / split / "x.mp4", film)
        (video,) = load_dataset("timelens-bench", split, tmp_path)
        assert video.path == tmp_path / "videos" / split / "x.mp4"


# --- rows that differ in names only ---

SPANS = ((1.0, 2.5), (4.0, 6.0))
TWO = [[1, 2.5], [4, 6]]


@pytest.mark.parametrize(
    ("name", "split", "file", "rows", "found"),
    [
        (
            "vue-tr", "v2", "VUE-TRv2_ground_truth.json",
            [{"query_id": 0, "video_id": "-a", "duration": 9.5, "query": "a dog", "gt": TWO,
              "query_format": "phrase", "query_modality": "vision"}],
            [("-a", 9.5, [("0", "a dog", SPANS)])],
        ),
        (
            "momentseeker", "test", "t2v.json",
            [{"src_video_path": "./videos/ego_79.mp4", "qry_text": "When?", "task": "t",
              "answering_time_interval": TWO}],
            [("ego_79.mp4", pytest.approx(4.0), [("1", "When?", SPANS)])],
        ),
        (
            "ego4d-nlq", "val", "ego4d_nlq_val_v2.jsonl",
            [{"video_id": "c", "query_id": "c_0", "query": "where?", "duration": 480.0,
              "timestamps": [1, 2.5], "query_type": "nlq"}],
            [("c", 480.0, [("c_0", "where?", SPANS[:1])])],
        ),
        (
            "extremewhenbench", "test", "extremewhenbench.jsonl",
            [{"qid": "q1", "video_id": "v", "source_corpus": "MLVU", "question": "When?",
              "correct_interval": [1, 2.5], "video_duration_s": 4500}],
            [("v", 4500.0, [("q1", "When?", SPANS[:1])])],
        ),
        (
            "timelens-jsonl", "train", "timelens-100k.jsonl",
            [{"source": "s", "video_path": "cosmo/b.mp4", "duration": 30,
              "events": [{"query": "a dog", "span": TWO}, {"query": "a cat", "span": [[7, 8]]}]},
             {"source": "s", "video_path": "c.mp4", "duration": 9, "events": []}],
            [("cosmo/b.mp4", 30.0, [("1_0", "a dog", SPANS), ("1_1", "a cat", ((7.0, 8.0),))]),
             ("c.mp4", 9.0, [])],
        ),
        (
            "moments-jsonl", "test", "test.jsonl",
            [{"qid": 5, "vid": "s13-d21", "duration": 120, "query": "she peels",
              "relevant_windows": TWO}],
            [("s13-d21", 120.0, [("5", "she peels", SPANS)])],
        ),
    ],
)  # fmt: skip
def test_rows_that_differ_in_names(tmp_path, film, name, split, file, rows, found):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path = put(tmp_path, file, lines if file.endswith("l") else rows)
    for video in ("ego_79.mp4", "MLVU/v.mp4", "cosmo/b.mp4"):
        show(tmp_path / "videos" / video, film)
    videos = load_dataset(name, split, tmp_path)
    assert contents(videos) == found
    assert all(v.path.is_file() for v in videos if v.video in ("ego_79.mp4", "v", "cosmo/b.mp4"))
    spans = next(key for key in ("gt", "answering_time_interval", "timestamps", "relevant_windows",
                                 "correct_interval", "events") if key in rows[0])  # fmt: skip
    for broken in ({spans: [[1, "x"]]}, {k: v for k, v in rows[0].items() if k != spans}):
        row = (rows[0] | broken) if spans in broken else broken
        path.write_text(json.dumps([row]) if path.suffix == ".json" else json.dumps(row))
        with pytest.raises(ValueError, match=rf"{file}: row 1: "):
            load_dataset(name, split, tmp_path)


def test_youcook2_holds_its_splits_in_one_file(tmp_path):
    steps = [{"segment": [1, 2.5], "sentence": "peel it", "id": 0},
             {"segment": [4, 6], "sentence": "cut it", "id": 1}]  # fmt: skip
    films = {"a": {"subset": "training", "duration": 60.5, "annotations": steps},
             "b": {"subset": "validation", "duration": 9, "annotations": steps[:1]}}  # fmt: skip
    put(tmp_path, "youcookii_annotations_trainval.json", {"database": films})
    assert contents(load_dataset("youcook2", "training", tmp_path)) == [
        ("a", 60.5, [("a_0", "peel it", SPANS[:1]), ("a_1", "cut it", SPANS[1:])])
    ]
    assert contents(load_dataset("youcook2", "validation", tmp_path)) == [
        ("b", 9.0, [("b_0", "peel it", SPANS[:1])])
    ]
    put(tmp_path, "youcookii_annotations_trainval.json", {"films": films})
    with pytest.raises(ValueError, match="trainval.json: has no database"):
        load_dataset("youcook2", "training", tmp_path)


def test_hirest_has_a_moment_where_there_is_a_clip(tmp_path):
    film = {"relevant": True, "clip": True, "v_duration": 60, "bounds": [1, 2.5], "steps": []}
    whole = {"relevant": True, "clip": False, "v_duration": 30, "bounds": [0, 0]}
    put(tmp_path, "all_data_test.json", {"make tea": {"a.mp4": film, "b.mp4": whole}})
    assert contents(load_dataset("hirest", "test", tmp_path)) == [
        ("a.mp4", 60.0, [("make tea/a.mp4", "make tea", SPANS[:1])]),
        ("b.mp4", 30.0, []),
    ]


def test_tacos_counts_frames(tmp_path):
    film = {"fps": 25.0, "num_frames": 1000, "timestamps": [[25, 62.5]], "sentences": ["peel it"]}
    path = put(tmp_path, "test.json", {"s13-d21.avi": film})
    wanted = [("s13-d21.avi", 40.0, [("s13-d21.avi_0", "peel it", SPANS[:1])])]
    for name in ("tacos", "grouped-json"):
        assert contents(load_dataset(name, "test", tmp_path)) == wanted
    path.write_text(json.dumps({"a": {k: v for k, v in film.items() if k != "fps"}}))
    with pytest.raises(ValueError, match="row 'a': counts frames .num_frames. and states no fps"):
        load_dataset("tacos", "test", tmp_path)
    path.write_text(json.dumps({"a": film | {"duration": 40.0, "timestamps": [[125, 162.5]]}}))
    with pytest.raises(
        ValueError, match="row 'a': all 1 spans end after 162.5, the video after 40"
    ):
        load_dataset("grouped-json", "test", tmp_path)


def test_grouped_json_has_durations_from_a_table(tmp_path):
    film = {"timestamps": [[1, 2.5]], "sentences": ["a dog"]}
    put(tmp_path, "test.json", {"a": film, "b": film, "c": film | {"duration": 7}})
    put(tmp_path, "durations.csv", "video,duration\na,31\nc,9\n")
    videos = load_dataset("grouped-json", "test", tmp_path)
    assert [v.duration for v in videos] == [31.0, None, 7.0]


# --- conversations of many turns ---


def test_messages_of_many_turns(tmp_path, film):
    about = {"url": "c.mp4", "image_wh": [426, 320], "origin_video_length": 14400}
    video = {"type": "video_url", "video_url": about | {"origin_fps": 30.0}}
    ask = {"type": "text", "text": '<VIDEO_CONTEXT>\nFind what answers: "where is it?".'}
    turns = [
        {"role": "user", "content": [video, ask]},
        {"role": "assistant", "content": "[[1, 2.5], [4, 6]]"},
        {"role": "user", "content": "When does he sit down?"},
        {"role": "assistant", "content": "From 4 to 6 seconds."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "He is tired."},
    ]
    plain = {"messages": turns[2:4], "videos": ["a.mp4"]}
    rows = [{"id": 0, "messages": turns}, plain, plain | {"messages": turns[4:]}]
    path = put(tmp_path, "train.jsonl", "\n".join(map(json.dumps, rows)))
    show(tmp_path / "videos" / "a.mp4", film)
    assert contents(load_dataset("messages-jsonl", "train", tmp_path)) == [
        ("c.mp4", 480.0, [("1_0", "where is it?", SPANS),
                          ("1_1", "When does he sit down?", SPANS[1:])]),
        ("a.mp4", pytest.approx(4.0), [("2_0", "When does he sit down?", SPANS[1:])]),
    ]  # fmt: skip
    path.write_text(json.dumps({"messages": turns[2:4]}))
    with pytest.raises(ValueError, match="train.jsonl: row 1: video must be text; got None"):
        load_dataset("messages-jsonl", "train", tmp_path)
    path.write_text(json.dumps(plain | {"duration": 0}))  # not known: the film's own
    assert load_dataset("messages-jsonl", "train", tmp_path)[0].duration == pytest.approx(4.0)
    path.write_text(json.dumps(plain | {"duration": "long"}))
    with pytest.raises(ValueError, match="row 1: duration must be a number of seconds; got 'long'"):
        load_dataset("messages-jsonl", "train", tmp_path)
    frames = {"role": "assistant", "content": "From frame 4 to frame 6."}
    path.write_text(json.dumps(plain | {"messages": [turns[2], frames]}))
    with pytest.raises(ValueError, match="row 1: an answer must be in seconds; got 'From frame 4"):
        load_dataset("messages-jsonl", "train", tmp_path)


# --- QVHighlights ---


def test_qvhighlights_with_and_without_truth(tmp_path):
    row = {"qid": 1, "query": "a dog", "duration": 126, "vid": "-P5_660.0_810.0"}
    truth = {"relevant_windows": [[0, 4], [8, 10]], "relevant_clip_ids": [0, 4]}
    truth |= {"saliency_scores": [[4, 1, 1], [0, 2, 3]]}
    rows = [row | truth, row | {"qid": 2, "query": "a cat"}]
    put(tmp_path, "highlight_test_release.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    (video,) = load_dataset("qvhighlights", "test", tmp_path)
    first, second = video.queries
    assert (video.video, video.duration, video.path.name) == (
        "-P5_660.0_810.0", 126.0, "-P5_660.0_810.0.mp4",
    )  # fmt: skip
    assert first.spans == ((0.0, 4.0), (8.0, 10.0))
    assert first.saliency == Saliency((0, 4), ((4, 1, 1), (0, 2, 3)))
    assert (second.spans, second.saliency) == ((), None)
    put(tmp_path, "highlight_test_with_gt.jsonl", json.dumps(rows[0]))
    assert len(load_dataset("qvhighlights", "test", tmp_path)[0].queries) == 1


# --- DiDeMo ---


@pytest.mark.parametrize(
    ("times", "span"),
    [
        pytest.param([[4, 4], [0, 0], [4, 4], [4, 5]], (20, 25), id="most"),
        pytest.param([[0, 0], [0, 0], [3, 5], [4, 5], [3, 4]], (0, 5), id="most-not-the-middle"),
        pytest.param([[0, 0], [5, 5], [4, 5], [0, 0], [5, 5]], (25, 30), id="tie-by-iou"),
        pytest.param([[0, 0], [1, 1], [2, 2], [3, 3]], (0, 5), id="tie-by-place"),
        pytest.param([[3, 3], [0, 0]], (15, 20), id="tie-by-place-not-by-time"),
        pytest.param([[1, 4]], (5, 25), id="one"),
    ],
)
def test_didemo_has_one_span(times, span):
    assert one_span(times) == span


def test_didemo_ends_with_the_film(tmp_path, film):
    row = {"description": "a dog", "num_segments": 6, "times": [[0, 1]] * 4}
    names = ["1@N0_22_ff.mov", "1@N0_23_ff.", "1@N0_24_ff.avi", "1@N0_25_ff.mov"]
    rows = [row | {"annotation_id": i, "video": name} for i, name in enumerate(names)]
    rows[3] |= {"times": [[1, 1]] * 4}
    put(tmp_path, "test_data.json", rows)
    put(tmp_path, "yfcc100m_hash.txt", "23\tabc\n24\tdef\n")
    for name in ("1@N0_22_ff.mov.mp4", "abc.mp4", "1@N0_25_ff.mp4"):
        show(tmp_path / "videos" / name, film)
    videos = load_dataset("didemo", "test", tmp_path)
    assert [(v.path.name, v.duration, v.queries[0].spans) for v in videos] == [
        ("1@N0_22_ff.mov.mp4", pytest.approx(4.0), ((0.0, pytest.approx(4.0)),)),
        ("abc.mp4", pytest.approx(4.0), ((0.0, pytest.approx(4.0)),)),
        ("1@N0_24_ff.avi", 30.0, ((0.0, 10.0),)),
        ("1@N0_25_ff.mp4", pytest.approx(4.0), ((5.0, 10.0),)),  # not on this film at all
    ]


# --- conversations ---


def talk(*turns, **meta):
    turns = [{"from": who, "value": text} for who, text in turns]
    times = {"<s0>": 0, "<e0>": 9.4, "<s1>": 49.4, "<e1>": 53.2}
    row = {"id": "-x", "source": "anet", "conversations": turns}
    return row | {"meta": {"duration": 54.2, "token": times} | meta}


ASKED = "<video>\nDuring which frames can we see a man run?"
FIRST, SECOND = (0.0, 9.4), (49.4, 53.2)


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        pytest.param(
            [("human", "<video>\nTell all."),
             ("gpt", "From <s0> to <e0>, a woman counts. From <s1> to <e1>, two people talk.")],
            {"a woman counts.": [FIRST], "two people talk.": [SECOND]}, id="captions-behind",
        ),
        pytest.param(
            [("human", "Tell."), ("gpt", "She walks from <s0> to <e0>. Then, she jumps "
                                         "between <s1> and <e1>.")],
            {"She walks": [FIRST], "she jumps": [SECOND]}, id="captions-before",
        ),
        pytest.param(
            [("human", "Tell."), ("gpt", "Sure! From <s0> to <e0>, a b.")],
            {"a b.": [FIRST]}, id="a-word-first",
        ),
        pytest.param([("human", ASKED), ("gpt", "From <s0> to <e0>.")],
                     {"a man run": [FIRST]}, id="published-question"),
        pytest.param([("human", "<video>\nWhen?"), ("gpt", "From <s0> to <e0> and <s1> to <e1>.")],
                     {"When?": [FIRST, SECOND]}, id="any-question-two-spans"),
        pytest.param(
            [("human", "What happens between <s0> and <e0>?"), ("gpt", "He runs."),
             ("human", "And from <s1> to <e1>?"), ("gpt", "He sits.")],
            {"He runs.": [FIRST], "He sits.": [SECOND]}, id="times-in-the-question",
        ),
        pytest.param([("human", "And from <s0> to <e0>?"), ("gpt", "From <s0> to <e0>, a b.")],
                     {"a b.": [FIRST]}, id="times-in-both"),
        pytest.param([("human", "Why?"), ("gpt", "From 1 to 3 men.")], {}, id="no-times"),
    ],
)  # fmt: skip
def test_moments_of_vtimellm(turns, found):
    assert moments(conversation(talk(*turns))) == found


def test_vtimellm_as_a_dataset(tmp_path, film):
    cut = talk(("human", ASKED), ("gpt", "From <s0> to <e0>."), split=[129.8, 184.0])
    plain = {"id": "b", "source": "anet", "conversations": [{"from": "human", "value": "Why?"}]}
    put(tmp_path, "stage2.json", [cut, plain])
    show(tmp_path / "videos" / "anet" / "-x_129.8_184.0.mp4", film)
    show(tmp_path / "videos" / "-x.mp4", film)  # the whole film is not the part
    videos = load_dataset("vtimellm", "stage2", tmp_path)
    assert contents(videos) == [
        ("-x_129.8_184.0", 54.2, [("1_0", "a man run", (FIRST,))]),
        ("b", None, []),
    ]
    assert videos[0].path == tmp_path / "videos" / "anet" / "-x_129.8_184.0.mp4"
    assert conversation(cut)[:2] == ("-x_129.8_184.0", "anet")
    assert conversation(plain).turns == (("human", "Why?"),)


def test_numpro_instructions_as_a_dataset(tmp_path, film):
    ask = "<image>\nThe red numbers ....During which frames can we see {a dog}? Answer so."
    turns = [{"from": "human", "value": ask}, {"from": "gpt", "value": "From 3 to 7."}]
    row = {"video": "v_a", "source": "anet", "conversations": turns}
    put(tmp_path, "train_sft.json", [row, row | {"fps": 2, "duration": 9, "video": "v_b"}])
    show(tmp_path / "videos" / "v_a.mp4", film)
    assert contents(load_dataset("numpro-instructions", "train", tmp_path)) == [
        ("v_a", pytest.approx(4.0), [("1_0", "{a dog}", ((6.0, 14.0),))]),
        ("v_b", 9.0, [("2_0", "{a dog}", ((1.5, 3.5),))]),
    ]


# --- a folder of one's own ---


def test_a_folder_with_a_csv(tmp_path, film):
    show(tmp_path / "sea.mp4", film)
    show(tmp_path / "videos" / "hill.mov", film)
    cells = 'sea.mp4,"a dog, wet",1.5,3,\nhill,a cat,,,\nsea.mp4,a boat,0,2,b\n'
    put(tmp_path, "queries.csv", "\ufeffvideo,query,start,end,qid\n" + cells)
    for split in ("test", "train"):
        videos = load_dataset("folder", split, tmp_path)
        assert contents(videos) == [
            ("sea.mp4", pytest.approx(4.0), [("2", "a dog, wet", ((1.5, 3.0),)),
                                             ("b", "a boat", ((0.0, 2.0),))]),
            ("hill", pytest.approx(4.0), [("3", "a cat", ())]),
        ]  # fmt: skip
    assert [v.path.name for v in videos] == ["sea.mp4", "hill.mov"]
    put(tmp_path, "train.csv", "video,query\nhill,a cow\n")
    assert len(load_dataset("folder", "train", tmp_path)) == 1
    assert len(load_dataset("folder", "val", tmp_path / "queries.csv")) == 2


def test_a_folder_with_jsonl(tmp_path):
    row = {"video": "a", "duration": 9}
    rows = [row | {"query": "x", "spans": [[1, 2], [4, 5]]}]
    rows += [row | {"query": "y", "start": 1, "end": 2, "qid": 7}]
    put(tmp_path, "queries.jsonl", "\n".join(map(json.dumps, rows)))
    assert contents(load_dataset("folder", "test", tmp_path)) == [
        ("a", 9.0, [("1", "x", ((1.0, 2.0), (4.0, 5.0))), ("7", "y", ((1.0, 2.0),))])
    ]


# --- the published files ---


@reference
@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("charades-sta", "train"),
        ("charades-sta", "test"),
        ("activitynet-captions", "val_2"),
        ("didemo", "test"),
        ("qvhighlights", "val"),
        ("vue-tr", "v2"),
    ],
)
def test_the_published_files_have_the_published_counts(name, split):
    folder = {"charades-sta": "charades_sta", "activitynet-captions": "activitynet"}
    folder["vue-tr"] = "vue_tr"
    videos = load_dataset(name, split, REFERENCE / folder.get(name, name))
    queries = [query for video in videos for query in video.queries]
    published = sources()[name]["published"][split]
    assert (len(videos), len(queries)) == (published["videos"], published["queries"])
    assert all(query.text and query.spans for query in queries)
    assert len({query.qid for query in queries}) == len(queries)
    reversed_spans = sum(s.start > s.end for query in queries for s in query.spans)
    assert reversed_spans == (4 if (name, split) == ("charades-sta", "train") else 0)


@reference
def test_charades_rows_agree_with_lighthouse():
    folder = REFERENCE / "charades_sta"
    ours = load_dataset("charades-sta", "test", folder)
    theirs = load_dataset("qvhighlights", "test", folder / "lighthouse_charades_test_release.jsonl")
    late = 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.video == other.video and mine.duration is None and other.duration > 0
        for a, b in zip(mine.queries, other.queries, strict=True):
            (span,), (clipped,) = a.spans, b.spans
            assert (a.text, span.start) == (b.text, clipped.start)
            assert min(span.end, other.duration) == clipped.end
            late += span.end > other.duration
    assert late == 562
    train = load_dataset(
        "qvhighlights", "train", folder / "lighthouse_charades_train_release.jsonl"
    )
    assert (len(train), sum(len(v.queries) for v in train)) == (5336, 12404)
