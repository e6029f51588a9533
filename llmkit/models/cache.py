"""Answers of chat models, remembered: by everything that shapes them, sample and repeat included.

A :class:`Tape` is what one sample's run says to its models and hears from them. With a cache, what was asked before is
answered from there; with a recording, nothing is asked at all.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

from llmkit.errors import DataError, ModelError
from llmkit.models.chat import ChatModelSpec, load_chat

Response = dict[str, Any]


@dataclass
class Tape:
    """The calls of one sample's run, in order."""

    sample: str = ""
    repeat: int = 0
    recorded: Mapping[str, Response] | None = None
    """Answers by key; where it is given, a call that is not in it is an error."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """``{"key", "response", "cached"}`` each."""
    _seen: Counter[str] = field(default_factory=Counter)

    def key(self, content: str) -> str:
        """The same question asked twice in one run is two calls with two keys."""
        turn = self._seen[content]
        self._seen[content] += 1
        return hashlib.sha256(json.dumps([self.sample, self.repeat, turn, content]).encode()).hexdigest()[:32]


TAPE: ContextVar[Tape | None] = ContextVar("llmkit_tape", default=None)
"""The tape of the run in this thread."""


class CacheError(DataError):
    """The cache cannot be written: the disk is full or gone, and no further answer would be kept."""


class ResponseCache:
    """A SQLite file of answers; safe between threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, response TEXT) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            raise DataError(
                f"the response cache {path} cannot be opened: {error}; delete it, or use --no-cache"
            ) from error

    def get(self, key: str) -> Response | None:
        """The answer under a key, or None."""
        with self._lock:
            row = self._db.execute("SELECT response FROM responses WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, response: Response) -> None:
        """Remember an answer."""
        try:
            with self._lock:
                text = json.dumps(response, ensure_ascii=False)
                self._db.execute("INSERT OR REPLACE INTO responses VALUES (?, ?)", (key, text))
        except sqlite3.Error as error:
            raise CacheError(
                f"the response cache {self.path} cannot be written ({error}): what was done before is kept; "
                "make room and run the same command again, or use --no-cache"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


class RememberingChat(BaseChatModel):
    """A chat model that writes its calls on the tape of the running sample and answers from what is remembered.

    The model itself is loaded when something must be asked, or counted, that nobody remembers.
    """

    spec: ChatModelSpec
    identity: str
    """What shapes the answer beside the messages: the spec and the weights or server behind it."""
    _cache: ResponseCache | None = PrivateAttr(default=None)
    _loading: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, spec: ChatModelSpec, identity: str, cache: ResponseCache | None = None) -> None:
        super().__init__(spec=spec, identity=identity)
        self._cache = cache

    @property
    def _llm_type(self) -> str:
        return "llmkit-remembering"

    @property
    def inner(self) -> BaseChatModel:
        """The model, loaded once."""
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

    @property
    def count_prompt_tokens(self) -> Any:
        """The model's own counting, or None."""
        return getattr(self.inner, "count_prompt_tokens", None)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """What the model makes of the tools, bound here, so that calls with tools are remembered too."""
        bound: Any = self.inner.bind_tools(tools, **kwargs)
        return self.bind(**bound.kwargs)

    def _known(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[str, Response | None]:
        tape = TAPE.get() or Tape()
        said = [[message.type, message.content, getattr(message, "tool_calls", [])] for message in messages]
        key = tape.key(json.dumps([self.identity, said, stop, kwargs], sort_keys=True, default=str))
        if tape.recorded is not None:
            if key not in tape.recorded:
                raise ModelError("this call is not in the recording: the pipeline, its prompts or its passages differ")
            return key, tape.recorded[key]
        return key, self._cache.get(key) if self._cache else None

    def _keep(self, key: str, response: Response, *, cached: bool) -> None:
        tape = TAPE.get()
        if self._cache and not cached:
            self._cache.put(key, response)
        if tape is not None:
            tape.calls.append({"key": key, "response": response, "cached": cached})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        key, known = self._known(messages, stop, kwargs)
        response = known or _response(self.inner.invoke(messages, stop=stop, **kwargs))
        self._keep(key, response, cached=known is not None)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(**response))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        key, known = self._known(messages, stop, kwargs)
        if known is not None:
            self._keep(key, known, cached=True)
            yield ChatGenerationChunk(message=_chunk(known))
            return
        total: Any = None
        for piece in self.inner.stream(messages, stop=stop, **kwargs):
            total = piece if total is None else total + piece
            yield ChatGenerationChunk(message=piece)
        if total is not None:  # an answer that was stopped half way is not remembered
            self._keep(key, _response(message_chunk_to_message(total)), cached=False)


def _response(message: Any) -> Response:
    return {
        "content": message.content,
        "tool_calls": [dict(call) for call in message.tool_calls],
        "usage_metadata": dict(message.usage_metadata) if message.usage_metadata else None,
        "response_metadata": {"finish_reason": message.response_metadata.get("finish_reason", "stop")},
    }


def _chunk(response: Response) -> AIMessageChunk:
    calls = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": i}
        for i, call in enumerate(response["tool_calls"])
    ]
    return AIMessageChunk(**{**response, "tool_calls": [], "tool_call_chunks": calls})
