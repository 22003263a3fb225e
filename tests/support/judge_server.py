"""A judge's endpoint for tests: a real HTTP server on this machine that speaks /v1/chat/completions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
RETRY_SOON = {"Retry-After-Ms": "5"}  # so that a client's pauses take no time in tests


@dataclass
class Answer:
    """What the server answers: a chat completion of `reply`, or `raw` as it is."""

    reply: str | None = "m"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: str | None = None
    before: Callable[[], Any] = lambda: None

    @property
    def text(self) -> str:
        """The body."""
        completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": self.reply}}]}
        return json.dumps(completion) if self.raw is None else self.raw


class Server:
    """`asked` are the bodies of all requests, `keys` their Authorization headers, `most` how many came at a time."""

    def __init__(self, answer: Callable[[Body, int], Answer]) -> None:
        self.asked: list[Body] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.most = self._now = 0
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(server.asked)
                    server.asked.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    server.paths.append(self.path)
                    server._now += 1
                    server.most = max(server.most, server._now)
                try:
                    said = answer(body, number)
                    said.before()
                    data = said.text.encode()
                    self.send_response(said.status)
                    for name, value in {"Content-Length": str(len(data)), **(said.headers or RETRY_SOON)}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):  # who asked did not wait
                    pass
                finally:
                    with lock:
                        server._now -= 1

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def serve(self) -> None:
        """Until `stop`."""
        self._server.serve_forever(poll_interval=0.01)

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(answer: Callable[[Body, int], Answer]) -> Iterator[Server]:
    """A server while the block lasts; `answer` is given a request's body and its number."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def outputs(body: Body) -> tuple[str, str]:
    """The first and the second answer that a pairwise request shows."""
    lines = [json.loads(line) for line in body["messages"][1]["content"].splitlines() if line.startswith('{"model"')]
    return lines[0]["output"], lines[1]["output"]
