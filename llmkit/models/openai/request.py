"""A call as OpenAI's chat completions want it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.utils import convert_to_openai_messages

from llmkit.errors import ModelError
from llmkit.models.spec import ChatModelSpec
from llmkit.replies.characters import join_halves

_REASONING_MODELS = re.compile(r"(?:gpt-5|o[1-9])(?![0-9a-z])")
"""Names of OpenAI's models that refuse a temperature and know ``max_completion_tokens`` only."""
SENT_BACK = "reasoning_content"
"""Field of an assistant's message in which servers that think between calls of tools want their reasoning back."""


def is_openai(base_url: str) -> bool:
    """Whether an address is OpenAI's own or Azure's."""
    host = urlsplit(base_url).hostname or ""
    return host == "api.openai.com" or host.endswith((".openai.azure.com", ".cognitiveservices.azure.com"))


def payload(
    name: str,
    spec: ChatModelSpec,
    base_url: str,
    messages: Sequence[BaseMessage],
    stop: Sequence[str] | None,
    options: Mapping[str, Any],
    *,
    stream: bool,
) -> dict[str, Any]:
    """The JSON of a request.

    Args:
        name: of the model, as the server knows it.
        spec: how the model is asked.
        base_url: of the server.
        messages: of LangChain.
        stop: texts that end the reply; none: those of the spec.
        options: of this call; they take the place of the spec's.
        stream: whether the reply is wanted in pieces.
    """
    reasons = _REASONING_MODELS.match(name.rpartition("/")[2]) is not None
    body: dict[str, Any] = {"model": name, "messages": _messages(messages), "stream": stream}
    given = dict(options)
    temperature = given.pop("temperature", None if reasons and spec.temperature == 0 else spec.temperature)
    if temperature is not None:
        body["temperature"] = temperature
    longest = given.pop("max_tokens", spec.max_tokens)
    field: str | None = spec.max_tokens_field
    if field == "auto":
        field = "max_completion_tokens" if reasons or is_openai(base_url) else "max_tokens"
    if field is not None and longest is not None:
        body[field] = longest
    seed = given.pop("seed", spec.seed)
    if seed is not None:
        body["seed"] = seed
    if ends := list(stop or spec.stop):
        body["stop"] = ends
    if spec.reasoning_effort is not None:
        body["reasoning_effort"] = spec.reasoning_effort
    if stream and spec.stream_options:
        body["stream_options"] = {"include_usage": True}
    return {**body, **given, **spec.extra_body}


def tool_choice(choice: Any) -> Any:
    """LangChain's words for which tool is to be called, in OpenAI's."""
    if choice in (True, "any", "required"):
        return "required"
    if isinstance(choice, str) and choice not in ("auto", "none"):
        return {"type": "function", "function": {"name": choice}}
    return choice


def _messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    try:
        rows: Any = convert_to_openai_messages(list(messages))
    except ValueError as error:
        raise ModelError(f"these messages cannot be sent to a server: {error}") from error
    last_question = max((n for n, one in enumerate(messages) if isinstance(one, HumanMessage)), default=-1)
    sent = []
    for n, (message, row) in enumerate(zip(messages, rows, strict=True)):
        row = {key: _encodable(value) for key, value in row.items()}
        if isinstance(message, AIMessage) and row.get("tool_calls"):
            row["content"] = row.get("content") or None
            thoughts = message.additional_kwargs.get(SENT_BACK)
            if n > last_question and thoughts and message.additional_kwargs.get("reasoning_field") == SENT_BACK:
                row[SENT_BACK] = _encodable(thoughts)
        sent.append(row)
    return sent


def _encodable(value: Any) -> Any:
    return join_halves(value).text if isinstance(value, str) else value
