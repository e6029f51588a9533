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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

TEXT = "The Kestrel pump costs 140 euros [1]."
"""What the server answers where it is given nothing else to say."""
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
_HEAD = {"id": "reply-1", "created": 1700000000, "model": "imitation"}


@dataclass(frozen=True, slots=True)
class Body:
    """A response in one piece."""

    data: Any
    """JSON values, or the bytes themselves."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    length: int | None = None
    """A Content-Length that differs from the body's."""


@dataclass(frozen=True, slots=True)
class Events:
    """A response as server-sent events."""

    items: Sequence[Any]
    """JSON values of one event each, or bytes that are sent as they are."""
    done: bool = True
    """Whether ``[DONE]`` ends it."""
    end: Literal["whole", "close", "abort", "hang"] = "whole"
    """close: without chunked coding, so that a lost connection looks like the end; abort: in the middle of chunked
    coding; hang: the connection stays open."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is closed before a status line."""


@dataclass(frozen=True, slots=True)
class Silent:
    """The connection stays open, and nothing is sent."""


Response = Body | Events | Lost | Silent


@dataclass(frozen=True)
class Request:
    """What a client asks, and the means to answer it."""

    body: Mapping[str, Any]
    attempt: int
    """Number of this request among those of its model, from 1."""
    text: str
    """What a server without fault would answer."""

    @property
    def stream(self) -> bool:
        """Whether the client wants events."""
        return bool(self.body.get("stream"))

    @property
    def results(self) -> int:
        """Results of tools that the client sends back."""
        return sum(one.get("role") == "tool" for one in self.body.get("messages", ()))

    @property
    def half(self) -> str:
        """The beginning of the text, as it is when a reply is cut off in the middle of a word."""
        return self.text[: max(1, 2 * len(self.text) // 3)]

    def reply(self, text: str | None = None, finish: str | None = "stop", **message: Any) -> Response:
        """A reply without fault but for what is given: its text, its end, further fields of its message."""
        said = self.text if text is None else text
        if not self.stream:
            return self.whole({"content": said, **message}, finish)
        pieces = [said[n : n + 6] for n in range(0, len(said), 6)]
        extra = [delta(**{name: value}) for name, value in message.items()]
        return Events([delta(role="assistant", content=""), *extra, *(delta(content=one) for one in pieces),
                       delta(finish=finish), usage()])  # fmt: skip

    def whole(self, message: Mapping[str, Any] | None, finish: str | None = "stop", **fields: Any) -> Body:
        """A reply in one piece; `fields` take the place of those of the completion."""
        said = None if message is None else {"role": "assistant", **message}
        choice = {"index": 0, "message": said, "finish_reason": finish}
        return Body({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE, **fields})

    def events(self, *items: Any, **how: Any) -> Response:
        """Events where the client streams, else the reply without fault."""
        return Events(items, **how) if self.stream else self.reply()

    def calls(
        self, *calls: Mapping[str, Any], finish: str | None = "tool_calls", text: str = "", **more: Any
    ) -> Response:
        """A reply that calls tools; the right text once their results are there."""
        if self.results:
            return self.reply()
        message = {"content": text or None, "tool_calls": list(calls), **more}
        if not self.stream:
            rows = [{key: value for key, value in one.items() if key != "index"} for one in calls]
            return self.whole({**message, "tool_calls": rows}, finish)
        deltas = [delta(tool_calls=[one]) for one in calls]
        extra = [delta(**{name: value}) for name, value in more.items()]
        return Events([delta(role="assistant", content=text or None), *extra, *deltas, delta(finish=finish), usage()])


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}


def usage(**fields: Any) -> dict[str, Any]:
    """The chunk that ends a stream where usage was asked for."""
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": {**USAGE, **fields}}


def call(name: Any, arguments: Any, number: int = 0, **fields: Any) -> dict[str, Any]:
    """A call of a tool."""
    function = {"name": name, "arguments": arguments}
    return {"index": number, "id": f"call_{number}", "type": "function", "function": function, **fields}


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
        from llmkit.testing.reply_behaviours import BEHAVIOURS

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
