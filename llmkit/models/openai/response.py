"""The response of a chat completions server as LangChain's messages, whole or in pieces.

Everything that public servers are known to send is read: content as text or as parts, reasoning in a field of its own,
calls without an index, an id or with an object for arguments, usage on any chunk, comments between events. Whatever is
no chat completion is an error that says what came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from llmkit.errors import BadResponse, ConnectionLost, EmptyReply
from llmkit.models.openai.errors import error_of_payload, is_error, not_the_protocol
from llmkit.replies.characters import CharacterJoiner
from llmkit.replies.reply import Reply, ToolCall
from llmkit.replies.text_tool_calls import tool_call
from llmkit.types import Usage

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_LONGEST_LINE = 64 * 2**20


@dataclass
class _Call:
    index: object
    id: str
    name: str = ""
    arguments: Any = ""

    def add(self, arguments: Any) -> None:
        if isinstance(arguments, str) and isinstance(self.arguments, str):
            self.arguments += arguments
        elif arguments is not None:
            self.arguments = arguments


@dataclass
class Assembly:
    """A reply that is put together from messages or deltas."""

    url: str
    sent: Mapping[str, Any]
    finish_reason: str = ""
    refusal: str = ""
    model: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    choices: int = 0
    """Chunks that held a choice."""
    text_length: int = 0
    reasoning_field: str = ""
    calls: list[_Call] = field(default_factory=list)
    _text: CharacterJoiner = field(default_factory=CharacterJoiner)
    _reasoning: CharacterJoiner = field(default_factory=CharacterJoiner)

    def add(self, payload: Mapping[str, Any], key: str) -> tuple[str, str]:
        """Take in one JSON object; returns its text and its reasoning.

        Args:
            payload: a chat completion, or a chunk of one.
            key: where the message stands in a choice: ``message`` or ``delta``.

        Raises:
            ModelError: it is an error object.
            BadResponse: it is something else than a chat completion.
        """
        if is_error(payload):
            raise error_of_payload(payload, self.sent)
        if isinstance(payload.get("model"), str):
            self.model = payload["model"] or self.model
        if isinstance(payload.get("usage"), Mapping):
            self.usage = {**self.usage, **payload["usage"]}
        choices = payload.get("choices")
        if choices is None:
            choices = []
        if not isinstance(choices, list):
            raise self._strange("'choices' that is no list", choices)
        text = reasoning = ""
        for choice in choices:
            if not isinstance(choice, Mapping):
                raise self._strange("a choice that is no object", choice)
            if choice.get("index") not in (0, None):
                continue  # only one was asked for
            self.choices += 1
            if isinstance(choice.get("finish_reason"), str) and choice["finish_reason"]:
                self.finish_reason = choice["finish_reason"]
            if is_error(choice) and isinstance(choice.get("error"), Mapping):
                raise error_of_payload(choice, self.sent)  # OpenRouter
            other = "message" if key == "delta" else "delta"
            message = choice.get(key)
            message = choice.get(other) if message is None else message
            if message is None:
                message = {"content": choice.get("text")}  # completions of old servers
            if not isinstance(message, Mapping):
                raise self._strange(f"a {key} that is no object", message)
            more, thoughts = self._message(message, whole=message is choice.get("message"))
            text, reasoning = text + more, reasoning + thoughts
        return text, reasoning

    def _message(self, message: Mapping[str, Any], *, whole: bool) -> tuple[str, str]:
        text, thoughts = self._parts(message.get("content"))
        for name in _REASONING_FIELDS:
            value = message.get(name)
            if isinstance(value, str) and value:
                thoughts, self.reasoning_field = thoughts + value, self.reasoning_field or name
                break
        if isinstance(message.get("refusal"), str):
            self.refusal += message["refusal"]
        calls = message.get("tool_calls")
        if isinstance(calls, Mapping):
            calls = [calls]
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping):
                self._call(call, whole=whole)
        if isinstance(legacy := message.get("function_call"), Mapping):
            self._call({"index": 0, "function": legacy}, whole=whole)
        clean, clean_thoughts = self._text.feed(text), self._reasoning.feed(thoughts)
        self.text_length += len(clean)
        if self._text.undecodable or self._reasoning.undecodable:
            raise BadResponse(
                f"{self.url} sent text that is not UTF-8 ({text[:60].encode('utf-8', 'replace').decode()!r}): does the "
                "server or a proxy send another encoding?"
            )
        return clean, clean_thoughts

    def _parts(self, content: Any) -> tuple[str, str]:
        """Text and reasoning of a message's content."""
        if content is None:
            return "", ""
        if isinstance(content, str):
            return content, ""
        if isinstance(content, Mapping):
            content = [content]
        if not isinstance(content, list):
            raise self._strange("content that is neither text nor parts", content)
        text = thoughts = ""
        for part in content:
            if isinstance(part, str):
                text += part
            elif isinstance(part, Mapping) and part.get("type") in ("thinking", "reasoning"):
                inner = part.get("thinking") or part.get("reasoning") or part.get("text") or ""
                thoughts += inner if isinstance(inner, str) else self._parts(inner)[0]
            elif isinstance(part, Mapping) and part.get("type") == "refusal":
                self.refusal += str(part.get("refusal") or "")
            elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
                text += part["text"]
        return text, thoughts

    def _call(self, delta: Mapping[str, Any], *, whole: bool) -> None:
        """Add a call, or where it is not `whole` a piece of one, to the calls so far.

        Some servers give every call the index 0, or none: a new id with a name, or a name after arguments that are
        whole, begins a new call.
        """
        function = delta.get("function") if isinstance(delta.get("function"), Mapping) else delta
        assert isinstance(function, Mapping)
        index, identity = delta.get("index"), str(delta.get("id") or "")
        name = function.get("name") if isinstance(function.get("name"), str) else ""
        same = [call for call in self.calls if call.index == index] if index is not None else self.calls[-1:]
        call = same[-1] if same else None
        if (
            whole
            or call is None
            or (name and identity and call.id and identity != call.id)
            or (name and call.name and index is None and identity != call.id)
            or (name and call.name and not identity and not call.id and _whole(call.arguments))
        ):
            call = _Call(index, identity)
            self.calls.append(call)
        call.id = call.id or identity
        call.name = call.name or name or ""
        call.add(function.get("arguments"))

    def finish(self) -> tuple[str, str]:
        """What was held back of text and reasoning."""
        text, reasoning = self._text.finish(), self._reasoning.finish()
        self.text_length += len(text)
        return text, reasoning

    def fields(self) -> dict[str, Any]:
        """Fields of LangChain's message beside its content and its calls.

        Raises:
            EmptyReply: no choice came at all.
        """
        if not self.choices:
            raise EmptyReply(
                f"{self.url} sent a reply without choices, which says nothing about the question",
                reply=Reply(usage=Usage(*self.tokens, 1), counted=bool(self.usage)),
                retryable=True,
            )
        extra: dict[str, Any] = {}
        if self.refusal:
            extra["refusal"] = self.refusal
        if self.reasoning_field:
            extra["reasoning_field"] = self.reasoning_field
        if replaced := self._text.replaced + self._reasoning.replaced:
            extra["replaced_characters"] = replaced
        sent, written = self.tokens
        counted = {"input_tokens": sent, "output_tokens": written, "total_tokens": sent + written}
        return {
            "additional_kwargs": extra,
            "usage_metadata": counted if self.usage else None,
            "response_metadata": {"finish_reason": self.finish_reason, "model_name": self.model},
        }

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out, as the server counts them."""
        return (
            _number(self.usage.get("prompt_tokens", self.usage.get("input_tokens"))),
            _number(self.usage.get("completion_tokens", self.usage.get("output_tokens"))),
        )

    def tool_calls(self) -> list[ToolCall]:
        """The calls, their arguments read."""
        return [tool_call(one.name, one.arguments, one.id) for one in self.calls]

    def _strange(self, what: str, came: Any) -> BadResponse:
        return not_the_protocol(what, json.dumps(came, ensure_ascii=False, default=str), self.url)


def read_whole(body: bytes, kind: str, url: str, sent: Mapping[str, Any]) -> AIMessage:
    """The message of a response that came in one piece.

    Raises:
        BadResponse: it is no chat completion.
        EmptyReply: it holds no choice.
        ModelError: it is an error object.
    """
    assembly = Assembly(url, sent)
    text, reasoning = assembly.add(_object(body, kind, url), "message")
    more, more_reasoning = assembly.finish()
    fields = assembly.fields()
    if thoughts := reasoning + more_reasoning:
        fields["additional_kwargs"]["reasoning_content"] = thoughts
    good, broken = _langchain_calls(assembly.tool_calls())
    return AIMessage(text + more, tool_calls=good, invalid_tool_calls=broken, **fields)


def read_stream(pieces: Iterable[bytes], kind: str, url: str, sent: Mapping[str, Any]) -> Iterator[AIMessageChunk]:
    """The pieces of a message that comes as server-sent events; calls and usage stand in the last one.

    Raises:
        BadResponse: it is no stream of chat completions.
        ConnectionLost: it ends before the server said how the reply ends.
        EmptyReply: it holds no choice.
        ModelError: it holds an error object.
    """
    assembly = Assembly(url, sent)
    finished = False
    for payload in _payloads(pieces, kind, url):
        if payload is None:
            finished = True
            break
        text, reasoning = assembly.add(payload, "delta")
        if text or reasoning:
            yield _chunk(text, reasoning)
    finished = finished or bool(assembly.finish_reason)
    if not finished:
        raise ConnectionLost(
            f"the connection to {url} ended after {assembly.text_length} characters, before the reply did; "
            "the same question may be asked again"
        )
    text, reasoning = assembly.finish()
    fields = assembly.fields()
    if reasoning:
        fields["additional_kwargs"]["reasoning_content"] = reasoning
    # arguments that cannot be read travel as a JSON text: LangChain would close an object that was cut off
    calls: list[Any] = [
        {
            "name": one.name,
            "args": json.dumps(one.raw) if one.problem else json.dumps(dict(one.arguments)),
            "id": one.id or None,
            "index": n,
        }
        for n, one in enumerate(assembly.tool_calls())
    ]
    yield AIMessageChunk(content=text, tool_call_chunks=calls, chunk_position="last", **fields)


def _chunk(text: str, reasoning: str) -> AIMessageChunk:
    return AIMessageChunk(content=text, additional_kwargs={"reasoning_content": reasoning} if reasoning else {})


def _langchain_calls(calls: list[ToolCall]) -> tuple[list[Any], list[Any]]:
    good = [
        {"name": one.name, "args": dict(one.arguments), "id": one.id or None, "type": "tool_call"}
        for one in calls
        if not one.problem
    ]
    broken = [
        {"name": one.name, "args": one.raw, "id": one.id or None, "error": one.problem, "type": "invalid_tool_call"}
        for one in calls
        if one.problem
    ]
    return good, broken


def _payloads(pieces: Iterable[bytes], kind: str, url: str) -> Iterator[Mapping[str, Any] | None]:
    """The JSON objects of a stream; None for its end mark. A body that is no stream is one object."""
    plain: list[str] = []
    event: list[str] = []
    seen = False
    for line in _lines(pieces, url):
        if line.startswith("data:"):
            if event and _is_json("\n".join(event)):  # a server that sends no empty line between two events
                yield _event(event, url)
                event = []
            event.append(line[5:].removeprefix(" "))
            seen = True
            if event == ["[DONE]"]:
                yield None
                return
        elif not line:
            if event:
                yield _event(event, url)
                event = []
        elif not seen and not line.startswith((":", "event:", "id:", "retry:")):
            plain.append(line)
    if event and event != [""]:
        yield _event(event, url)
    if plain and not seen:
        yield _object("\n".join(plain).encode("utf-8", "surrogateescape"), kind, url)
        yield None  # a body that came whole has its end
    elif not seen:
        raise not_the_protocol("an empty body", "", url)


def _lines(pieces: Iterable[bytes], url: str) -> Iterator[str]:
    """Lines without their ends; bytes that are not UTF-8 are kept as halves, to be joined with what follows."""
    rest = b""
    for piece in pieces:
        rest += piece
        if len(rest) > _LONGEST_LINE:
            raise not_the_protocol(f"a line of more than {_LONGEST_LINE >> 20} MiB", "", url)
        *lines, rest = rest.replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "surrogateescape").rstrip("\r").removeprefix("\ufeff")
    if rest:
        yield rest.decode("utf-8", "surrogateescape").rstrip("\r").removeprefix("\ufeff")


def _event(lines: list[str], url: str) -> Mapping[str, Any] | None:
    text = "\n".join(lines)
    return None if text.strip() == "[DONE]" else _parse(text, "an event that is not JSON", url)


def _object(body: bytes, kind: str, url: str) -> Mapping[str, Any]:
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff").strip()
    if not text:
        raise not_the_protocol("an empty body", "", url)
    if "html" in kind or text[:1] == "<":
        raise not_the_protocol("HTML", text, url)
    if text.startswith("data:"):  # a stream that nobody asked for
        raise not_the_protocol("a stream", text, url)
    return _parse(text, "something that is not JSON", url)


def _parse(text: str, what: str, url: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise not_the_protocol(what, text, url) from error
    if not isinstance(value, Mapping):
        raise not_the_protocol("JSON that is no object", text, url)
    return value


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def _whole(arguments: Any) -> bool:
    return not isinstance(arguments, str) or (bool(arguments.strip()) and _is_json(arguments))


def _number(value: Any) -> int:
    return max(0, int(value)) if isinstance(value, int | float) else 0
