"""Ranked moments of a served model, over HTTP on loopback, in the shapes of OpenAI and vLLM."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from serving import completion, running
from speaking import END, LABELS, Speaker

from numpro.cli import main
from numpro.models.moments import expected_ious
from numpro.models.openai_api import ServedModel
from numpro.models.served_labels import LabelSearch
from numpro.prompting.labels import label_form
from numpro.prompting.prompts import build_prompt
from numpro.video import Clip

NONE = "the server gives no log-probabilities that can be read"
QUERIES = ["a blue heart moves", "it rains"]
WHOLE = ["a red star spins", "a ball rolls"]  # of a speaker that writes numbers whole


@pytest.fixture
def server():
    with running() as made:
        yield made


@pytest.fixture
def served(server, tmp_path):
    """A function that makes a model of the server."""

    def make(**options):
        given = {"base_url": server.url, "retries": 0, "cache": tmp_path / "cache"}
        return ServedModel("openai:tiny", **(given | options))

    return make


@pytest.fixture(scope="module")
def film():
    count = len(LABELS)
    seconds = np.arange(count) * 2.0
    frames = np.zeros((count, 32, 32, 3), np.uint8)
    return Clip(frames, seconds, np.arange(count), {"duration": 24.0, "warnings": ()})


def ask(model, film, queries=QUERIES, **options):
    return model.moments(film, queries, time_encoding="text-index", **options)


def question_of(query, film):
    options = "moment_retrieval", "text-index", film.duration
    return build_prompt(query, film.seconds, *options).text


def check(ranked, wanted):
    """Check what was found against the probabilities of all pairs."""
    assert ranked.reason is None
    found = dict(
        zip(map(tuple, ranked.labels.astype(int).tolist()), ranked.probabilities, strict=True)
    )
    for pair, probability in found.items():
        assert probability == pytest.approx(wanted[pair], rel=1e-6)
    rest = sum(wanted.values()) - sum(found.values())
    assert -1e-9 <= rest <= ranked.left_out + 1e-9
    assert sum(found.values()) + ranked.left_out <= 1 + 1e-9
    return found


def test_what_was_not_gone_on_with_is_left_out():
    certain = {"From": 1.0}, {" Frame": 1.0}, {" 1": 0.6, " 2": 0.3}, {" to": 1.0}
    certain += {" Frame": 1.0}, {" 2": 0.5, " 3": 0.5}, {".": 1.0}
    tokens = [(next(iter(likely)), next(iter(likely.values())), likely) for likely in certain]
    form = label_form("text-index", 4, None, 8.0)
    made = LabelSearch(form, "From Frame 1 to Frame 2.", tokens, 0.01)
    found = made.distribution()
    assert found.pairs.tolist() == [[1, 2]] and found.probabilities == pytest.approx([0.3])
    assert found.left_out == pytest.approx(0.7), "0.3 each, and 0.1 that no token was named for"
    assert sorted(made.take(5)) == [
        (pytest.approx(0.3), "From Frame 1 to Frame 3"),
        (pytest.approx(0.3), "From Frame 2"),
    ]
    made.add(0.3, "From Frame 2", None)  # nothing came back
    made.add(0.3, "From Frame 1 to Frame 3", [(".", 1.0, {".": 1.0})])
    found = made.distribution()
    assert found.pairs.tolist() == [[1, 2], [1, 3]]
    assert found.probabilities == pytest.approx([0.3, 0.3])
    assert found.left_out == pytest.approx(0.4)


def test_a_beginning_is_gone_on_with_where_a_label_can_begin_so_behind_the_same_words():
    twelve = {"1": 0.5, "2": 0.2, "3": 0.1, "7": 0.1}
    certain = {"From": 1.0}, {" Frame ": 1.0}, twelve, {"2": 1.0}, {" to": 1.0}, {" Frame": 1.0}
    last = {" 13": 0.6, "-14": 0.2, " 22": 0.1, " 9": 0.1}  # with the space before the number
    tokens = [(next(iter(one)), next(iter(one.values())), one) for one in (*certain, last)]
    tokens.append((".", 1.0, {".": 1.0}))
    form = label_form("text-index", 14, range(10, 24), 14.0)
    made = LabelSearch(form, "From Frame 12 to Frame 13.", tokens, 0.01)
    assert made.take(9) == [
        (pytest.approx(0.2), "From Frame 2"),  # which is no label, and 20 to 23 begin so
        (pytest.approx(0.05), "From Frame 12 to Frame 22"),
    ]


@pytest.mark.parametrize("stop", [".", ""])
@pytest.mark.parametrize("digits", [True, False])
def test_pairs_have_the_probability_of_their_tokens_in_the_order_of_expected_iou(
    server, served, film, digits, stop
):
    speaker = Speaker(digits, stop).serve(server)
    for query, ranked in zip(QUERIES, ask(served(), film), strict=True):
        wanted = speaker.probabilities(question_of(query, film))
        found = check(ranked, wanted)
        assert len(found) > 10 and max(wanted.values()) == pytest.approx(max(found.values()))
        confidences = expected_ious(ranked.spans, ranked.probabilities)
        best = int(confidences.argmax())
        first = ranked.moments[0]
        assert (first.start, first.end) == tuple(ranked.spans[best])
        assert first.expected_iou == pytest.approx(confidences[best])
        assert first.probability == pytest.approx(ranked.probabilities[best])
    assert any(len(one.moments) > 1 for one in ask(served(), film))


def test_an_answer_is_gone_on_with_behind_the_same_video(server, served, film):
    Speaker().serve(server)
    model = served()
    ranked = ask(model, film)
    first, *others = (body for _, _, body in server.requests)
    assert (first["logprobs"], first["top_logprobs"], len(first["messages"])) == (True, 20, 1)
    begun = [body for body in others if len(body["messages"]) > 1]
    assert len(begun) == len(others) - 1
    assert all(count <= 33 for count in server.tries.values())
    for body in begun:
        user, answer = body["messages"]
        assert user["content"][:-1] == first["messages"][0]["content"][:-1]
        assert answer["role"] == "assistant"
        numbers = re.fullmatch(r"From Frame (\d+)( to Frame (\d+))?", answer["content"]).groups()
        assert all(number in LABELS for number in numbers[::2] if number), "not what is no label"
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    again = ask(served(), film)
    assert len(server.requests) == len(others) + 1, "nothing is paid for twice"
    assert [one.moments for one in again] == [one.moments for one in ranked]


def test_the_answer_without_log_probabilities_stays_as_it_was(server, served, film):
    Speaker().serve(server)
    answers = served().answer(film, QUERIES, time_encoding="text-index")
    assert [one.answer for one in ask(served(), film)] == answers
    plain = [body for _, _, body in server.requests if "logprobs" not in body]
    assert len(plain) == 2 and all("continue_final_message" not in body for body in plain)


def test_few_likely_tokens_and_a_bound_on_what_is_followed_leave_more_out(server, served, film):
    speaker = Speaker().serve(server)
    whole = ask(served(), film)
    few = ask(served(settings={"top_logprobs": 2}), film)
    sure = ask(served(), film, least=0.05)
    assert {body["top_logprobs"] for _, _, body in server.requests} == {20, 2}
    for query, *three in zip(QUERIES, whole, few, sure, strict=True):
        wanted = speaker.probabilities(question_of(query, film))
        sizes = [len(check(one, wanted)) for one in three]
        assert sizes[0] > max(sizes[1:])
        assert three[0].left_out < min(one.left_out for one in three[1:])


def test_vllm_can_score_the_beginnings_itself(server, served, film):
    class Halved(Speaker):
        """Likes numbers half as much when it reads them as when it names others beside its own."""

        def prompt_token(self, token, probability, likely, others):
            return super().prompt_token(
                token, probability / 2 if token.isdigit() else probability, likely, others
            )

    scored = {"settings": {"prompt_logprobs": 0}}
    speaker = Speaker().serve(server)
    plain, same = ask(served(), film), ask(served(**scored), film)
    for query, one, other in zip(QUERIES, plain, same, strict=True):
        check(other, speaker.probabilities(question_of(query, film)))
        assert other.probabilities == pytest.approx(one.probabilities)
        assert other.left_out == pytest.approx(one.left_out)
    Halved().serve(server)
    halved = ask(served(cache=None, **scored), film)
    for one, other in zip(plain, halved, strict=True):
        before = dict(zip(map(tuple, one.labels), one.probabilities, strict=True))
        after = dict(zip(map(tuple, other.labels), other.probabilities, strict=True))
        ratios = {pair: after[pair] / before[pair] for pair in before if pair in after}
        assert max(ratios.values()) < 1.01 and min(ratios.values()) < 0.51
        assert ratios.get(one.answer.spans[0], 1) == pytest.approx(1), "the answer was no prompt"


def test_a_server_that_cannot_go_on_gives_what_its_answer_shows(server, served, film):
    speaker = Speaker(digits=False).serve(server)
    plan, alone = server.plan, {"continue_final_message": False, "add_generation_prompt": True}

    def refuse():
        return 400, {}, {"error": {"message": "unknown field"}}

    def begin_anew():
        body = server.local.body
        return 200, {}, speaker.reply(body | alone | {"messages": body["messages"][:1]})

    for other in (refuse, begin_anew):
        server.plan = lambda q, n, other=other: (
            other() if len(server.local.body["messages"]) > 1 else plan(q, n)
        )
        server.requests.clear()
        for query, ranked in zip(WHOLE, ask(served(cache=None), film, WHOLE), strict=True):
            found = check(ranked, speaker.probabilities(question_of(query, film)))
            assert list(found) == [ranked.answer.spans[0]] and ranked.left_out > 0.3
        assert len(server.requests) == 4, "one try for each question"


def test_a_server_without_log_probabilities_gives_one_moment_and_the_reason(server, served, film):
    server.plan = lambda q, n: (200, {}, completion("From Frame 2 to Frame 4."))
    for ranked in ask(served(), film):
        (moment,) = ranked.moments
        assert (moment.start, moment.end) == (4, 8) and np.isnan(moment.probability)
        assert ranked.reason == NONE and ranked.left_out == 1 and not len(ranked.spans)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_log_probabilities_is_asked_without(server, served, film, status):
    words = "logprobs are not supported with this model"
    refuse = status, {}, {"error": {"message": words}}
    server.plan = lambda q, n: (
        refuse
        if "logprobs" in server.local.body
        else (200, {}, completion("From Frame 2 to Frame 4."))
    )
    model = served(cache=None)
    for _ in range(2):
        for ranked in ask(model, film):
            assert ranked.reason == f"{NONE} (server: {status}: {words})"
            assert ranked.answer.spans == ((2, 4),)
    assert len(server.requests) == 6, "the second film is asked without at once"


def test_one_question_that_is_refused_says_nothing_of_the_others(server, served, film):
    Speaker().serve(server)
    plan, refuse = server.plan, (400, {}, {"error": {"message": "too long"}})
    server.plan = lambda q, n: refuse if "rains" in q else plan(q, n)
    model = served(cache=None)
    for _ in range(2):
        good, bad = ask(model, film)
        assert good.reason is None and len(good.moments) > 1
        assert bad.reason == "server: 400: too long"


def test_a_server_that_refuses_everything_may_give_log_probabilities_later(server, served, film):
    Speaker().serve(server)
    plan, model = server.plan, served(cache=None)
    server.plan = lambda q, n: (400, {}, {"error": {"message": "no such picture"}})
    assert [one.reason for one in ask(model, film)] == ["server: 400: no such picture"] * 2
    server.plan = plan
    assert [one.reason for one in ask(model, film)] == [None, None]


def test_a_question_that_fails_keeps_its_reason(server, served, film):
    Speaker().serve(server)
    plan = server.plan
    server.plan = lambda q, n: (500, {}, {"error": "it broke"}) if "rains" in q else plan(q, n)
    *good, bad = ask(served(), film)
    assert bad.moments == () and bad.reason == bad.answer.reason == "server: 500: it broke"
    assert all(one.reason is None for one in good)


def change(path, value):
    """Return a function that puts a value where a path leads in a reply."""

    def made(reply):
        *way, last = path
        place = reply
        for step in way:
            place = place[step]
        place[last] = value
        return reply

    return made


CONTENT = "choices", 0, "logprobs", "content"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (CONTENT[:3], "yes"),
        (CONTENT[:3], {}),
        (CONTENT, None),
        (CONTENT, []),
        (CONTENT, ["From"]),
        ((*CONTENT, 3), {"token": "3"}),
        ((*CONTENT, 3, "token"), None),
        ((*CONTENT, 3, "logprob"), None),
        ((*CONTENT, 3, "logprob"), "x"),
        ((*CONTENT, 3, "logprob"), float("nan")),
        ((*CONTENT, 3, "logprob"), 3.5),
        ((*CONTENT, 3, "top_logprobs"), None),
        ((*CONTENT, 3, "top_logprobs"), [["3", -0.1]]),
        ((*CONTENT, 3, "top_logprobs", 0, "token"), None),
        ((*CONTENT, 1, "token"), "Frame"),  # without its space, as sentencepiece pieces come
    ],
    ids=str,
)
def test_log_probabilities_that_cannot_be_read_are_none(server, served, film, path, value):
    speaker = Speaker()
    server.plan = lambda q, n: (200, {}, change(path, value)(speaker.reply(server.local.body)))
    (ranked,) = ask(served(), film, QUERIES[:1])
    assert (ranked.reason, len(ranked.moments), len(server.requests)) == (NONE, 1, 1)


@pytest.mark.parametrize(
    "value", ["x", [None], [None, "x"], [None, {}], [None, {"7": {"logprob": -1}}]], ids=str
)
def test_malformed_prompt_log_probabilities_leave_that_beginning_out(server, served, film, value):
    speaker = Speaker(digits=False)

    def plan(question, count):
        reply = speaker.reply(server.local.body)
        return 200, {}, reply | ({"prompt_logprobs": value} if count > 1 else {})

    server.plan = plan
    (ranked,) = ask(served(settings={"prompt_logprobs": 0}), film, WHOLE[:1])
    found = check(ranked, speaker.probabilities(question_of(WHOLE[0], film)))
    assert list(found) == [ranked.answer.spans[0]] and len(server.requests) == 2


def test_an_answer_that_cannot_be_read_is_ranked_in_the_form_that_is_asked_for(
    server, served, film
):
    speaker = Speaker(start="No idea.").serve(server)
    (ranked,) = ask(served(), film, QUERIES[:1])
    assert ranked.answer.spans == () and len(ranked.moments) > 1
    # what "From" itself has is no part of a pair
    found = check(ranked, speaker.probabilities(question_of(QUERIES[0], film)))
    assert len(found) > 10


def test_an_end_that_the_server_does_not_name_is_not_counted(server, served, film):
    """OpenAI's replies have no token for the end."""
    speaker = Speaker(digits=False, stop="")

    def plan(question, count):
        reply = speaker.reply(server.local.body)
        content = reply["choices"][0]["logprobs"]["content"]
        if content[-1]["token"] == END:
            del content[-1]
        return 200, {}, reply

    server.plan = plan
    (ranked,) = ask(served(), film, WHOLE[:1])
    wanted = speaker.probabilities(question_of(WHOLE[0], film))
    assert ranked.reason is None and len(ranked.labels) > 10
    for pair, probability in zip(
        ranked.labels.astype(int).tolist(), ranked.probabilities, strict=True
    ):
        assert probability >= wanted[tuple(pair)] * (1 - 1e-9)
    assert ranked.probabilities.sum() + ranked.left_out <= 1 + 1e-9


def test_windows_and_the_command_rank_what_a_server_gives(server, served, film, films, monkeypatch):
    Speaker().serve(server)
    ranked = ask(served(), film, windows=(6, 3))
    assert all(one.reason is None and len(one.moments) == 5 for one in ranked)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    how = ["--model", "openai:tiny", "-o", "cache", "null", "--fps", "1", "--top", "3", "--json"]
    result = CliRunner().invoke(main, ["ask", str(films[0].path), "a red star", *how])
    assert result.exit_code == 0, result.output
    moments = json.loads(result.stdout)["moments"]
    assert len(moments) == 3
    assert all(0 <= moment["probability"] <= moment["confidence"] <= 1 for moment in moments)
