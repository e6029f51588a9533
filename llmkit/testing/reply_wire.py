"""What the imitated server reads and sends: requests, bodies, server-sent events, and the chunks they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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
