"""A server on loopback that speaks the OpenAI-compatible protocol."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SAID = "From Frame 1 to Frame 2."


def completion(text=SAID, finish="stop", **more):
    message = {"role": "assistant", "content": text, "refusal": None}
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
             "prompt_tokens_details": {"cached_tokens": 60}}  # fmt: skip
    about = {"id": "1", "object": "chat.completion", "created": 1, "model": "tiny"}
    return about | {"choices": choices, "usage": usage} | more


class Server(ThreadingHTTPServer):
    """Speaks the protocol; `plan(question, count)` says how it answers a question's n-th try.

    In a plan, `local.body` is the request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.times, self.tries = [], [], Counter()
        self.busy = self.most_busy = 0
        self.lock, self.local = threading.Lock(), threading.local()
        self.plan = lambda question, count: (200, {}, completion())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """Say nothing: clients that went away are a part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question, here = body["messages"][0]["content"][-1]["text"], self.server
        here.local.body = body
        with here.lock:
            here.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            here.times.append(time.monotonic())
            here.tries[question] += 1
            count = here.tries[question]
            here.busy += 1
            here.most_busy = max(here.most_busy, here.busy)
        status, headers, content = here.plan(question, count)
        with here.lock:
            here.busy -= 1
        if callable(status):  # writes what it likes
            self.close_connection = True
            status(self.wfile)
            return
        if status == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
            self.close_connection = True
            return
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def running() -> Iterator[Server]:
    """Serve in a thread."""
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
