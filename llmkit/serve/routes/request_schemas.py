"""Requests in OpenAI's formats. Unknown parameters are refused, and parameters without effect are reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmkit.serve.errors import HttpError
from llmkit.types import Message

_WITHOUT_EFFECT = frozenset(
    """temperature top_p max_tokens max_completion_tokens max_output_tokens seed stop presence_penalty frequency_penalty
    logit_bias top_k min_p reasoning_effort reasoning verbosity text truncation""".split()
)
"""Parameters that the pipeline sets itself. The answer has a note where a request sends one."""
_IGNORED = frozenset(
    """user metadata store service_tier parallel_tool_calls tool_choice function_call prompt_cache_key safety_identifier
    prompt_cache_retention include background max_tool_calls stream_options top_logprobs""".split()
)
"""Parameters that do not change an answer, or that matter only beside a parameter which is refused."""
_ACCEPTED_VALUES: Mapping[str, tuple[Any, ...]] = {
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
"""Parameters that are refused, unless they have one of these values."""
_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class ContentPart(BaseModel):
    """A part of a message. Only parts of text are accepted."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

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


def check_parameters(request: BaseModel) -> list[str]:
    """Check the parameters that the schema of a request does not name; return a note for each without effect.

    Raises:
        HttpError: 400, a parameter is unknown, or asks for something that a pipeline cannot do.
    """
    parameters = {name: value for name, value in (request.model_extra or {}).items() if value is not None}
    for name, accepted in _ACCEPTED_VALUES.items():
        if name in parameters and parameters[name] not in accepted:
            raise HttpError(400, f"{name!r} is not supported by this server's pipelines", code="unsupported_parameter")
    if _wants_json(parameters.get("text")):
        raise HttpError(
            400, "'text.format' is not supported by this server's pipelines, except for plain text",
            code="unsupported_parameter",
        )  # fmt: skip
    unknown = sorted(parameters.keys() - _WITHOUT_EFFECT - _IGNORED - _ACCEPTED_VALUES.keys())
    if unknown:
        raise HttpError(400, f"unknown parameters: {', '.join(unknown)[:500]}", code="unknown_parameter")
    return [f"{name!r} has no effect: the pipeline sets it" for name in sorted(parameters.keys() & _WITHOUT_EFFECT)]


def split_conversation(messages: Iterable[ChatMessage]) -> tuple[str, tuple[Message, ...]]:
    """Return the question, which is the last message, and the messages before it.

    Raises:
        HttpError: 400, the last message is not the user's, or a message holds something other than text.
    """
    conversation = [_to_message(message, n) for n, message in enumerate(messages)]
    if not conversation or conversation[-1].role != "user":
        raise HttpError(400, "the last message must have the role 'user': it is the question")
    return conversation[-1].content, tuple(conversation[:-1])


def _wants_json(text: object) -> bool:
    """Return whether the parameter ``text`` of ``/v1/responses`` asks for another format than plain text."""
    chosen = text.get("format") if isinstance(text, dict) else None
    return isinstance(chosen, dict) and chosen.get("type", "text") != "text"


def _to_message(message: ChatMessage, n: int) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise HttpError(400, f"messages[{n}]: the role {message.role!r:.40} is unknown (known: {', '.join(_ROLES)})")
    if isinstance(message.content, str) or message.content is None:
        return Message(role, message.content or "")
    for part in message.content:
        if part.type not in ("text", "input_text", "output_text") or part.text is None:
            raise HttpError(400, f"messages[{n}]: only text is accepted, not a part of type {part.type!r:.40}")
    return Message(role, "\n".join(part.text or "" for part in message.content))
