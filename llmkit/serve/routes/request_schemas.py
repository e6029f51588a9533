"""Requests in OpenAI's forms, read strictly: what is not understood is refused, what has no effect is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmkit.serve.auth.principal import Refused
from llmkit.types import Message

_NO_EFFECT = frozenset(
    """temperature top_p max_tokens max_completion_tokens max_output_tokens seed stop presence_penalty frequency_penalty
    logit_bias top_k min_p reasoning_effort reasoning verbosity text truncation""".split()
)
"""What a pipeline settles itself; told in the answer where a request sets it."""
_OF_NO_MATTER = frozenset(
    """user metadata store service_tier parallel_tool_calls tool_choice function_call prompt_cache_key safety_identifier
    prompt_cache_retention include background max_tool_calls stream_options top_logprobs""".split()
)
"""What changes nothing about an answer, or belongs to what is refused where it is there."""
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
}
"""What is obeyed by these values only, and by none at all."""
_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class TextPart(BaseModel):
    """A piece of a message; only text is read."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[TextPart] | None = None


class StreamOptions(BaseModel):
    """How to stream."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = False


class ChatRequest(BaseModel):
    """``POST /v1/chat/completions``."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None


class ResponseRequest(BaseModel):
    """``POST /v1/responses``."""

    model_config = ConfigDict(extra="allow")
    model: str
    input: str | list[ChatMessage]
    instructions: str | None = None
    stream: bool | None = False


class EmbeddingRequest(BaseModel):
    """``POST /v1/embeddings``."""

    model_config = ConfigDict(extra="allow")
    model: str
    input: str | list[str] = Field(max_length=2048)
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None
    input_type: Literal["query", "passage"] | None = "passage"


def without_effect(request: BaseModel) -> list[str]:
    """Settings of a request that change nothing here, as notes.

    Raises:
        Refused: 400, a setting that must not be passed over, or one nobody knows.
    """
    given = {name: value for name, value in (request.model_extra or {}).items() if value is not None}
    for name, allowed in _PLAIN.items():
        if name in given and given[name] not in allowed:
            raise Refused(400, f"{name!r} is not supported by this server's pipelines", code="unsupported_parameter")
    strange = sorted(given.keys() - _NO_EFFECT - _OF_NO_MATTER - _PLAIN.keys())
    if strange:
        raise Refused(400, f"unknown parameters: {', '.join(strange)[:500]}", code="unknown_parameter")
    return [f"{name!r} has no effect: the pipeline settles it" for name in sorted(given.keys() & _NO_EFFECT)]


def turns(messages: Iterable[ChatMessage]) -> tuple[str, tuple[Message, ...]]:
    """The question, which is the last message, and the turns before it.

    Raises:
        Refused: 400, the last message is not the user's, or one holds something else than text.
    """
    read = [_turn(one, n) for n, one in enumerate(messages)]
    if not read or read[-1].role != "user":
        raise Refused(400, "the last message must be the user's")
    return read[-1].content, tuple(read[:-1])


def _turn(message: ChatMessage, n: int) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise Refused(400, f"messages[{n}]: the role {message.role!r:.40} is not known (known: {', '.join(_ROLES)})")
    if isinstance(message.content, str) or message.content is None:
        return Message(role, message.content or "")
    for part in message.content:
        if part.type not in ("text", "input_text", "output_text") or part.text is None:
            raise Refused(400, f"messages[{n}]: only text is read, not {part.type!r:.40}")
    return Message(role, "\n".join(part.text or "" for part in message.content))
