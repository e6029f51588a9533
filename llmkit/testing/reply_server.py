"""A server that speaks OpenAI's chat completions in every way that public servers are known to, right and wrong.

The name of the model chooses the behaviour (:mod:`llmkit.testing.reply_behaviours`), so that one server serves a whole
test run::

    with ReplyServer() as server:
        os.environ["OPENAI_BASE_URL"] = server.url
        load_chat("openai:think-tags").invoke("What does the pump cost?")

It listens on this machine only. It imitates what servers send, not how their models answer.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from llmkit.testing.reply_behaviours import BEHAVIOURS
from llmkit.testing.reply_wire import TEXT, Body, Events, Request, Response, Silent


class ReplyServer:
    """The server, on a free port of this machine; a context manager.

    Args:
        text: the right answer to a request, where it is not :data:`TEXT`.
    """

    def __init__(self, text: Callable[[Mapping[str, Any]], str] = lambda body: TEXT) -> None:
        self.text = text
        self.requests: list[dict[str, Any]] = []
        """The bodies of all requests so far, with their ``path`` and ``headers``."""
        self._attempts: Counter[str] = Counter()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget the requests so far: a behaviour that fails twice fails twice again."""
        self.requests.clear()
        self._attempts.clear()

    def respond(self, body: dict[str, Any], path: str, headers: Mapping[str, str]) -> Response:
        """The response to a request."""
        name = str(body.get("model", ""))
        self.requests.append({**body, "path": path, "headers": dict(headers)})
        self._attempts[name] += 1
        behaviour = BEHAVIOURS.get(name)
        if behaviour is None:
            return Body({"error": {"message": f"the model {name!r} does not exist", "code": "model_not_found"}}, 404)
        return behaviour.respond(Request(body, self._attempts[name], self.text(body)))

    def wait(self) -> None:
        """Block until the server is closed."""
        self._closing.wait()


def _handler(server: ReplyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            response = server.respond(body, self.path, dict(self.headers))
            try:
                if isinstance(response, Body):
                    self._body(response)
                elif isinstance(response, Events):
                    self._events(response)
                else:
                    self.close_connection = True
                    if isinstance(response, Silent):
                        server.wait()
            except (BrokenPipeError, ConnectionResetError):  # the client has gone
                self.close_connection = True

        def _body(self, response: Body) -> None:
            data = response.data if isinstance(response.data, bytes) else json.dumps(response.data).encode()
            if response.headers.get("Content-Encoding") == "gzip":
                data = gzip.compress(data)
            self.send_response(response.status)
            length = len(data) if response.length is None else response.length
            for name, value in {
                "Content-Type": response.kind,
                "Content-Length": str(length),
                **response.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = length != len(data)

        def _events(self, response: Events) -> None:
            chunked = response.end != "close"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
            self.end_headers()
            for item in [*response.items, *([b"data: [DONE]\n\n"] if response.done else [])]:
                data = item if isinstance(item, bytes) else b"data: " + json.dumps(item).encode() + b"\n\n"
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if chunked else data)
                self.wfile.flush()
            if response.end == "hang":
                server.wait()
            self.close_connection = response.end != "whole"
            if response.end == "whole":
                self.wfile.write(b"0\r\n\r\n")

    return Handler
