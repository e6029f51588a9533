"""A LangChain chat model that asks a server with OpenAI's chat completions."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr, SecretStr

from llmkit.errors import ConnectionLost, ModelError
from llmkit.models.openai import request, response
from llmkit.models.openai.errors import error_of_status
from llmkit.models.retry import stream_with_retries, with_retries
from llmkit.models.spec import HIDDEN, ChatModelSpec

OPENAI = "https://api.openai.com/v1"


class OpenAIChat(BaseChatModel):
    """One model of one server; safe to use from many threads.

    Errors that may pass are retried by :mod:`llmkit.models.retry`; those that stay are `ModelError`, whichever way the
    server tells them. ``bind(response_format=…)`` and other options of the protocol go to the server as they are.
    """

    name_of_model: str
    base_url: str
    spec: ChatModelSpec
    key: SecretStr | None = None
    _client: httpx.Client | None = PrivateAttr(default=None)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.name_of_model, "base_url": self.base_url, "temperature": self.spec.temperature}

    @property
    def context(self) -> int | None:
        """Context window in tokens, where the spec names it."""
        return self.spec.context

    @property
    def max_tokens(self) -> int:
        """Longest answer, in tokens."""
        return self.spec.max_tokens

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The model with tools it may call: functions, LangChain tools or their specs."""
        specs = [convert_to_openai_tool(tool) for tool in tools]
        chosen = {} if tool_choice is None or not specs else {"tool_choice": request.tool_choice(tool_choice)}
        return self.bind(**({"tools": specs} if specs else {}), **chosen, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body = self._payload(messages, stop, kwargs, stream=False)

        def call() -> AIMessage:
            with self._sent(body) as answer:
                kind = answer.headers.get("content-type", "")
                return response.read_whole(answer.read(), kind, self._url, body)

        message = with_retries(call, self.spec.retries)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        body = self._payload(messages, stop, kwargs, stream=True)

        def call() -> Iterator[Any]:
            with self._sent(body) as answer:
                kind = answer.headers.get("content-type", "")
                yield from response.read_stream(_bytes(answer), kind, self._url, body)

        for message in stream_with_retries(call, self.spec.retries):
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(message.text, chunk=chunk)
            yield chunk

    def _payload(
        self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any], *, stream: bool
    ) -> dict[str, Any]:
        return request.payload(self.name_of_model, self.spec, self.base_url, messages, stop, options, stream=stream)

    @property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/chat/completions"

    @contextmanager
    def _sent(self, body: Mapping[str, Any]) -> Iterator[httpx.Response]:
        """The response to a request, its head read and its status 200.

        Raises:
            ModelError: the server refuses the request.
            ConnectionLost: the server cannot be reached, or is silent for longer than the time-out.
        """
        params = {"api-version": self.spec.api_version} if self.spec.api_version else None
        try:
            with self._http.stream("POST", self._url, json=dict(body), params=params) as answer:
                if answer.status_code != httpx.codes.OK:
                    text = answer.read().decode("utf-8", "replace")
                    target = answer.headers.get("location", "")
                    raise error_of_status(answer.status_code, answer.headers, text or target, body)
                yield answer
        except httpx.TimeoutException as error:
            raise ConnectionLost(
                f"the model's server does not answer: {self._url} was silent for {self.spec.timeout:g} s (`timeout` of "
                "the model's spec)"
            ) from error
        except httpx.RemoteProtocolError as error:
            raise ConnectionLost(f"the connection to {self._url} ended before the reply did ({error})") from error
        except httpx.TransportError as error:
            raise ConnectionLost(
                f"the model's server does not answer: {self._url} ({error}): is it running?"
            ) from error
        except httpx.DecodingError as error:
            raise ConnectionLost(f"the response of {self._url} cannot be decompressed ({error})") from error
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ModelError(
                f"the server cannot be asked: {error}: check OPENAI_BASE_URL, the key and the headers"
            ) from error

    @property
    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(headers=self._headers(), timeout=self.spec.timeout, follow_redirects=False)
            return self._client

    def _headers(self) -> dict[str, str]:
        key = self.key.get_secret_value() if self.key else ""
        azure = self.spec.api_version is not None or (urlsplit(self.base_url).hostname or "").endswith(".azure.com")
        head = {"api-key": key} if azure and key else {"Authorization": f"Bearer {key}"} if key else {}
        for name, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
            if value := os.environ.get(variable):
                head[name] = value
        return {**head, "User-Agent": "llmkit", **self.spec.headers}


def load_openai(name: str, spec: ChatModelSpec) -> OpenAIChat:
    """``openai:NAME``, with the key of OPENAI_API_KEY and the server of OPENAI_BASE_URL.

    Raises:
        ModelError: there is no key, and the server is not one of this machine; or a header's value is missing.
    """
    server = (os.environ.get("OPENAI_BASE_URL") or OPENAI).strip()
    if urlsplit(server).scheme not in ("http", "https"):
        raise ModelError(f"OPENAI_BASE_URL is {server!r}: it begins with http:// or https://, as in {OPENAI}")
    key = (os.environ.get("OPENAI_API_KEY") or "").strip()
    here = urlsplit(server).hostname in ("127.0.0.1", "localhost", "::1")
    signed = any(one.casefold() in ("authorization", "api-key", "x-api-key") for one in spec.headers)
    if not key and not here and not signed:
        raise ModelError(
            f"{spec.model} needs a key: set OPENAI_API_KEY (and OPENAI_BASE_URL for another server than OpenAI's)"
        )
    hidden = [one for one, value in spec.headers.items() if value == HIDDEN]
    if hidden:
        raise ModelError(f"the value of the header {hidden[0]} is not recorded with a run: give it again")
    return OpenAIChat(name_of_model=name, base_url=server, spec=spec, key=SecretStr(key) if key else None)


def _bytes(answer: httpx.Response) -> Iterator[bytes]:
    """The body as it comes. A connection that breaks off is told by the reader, which knows what is missing."""
    try:
        yield from answer.iter_bytes()
    except httpx.RemoteProtocolError:
        return
