"""Models behind an OpenAI-compatible server: vLLM, SGLang, hosted GPT-4o and the like.

The numbered frames go out as JPEG data URLs, one image a frame, in one message with the question
at its end. The front of that message is the same for all questions about a video, byte for byte,
so a server that caches prefixes reads the video once. Nothing but the message is sent: no path of
a file, and no URL that the server would have to fetch.
"""

import base64
import hashlib
import io
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from numpro.models.base import CutResponse, NoAnswer, VideoModel, refuse_unknown
from numpro.models.files import fingerprint_files, read_notes
from numpro.models.moments import Distribution
from numpro.models.served_labels import GO_ON, LOGPROBS, Token, read_tokens, search_labels
from numpro.models.server_replies import bounded_client, text_of, words_of
from numpro.paths import find_model
from numpro.prompting import Prompt
from numpro.prompting.labels import LabelForm
from numpro.video.cache import Store

PREFIX = "openai:"  # a model's name is this and the name the server knows it by
HOSTED = "https://api.openai.com/v1"
_OURS = ("model", "messages", "stream", "n")  # fields of a request that `settings` may not have


def default_cache() -> Path:
    """Return the folder of responses in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "numpro", "responses")


class ServedModel(VideoModel):
    """A model that a server holds; only its answers are here.

    Parameters
    ----------
    name
        ``openai:`` and the model's name on the server.
    adapter
        The folder of the adapter that the server has loaded under that name: its notes say how
        it must be asked. It is not sent.
    base_url
        The server, such as ``http://127.0.0.1:8000/v1``. Default: the environment variable
        OPENAI_BASE_URL, else OpenAI's own.
    key_variable
        The environment variable with the key; None sends none. The key is read from there when
        questions go out and is kept nowhere. It goes to the server named, whoever that is.
    timeout
        Seconds for one whole response, which may have 16 MiB.
    retries
        How often a request is sent again when the server is busy (429), fails (5xx), cuts the
        connection or is too slow: after the time it asks for (Retry-After, to two minutes), else
        after about 0.5, 1, 2, 4 and then 8 seconds. An account without credit is not asked again.
    concurrency
        How many questions about a video are on their way at once.
    first_alone
        Wait for the answer to a video's first question before the others go out: a server that
        caches only finished prefixes (most hosted ones) then reads the video once.
    cache
        Folder of responses, so that nothing is paid for twice; "auto" is `default_cache`, None
        keeps none. The key is a hash of server, model, message and settings.
    settings
        More fields of the request, over ``temperature`` 0, ``seed`` 0 and ``max_tokens``; None
        leaves a field out, as models that think first want (``{"max_tokens": None,
        "temperature": None, "max_completion_tokens": 4000}``).
    max_side
        Scale a frame down so that its longer side has so many pixels; its number shrinks too.
    quality, detail
        Of the JPEG, 1 to 95; how the server is to look at it ("high", "low", "auto").
    """

    def __init__(
        self, name: str, adapter: str | None = None, base_url: str | None = None,
        key_variable: str | None = "OPENAI_API_KEY", timeout: float = 120.0, retries: int = 5,
        concurrency: int = 8, first_alone: bool = False, cache: str | os.PathLike | None = "auto",
        settings: dict | None = None, max_side: int | None = None, quality: int = 90,
        detail: str = "high",
    ):  # fmt: skip
        self.name, self.adapter, self.notes = name, adapter, {}
        self.model = name.removeprefix(PREFIX)
        self.base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or HOSTED).rstrip("/")
        self.key_variable, self.timeout, self.retries = key_variable, timeout, retries
        self.concurrency, self.first_alone = concurrency, first_alone
        self.cache = default_cache() if cache == "auto" else cache
        self.settings = settings or {}
        self.max_side, self.quality, self.detail = max_side, quality, detail
        self.usage, self._reached, self._refusal = Counter(), False, ""
        self._check()
        if adapter:
            self.notes = read_notes(find_model(adapter))
            if not self.notes:
                raise ValueError(f"{adapter!r} has no numpro.json: a server loads adapters itself")

    @classmethod
    def load(
        cls, name: str, adapter: str | None = None, device: str = "auto", dtype: str = "auto",
        **options,
    ) -> "ServedModel":  # fmt: skip
        """Make the model of a server (see `numpro.models.load_model`); nothing is sent yet.

        A device is of no use here; number formats are refused, as the server has its own.
        """
        if dtype != "auto":
            raise ValueError(f"dtype is the server's own for {name!r}; got {dtype!r}")
        known = [o for o in cls.__init__.__annotations__ if o not in ("name", "adapter")]
        refuse_unknown(cls, options, known)
        made = cls(name, adapter or None, **options)
        path = urlsplit(made.base_url).path  # the host is nobody's but the user's
        logging.getLogger("numpro").info("%s is served under %s", made.model, path or "/")
        return made

    def _check(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query:
            shown = url._replace(netloc=url.netloc.rpartition("@")[2], query="").geturl()
            raise ValueError(f"base_url must be http(s)://host[:port]/path, no key in it; {shown}")
        bounds = {"timeout": 1e-3, "retries": 0, "concurrency": 1, "quality": 1}
        bounds |= {} if self.max_side is None else {"max_side": 1}
        for option, least in bounds.items():
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
                raise ValueError(f"{option} must be a number, {least} or more; got {value!r}")
        if self.key_variable and not re.fullmatch(r"[A-Za-z_]\w*", str(self.key_variable)):
            raise ValueError("key_variable must be the name of an environment variable")  # no key
        if not self.model:
            raise ValueError(f"the model's name must follow {PREFIX!r}, such as openai:gpt-4o")
        if not isinstance(self.settings, dict):
            raise ValueError(f"settings must map fields to values; got {self.settings!r}")
        if taken := sorted(set(self.settings) & set(_OURS)):
            raise ValueError(f"settings must not hold {', '.join(taken)}: they are set here")
        if self.base_url == HOSTED and not self._key():
            raise ValueError(f"{HOSTED} needs a key: set {self.key_variable}, or give base_url")

    @property
    def fingerprint(self) -> str:
        """Of the adapter's files; the weights are the server's and not known here."""
        return fingerprint_files([self.adapter]) if self.adapter else "served"

    def state(self) -> dict:
        """Return what tells the answers of this model apart: server, request, pictures; no key."""
        pictures = {"max_side": self.max_side, "quality": self.quality, "detail": self.detail}
        return {"server": self.base_url, "settings": self.settings, "jpeg": pictures}

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "") if self.key_variable else ""

    def respond(self, frames: np.ndarray, prompts: list[Prompt], max_new_tokens: int) -> list[str]:
        """Answer questions about one video (see `VideoModel.respond`).

        Raises
        ------
        PermissionError, ConnectionError, ValueError
            When no answer can come at all: a key that is refused, an account without credit, a
            server that cannot be reached and never answered or sends on to another, a model or a
            path it does not have. Any other failure is that question's reason.
        """
        parts = self.video_parts(frames, prompts[0].frame_texts if prompts else None)
        made = self._replies(parts, max_new_tokens, {}, [(prompt.text, "") for prompt in prompts])
        return [text for text, _ in made]

    def respond_with_labels(
        self, films: Sequence[tuple[np.ndarray, list[Prompt]]], most: int,
        forms: Sequence[LabelForm], least: float,
    ) -> list[list[tuple[str, Distribution | str]]]:  # fmt: skip
        """Answer, and read probabilities of labels (`VideoModel.respond_with_labels`).

        They come from the server's log-probabilities (`numpro.models.served_labels`). A server
        that refuses these is asked without; why it did is the reason.
        """
        both = zip(films, forms, strict=True)
        return [self._read_labels(*film, most, form, least) for film, form in both]

    def _read_labels(self, frames, prompts, most, form, least) -> list[tuple]:
        questions = [(prompt.text, "") for prompt in prompts]
        parts = self.video_parts(frames, prompts[0].frame_texts if prompts else None)
        ask = partial(self._replies, parts, most)
        made = ask({} if self._refusal else LOGPROBS, questions)
        refusals = [getattr(text, "reason", "") for text, _ in made]
        if not self._refusal and all(re.match("server: 4(00|22)", why) for why in refusals):
            made = ask({}, questions)
            if not all(isinstance(text, NoAnswer) for text, _ in made):
                self._refusal = f" ({refusals[0]})"
        found = search_labels(form, questions, made, least, partial(ask, LOGPROBS | GO_ON))
        why = f"the server gives no log-probabilities that can be read{self._refusal}"
        return [(text, read or why) for (text, _), read in zip(made, found, strict=True)]

    def _replies(
        self, parts: list[dict], most: int, fields: dict, questions: Sequence[tuple[str, str]]
    ) -> list[tuple[str, list[Token] | None]]:
        """Return the replies to questions, each with the beginning of its answer or an empty one.

        Beside an answer stand its tokens, where `fields` of the request bring them.
        """
        fields = {"temperature": 0, "seed": 0, "max_tokens": most} | fields | self.settings
        fields = {name: value for name, value in fields.items() if value is not None}
        about = json.dumps([self.base_url, self.model, fields, parts], sort_keys=True)
        video, keys, replies = hashlib.sha256(about.encode()), [], {}
        # opened here and closed at the end of the call, in this thread: no other may close it
        store = Store(self.cache, 2**30, "responses") if self.cache is not None else None
        for number, texts in enumerate(questions):
            digest = video.copy()
            digest.update("\0".join(filter(None, texts)).encode())
            keys.append(digest.hexdigest())
            if store and (stored := store.get(keys[-1])) is not None:
                row = json.loads(stored)  # of one that was cut also after how many tokens
                text, cut, tokens = (*row, None)[:3] if isinstance(row, list) else (row, None, None)
                replies[number] = CutResponse(text, cut) if cut else text, tokens
        self.usage.update(from_disk=len(replies))
        left = {i: texts for i, texts in enumerate(questions) if i not in replies}
        for i, (text, tokens) in self._ask_together(parts, left, fields):
            replies[i] = text, tokens
            if store and not isinstance(text, NoAnswer):
                cut = getattr(text, "tokens", None)
                store.put(keys[i], json.dumps([text, cut, tokens]).encode())
        return [replies[i] for i in range(len(questions))]

    def video_parts(self, frames: np.ndarray, frame_texts: Sequence[str] | None) -> list[dict]:
        """Return the parts of the message that carry the frames, each after its own text."""
        parts = []
        for number, frame in enumerate(frames):
            if frame_texts is not None:
                parts.append({"type": "text", "text": frame_texts[number]})
            parts.append({"type": "image_url", "image_url": self._picture(frame)})
        return parts

    def _picture(self, frame: np.ndarray) -> dict:
        picture, file = Image.fromarray(frame), io.BytesIO()
        if self.max_side:
            picture.thumbnail((self.max_side, self.max_side), Image.Resampling.LANCZOS)
        # full colour resolution: halved, as is usual, it blurs red digits (error 12 for 4 of 255)
        picture.save(file, "JPEG", quality=self.quality, subsampling=0)
        coded = base64.b64encode(file.getvalue()).decode()
        return {"url": f"data:image/jpeg;base64,{coded}", "detail": self.detail}

    def _ask_together(
        self, parts: list[dict], texts: dict[int, tuple], fields: dict
    ) -> Iterator[tuple[int, tuple]]:
        """Yield the number of each question with its reply, as they come."""
        from openai import OpenAI

        waiting = list(texts)
        rounds = [waiting[:1], waiting[1:]] if self.first_alone else [waiting]
        pool, key = ThreadPoolExecutor(self.concurrency), self._key() or "none"  # it wants one
        patience = {"timeout": self.timeout, "max_retries": self.retries}
        patience["http_client"] = bounded_client(self.timeout)
        with OpenAI(api_key=key, base_url=self.base_url, **patience) as client:
            ask = partial(pool.submit, self._ask, client, parts, fields)
            try:
                for numbers in rounds:
                    sent = {ask(*texts[number]): number for number in numbers}
                    for done in as_completed(sent):
                        reply, spent = done.result()
                        self.usage.update(requests=1, **spent)
                        yield sent[done], reply
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, client, parts: list, fields: dict, question: str, begun: str) -> tuple:
        """Send one question; return the reply, or why there is none, and the tokens spent."""
        import openai

        content = [*parts, {"type": "text", "text": question}]
        body = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        if begun:
            body["messages"].append({"role": "assistant", "content": begun})
        try:
            made = client.chat.completions.create(**body, extra_body=fields)
            self._reached = True
            text, spent = self._read(made, fields)
            return (text, read_tokens(made, begun, text) if "logprobs" in fields else None), spent
        except openai.APITimeoutError:
            why = f"no answer within {self.timeout:g} s, asked {self.retries + 1} times"
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            why = self._clean(f"no connection: {type(cause).__name__}: {cause}")
            if type(cause).__name__ == "ConnectError" and not self._reached:
                raise ConnectionError(f"{self.base_url} cannot be reached: {why}") from None
        except openai.APIStatusError as error:
            self._reached = True
            why = self._refused(error)
        except (openai.APIError, AttributeError, TypeError, ValueError, RecursionError) as error:
            why = self._clean(f"the response cannot be read: {error}")
        return (NoAnswer(f"server: {why}"), None), {}

    def _refused(self, error) -> str:
        """Return what a server said that answers with an error; raise when it always will."""
        status, words = error.status_code, words_of(error.response)
        why = f"{status}: {self._clean(words)}"
        if status == 401:  # what it says may hold a part of the key
            place = self.key_variable or "named by key_variable, which is none"
            source = f"it is read from the environment variable {place}"
            raise PermissionError(f"{self.base_url} refuses the key (401); {source}") from None
        if "insufficient_quota" in error.response.text:
            raise PermissionError(f"{self.base_url}: the account has no credit: {why}") from None
        if place := error.response.headers.get("refused-redirect"):
            advice = "nothing was sent there; give it as base_url where you trust it"
            redirects = f"{self.base_url} redirects to {place} ({status})"
            raise ConnectionError(f"{redirects}: {advice}") from None
        if status == 404 and "model" in words.lower():
            raise ValueError(f"{self.base_url} has no model {self.model!r}: {why}") from None
        if status == 404:
            end = "" if self.base_url.endswith("/v1") else "; should base_url end in /v1?"
            raise ValueError(f"{self.base_url} answers no chat completions: {why}{end}") from None
        if status == 413:
            sent = len(error.request.content) / 1e6
            why += f" ({sent:.2f} MB sent; a lower fps, size, max_side or quality makes it less)"
        return why

    def _read(self, made, fields: dict) -> tuple[str, dict]:
        """Take answer and tokens out of a response."""
        spent, used = {}, made.usage
        if used is not None:
            details = used.prompt_tokens_details
            spent = {
                "prompt_tokens": used.prompt_tokens or 0,
                "answer_tokens": used.completion_tokens or 0,
                "cached_tokens": (details and details.cached_tokens) or 0,
            }
        if not made.choices:
            error = self._clean(getattr(made, "error", None) or "nothing said")
            return NoAnswer(f"server: no choices in the response ({error})"), spent
        message, end = made.choices[0].message, made.choices[0].finish_reason
        if end == "content_filter" or message.refusal:
            why = self._clean(message.refusal or end)
            return NoAnswer(f"server: it will not answer ({why})"), spent
        limit = fields.get("max_tokens") or fields.get("max_completion_tokens")
        cut = end == "length" and (spent.get("answer_tokens") or limit or "all")
        if not (text := text_of(message.content)).strip():
            why = f"server: an empty answer (finish_reason {end!r})"
            fields = ("reasoning_content", "reasoning")
            if place := next((name for name in fields if getattr(message, name, None)), None):
                why += f"; its text stands in {place}: let it think for longer, or not at all"
            return NoAnswer(why + (f"; cut off after {cut} tokens" if cut else "")), spent
        return CutResponse(text, cut) if cut else text, spent

    def _clean(self, message: object) -> str:
        """Return a server's words on one line, short, and without the key."""
        text = " ".join(str(message).split())
        text = text.replace(self._key(), "***") if self._key() else text
        return text[:300]
