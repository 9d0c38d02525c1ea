"""A run that is killed anywhere and taken up again ends as one that never broke."""

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from numpro.cli import main
from numpro.models import load_model
from numpro.models.adapters import read_log
from numpro.training import finetuning as training
from numpro.training.checkpoints import MARK, Bookkeeper, is_finished, last_checkpoint, run_facts
from numpro.training.finetuning import finetune, train_or_take
from numpro.training.presets import FinetuneConfig
from numpro.training.validation import Validation

RUN = {"steps": 6, "save_every": 2, "validate_every": 2, "log_every": 4, "batch_size": 2}
RUN |= {"lora_dropout": 0.2, "lora_rank": 8, "learning_rate": 5e-3, "progress": False}
SCORES = (30.0, 10.0, 20.0)  # at steps 2, 4, 6: the best comes before what is killed

# a child for each place to break off: after a step, or while the checkpoint of one is written
BREAK = """
import json, os, signal, sys
from pathlib import Path
from numpro.training.checkpoints import Bookkeeper
from numpro.datasets import load_dataset
from numpro.training.finetuning import finetune
from numpro.models import load_model
from numpro.training.validation import Validation

folder, films, out, run, scores, *places = sys.argv[1:]
films, scores = load_dataset("flipbook", "test", films, limit=2), json.loads(scores)
Validation.score = lambda self: scores[len(self.scores)]

def break_off(cls, name, step):
    inner = getattr(cls, name)
    def outer(self, *arguments, **named):
        state = arguments[1] if len(arguments) > 1 else None
        if state.global_step == step if state else arguments[0].name == f"checkpoint-{step}":
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(self, *arguments, **named)
    setattr(cls, name, outer)

for place in places:
    child = os.fork()
    if not child:
        cls, name = (Validation, "save") if "save" in place else (Bookkeeper, "on_step_end")
        break_off(cls, name, int(place.removeprefix("save")))
        model = load_model(folder, device="cpu", dtype="float32")
        finetune(model, films, Path(out) / place, validation=films[:1], **json.loads(run))
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
PLACES = ("1", "3", "5", "save4")


def train(folder, films, out, **changes):
    model = load_model(str(folder), device="cpu", dtype="float32")
    return finetune(model, films, out, **{"validation": films[:1], **RUN, **changes})


@pytest.fixture
def scored(monkeypatch):
    monkeypatch.setattr(Validation, "score", lambda self: SCORES[len(self.scores)])


@pytest.fixture(scope="module")
def broken(longva_dir, films, tmp_path_factory):
    """Four runs, each killed at its place, and what they left."""
    out = tmp_path_factory.mktemp("broken")
    root = films[0].path.parents[2]
    arguments = [str(longva_dir), str(root), str(out), json.dumps(RUN), json.dumps(SCORES), *PLACES]
    command = [sys.executable, "-W", "ignore", "-c", BREAK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(PLACES), done.stderr
    return out


def test_a_run_killed_at_any_step_ends_like_an_unbroken_one(
    broken, longva_dir, films, tmp_path, scored, monkeypatch
):
    begun = []

    def begin(self, args, state, control, **named):
        begun.append(state.global_step)

    monkeypatch.setattr(Bookkeeper, "on_step_begin", begin, raising=False)
    whole = train(longva_dir, films, tmp_path / "whole")
    # a row where one is due, at each checkpoint, and the validations
    assert [row["step"] for row in whole] == [1, 2, 4, 6]
    left = {place: sorted(p.parent.name for p in (broken / place).rglob(MARK)) for place in PLACES}
    assert left == {
        "1": [],
        "3": ["checkpoint-2"],
        "5": ["checkpoint-2", "checkpoint-4"],
        "save4": ["checkpoint-2"],
    }
    wanted = load_file(tmp_path / "whole" / "adapter_model.safetensors")
    for place, taken_up in zip(PLACES, (0, 2, 4, 2), strict=True):
        begun.clear()
        assert train(longva_dir, films, broken / place) == whole, place
        assert begun == list(range(taken_up, 6)), "what was done is not done again"
        assert read_log(broken / place) == whole
        notes = json.loads((broken / place / "numpro.json").read_text())
        assert (notes["val_mIoU"], notes["best_step"]) == (30.0, 2)
        got = load_file(broken / place / "adapter_model.safetensors")
        assert got.keys() == wanted.keys()
        assert all(got[name].equal(wanted[name]) for name in wanted), place
        assert not (broken / place / "checkpoints").exists()


def test_another_runs_checkpoints_are_refused_and_what_differs_is_named(
    longva_dir, films, tmp_path, scored, monkeypatch
):
    class Stop(Exception):
        pass

    def stop(self, args, state, control, **named):
        if state.global_step == 3:
            raise Stop

    monkeypatch.setattr(Bookkeeper, "on_step_begin", stop, raising=False)
    with pytest.raises(Stop):
        train(longva_dir, films, tmp_path)
    with pytest.raises(
        ValueError, match="of another run: learning_rate is 0.005 there and 0.001 h"
    ):
        train(longva_dir, films, tmp_path, learning_rate=1e-3, workers=0, feature_cache_gib=0.5)
    with pytest.raises(ValueError, match="run: training data is '.*' there and '.*' here; choose"):
        train(longva_dir, films[:1], tmp_path)
    assert (tmp_path / "checkpoints" / "checkpoint-2" / MARK).is_file(), "nothing is lost"


@contextmanager
def files_of_at_most(size):
    """No file may grow beyond `size` bytes: real writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# the configuration, the weights (safetensors) and the optimizer (torch) do not fit, in turn
@pytest.mark.parametrize("size", [500, 20_000, 60_000])
def test_a_full_disk_leaves_the_last_good_checkpoint(
    longva_dir, films, tmp_path, scored, monkeypatch, size
):
    limit = ExitStack()

    def fill(self, args, state, control, **named):
        if state.global_step == 3:
            limit.enter_context(files_of_at_most(size))

    monkeypatch.setattr(Bookkeeper, "on_step_begin", fill, raising=False)
    monkeypatch.setattr("numpro.training.checkpoints.write_log", lambda folder, log: None)
    with limit, pytest.raises(OSError, match="no room to write") as caught:
        train(longva_dir, films, tmp_path, steps=4)
    assert "the checkpoint of step 2 is whole" in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert os.listdir(tmp_path / "checkpoints") == ["checkpoint-2"]
    monkeypatch.undo()
    monkeypatch.setattr(Validation, "score", lambda self: SCORES[len(self.scores)])
    assert [row["step"] for row in train(longva_dir, films, tmp_path, steps=4)] == [1, 2, 4]


@pytest.mark.parametrize("held_out", [True, False], ids=["validated", "not validated"])
def test_a_full_disk_leaves_the_adapter_that_was_there(
    longva_dir, films, tmp_path, scored, monkeypatch, held_out
):
    out, save = tmp_path / "out", training.save_adapter
    anew = {"steps": 2, "seed": 1} | ({} if held_out else {"validation": ()})

    def files():  # the log tells of the run that goes on
        return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.suffix != ".csv"}

    (out / ".writing-x").mkdir(parents=True)  # a process was killed
    (out / ".writing-x" / "adapter_model.safetensors").write_bytes(b"half")
    train(longva_dir, films, out, steps=2)
    assert not list(out.glob(".writing-*"))
    before = files()

    def last(*arguments):
        with files_of_at_most(20_000):
            save(*arguments)

    monkeypatch.setattr(training, "save_adapter", last)
    with pytest.raises(OSError, match="the checkpoint of step 2 is whole"):
        train(longva_dir, films, out, **anew)
    assert files() == before and not list(out.glob(".writing-*"))
    monkeypatch.setattr(training, "save_adapter", save)
    assert [row["step"] for row in train(longva_dir, films, out, **anew)] == [1, 2]
    train(longva_dir, films, tmp_path / "whole", **anew)
    got, wanted = (
        load_file(folder / "adapter_model.safetensors") for folder in (out, tmp_path / "whole")
    )
    assert all(got[name].equal(wanted[name]) for name in wanted)


# --- a finished run -----------------------------------------------------------------------------


def test_a_finished_adapter_is_trained_anew_only_where_that_is_said(
    longva_dir, films, tmp_path, monkeypatch
):
    out = tmp_path / "out"

    def run(*more):
        command = ["finetune", "--split", "test", "--data-root", str(films[0].path.parents[2])]
        command += ["--model", str(longva_dir), "--out", str(out), "--limit", "2", "--steps", "1"]
        command += ["-p", "lora_rank", "2", *more]
        return CliRunner().invoke(main, command)

    def files():
        return {path.name: path.read_bytes() for path in out.iterdir()}

    first = json.loads(run("--json").stdout)
    assert "finished" not in first
    before = files()
    with monkeypatch.context() as patched:  # for this nothing is loaded
        patched.setattr("numpro.training.finetuning.load_model", None)
        again = json.loads(run("--json", "-p", "workers", "1").stdout)
        assert again["finished"] and again["notes"] == first["notes"]
        assert [row["loss"] for row in again["log"]] == [row["loss"] for row in first["log"]]
        line = run().stdout
        assert "is finished, with these values and data: nothing to do; --overwrite" in line
        for changes, difference in {
            ("-p", "learning_rate", "1e-3"): "learning_rate is 0.0005 there and 0.001 here;",
            ("--limit", "1"): "training data is '",
            ("--validation=test", "--validation-limit=1"): "validation data is 'none' there and '",
        }.items():
            done = run(*changes)
            assert done.exit_code == 1 and done.stderr.count("\n") == 1
            assert f"holds the finished adapter of another run: {difference}" in done.stderr
            assert "choose another folder, or say --overwrite" in done.stderr
        (out / "log.png").unlink()
        assert not run().exit_code and files().keys() == before.keys()
    assert files() | {"log.png": b""} == before | {"log.png": b""}, "nothing is lost"
    notes = json.loads(before["numpro.json"])
    assert notes["config"].pop("max_new_tokens", 0) is None  # one that was made before it was
    (out / "numpro.json").write_text(json.dumps(notes))
    assert "is finished" in run().stdout
    assert not run("--overwrite", "--seed", "1").exit_code
    assert files()["adapter_model.safetensors"] != before["adapter_model.safetensors"]
    (out / "adapter_model.safetensors").unlink()  # as of a run of which only the notes were kept
    assert not run().exit_code and (out / "adapter_model.safetensors").is_file()


def test_an_adapter_that_is_there_is_taken_where_it_was_made_the_same_way(
    longva_dir, films, tmp_path
):
    run = (str(longva_dir), films[:2], tmp_path / "out", FinetuneConfig(steps=1, lora_rank=2))
    _, log = train_or_take(*run)
    weights = run[2] / "adapter_model.safetensors"
    made = weights.stat().st_mtime_ns  # reading it later changes the time of access alone
    model, again = train_or_take(*run)
    assert weights.stat().st_mtime_ns == made, "nothing was trained"
    assert again == log and model.notes["config"]["lora_rank"] == 2
    assert model.model.dtype == torch.float32
    train_or_take(*run, resume=False)
    assert weights.stat().st_mtime_ns != made
    model, _ = train_or_take(*run[:3], replace(run[3], seed=1))
    assert model.notes["config"]["seed"] == 1, "another run's is replaced"


def test_an_adapter_beside_checkpoints_is_not_finished(tmp_path):
    there = run_facts({"seed": 0}, "films", "none", "base", 1)
    notes = {"config": {"seed": 0}, "data": {"fingerprint": "films"}, "base_fingerprint": "base"}
    (tmp_path / "numpro.json").write_text(json.dumps(notes))
    (tmp_path / "adapter_model.safetensors").touch()
    assert is_finished(tmp_path, there)
    mark = tmp_path / "checkpoints" / "checkpoint-2" / MARK
    mark.parent.mkdir(parents=True)
    anew = there | {"seed": 1}
    mark.write_text(json.dumps(anew))
    assert not is_finished(tmp_path, anew), "it goes on, and replaces what was there"
    with pytest.raises(ValueError, match="checkpoints of another run: seed is 1 there and 0 here"):
        is_finished(tmp_path, there)


def test_the_newest_checkpoint_is_the_one_of_the_most_steps(tmp_path):
    for step in (8, 9, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if step < 100:  # that one is broken
            (folder / MARK).write_text('{"run": 1}')
    assert last_checkpoint(tmp_path, {"run": 1}).name == "checkpoint-10"
    (tmp_path / "checkpoint-10" / MARK).unlink()
    assert last_checkpoint(tmp_path, {"run": 1}).name == "checkpoint-9"
