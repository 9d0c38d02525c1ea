"""Validation scores answers about other videos, keeps the best weights, ends on a plateau."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from asking import predict
from worker_tasks import hang_in_files

from numpro import NumberStyle, read_clip
from numpro.metrics import moment_retrieval
from numpro.models import CutResponse, Question, load_model
from numpro.models.adapters import read_log
from numpro.prompting.answers import parse_moment
from numpro.training.finetuning import finetune
from numpro.training.presets import FinetuneConfig
from numpro.training.validation import Validation

QUICK = {"learning_rate": 5e-3, "batch_size": 4, "log_every": 2, "progress": False}


def test_scores_are_those_of_the_answers(films, longva_dir, tmp_path):
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    log = finetune(
        model, films, tmp_path / "a", validation=films, validate_every=2, steps=4, **QUICK
    )
    scored = {row["step"]: row["val_mIoU"] for row in log if row["val_mIoU"] is not None}
    assert list(scored) == [2, 4]
    notes = json.loads((tmp_path / "a" / "numpro.json").read_text())
    assert notes["val_mIoU"] == max(scored.values())
    assert [r["val_mIoU"] for r in read_log(tmp_path / "a")] == [r["val_mIoU"] for r in log]
    # the kept weights score what the best validation scored
    again = load_model(str(longva_dir), adapter=str(tmp_path / "a"), device="cpu", dtype="float32")
    rows = predict(films, again, tmp_path / "rows.jsonl", progress=False)
    predicted = [tuple(r["pred"][0]) if r["pred"] else None for r in rows]
    truth = [q.spans for v in films for q in v.queries]
    assert moment_retrieval(predicted, truth)["mIoU"][0] == pytest.approx(max(scored.values()))


def test_an_answer_is_cut_where_predict_cuts_it(films, longva_dir):
    model, most = load_model(str(longva_dir), device="cpu", dtype="float32"), []

    def respond(frames, prompts, max_new_tokens):
        most.append(max_new_tokens)
        return [CutResponse("From Frame 1 to Frame 2", max_new_tokens)] * len(prompts)

    model.respond = respond
    config = FinetuneConfig(max_new_tokens=7)
    assert Validation(model, films, config).score() == 0 and {*most} == {7}
    model.respond = lambda *_: ["From Frame 1 to Frame 2"] * len(_[1])
    assert Validation(model, films, config).score() > 0


def test_the_best_weights_are_kept_and_a_plateau_ends_it(films, longva_dir, tmp_path, monkeypatch):
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    scores, weights_then = iter([10.0, 30.0, 20.0, 25.0, 99.0]), []

    def score(self):
        weights = dict(self.model.model.named_parameters())
        (name,) = [
            n for n in weights if n.endswith("layers.0.self_attn.q_proj.lora_B.default.weight")
        ]
        weights_then.append(weights[name].detach().clone())
        return next(scores)

    monkeypatch.setattr(Validation, "score", score)
    log = finetune(
        model, films, tmp_path / "a", validation=films, validate_every=1, patience=2, steps=9,
        **QUICK,
    )  # fmt: skip
    assert [r["val_mIoU"] for r in log if r["val_mIoU"] is not None] == [10.0, 30.0, 20.0, 25.0]
    kept = {
        n: p
        for n, p in model.model.named_parameters()
        if n.endswith("q_proj.lora_B.default.weight")
    }
    first = next(p for n, p in kept.items() if "layers.0." in n)
    assert torch.equal(first, weights_then[1]) and not torch.equal(first, weights_then[3])


def test_without_validation_nothing_is_scored(films, longva_dir, tmp_path):
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    log = finetune(model, films, tmp_path / "a", steps=2, **QUICK)
    assert all(row["val_mIoU"] is None for row in log)


def test_what_cannot_be_read_is_left_out_and_the_rest_asked_as_trained(films, tmp_path):
    questions = []

    def answer(clip, queries, question):
        questions.append(question)
        return [parse_moment("From Frame 0 to Frame 2.")] * len(queries)

    model = SimpleNamespace(
        device=torch.device("cpu"), answer=answer, answer_unit=lambda *_: ("frame", None)
    )
    config = FinetuneConfig(
        style=NumberStyle("top_left"),
        time_encoding="overlay-index",
        templates={"moment_retrieval": "When {query}?"},
    )
    gone = replace(films[0], video="gone", path=tmp_path / "gone.mp4")
    held_out = Validation(model, [gone, films[1]], config)
    assert held_out.skipped == [{"video": "gone", "reason": "no such file"}]
    predicted = [(0.0, 2.5)] * len(films[1].queries)  # half a step on, as of all embedded films
    wanted = moment_retrieval(predicted, [q.spans for q in films[1].queries], resamples=1)["mIoU"][
        0
    ]
    assert held_out.score() == pytest.approx(wanted) and wanted > 0
    wanted = Question("moment_retrieval", "overlay-index", config.style, "When {query}?")
    assert questions == [wanted]
    with pytest.raises(ValueError, match="none of the 1 validation videos can be read; gone: no s"):
        Validation(model, [gone], config)


@pytest.mark.parametrize(("unit", "labels"), [("second", None), ("frame", range(11, 99))])
def test_answers_count_in_the_unit_and_the_numbers_that_were_asked_for(films, unit, labels):
    (start, end), *_ = films[0].queries[0].spans
    clip = read_clip(films[0].path, fps=0.5)
    first, last = (11 + np.abs(clip.seconds - t).argmin() for t in (start, end))
    text = f"From {first} to {last}" if labels else f"From {start:.2f} to {end:.2f}"
    film = replace(films[0], queries=films[0].queries[:1])
    model = SimpleNamespace(
        device=torch.device("cpu"), answer=lambda *_: [parse_moment(text)],
        answer_unit=lambda question, count: (unit, labels and labels[:count]),
    )  # fmt: skip
    assert Validation(model, [film], FinetuneConfig(fps=0.5)).score() > 60


def test_a_video_that_goes_while_training_is_left_out_of_the_score(films, tmp_path):
    def answer(clip, queries, question):
        return [parse_moment("From Frame 0 to Frame 2.")] * len(queries)

    model = SimpleNamespace(
        device=torch.device("cpu"), answer=answer, answer_unit=lambda *_: ("frame", None)
    )
    film = tmp_path / "film.mp4"
    film.write_bytes(films[0].path.read_bytes())
    held_out = Validation(model, [replace(films[0], path=film), films[1]], FinetuneConfig())
    film.unlink()
    wanted = Validation(model, films[1:], FinetuneConfig()).score()
    assert [held_out.score() for _ in range(2)] == [wanted] * 2
    assert held_out.skipped == [{"video": films[0].video, "reason": "no such file"}]
    held_out = Validation(model, [replace(films[1])], FinetuneConfig())
    held_out.videos = [replace(films[1], path=film)]
    with pytest.raises(
        ValueError, match="none of the 1 validation videos can be read; .*: no such"
    ):
        held_out.score()


def test_a_video_that_hangs_is_given_up_and_the_others_are_scored(films, tmp_path, monkeypatch):
    paths = []

    def answer(clip, queries, question):
        paths.append(clip.source["path"])
        return [parse_moment("From Frame 0 to Frame 2.")] * len(queries)

    model = SimpleNamespace(
        device=torch.device("cpu"), answer=answer, answer_unit=lambda *_: ("frame", None)
    )
    film = tmp_path / "film.mp4"
    film.write_bytes(films[0].path.read_bytes())
    config = FinetuneConfig(workers=1, video_limit=20.0)
    held_out = Validation(model, [replace(films[0], path=film), films[1]], config)
    film.unlink()
    hang_in_files(tmp_path).rename(film)
    held_out.config = replace(config, video_limit=4.0)
    wanted = Validation(model, films[1:], FinetuneConfig()).score()
    paths.clear()
    assert held_out.score() == held_out.score() == wanted
    assert held_out.skipped == [{"video": films[0].video, "reason": "not read within 4 s"}]
    assert len(paths) == 2, "kept in memory; what hung is not read again"
    # also where it hangs before anything was scored
    late = Validation(model, [replace(films[0], path=film), films[1]], held_out.config)
    assert [row["reason"] for row in late.skipped] == ["not read within 4 s"]
