"""`numpro ask` and `numpro predict` run on every class of model, with every time encoding."""

import json
from functools import cache, partial
from pathlib import Path
from re import search, split

import pytest
from click.testing import CliRunner
from llava_checkpoints import write_checkpoint
from tiny_models import KINDS, tiny_model

from numpro import cli, models
from numpro.inference.prediction_files import read_config, read_rows
from numpro.prompting.prompts import TIME_ENCODINGS
from numpro.video import Sampling

CLASSES = (*KINDS, "longva", "llava_qwen")
# how a prompt begins, as a run keeps it
BEGINS = {
    "none": "<frame><frame>", "overlay-index": "<frame 0><frame 1>",
    "overlay-seconds": "<frame 0.0s><frame ", "text-index": "Frame 0: <frame>Frame 1: <frame>",
    "text-seconds": "timestamp: 0.0 seconds <frame>timestamp: ",
    "overlay-clock": "<frame 00:00><frame 00:", "text-clock": "00:00 <frame>00:",
    "overlay-sparse": "<frame 0><frame>", "overlay+text-index": "Frame 0: <frame 0>Frame 1: <",
    "hundredths": "<frame 00><frame ", "bar": "<frame ▁0.0%><frame ▁",
}  # fmt: skip
_QWEN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_QWEN = _QWEN, "<|im_end|>\n<|im_start|>assistant\n"
# what the chat template of a class puts around it
CHAT = dict.fromkeys(CLASSES, _QWEN) | {
    "llava_onevision": ("<|im_start|>user \n", "<|im_end|><|im_start|>assistant\n"),
    "llava_next_video": ("<s>USER: ", " ASSISTANT:"),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:digits of size 40"),  # tiny models see tiny frames
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
_loaded = cache(models.load_model)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("llava") / "LongVA-small-DPO")


def numpro(*arguments):
    done = CliRunner().invoke(cli.main, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("time_encoding", [n for n in TIME_ENCODINGS if "native" not in n])
@pytest.mark.parametrize("kind", CLASSES)
def test_ask_and_predict_run(
    kind, time_encoding, films, longva_dir, original, tmp_path, monkeypatch
):
    monkeypatch.setattr(models, "load_model", _loaded)  # once for all encodings
    for part in (cli.videos, cli.scores):
        small = partial(Sampling, size=(112, 112))  # of 336 x 336, for the time it takes
        monkeypatch.setattr(part, "Sampling", small)
    monkeypatch.setattr("numpro.flipbook.dataset.Flipbook.end", "instant")  # as ask reads a file
    folder = {"longva": longva_dir, "llava_qwen": original}.get(kind) or tiny_model(kind)
    how = ["--model", folder, "-o", "device", "cpu", "-o", "dtype", "float32", "--fps", "0.15"]
    how += ["--time-encoding", time_encoding, "--json"]
    data, out = films[0].path.parent.parent, tmp_path / "rows.jsonl"
    done = numpro(
        "predict", "--data-root", data, "--limit", 1, "--workers", 0, "--out", out, *how
    )  # fmt: skip
    rows, config = read_rows(out), read_config(out)
    assert [row["qid"] for row in rows] == [query.qid for query in films[0].queries]
    assert any(row["response"] for row in rows), "random words, but words"
    assert json.loads(done.stdout)["n"] == len(rows)
    assert config["state"]["dtype"] == "float32" and config["model"] == str(folder)
    (session,) = config["about"]["sessions"]
    usage = session["usage"]
    assert usage["prompt_tokens"] > usage["cached_tokens"] > 0 and usage["answer_tokens"]
    assert f"For the first video: {session['cost']}" in done.stderr
    assert search(r" [\d.]+ MiB of memory on cpu in float32: ", session["cost"])
    prompt = config["about"]["prompt"]
    assert prompt.startswith(BEGINS[time_encoding])
    whole, question = config["about"]["prompt_in_chat"], prompt.partition("\n")[2]
    assert whole.startswith(CHAT[kind][0]) and whole.endswith(question + CHAT[kind][1])
    marks = prompt[: -len(question)] if "text" in time_encoding else ""
    assert all(words in whole for words in split(r"<frame[^>]*>", marks))
    assert search(r"> x \d+", whole), "how many tokens frames are"
    (video, query), picture = (films[0].path, films[0].queries[0].text), tmp_path / "a.png"
    printed = json.loads(numpro("ask", video, query, *how, "--picture", picture).stdout)
    assert (printed["text"], printed["prompt"]) == (rows[0]["response"], prompt)
    assert printed["spans"] == rows[0]["pred"] and Path(printed["picture"]).is_file()


def test_what_a_processor_writes_is_asked_for_and_where_it_writes_nothing_it_is_refused(films):
    data, folder = films[0].path.parent.parent, tiny_model("qwen3_vl")
    how = ["--data-root", data, "--limit", 1, "--workers", 0, "--fps", 0.15, "--model", folder]
    how += ["-o", "device", "cpu", "-o", "dtype", "float32", "--time-encoding", "native"]
    out = films[0].path.with_name("native.jsonl")
    numpro("predict", *how, "-o", "frames_as", "video", "--out", out)
    about = read_config(out)["about"]
    assert "<frame><frame" in about["prompt"] and "seconds>" in about["prompt_in_chat"]
    words = [str(word) for word in (*how, "--out", out.with_name("images.jsonl"))]
    done = CliRunner().invoke(cli.main, ["predict", *words])
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    assert "'native' needs a model that writes times" in done.stderr
