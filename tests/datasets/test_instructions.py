"""Instruction data: true answers, in files that other trainers take, and its cost said."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from numpro import number_frames, read_clip
from numpro.cli import main
from numpro.datasets import Query, VideoQueries, load_dataset
from numpro.datasets.instructions import (
    FORMATS,
    InstructionConfig,
    build_samples,
    check_export,
    export,
    rounding_cost,
)
from numpro.prompting.answers import parse_highlights, parse_moment
from numpro.spans import ROUNDINGS, Span
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import Samples

MOMENTS = "moment_retrieval"


def made(*spans, duration=10.0, path="gone.mp4", text="a star"):
    """A video that is not there, with a query for each span (None: one without)."""
    queries = [Query(str(n), text, (Span(*s),) if s else ()) for n, s in enumerate(spans)]
    return VideoQueries(
        "v_-a b.c", Path(path), duration, tuple(queries), "activitynet-captions", "x"
    )


def built(*spans, config=None, **facts):
    return build_samples([made(*spans, **facts)], config=config, need_videos=False)


# --- what is asked and answered -----------------------------------------------------------------


def test_a_sample_is_the_published_question_and_the_true_labels():
    (sample,), report = built((2.4, 6.5))
    assert sample.question == (
        "The red numbers on each frame represent the frame number.During which frames can we see "
        "a star? Answer in the format: 'From Frame x to Frame y'."
    )
    assert sample.answer == "From Frame 2 to Frame 7."
    assert (report["samples"], report["videos"], report["skipped"]) == (1, 1, [])


def test_fine_tuning_and_export_teach_the_same(films):
    model = SimpleNamespace(  # one whose tokens are whole texts
        resolve_encoding=str,
        training_example=lambda frames, prompt, answer: {
            "input_ids": [f"{len(frames)} frames", prompt.text, answer]
        },
    )
    samples, _ = build_samples(films, config=InstructionConfig(fps=0.5))
    learned = Samples(films, model, FinetuneConfig(fps=0.5))
    assert len(samples) == len(learned) == sum(len(v.queries) for v in films)
    for i, sample in enumerate(samples):
        frames = f"{len(sample.shown.seconds)} frames"
        assert learned[i]["input_ids"] == [frames, sample.question, sample.answer]


@pytest.mark.parametrize("time_encoding", ["none", "overlay-index", "overlay-seconds"])
def test_the_true_answer_can_be_read_back(films, time_encoding):
    config = InstructionConfig(time_encoding=time_encoding)
    samples, report = build_samples(films, config=config)
    for sample in samples:
        answer = parse_moment(sample.answer)
        assert answer.reason is None
        span, true = np.array(answer.spans[0]), np.array(sample.query.spans[0])
        if answer.unit == "second":
            assert np.abs(span - true).max() < 0.0501
        else:
            times = sample.shown.seconds
            assert np.abs(times[span] - np.minimum(true, times[-1])).max() <= 0.5
    assert bool(report["cost"]) == (time_encoding != "overlay-seconds")
    for sample in build_samples(films, "highlight_detection", config)[0]:
        assert parse_highlights(sample.answer).reason is None


def test_text_between_frames_cannot_be_exported():
    with pytest.raises(
        ValueError, match="must be one of none, overlay-index, overlay-seconds, .*; got"
    ):
        built((1, 2), config=InstructionConfig(time_encoding="text-index"))


# --- what rounding costs ------------------------------------------------------------------------


def test_the_cost_of_each_rounding_rule_is_the_overlap_lost():
    samples, report = built((0.6, 3.4), (2.0, 6.0))
    # nearest 1..3 of 0.6..3.4; floor and half to even 0..3 and 1..3; outer 0..4
    lost = {
        "nearest": 1 - 2 / 2.8, "half_even": 1 - 2 / 2.8, "floor": 1 - 2.4 / 3.4,
        "outer": 1 - 2.8 / 4,
    }  # fmt: skip
    cost = {rule: 50 * x for rule, x in lost.items()}
    # 1..3, which are 0.5 to 3.5 s; and of 2..6 s all five frames, which are 1.5 to 6.5 s
    cost["inner"] = 50 * (1 - 2.8 / 3 + 1 - 4 / 5)
    assert report["cost"] == pytest.approx(cost)
    assert list(report["cost"]) == list(ROUNDINGS)
    assert samples[0].answer == "From Frame 1 to Frame 3."
    (outer, _), _ = built((0.6, 3.4), (2.0, 6.0), config=InstructionConfig(rounding="outer"))
    assert outer.answer == "From Frame 0 to Frame 4."
    inner = InstructionConfig(rounding="inner")
    (shown, _), _ = built((0.6, 3.4), (2.0, 6.0), config=inner)
    assert shown.answer == "From Frame 1 to Frame 3."
    timed = replace(inner, time_encoding="overlay-seconds")
    (shown, _), _ = built((0.6, 3.4), (2.0, 6.0), config=timed)
    assert "1.0" in shown.answer and "3.0" in shown.answer, "times of the frames that show it"
    assert rounding_cost([]) == {}


# --- nothing is lost in silence -----------------------------------------------------------------


def test_what_cannot_be_learned_is_left_out_with_its_reason(films, tmp_path):
    queries = [None, (5, 3), (10, 12), (9.9, 14), (4, 4)]
    samples, report = built(*queries)
    assert [s.query.qid for s in samples] == ["3", "4"]
    assert samples[0].answer == "From Frame 9 to Frame 9."
    assert {row["qid"]: row["reason"] for row in report["skipped"]} == {
        "0": "has no span to learn",
        "1": "has a span that ends before it starts: 5 to 3 s",
        "2": "has a span outside the video: 10 to 12 s",
    }
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"x" * 100)
    videos = [made((1, 2)), made((1, 2), path=broken), *films]
    samples, report = build_samples(videos)
    assert {s.video.video for s in samples} == {v.video for v in films}
    reasons = [(row["video"], row["qid"], row["reason"]) for row in report["skipped"]]
    assert reasons[0] == ("v_-a b.c", None, "no such file")
    assert "not a readable video" in reasons[1][2] and len(reasons) == 2
    # what is there and broken is no video that is elsewhere
    samples, report = build_samples([videos[1]], need_videos=False)
    assert not samples and "not a readable video" in report["skipped"][0]["reason"]
    _, report = build_samples([made((1, 2), duration=None)], need_videos=False)
    assert report["skipped"][0]["reason"] == "no such file"


# --- the videos ---------------------------------------------------------------------------------


@pytest.mark.parametrize("time_encoding", ["none", "overlay-index", "overlay-seconds"])
def test_videos_are_written_as_the_questions_speak_of_them(films, tmp_path, time_encoding):
    config = InstructionConfig(time_encoding, fps=0.5, size=(112, 112))
    samples, _ = build_samples(films[:1], config=config, numbered=tmp_path / "new")
    same, _ = build_samples(films[:1], config=config)
    assert [s[3:5] for s in samples] == [s[3:5] for s in same]
    (path,) = {s.path for s in samples}
    assert path == tmp_path / "new" / f"{films[0].video}.mp4"
    clip, shown = read_clip(films[0].path, fps=0.5, size=(112, 112)), read_clip(path, fps=0.5)
    assert np.array_equal(shown.seconds, clip.seconds)
    assert shown.duration == pytest.approx(clip.duration, abs=1e-3)
    texts = [f"{t:.1f}s" for t in clip.seconds]
    pages = {
        "none": clip.frames,
        "overlay-index": number_frames(clip.frames),
        "overlay-seconds": number_frames(clip.frames, labels=texts),
    }
    far = {name: np.abs(shown.frames - x.astype(int)).mean() for name, x in pages.items()}
    assert far.pop(time_encoding) < min(far.values()) / 2


def test_the_videos_of_a_dataset_are_not_written_over(films, tmp_path):
    before = films[0].path.read_bytes()
    for name in (films[0].video, films[0].path.name):
        with pytest.raises(ValueError, match="numbered videos need another folder than"):
            build_samples([replace(films[0], video=name)], numbered=films[0].path.parent)
    assert films[0].path.read_bytes() == before


def test_no_numbered_video_leaves_its_folder(films, tmp_path):
    out = replace(films[0], video="../out")
    with pytest.raises(ValueError, match="must stay inside its folder"):
        build_samples([out], numbered=tmp_path / "new")


# --- the files ----------------------------------------------------------------------------------


def test_each_format_is_written_as_documented(tmp_path):
    samples, _ = built((2.4, 6.5))
    question, path = samples[0].question, str(Path("gone.mp4").absolute())
    turns = [{"from": "human", "value": "<video>" + question}]
    turns.append({"from": "gpt", "value": "From Frame 2 to Frame 7."})
    rows = {}
    for name, (suffix, *_) in FORMATS.items():
        file = export(samples, tmp_path / f"{name}{suffix}", name)
        rows[name] = json.loads(file.read_text(encoding="utf-8"))
        assert check_export(file, name) == 1
    assert rows["ms-swift"] == {
        "messages": [
            {"role": "user", "content": "<video>" + question},
            {"role": "assistant", "content": "From Frame 2 to Frame 7."},
        ],
        "videos": [path],
    }
    assert rows["llama-factory"] == [{"conversations": turns, "videos": [path]}]
    talk = [{"from": "human", "value": "<video>\n" + question}, turns[1]]
    facts = {"video": "v_-a b.c", "source": "anet", "fps": 1.0, "duration": 10.0}
    assert rows["conversations"] == [facts | {"conversations": talk}]
    assert json.loads((tmp_path / "dataset_info.json").read_text()) == {
        "llama-factory": {
            "file_name": "llama-factory.json",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "videos": "videos"},
        }
    }


@pytest.mark.parametrize("name", FORMATS)
def test_the_flipbook_exports_and_the_export_is_valid(films, tmp_path, name):
    samples, report = build_samples(films)
    file = export(samples, tmp_path / f"films{FORMATS[name][0]}", name)
    assert check_export(file, name) == report["samples"] == sum(len(v.queries) for v in films)


def test_conversations_are_read_back_as_a_dataset(films, tmp_path):
    samples, _ = build_samples(films, config=InstructionConfig(fps=2.0))
    export(samples, tmp_path / "train.json", "conversations")
    videos = load_dataset("numpro-instructions", "train", tmp_path / "train.json")
    assert [v.video for v in videos] == [v.video for v in films]
    assert [v.duration for v in videos] == pytest.approx([v.duration for v in films], abs=0.1)
    for read, film in zip(videos, films, strict=True):
        assert [q.text for q in read.queries] == [q.text for q in film.queries]
        for query, true in zip(read.queries, film.queries, strict=True):
            assert np.abs(np.subtract(query.spans[0], true.spans[0])).max() <= 0.5


def test_other_data_sets_stay_in_dataset_info(tmp_path):
    info = tmp_path / "dataset_info.json"
    info.write_text('{"mine": {"file_name": "mine.json"}}')
    samples, _ = built((1, 2))
    export(samples, tmp_path / "new.json", "llama-factory")
    assert list(json.loads(info.read_text())) == ["mine", "new"]
    for content in ("[1]", "{"):
        info.write_text(content)
        with pytest.raises(ValueError, match="dataset_info.json: (must be an object|not JSON)"):
            export(samples, tmp_path / "more.json", "llama-factory")
        assert not (tmp_path / "more.json").exists()


def test_what_a_format_cannot_hold_is_not_written(tmp_path):
    samples, _ = built((1, 2), text="a <video> tag")
    for name, (suffix, *_) in FORMATS.items():
        with pytest.raises(
            ValueError, match="query '0': .* one <video> for each video; got <video>"
        ):
            export(samples, tmp_path / f"a{suffix}", name)
    samples, _ = built((1, 2))
    with pytest.raises(ValueError, match=r"a file for ms-swift must end in \.jsonl; got a\.json"):
        export(samples, tmp_path / "a.json", "ms-swift")
    with pytest.raises(ValueError, match="no samples to write"):
        export([], tmp_path / "a.jsonl", "ms-swift")
    assert not list(tmp_path.iterdir())


ROW = {
    "messages": [
        {"role": "user", "content": "<video>When?"},
        {"role": "assistant", "content": "From 1 to 2."},
    ],
    "videos": ["/a.mp4"],
}
TURNS = ROW["messages"]
BROKEN = {
    "no turns": ({**ROW, "messages": []}, "questions with answers; got 0 turns"),
    "no answer": ({**ROW, "messages": TURNS[:1]}, "questions with answers; got 1 turns"),
    "two questions": ({**ROW, "messages": [TURNS[0]] * 2}, "role must be 'assistant' in turn 2"),
    "answer first": ({**ROW, "messages": TURNS[::-1]}, "role must be 'user' in turn 1"),
    "empty answer": (
        {**ROW, "messages": [TURNS[0], {"role": "assistant", "content": " "}]},
        "content must be text",
    ),
    "no content": ({**ROW, "messages": [TURNS[0], {"role": "assistant"}]}, "has no content"),
    "no videos": ({"messages": TURNS}, "has no videos"),
    "no file": ({**ROW, "videos": []}, "one <video> for each video; got <video> for 0"),
    "two files": ({**ROW, "videos": ["a", "b"]}, "one <video> for each video; got <video> for 2"),
    "an empty path": ({**ROW, "videos": [""]}, "videos must be text"),
    "a path": ({**ROW, "videos": "a.mp4"}, "videos must be a list"),
    "an image": (
        {**ROW, "messages": [{"role": "user", "content": "<video><image>When?"}, TURNS[1]]},
        "got <video> <image> for 1",
    ),
    "a list": ([ROW], "must be an object"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_is_named(tmp_path, case):
    row, message = BROKEN[case]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in (ROW, row)))
    with pytest.raises(ValueError, match="x.jsonl: row 2: .*") as error:
        check_export(file, "ms-swift")
    assert message in str(error.value)


def test_a_valid_row_may_begin_with_a_system_turn(tmp_path):
    file = tmp_path / "x.jsonl"
    system = {"role": "system", "content": "You watch videos."}
    file.write_text(json.dumps({**ROW, "messages": [system, *TURNS]}) + "\n")
    assert check_export(file, "ms-swift") == 1
    file.write_text("")
    with pytest.raises(ValueError, match="x.jsonl: is empty"):
        check_export(file, "ms-swift")


def test_llama_factory_needs_its_entry_and_conversations_their_source(tmp_path):
    samples, _ = built((1, 2))
    file = export(samples, tmp_path / "a.json", "llama-factory")
    (tmp_path / "dataset_info.json").unlink()
    with pytest.raises(ValueError, match="dataset_info.json beside it must hold it as"):
        check_export(file, "llama-factory")
    with pytest.raises(ValueError, match="row 1: has no video"):
        check_export(file, "conversations")


# --- the command --------------------------------------------------------------------------------


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["instructions", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_writes_and_says_the_cost(films, tmp_path):
    root, out = films[0].path.parents[2], tmp_path / "a.jsonl"
    of = ("--split", "test", "--limit", 2, "--data-root", root, "--out", out)
    printed = run(*of, "--videos", tmp_path / "new")
    count = sum(len(v.queries) for v in films)
    assert f"{count} samples of 2 videos for ms-swift" in printed and "left out" not in printed
    assert (
        "mean IoU lost by rounding, in %: nearest" in printed and "numbers on them" not in printed
    )
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows[0]["videos"] == [str(tmp_path / "new" / f"{films[0].video}.mp4")]
    assert Path(rows[-1]["videos"][0]).is_file()
    report = json.loads(run(*of, "--rounding", "floor", "--fps", 0.5, "--json"))
    assert (report["samples"], report["videos"], report["rounding"]) == (count, 2, "floor")
    assert report["cost"]["floor"] > report["cost"]["nearest"] > 0
    assert "no numbers on them yet: --videos" in run(*of)


def test_the_command_says_what_is_left_out_and_why_nothing_is_written(tmp_path):
    rows = [{"id": n, "video": f"v{n}", "query": "a dog", "start_time": 1, "end_time": 3 - n,
             "duration": 9} for n in range(14)]  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(rows))
    of = ("--dataset", "numpro-json", "--data-root", tmp_path, "--out", tmp_path / "a.jsonl")
    assert "Error: no samples in 14 videos; left out: v0: no such file" in run(*of, code=1)
    assert not (tmp_path / "a.jsonl").exists()
    printed = run(*of, "--absent-too")
    assert "3 samples of 3 videos" in printed and "left out: 1 more" in printed
    assert printed.count("has a span that ends before it starts") == 10
    report = json.loads(run(*of, "--absent-too", "--json"))
    assert [row["video"] for row in report["skipped"]] == [f"v{n}" for n in range(3, 14)]
