"""A served model, asked over real HTTP on loopback: what goes out, what comes back, what breaks."""

import base64
import io
import json
import logging
import re
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from asking import predict
from click.testing import CliRunner
from PIL import Image
from serving import SAID, Server, completion, running

from numpro import number_frames
from numpro.cli import main
from numpro.models import load_model
from numpro.models.openai_api import ServedModel
from numpro.prompting.prompts import TIME_ENCODINGS, build_prompt

KEY = "sk-a-secret-nobody-may-see"
SOON = {"retry-after-ms": "5"}  # what servers send who want the next try at once


@pytest.fixture
def server():
    with running() as made:
        yield made


@pytest.fixture
def served(server, tmp_path, monkeypatch):
    """A function that makes a model of the server."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def make(**options):
        given = {"base_url": server.url, "retries": 0, "cache": tmp_path / "cache"}
        return ServedModel("openai:tiny", **(given | options))

    return make


@pytest.fixture(scope="module")
def some(clip):
    return clip.select(range(3))


@pytest.mark.parametrize("time_encoding", [n for n in TIME_ENCODINGS if "native" not in n])
def test_frames_go_first_as_the_model_is_to_see_them_and_the_question_last(
    server, served, some, time_encoding
):
    (answer,) = served().answer(some, ["a red star"], time_encoding=time_encoding)
    assert (answer.text, answer.spans, answer.reason) == (SAID, ((1, 2),), None)
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    (message,) = body.pop("messages")
    assert body == {"model": "tiny", "temperature": 0, "seed": 0, "max_tokens": 32}
    assert message["role"] == "user"
    prompt = build_prompt("a red star", some.seconds, "moment_retrieval", time_encoding,
                          duration=some.duration)  # fmt: skip
    *video, question = message["content"]
    assert question == {"type": "text", "text": prompt.text}
    pages = some.frames
    if prompt.frame_labels:
        pages = number_frames(pages, labels=prompt.frame_labels)
    if prompt.frame_texts:
        texts, video = video[::2], video[1::2]
        assert texts == [{"type": "text", "text": text} for text in prompt.frame_texts]
    assert len(video) == len(pages)
    labels = prompt.frame_labels or ("",) * len(pages)
    for part, page, plain, label in zip(video, pages, some.frames, labels, strict=True):
        picture = decoded(part)
        assert picture.shape == page.shape and np.abs(picture - page).mean() < 3
        drawn = (page != plain).any(-1)
        assert drawn.any() == bool(label)
        assert np.abs(picture - page)[drawn].sum() <= 8 * drawn.sum() * 3, "the digits stay sharp"


def decoded(part):
    assert part["type"] == "image_url" and part["image_url"]["detail"] == "high"
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int)


def test_size_quality_and_settings_of_a_request(server, served, some):
    settings = {"max_tokens": None, "max_completion_tokens": 9, "top_k": 1}
    served(max_side=100, quality=20, settings=settings).answer(some, ["x"])
    served().answer(some, ["x"])
    small, large = (body["messages"][0]["content"] for _, _, body in server.requests)
    assert decoded(small[0]).shape == (100, 100, 3)
    assert len(small[0]["image_url"]["url"]) < len(large[0]["image_url"]["url"]) / 5
    sent = server.requests[0][2]
    assert "max_tokens" not in sent and (sent["max_completion_tokens"], sent["top_k"]) == (9, 1)


def test_questions_about_a_video_go_out_together_and_come_back_in_order(server, served, some):
    gate = threading.Barrier(4, timeout=60)  # nobody is answered before four are there

    def plan(question, count):
        gate.wait()
        return 200, {}, completion(f"From Frame 0 to Frame {question.split('see q')[1][0]}.")

    server.plan = plan
    model = served(concurrency=4)
    answers = model.answer(some, [f"q{n}" for n in range(8)])
    assert [answer.spans for answer in answers] == [((0, n),) for n in range(8)]
    assert server.most_busy == 4
    assert model.usage == {"from_disk": 0, "requests": 8, "prompt_tokens": 800,
                           "answer_tokens": 56, "cached_tokens": 480}  # fmt: skip
    fronts = {json.dumps(body["messages"][0]["content"][:-1]) for _, _, body in server.requests}
    assert len(fronts) == 1, "the same front for all: a server's prefix cache holds it"


def test_the_first_question_can_open_the_prefix_for_the_others(server, served, some):
    done, gate = [], threading.Barrier(2, timeout=60)

    def plan(question, count):
        done.append(question)
        if len(done) == 1:
            time.sleep(0.05)
            assert server.busy == 1, "alone"
        else:
            gate.wait()  # the others together
        return 200, {}, completion()

    server.plan = plan
    answers = served(first_alone=True).answer(some, ["a", "b", "c"])
    assert [answer.text for answer in answers] == [SAID] * 3
    assert "see a?" in done[0] and server.most_busy == 2


def html(question, count):
    return 200, {"content-type": "text/html"}, b"<html>a proxy's page</html>"


def wrong(**more):
    return lambda question, count: (200, {}, completion(**more))


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (lambda q, n: (500, SOON, {"error": {"message": "it\n broke"}}), "500: it broke"),
        (lambda q, n: (429, SOON, {"error": {"message": "slow down"}}), "429: slow down"),
        (lambda q, n: (400, {}, {"error": {"message": f"no {KEY}"}}), r"400: no \*\*\*"),
        (lambda q, n: ("cut", {}, b""), "no connection: RemoteProtocolError"),
        (lambda q, n: (time.sleep(4), (200, {}, completion()))[1], "no answer within 3 s"),
        (lambda q, n: (200, {}, b'{"choices": [{'), "the response cannot be read"),
        (html, "the response cannot be read"),
        (wrong(choices=[]), "no choices in the response"),
        (wrong(choices=None, error={"message": "no luck"}), "no choices .*no luck"),
        (wrong(choices=["x"]), "the response cannot be read"),
        (wrong(text="Fr", finish="content_filter"), "it will not answer .content_filter"),
        (wrong(text="", finish="length"), "an empty answer .finish_reason 'length'"),
        (wrong(text=None), "an empty answer .finish_reason 'stop'"),
    ],
    ids=["500", "429", "400", "cut", "slow", "malformed", "html", "empty", "error in 200",
         "odd choices", "filter", "length", "no text"],
)  # fmt: skip
def test_a_failure_is_the_reason_of_that_question_alone(server, served, some, plan, reason):
    server.plan = lambda q, n: plan(q, n) if "bad" in q else (200, {}, completion())
    model = served(timeout=3 if "within" in reason else 60)
    good, bad, other = model.answer(some, ["good", "bad", "other"])
    assert (good.text, other.text) == (SAID, SAID)
    assert (bad.text, bad.spans) == ("", ())
    assert re.match(f"server: {reason}", bad.reason), bad.reason
    server.plan = lambda q, n: (200, {}, completion())
    requests = len(server.requests)
    assert [a.text for a in model.answer(some, ["good", "bad", "other"])] == [SAID] * 3
    assert len(server.requests) == requests + 1, "a failure is not kept, an answer is"


def replies(status, content, **headers):
    return lambda q, n: (status, SOON | headers, content)


DEEP = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
PAGE = b"<html><style>b {color: red}</style><h1>Too&nbsp;large</h1> for <b>nginx</b></html>"


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (replies(400, "only text here"), "400: only text here$"),
        (replies(422, {"detail": [{"loc": ["body"], "msg": "no images"}]}), "422: .*no images"),
        (replies(400, {"error": "at most 8 images"}), "400: at most 8 images$"),
        (replies(400, {"message": "too long", "code": 1}), "400: too long$"),
        (replies(502, PAGE), "502: Too large for nginx$"),
        (replies(500, b""), "500: Internal Server Error$"),
        (replies(400, b'{"error": ' * 100_000), "400: "),
        (replies(200, DEEP), "the response cannot be read: .*recursion"),
        (replies(413, b""), r"413: .*\(0\.\d\d MB sent; a lower fps, size, max_side or quality"),
    ],
    ids=["text", "list", "string", "object", "page", "nothing", "deep error", "deep", "413"],
)
def test_what_a_server_says_reaches_the_user(server, served, some, plan, reason):
    server.plan = lambda q, n: plan(q, n) if "bad" in q else (200, {}, completion())
    bad, good = served().answer(some, ["bad", "good"])
    assert re.match(f"server: {reason}", bad.reason, re.DOTALL), bad.reason
    assert (good.text, len(bad.reason) < 400) == (SAID, True)


def drip(file):
    """A blank every tenth of a second, for ever."""
    file.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        file.write(b" ")
        time.sleep(0.1)


def drip_headers(file):
    """A letter of a header each tenth of a second, for half a minute."""
    file.write(b"HTTP/1.1 200 OK\r\nx-long: ")
    for _ in range(300):
        file.write(b"x")
        time.sleep(0.1)


def flood(file):
    file.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        file.write(b" " * 2**20)


def packed(file):
    file.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\n" + b"x" * 9)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (drip, "no answer within 1 s, asked 1 times"),
        (drip_headers, "no answer within 1 s, asked 1 times"),
        (flood, "the response cannot be read: larger than 16,777,216 bytes"),
        (packed, r"the response cannot be read: packed \(gzip\), which was not asked for"),
    ],
)
def test_a_reply_is_bounded_in_time_and_size(server, served, some, reply, reason):
    server.plan = lambda q, n: (reply, {}, b"")
    began = time.monotonic()
    (answer,) = served(timeout=1 if reply in (drip, drip_headers) else 60).answer(some, ["x"])
    assert re.match(f"server: {reason}", answer.reason) and time.monotonic() - began < 30


def test_a_redirect_is_followed_on_the_server_itself_only(server, served, some, unused_port):
    there = f"{server.url}/elsewhere"
    server.plan = lambda q, n: (
        (307, {"location": there}, b"") if n == 1 else (200, {}, completion())
    )
    (answer,) = served().answer(some, ["x"])
    assert answer.text == SAID and server.requests[-1][0] == "/v1/elsewhere"
    there = f"http://127.0.0.1:{unused_port}/v1/chat/completions"
    server.plan = lambda q, n: (307, {"location": there}, b"")
    with pytest.raises(
        ConnectionError, match=rf"redirects to http://127.0.0.1:{unused_port} \(307"
    ):
        served(retries=2).answer(some, ["y"])
    assert len(server.requests) == 3, "it is not tried again"


def test_an_account_without_credit_is_not_asked_again(server, served, some):
    error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
    server.plan = lambda q, n: (429, SOON, {"error": error})
    with pytest.raises(PermissionError, match="no credit: 429: You exceeded your current quota"):
        served(retries=3).answer(some, ["x"])
    assert len(server.requests) == 1


def test_an_answer_may_be_a_list_of_parts(server, served, some):
    parts = [{"type": "text", "text": "From Frame 1 "}, {"type": "text", "text": "to Frame 2."}]
    server.plan = lambda q, n: (200, {}, completion(parts))
    (answer,) = served().answer(some, ["x"])
    assert answer.text == SAID


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_an_answer_that_stands_in_the_thinking_is_named(server, served, some, field):
    made = completion(None, "length")
    made["choices"][0]["message"][field] = "Let me look at frames 1 to 2"
    server.plan = lambda q, n: (200, {}, made)
    (answer,) = served().answer(some, ["x"])
    assert f"its text stands in {field}" in answer.reason and answer.spans == ()
    assert answer.reason.endswith("cut off after 7 tokens")


def test_an_answer_that_was_cut_is_none_and_is_not_paid_for_again(server, served, some):
    server.plan = lambda q, n: (200, {}, completion("From Frame 2 to Frame 1", "length"))
    for _ in range(2):
        (answer,) = served().answer(some, ["x"])
        assert (answer.spans, answer.reason) == ((), "cut off after 7 tokens")
        assert answer.text == "From Frame 2 to Frame 1"
    assert len(server.requests) == 1
    server.plan = lambda q, n: (200, {}, completion(SAID, "length", usage=None))
    (answer,) = served(cache=None).answer(some, ["x"], max_new_tokens=5)
    assert answer.spans == ((1, 2),), "whole before the cut"
    assert server.requests[-1][2]["max_tokens"] == 5


@pytest.mark.parametrize(
    "fails", [(500, SOON, b""), (429, SOON, b""), ("cut", {}, b"")], ids=lambda fails: str(fails[0])
)
def test_what_passes_is_tried_again(server, served, some, fails):
    server.plan = lambda q, n: fails if n == 1 else (200, {}, completion())
    (answer,) = served(retries=1).answer(some, ["x"])
    assert answer.text == SAID and len(server.requests) == 2


def test_retry_after_is_waited_for(server, served, some):
    # longer than the client's own first pause, which is half a second at most
    busy = (429, {"retry-after": "0.8"}, b"")
    server.plan = lambda q, n: busy if n == 1 else (200, {}, completion())
    served(retries=1).answer(some, ["x"])
    first, second = server.times
    assert second - first >= 0.8


def test_answers_are_kept_on_disk_and_asked_once(server, served, some, tmp_path):
    first = served().answer(some, ["a", "b"])
    again = served()
    assert again.answer(some, ["a", "b"]) == first
    assert again.usage == {"from_disk": 2}
    assert again.answer(some, ["b"]) == first[1:], "whatever is asked with it"
    assert len(server.requests) == 2
    elsewhere = {"base_url": f"{server.url}/elsewhere"}
    for change in (elsewhere, {"settings": {"seed": 1}}, {"quality": 80}, {"cache": None},
                   {"cache": tmp_path / "other"}):  # fmt: skip
        before = len(server.requests)
        served(**change).answer(some, ["a"])
        assert len(server.requests) == before + 1, change
    other = ServedModel("openai:other", base_url=server.url, cache=tmp_path / "cache")
    other.answer(some, ["a"])
    assert server.requests[-1][2]["model"] == "other"


def test_several_processes_share_the_answers_on_disk(server, served, some, tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from numpro import Clip\n"
        "from numpro.models.openai_api import ServedModel\n"
        "url, folder, films = sys.argv[1:]\n"
        "for film in map(int, films):\n"
        "    clip = Clip(np.full((2, 40, 40, 3), film, np.uint8), np.arange(2.0), np.arange(2),\n"
        "                {'duration': 2.0})\n"
        "    model = ServedModel('openai:tiny', base_url=url, cache=folder)\n"
        "    assert [a.text for a in model.answer(clip, ['a', 'b'])] == 2 * ['From Frame 1 to "
        "Frame 2.']\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    run = [sys.executable, "-c", code, server.url, str(tmp_path / "cache")]
    both = [subprocess.Popen([*run, films]) for films in ("01234567", "45670123")]
    assert [process.wait(300) for process in both] == [0, 0]
    assert len(server.tries) and 16 <= len(server.requests) <= 32
    requests = len(server.requests)
    subprocess.run([*run, "76543210"], check=True, timeout=300)
    assert len(server.requests) == requests


def test_the_key_is_in_no_file_log_error_or_repr(server, served, some, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpcore", "httpx2"):
        caplog.set_level(logging.DEBUG, logger=name)
    server.plan = lambda q, n: (
        (200, {}, completion()) if "good" in q else (400, {}, {"error": {"message": KEY}})
    )
    model = served()
    answers = model.answer(some, ["good", "bad"])
    hint = f"Incorrect API key: {KEY}, {KEY[:9]}***"  # hosted servers show its ends
    server.plan = lambda q, n: (401, {}, {"error": {"message": hint}})
    with pytest.raises(PermissionError, match="read from the environment variable OPENAI") as info:
        model.answer(some, ["refused"])
    text = "".join(traceback.format_exception(info.value, chain=True))
    text += caplog.text + repr(model) + repr(vars(model)) + json.dumps(model.state())
    text += repr(answers) + repr(model.usage)
    assert "400" in answers[1].reason and KEY[:9] not in text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(KEY.encode() in path.read_bytes() for path in written)
    assert sum(KEY in str(headers) for _, headers, _ in server.requests) == 3


def test_the_key_comes_from_the_variable_named_or_none_is_sent(server, served, some, monkeypatch):
    monkeypatch.setenv("MY_KEY", "another")
    for variable, sent in {"MY_KEY": "another", None: "none", "NOT_THERE": "none"}.items():
        served(key_variable=variable, cache=None).answer(some, ["x"])
        assert server.requests[-1][1]["authorization"] == f"Bearer {sent}"


def test_what_no_answer_can_come_from_is_raised(server, served, some, unused_port):
    server.plan = lambda q, n: (404, {}, {"error": {"message": "no such model"}})
    with pytest.raises(ValueError, match="has no model 'tiny': 404: no such model"):
        served().answer(some, ["x"])
    server.plan = lambda q, n: (404, {}, {"detail": "Not Found"})
    with pytest.raises(ValueError, match="no chat completions: 404: Not Found$"):
        served().answer(some, ["x"])
    with pytest.raises(ValueError, match="404: Not Found; should base_url end in /v1"):
        served(base_url=server.url.removesuffix("/v1")).answer(some, ["x"])
    gone = f"http://127.0.0.1:{unused_port}/v1"
    with pytest.raises(ConnectionError, match=f"{gone} cannot be reached"):
        served(base_url=gone).answer(some, ["x"])


@pytest.fixture
def unused_port():
    made = Server()
    made.server_close()
    return made.server_port


def test_a_server_that_dies_in_a_run_leaves_reasons(server, served, some):
    model = served(cache=None)
    model.answer(some, ["x"])
    server.shutdown()
    server.server_close()
    (answer,) = model.answer(some, ["x"])
    assert answer.reason.startswith("server: no connection: ConnectError")


def test_a_dataset_run_records_what_failed_and_asks_only_that_again(
    server, served, films, tmp_path
):
    out = tmp_path / "predictions.jsonl"
    wanted = [q.text for q in films[0].queries]
    server.plan = lambda q, n: (
        (500, SOON, b"") if f"see {wanted[1]}?" in q else (200, {}, completion())
    )
    rows = predict(films[:1], served(), out, fps=0.5, size=(64, 64), progress=False)
    assert [bool(row["reason"]) for row in rows] == [text == wanted[1] for text in wanted]
    server.plan = lambda q, n: (200, {}, completion())
    requests = len(server.requests)
    rows = predict(films[:1], served(cache=None), out, fps=0.5, size=(64, 64), progress=False)
    assert len(server.requests) == requests + 1 and not any(row["reason"] for row in rows)
    config = Path(f"{out}.config.json").read_text()
    assert KEY not in config + out.read_text()


@pytest.mark.parametrize("status", [400, 503])
def test_a_run_whose_first_video_is_refused_altogether_stops(
    server, served, films, tmp_path, status
):
    out, how = tmp_path / "predictions.jsonl", {"fps": 0.5, "size": (64, 64), "progress": False}
    server.plan = lambda q, n: (status, SOON, {"error": "not today"})
    with pytest.raises(
        ConnectionError, match=rf"about the first video: server: {status}: not today"
    ):
        predict(films[:2], served(), out, **how)
    assert len(server.requests) == len(films[0].queries)
    before = server.plan
    server.plan = lambda q, n: (200, {}, completion()) if n > 1 else before(q, n)
    rows = predict(films[:2], served(), out, **how)  # the first video passes now, the second fails
    assert [bool(row["reason"]) for row in rows] == [row["video"] != films[0].video for row in rows]


def test_a_run_logs_the_model_and_no_host(served, server, caplog, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.INFO, logger="numpro")
    load_model("openai:tiny", base_url=server.url, cache=None)
    assert "tiny is served under /v1" in caplog.text and "127.0.0.1" not in caplog.text


def test_a_served_adapter_says_how_it_must_be_asked(server, served, some, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"has no numpro.json: a server loads adapters itself"):
        served(adapter=str(folder))
    templates = {"moment_retrieval": "{whole}When is {query}?"}
    notes = {"time_encoding": "none", "templates": templates}
    (folder / "numpro.json").write_text(json.dumps(notes))
    served(adapter=str(folder)).answer(some, ["it"], time_encoding="none")
    assert server.requests[0][2]["messages"][0]["content"][-1]["text"] == "When is it?"


def test_a_name_that_starts_with_openai_is_a_served_model(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    model = load_model("openai:org/model:7b", timeout=3, cache=None)
    assert (model.name, model.model) == ("openai:org/model:7b", "org/model:7b")
    assert model.fingerprint == "served"
    jpeg = {"max_side": None, "quality": 90, "detail": "high"}
    assert model.state() == {"server": server.url, "settings": {}, "jpeg": jpeg}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 2}, "ServedModel takes the options base_url, .*detail; got batch_size"),
        ({"dtype": "float16"}, "dtype is the server's own for 'openai:tiny'; got 'float16'"),
        ({"base_url": "127.0.0.1:8000"}, r"must be http\(s\)"),
        ({"base_url": f"http://{KEY}@host/v1"}, r"no key in it; http://host/v1$"),
        ({"base_url": f"http://host/v1?key={KEY}"}, r"no key in it; http://host/v1$"),
        ({"concurrency": 0}, "concurrency must be a number, 1 or more; got 0"),
        ({"timeout": "long"}, "timeout must be a number, 0.001 or more; got 'long'"),
        ({"settings": "hot"}, "settings must map fields to values; got 'hot'"),
        ({"settings": {"messages": []}}, "settings must not hold messages"),
        ({"base_url": None}, "needs a key: set OPENAI_API_KEY, or give base_url"),
        ({"key_variable": KEY}, "key_variable must be the name of an environment variable"),
        ({"name": "openai:"}, "the model's name must follow 'openai:'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(monkeypatch, options, says):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    given = {"name": "openai:tiny", "base_url": "http://127.0.0.1:1/v1"} | options
    with pytest.raises(ValueError, match=says) as info:
        ServedModel.load(**given)
    assert KEY not in str(info.value)


@pytest.fixture
def ask(server, films, tmp_path, monkeypatch):
    """A function that runs `numpro ask` about the first film."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def run(*arguments, code=0):
        model = {"base_url": server.url, "cache": "null", "retries": "0"}
        settings = [word for pair in model.items() for word in ("-o", *pair)]
        command = ["ask", str(films[0].path), "a red star", "--model", "openai:tiny", *settings]
        command += ["--fps", "0.5", "--picture", str(tmp_path / "answer.png")]
        result = CliRunner().invoke(main, [*command, *map(str, arguments)])
        assert result.exit_code == code and KEY not in result.output, result.output
        return result

    return run


@pytest.mark.parametrize(("time_encoding", "seconds"), [("overlay-index", 2), ("text-seconds", 1)])
def test_ask_asks_a_server_in_ones_own_words(server, ask, tmp_path, time_encoding, seconds):
    template = tmp_path / "mine.yaml"
    template.write_text("moment_retrieval: '{whole}In {n} frames, when is {query}?'")
    server.plan = lambda q, n: (200, {}, completion("From 1 to 3."))  # names no unit
    how = ("--time-encoding", time_encoding, "--template", template, "--json")
    printed = json.loads(ask(*how, "-o", "settings", "{seed: 5, max_tokens: 9}").stdout)
    assert printed["spans"] == [[seconds, 3 * seconds]], "in the unit asked for"
    ((_, _, body),) = server.requests
    frames = (len(body["messages"][0]["content"]) - 1) // (2 if seconds == 1 else 1)
    assert body["messages"][0]["content"][-1]["text"] == f"In {frames} frames, when is a red star?"
    assert (body["seed"], body["max_tokens"]) == (5, 9)
    assert printed["state"]["server"] == server.url and printed["state"]["settings"]["seed"] == 5
    assert printed["prompt"].endswith(f"\nIn {frames} frames, when is a red star?")
    assert printed["prompt"].startswith("<frame 0>" if seconds == 2 else "timestamp: 0.0 seconds <")
    assert (tmp_path / "answer.png").read_bytes().startswith(b"\x89PNG")


def test_ask_ends_in_one_line_when_no_answer_comes(server, ask):
    server.plan = lambda q, n: (503, {}, {"error": {"message": "loading"}})
    printed = ask(code=1).stderr.splitlines()
    assert printed == ["Error: no answer from openai:tiny: server: 503: loading"]
    server.plan = lambda q, n: (200, {}, completion())
    ask("-o", "settings", "{max_tokens: None, seed: 3}", "-o", "max_side", "None")
    ask("--max-new-tokens", "7")
    first, second = (body for _, _, body in server.requests[-2:])
    assert "max_tokens" not in first and (first["seed"], second["max_tokens"]) == (3, 7)
    assert "name is an option of its own" in ask("-o", "name", "x", code=2).stderr
    assert "takes the options" in ask("-o", "speed", "3", code=1).stderr
    assert "must be YAML" in ask("-o", "timeout", "{", code=2).stderr
