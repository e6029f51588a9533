"""A chat model that answers from a cache or a recording, and asks the real model for the rest."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

from llmkit.errors import ModelError
from llmkit.models.chat import ChatModelSpec, count_tokens, load_chat
from llmkit.models.response_cache import CALL_LOG, CallLog, Response, ResponseCache
from llmkit.replies.finish_reason import finish_reason
from llmkit.replies.read import read_message
from llmkit.types import Message

_KEPT = ("reasoning_content", "reasoning", "refusal", "replaced_characters")
"""Parts of a message that are kept beside its text."""


class CachingChat(BaseChatModel):
    """A chat model in front of another one: it answers known calls from a cache and writes every call into the log.

    The model behind it is loaded when the first call is not known, or when tokens must be counted.
    """

    spec: ChatModelSpec
    identity: str
    """What shapes a reply beside the messages: the spec, and the weights or the server."""
    _cache: ResponseCache | None = PrivateAttr(default=None)
    _loading: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, spec: ChatModelSpec, identity: str, cache: ResponseCache | None = None) -> None:
        super().__init__(spec=spec, identity=identity)
        self._cache = cache

    @property
    def _llm_type(self) -> str:
        return "llmkit-caching"

    @property
    def inner(self) -> BaseChatModel:
        """The model that is asked, loaded once."""
        with self._loading:
            return self._inner

    @cached_property
    def _inner(self) -> BaseChatModel:
        return load_chat(self.spec)

    @property
    def context(self) -> int | None:
        """Context window in tokens, where the model knows it."""
        from llmkit.models.chat import context_window

        return context_window(self.inner)

    @property
    def max_tokens(self) -> int:
        """Longest answer, in tokens."""
        return self.spec.max_tokens

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a prompt, as the model itself counts or estimates them."""
        return count_tokens(self.inner, messages)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Bind tools as the model behind does, so that calls with tools are cached too."""
        bound: Any = self.inner.bind_tools(tools, **kwargs)
        return self.bind(**bound.kwargs)

    def _lookup(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[str, Response | None]:
        log = CALL_LOG.get() or CallLog()
        said = [[message.type, message.content, getattr(message, "tool_calls", [])] for message in messages]
        key = log.key(json.dumps([self.identity, said, stop, kwargs], sort_keys=True, default=str))
        if log.recorded is not None:
            if key not in log.recorded:
                raise ModelError("this call is not in the recording: the pipeline, its prompts or its passages differ")
            return key, log.recorded[key]
        kept = self._cache.get(key) if self._cache else None
        if kept is not None and "additional_kwargs" not in kept and self.spec.model.startswith("openai:"):
            return key, None  # written by 0.1, which took every reply of a server for a finished one
        return key, kept

    def _store(self, key: str, response: Response, *, cached: bool) -> None:
        log = CALL_LOG.get()
        if self._cache and not cached and _lasting(response):
            self._cache.put(key, response)
        if log is not None:
            log.calls.append({"key": key, "response": response, "cached": cached})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        key, known = self._lookup(messages, stop, kwargs)
        response = known or _response(self.inner.invoke(messages, stop=stop, **kwargs))
        self._store(key, response, cached=known is not None)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(**response))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        key, known = self._lookup(messages, stop, kwargs)
        if known is not None:
            self._store(key, known, cached=True)
            yield ChatGenerationChunk(message=_chunk(known))
            return
        total: Any = None
        for piece in self.inner.stream(messages, stop=stop, **kwargs):
            total = piece if total is None else total + piece
            yield ChatGenerationChunk(message=piece)
        if total is not None:  # a stream that the caller closed never comes here, and is not kept
            self._store(key, _response(message_chunk_to_message(total)), cached=False)


def _lasting(response: Response) -> bool:
    """Whether a reply is worth keeping. One that is empty, filtered or broken off is asked for anew."""
    message = AIMessage(**response)
    try:
        reply = read_message(message).with_text()
    except ModelError:
        return False
    return reply.finish_reason in ("stop", "length", "tool_calls")


def _response(message: Any) -> Response:
    extra = message.additional_kwargs or {}
    reason, unknown_word = finish_reason(message.response_metadata or {})
    return {
        "content": message.content,
        "tool_calls": [dict(call) for call in message.tool_calls],
        "invalid_tool_calls": [dict(call) for call in message.invalid_tool_calls],
        "usage_metadata": dict(message.usage_metadata) if message.usage_metadata else None,
        "response_metadata": {
            "finish_reason": unknown_word or reason,
            **({"model_name": name} if (name := (message.response_metadata or {}).get("model_name")) else {}),
        },
        "additional_kwargs": {name: extra[name] for name in _KEPT if extra.get(name)},
    }


def _chunk(response: Response) -> AIMessageChunk:
    calls = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": i}
        for i, call in enumerate(response["tool_calls"])
    ]
    broken = [
        # as a JSON text, so that LangChain does not mend what cannot be read
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": i}
        for i, call in enumerate(response.get("invalid_tool_calls", ()), len(calls))  # a cache of 0.1 has none
    ]
    return AIMessageChunk(
        **{**response, "tool_calls": [], "invalid_tool_calls": [], "tool_call_chunks": calls + broken}
    )
