"""Rows survive kills and full disks; shards come together; what a run was is told beside it."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from asking import predict
from click.testing import CliRunner
from films import encode
from worker_tasks import hang_in_files

import numpro.video.cache
from numpro import NumberStyle
from numpro.cli import main
from numpro.datasets import Query, VideoQueries
from numpro.inference.prediction_files import (
    add_row,
    config_path,
    merge_shards,
    missing_queries,
    read_config,
    read_rows,
    shard_path,
)
from numpro.models import load_model
from numpro.models.base import NoAnswer, VideoModel
from numpro.spans import Span


class Guessing(VideoModel):
    """Says something of its own to each question, and logs what it was asked."""

    name, adapter, notes = "guessing", None, {}

    def __init__(self, log=None, pause=0.0, draws=False, fails=(), dtype="float32"):
        self.log, self.pause, self.draws, self.fails = log, pause, draws, fails
        self.usage, self.dtype = {"prompt_tokens": 0, "answer_tokens": 0}, dtype

    def state(self):
        return {"dtype": self.dtype}

    def respond(self, frames, prompts, max_new_tokens):
        time.sleep(self.pause)
        responses = []
        for prompt in prompts:
            words = prompt.text.split("see ")[1].split("?")[0]
            if self.log:
                with open(self.log, "a") as file:
                    print(words, file=file)
            label = hashlib.sha256(words.encode()).digest()[0] % 4
            if self.draws:
                import torch

                label = int(torch.randint(1000, ()))
            self.usage["prompt_tokens"] += 1000
            self.usage["answer_tokens"] += 10
            failed = words in self.fails
            responses.append(
                NoAnswer("out of memory: 3 GiB asked") if failed else f"From {label} to 9"
            )
        return responses


def dataset(film, count=12):
    """Two queries about each of `count` videos, all one film of 1.6 s."""
    return [
        VideoQueries(
            f"v{n}", Path(film), 1.6,
            tuple(Query(f"v{n}_{q}", f"thing {n} {q}", (Span(0.0, 1.0),)) for q in range(2)),
            "made", "test",
        )
        for n in range(count)
    ]  # fmt: skip


def run(videos, model, out, **options):
    given = {"fps": 5.0, "size": (32, 24), "workers": 0, "progress": False}
    return predict(videos, model, out, **given | options)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "rows.jsonl"


@pytest.fixture
def whole(film, tmp_path):
    """The file of a run that nothing broke."""
    run(dataset(film), Guessing(), tmp_path / "whole.jsonl")
    return (tmp_path / "whole.jsonl").read_bytes()


def qids(rows):
    return [row["qid"] for row in rows]


# torch takes seconds to import and has no part in this
SLOW = """
import sys
from types import SimpleNamespace
no_gpu = SimpleNamespace(device_count=lambda: 0, is_available=lambda: False)
seeded = SimpleNamespace(manual_seed=lambda seed: None)
sys.modules["torch"] = SimpleNamespace(cuda=no_gpu, accelerator=no_gpu, default_generator=seeded)
from test_predictions import *
run(dataset(sys.argv[1]), Guessing(sys.argv[3], pause=0.05), sys.argv[2], workers=2)
"""


def test_a_run_that_is_killed_again_and_again_loses_and_doubles_nothing(
    film, out, whole, tmp_path
):  # fmt: skip
    log, before, killed = tmp_path / "asked.txt", set(), 0
    command = [sys.executable, "-c", SLOW, film, out, log]
    for rows in (1, 7, 16):
        process = subprocess.Popen(command, cwd=Path(__file__).parent, start_new_session=True)
        until = time.monotonic() + 300
        while not out.is_file() or out.read_bytes().count(b"\n") < rows:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        there = qids(read_rows(out))
        assert len(there) == len(set(there)) >= rows and before <= set(there)
        before = set(there)
    assert killed == 3
    run(dataset(film), Guessing(log), out)
    assert out.read_bytes() == whole
    queries = log.read_text().splitlines()
    assert len(set(queries)) == 24 and len(queries) <= 24 + 3 * 2, "but what a kill caught"


def test_a_full_disk_is_said_and_what_was_written_stays(film, out, whole):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, hard))
    try:
        with pytest.raises(OSError, match="the rows so far are kept: run it again.*rows.jsonl"):
            run(dataset(film), Guessing(), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = out.read_bytes()
    assert whole.startswith(kept) and kept.endswith(b"\n") and kept.count(b"\n") > 6
    run(dataset(film), Guessing(), out)
    assert out.read_bytes() == whole


def test_a_row_is_there_before_the_next_is_asked(out):
    with out.open("ab", buffering=0) as file:
        for number in range(3):
            add_row(file, {"qid": str(number), "reason": None})
            assert qids(read_rows(out)) == [str(n) for n in range(number + 1)]


def test_the_rows_of_a_video_are_on_the_disk_before_the_next_is_asked(film, out, monkeypatch):
    synced, wait = [], os.fsync

    def fsync(number):
        if out.is_file() and os.path.samestat(os.fstat(number), out.stat()):
            synced.append(out.read_bytes().count(b"\n"))
        wait(number)

    monkeypatch.setattr(os, "fsync", fsync)
    run(dataset(film, 3), Guessing(), out)
    assert synced == [2, 4, 6]


def test_half_a_row_does_not_spoil_what_is_added_behind_it(film, out, whole):
    class Breaks(Guessing):
        def respond(self, frames, prompts, max_new_tokens):
            if self.usage["prompt_tokens"] > 3000:
                raise KeyboardInterrupt
            return super().respond(frames, prompts, max_new_tokens)

    run(dataset(film), Guessing(), out)
    rows = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(rows[:5]) + rows[5][:30])
    with pytest.raises(KeyboardInterrupt):
        run(dataset(film), Breaks(), out)
    assert out.read_bytes() == b"".join(rows[:10])
    run(dataset(film), Guessing(), out)
    assert out.read_bytes() == whole


def test_a_query_out_of_memory_is_recorded_and_asked_again(film, out, whole, tmp_path):
    log = tmp_path / "asked.txt"
    rows = run(dataset(film), Guessing(fails=("thing 3 1", "thing 5 0")), out)
    failed = [row for row in rows if row["reason"]]
    assert qids(failed) == ["v3_1", "v5_0"]
    assert all(r["reason"] == "out of memory: 3 GiB asked" and r["pred"] == [] for r in failed)
    run(dataset(film), Guessing(log), out)
    assert out.read_bytes() == whole
    assert log.read_text().splitlines() == ["thing 3 1", "thing 5 0"]


def test_a_hanging_video_is_recorded_and_the_others_are_asked(film, out, tmp_path):
    videos = dataset(film, 3)
    videos[1] = replace(videos[1], path=hang_in_files(tmp_path))
    rows = run(videos, Guessing(), out, workers=1, limit=5)
    assert [row["reason"] is None for row in rows] == [True, True, False, False, True, True]
    assert rows[2]["reason"].startswith("video: ") and "not read within 5 s" in rows[2]["reason"]
    mended = run(dataset(film, 3), Guessing(), out)
    assert all(row["reason"] is None for row in mended)


def test_the_next_videos_are_decoded_while_the_model_answers(film, out, tmp_path):
    cache = numpro.video.cache.ClipCache(tmp_path / "cache")
    others = [encode(tmp_path / f"{n}.mp4") for n in range(3)]
    videos = [replace(v, path=p) for v, p in zip(dataset(film, 3), others, strict=True)]

    class Waiting(Guessing):
        def respond(self, frames, prompts, max_new_tokens):
            until = time.monotonic() + 300
            while len(cache.store.database) < 2:
                assert time.monotonic() < until, "the next video is not read meanwhile"
                time.sleep(0.05)
            return super().respond(frames, prompts, max_new_tokens)

    run(videos, Waiting(), out, workers=1, cache=cache)


def test_clips_are_kept_for_the_next_run(film, out, whole, tmp_path, monkeypatch):
    run(dataset(film), Guessing(), out, cache=tmp_path / "cache")
    monkeypatch.setattr(numpro.video.cache, "read_clip", None)
    again = tmp_path / "again.jsonl"
    run(dataset(film), Guessing(), again, cache=tmp_path / "cache")
    assert again.read_bytes() == out.read_bytes() == whole


def test_a_film_that_is_not_as_long_as_annotated_is_said(film, out):
    videos = [replace(v, duration=4.0) for v in dataset(film, 1)]
    notice = "the film is 1.60 s long, annotated are 4.00 s"
    with pytest.warns(UserWarning, match=f"film.mp4: {notice}"):
        rows = run(videos, Guessing(), out)
    assert [row["warnings"] for row in rows] == [[notice]] * 2
    assert "warnings" not in run(dataset(film, 1), Guessing(), out.with_name("b"))[0]


def test_shards_come_together_as_if_they_had_been_one(film, out, whole):
    videos = dataset(film)
    for number in (1, 3):
        rows = run(videos, Guessing(), out, shard=(number, 3))
        assert qids(rows) == [q.qid for v in videos[number - 1 :: 3] for q in v.queries]
    assert len(missing_queries(videos, out)) == 8
    with pytest.raises(ValueError, match="8 of 24 queries have no row yet, first qid 'v1_0'"):
        merge_shards(videos, out)
    assert not out.exists()
    run(videos, Guessing(fails=("thing 4 0",)), out, shard=(2, 3))
    assert [row["qid"] for row in merge_shards(videos, out) if row["reason"]] == ["v4_0"]
    run(videos, Guessing(), out)  # asks again what failed
    assert out.read_bytes() == whole
    merge_shards(videos, out)
    assert out.read_bytes() == whole, "an answer counts before a shard's failure"
    assert len(read_config(out)["about"]["sessions"]) == 4

    run(videos, Guessing(), out.with_name("other.jsonl"), shard=(1, 2))
    run(videos, Guessing(), out.with_name("other.jsonl"), shard=(2, 2), fps=2.5)
    with pytest.raises(ValueError, match="rows of another configuration .*fps: 2.5 there, 5.0 now"):
        merge_shards(videos, out.with_name("other.jsonl"))
    with pytest.raises(FileNotFoundError, match="none.shard-1-of-2.jsonl"):
        merge_shards(videos, out.with_name("none.jsonl"))
    with pytest.raises(ValueError, match="shard must be i/n with 1 <= i <= n; got 3/2"):
        run(videos, Guessing(), out, shard=(3, 2))


def test_what_is_drawn_depends_on_the_seed_and_the_video_only(film, out):
    pytest.importorskip("torch")
    videos = dataset(film, 6)
    rows = run(videos, Guessing(draws=True), out)
    shards = out.with_name("shards.jsonl")
    for number in (2, 1):
        run(videos, Guessing(draws=True), shards, shard=(number, 2))
    assert merge_shards(videos, shards) == rows
    other = run(videos, Guessing(draws=True), out.with_name("other.jsonl"), seed=1)
    assert [r["response"] for r in other] != [r["response"] for r in rows]


def test_what_a_run_was_travels_with_its_file(film, out):
    run(dataset(film), Guessing(fails=("thing 0 1",)), out)
    run(dataset(film), Guessing(), out)
    config = read_config(out)
    assert config["state"] == {"dtype": "float32"} and config["seed"] == 0
    about = config["about"]
    assert about["prompt"].startswith("<frame 0><frame 1>")
    assert about["prompt"].endswith("During which frames can we see thing 0 0? Answer in the "
                                    "format: 'From Frame x to Frame y'.")  # fmt: skip
    assert len(about["annotations"]) == 16
    first, second = about["sessions"]
    assert (first["asked"], first["failed"]) == (24, 1) and first["seconds"] >= 0
    assert first["usage"] == {"prompt_tokens": 24_000, "answer_tokens": 240}
    assert (second["asked"], second["usage"]["prompt_tokens"]) == (1, 1000)
    assert {"numpro", "python", "torch", "transformers"} <= set(first["versions"])


def test_other_versions_are_told_and_another_state_is_refused(film, out):
    run(dataset(film, 2), Guessing(), out)
    config = read_config(out)
    config["about"]["sessions"][0]["versions"]["python"] = "3.10.1"
    config_path(out).write_text(json.dumps(config))
    run(dataset(film, 2), Guessing(dtype="bfloat16"), out)  # nothing is asked: only read
    with pytest.raises(ValueError, match="state: .*float32.* there, .*bfloat16.* now"):
        run(dataset(film, 3), Guessing(dtype="bfloat16"), out)
    with pytest.warns(UserWarning, match=r"taken up with other versions: python 3.10.1 there, 3"):
        assert len(run(dataset(film, 3), Guessing(), out)) == 6


def test_whatever_the_answers_depend_on_makes_another_configuration(film, out, monkeypatch):
    run(dataset(film, 1), Guessing(), out)
    before = out.read_bytes()

    def refused(named, model=None, videos=None, **options):
        with pytest.raises(ValueError, match=f"rows of another configuration .*{named}: .* now"):
            run(videos or dataset(film, 2), model or Guessing(), out, **options)
        assert out.read_bytes() == before

    changes = {"task": "highlight_detection", "time_encoding": "none", "fps": 2.0, "size": None}
    changes |= {"style": NumberStyle(size=9), "max_frames": 7, "template": "see {query}?"}
    changes |= {"end": "inclusive", "control": "shuffled", "seed": 1}
    for name, value in changes.items():
        refused(name, **{name: value})
    for name, key in {"name": "model", "adapter": "adapter", "fingerprint": "weights"}.items():
        refused(key, model=type("Other", (Guessing,), {name: "another"})())
    refused("dataset", videos=[replace(v, split="val") for v in dataset(film, 2)])
    monkeypatch.setattr("numpro.inference.prediction.__version__", "9")
    refused("numpro")


def test_style_and_template_reach_the_model(film, out):
    how = {"template": "{whole}{color}: see {query}?", "style": NumberStyle(color="blue")}
    model = Guessing()
    model.respond = lambda frames, prompts, most: [prompt.text for prompt in prompts]
    rows = run(dataset(film, 1), model, out, **how)
    assert [row["response"] for row in rows] == ["blue: see thing 0 0?", "blue: see thing 0 1?"]
    assert read_config(out)["about"]["prompt"].endswith("\nblue: see thing 0 0?")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "another thing"}, "query was 'thing 0 0' and is 'another thing'"),
        ({"spans": (Span(0.0, 1.2),)}, r"truth was \[\[0.0, 1.0\]\] and is \[\[0.0, 1.2\]\]"),
    ],
    ids=["query", "truth"],
)
def test_rows_of_other_annotations_are_refused(film, out, change, message):
    (video,) = dataset(film, 1)
    run([video], Guessing(), out)
    before = out.read_bytes()
    queries = (replace(video.queries[0], **change), video.queries[1])
    with pytest.raises(ValueError, match=f"qid 'v0_0': {message} in the annotations; give another"):
        run([replace(video, queries=queries)], Guessing(), out)
    assert out.read_bytes() == before


def test_progress_tells_failures_and_tokens(film, out, capsys):
    run(dataset(film, 2), Guessing(fails=("thing 0 0",)), out, progress=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "4/4" in last and "1 failed, 4,040 tokens" in last
    run(dataset(film, 3), Guessing(), out, progress=True)
    assert "6/6" in capsys.readouterr().err.split("\r")[-1], "with what was there already"


@pytest.mark.slow
def test_accelerate_launch_shares_a_dataset_among_its_processes(films, out):
    data = films[0].path.parent.parent
    # a model that has learned something: random weights often waver between two words, and a
    # difference in the third digit changes what they say
    options = {"model": "flipbook/longva", "adapter": "flipbook/numpro-ft"}
    # --multi_gpu is what starts several processes, also where there is no GPU; --cpu starts one
    launch = "accelerate.commands.accelerate_cli launch --multi_gpu --num_processes 2"
    launch += " --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    launch += " -m numpro predict --dataset flipbook"
    command = [sys.executable, "-m", *launch.split(), "--data-root", data, "--limit", "2"]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    command += ["-o", "dtype", "float32", "--out", out, "--json"]
    alone = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=os.environ | alone
    )
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(printed) == 2 and max(row["n"] for row in printed) == sum(
        len(v.queries) for v in films
    )
    for number, video in enumerate(films, 1):
        part = read_rows(shard_path(out, (number, 2)))
        assert qids(part) == [q.qid for q in video.queries]
    model = load_model(options["model"], adapter=options["adapter"], device="cpu", dtype="float32")
    rows = predict(films, model, out.with_name("whole.jsonl"), progress=False)
    assert read_rows(out) == rows and all(row["spans"] for row in rows)

    out.unlink()
    merging = ["predict", "--data-root", str(data), "--limit", "2", "--out", str(out)]
    merged = CliRunner().invoke(main, [*merging, "--merge"])
    assert merged.output.startswith(f"wrote {out}: {len(rows)} queries of 2 videos, ")
    assert len(read_rows(out)) == len(rows)
    for option, message in (
        ("--shard=1/2", "--merge goes without"),
        ("--shard=3/2", "must be i/n"),
    ):
        refused = CliRunner().invoke(main, [*merging, "--merge", option])
        assert refused.exit_code == 2 and message in refused.output


def test_one_process_is_no_launch(monkeypatch):
    from numpro.inference.prediction_files import launched

    for size in (None, "1"):
        monkeypatch.setenv("WORLD_SIZE", size) if size else os.environ.pop("WORLD_SIZE", None)
        assert launched() == (None, "auto")
    monkeypatch.setenv("WORLD_SIZE", "4")  # some schedulers set it alone
    monkeypatch.delenv("RANK", raising=False)
    assert launched() == (None, "auto")


def test_a_later_row_of_a_query_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"qid": "1", "reason": "video: gone"}, {"qid": "2"}, {"qid": "1", "reason": None}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_rows(path) == [rows[2], rows[1]]


def test_only_a_line_that_a_kill_cut_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"qid": "1"}\n{"qid": "2"')
    assert read_rows(path) == [{"qid": "1"}]
    for whole in ('{"qid": "1"}\n{"qid": "2"\n', '{"qid"\n{"qid": "2"}\n', '{"qid"\n{"qid": "2"'):
        path.write_text(whole)
        with pytest.raises(ValueError, match=r"rows.jsonl line \d is not a prediction row"):
            read_rows(path)
