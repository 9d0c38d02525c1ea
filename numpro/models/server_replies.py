"""What comes back from a server: bounded in time and size, from that server, in its words."""

import html
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from importlib import import_module
from typing import Any

_LARGEST = 2**24  # bytes of a reply; an answer with every frame of a video named has some thousands
_READ = 4000  # characters read of what a server says that refuses
_SAID_IN = ("error", "message", "detail", "errors", "msg", "title")
_NO_WORDS = re.compile(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>")


def bounded_client(timeout: float) -> Any:
    """Return an HTTP client for the openai package whose replies are bounded.

    Without it the time allowed counts anew with each byte, and a reply may be endless. A redirect
    is followed on the same server only: another one was not named, and is sent nothing.

    Parameters
    ----------
    timeout
        Seconds for a whole reply.
    """
    import openai

    base = openai.DefaultHttpxClient
    httpx = import_module(base.__mro__[1].__module__.partition(".")[0])  # httpx or its successor
    here = threading.local()  # a request is sent, and its reply read, in one thread

    def begin(request: Any) -> None:
        here.end = request.extensions.setdefault("end", time.monotonic() + timeout)
        request.extensions["trace"] = bound_reads

    def bound_reads(event: str, facts: dict) -> None:
        """Let a new connection wait for bytes, of the headers or the body, until the end only."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            stream = facts["return_value"]
            stream.read = partial(read_until_end, stream.read)

    def read_until_end(read: Callable, most: int, timeout: float) -> bytes:
        return read(most, min(timeout, max(1e-6, here.end - time.monotonic())))

    def check(response: Any) -> None:
        request, packed = response.request, response.headers.get("content-encoding", "identity")
        if packed != "identity":  # it might be endless inside
            raise openai.APIError(f"packed ({packed}), which was not asked for", request, body=None)
        response.stream = httpx.ByteStream(_read_bounded(response.stream, request))
        _mark(response)

    hooks = {"request": [begin], "response": [check]}
    return base(timeout=timeout, event_hooks=hooks, headers={"accept-encoding": "identity"})


def _read_bounded(stream: Any, request: Any) -> bytes:
    """Return the body of a reply, up to a size."""
    from openai import APIError

    body = bytearray()
    with closing(stream):
        for chunk in stream:
            body += chunk
            if len(body) > _LARGEST:
                raise APIError(f"larger than {_LARGEST:,} bytes", request, body=None)
    return bytes(body)


def _mark(response: Any) -> None:
    """Mark a reply that must not be tried again, and one that leads to another server."""
    if response.status_code == 429:
        response.read()
        if b"insufficient_quota" in response.content:  # waiting does not help
            response.headers["x-should-retry"] = "false"
    if response.has_redirect_location:
        here = response.request.url
        if _place(there := here.join(response.headers["location"])) != _place(here):
            response.headers["refused-redirect"] = _place(there)
            del response.headers["location"]


def _place(url: Any) -> str:
    return f"{url.scheme}://{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def words_of(response: Any) -> str:
    """Return what a server says that answers with an error: of JSON the message, of HTML the text.

    Examples
    --------
    >>> from types import SimpleNamespace as Reply
    >>> words_of(Reply(text='{"detail": "Not Found"}', reason_phrase=""))
    'Not Found'
    >>> words_of(Reply(text="<html><h1>Too large</h1></html>", reason_phrase=""))
    'Too large'
    """
    text = response.text[:_READ]
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        while isinstance(found, dict) and (keys := [key for key in _SAID_IN if key in found]):
            found = found[keys[0]]
        text = found if isinstance(found, str) else json.dumps(found)
    if text.lstrip()[:1] == "<":
        text = html.unescape(_NO_WORDS.sub(" ", text))
    return " ".join(text.split()) or response.reason_phrase


def text_of(content: Any) -> str:
    """Return the text of a message, which may be a list of parts."""
    if not isinstance(content, list):
        return str(content or "")
    texts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "".join(text for text in texts if isinstance(text, str))
