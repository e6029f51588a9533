"""Chat models behind the OpenAI protocol: OpenAI itself, vLLM, Ollama, llama-server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from llmkit.errors import ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmkit.models.chat import ChatModelSpec


def load_openai(name: str, spec: ChatModelSpec) -> BaseChatModel:
    """``openai:NAME``, with the key of OPENAI_API_KEY and the server of OPENAI_BASE_URL.

    Raises:
        ModelError: no key, and the server is not one of this machine.
    """
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    server = os.environ.get("OPENAI_BASE_URL") or None
    key = os.environ.get("OPENAI_API_KEY")
    here = server is not None and urlparse(server).hostname in ("127.0.0.1", "localhost", "::1")
    if not key and not here:
        raise ModelError(
            f"{spec.model} needs a key: set OPENAI_API_KEY (and OPENAI_BASE_URL for another server than OpenAI's)"
        )
    settings: dict[str, Any] = {"seed": spec.seed} if spec.seed is not None else {}
    if spec.stop:
        settings["stop"] = list(spec.stop)
    if not name.startswith(("gpt-5", "o1", "o3", "o4")):  # reasoning models take no temperature
        settings["temperature"] = spec.temperature
    return ChatOpenAI(
        model=name,
        api_key=SecretStr(key or "none needed"),
        base_url=server,
        max_tokens=spec.max_tokens,
        timeout=spec.timeout,
        max_retries=spec.retries,
        stream_usage=True,
        **settings,
    )
