"""Chat models by name: LangChain's ``BaseChatModel`` for every one of them.

``local:`` runs a GGUF file in this process, ``transformers:`` a folder of safetensors, ``openai:`` asks any
OpenAI-compatible server, ``scripted:`` says what it is told to; any other prefix goes to LangChain's
``init_chat_model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmkit import config, weights
from llmkit.errors import ConfigError, LlmkitError, ModelError
from llmkit.extras import optional
from llmkit.models.local import gguf
from llmkit.models.spec import ChatModelSpec
from llmkit.protocols import CountsPromptTokens
from llmkit.types import Message

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "ChatModelSpec", "context_window", "count_tokens", "load_chat", "schema_options", "translate", "with_slots",
]  # fmt: skip
_ROOM = 1536 * 2**20
"""Bytes that keys and values of slots nobody asked for may take."""


def load_chat(spec: str | Mapping[str, Any] | ChatModelSpec) -> BaseChatModel:
    """The chat model of a spec, ready to be asked.

    Raises:
        ConfigError: an unknown provider, or one that is not available yet.
        ModelError: weights, key or server are missing; says what to do.
        MissingExtra: the provider's package is not installed.
    """
    if not isinstance(spec, ChatModelSpec):
        spec = config.Config({"model": spec} if isinstance(spec, str) else dict(spec), "chat model").build(
            ChatModelSpec
        )
    provider, _, name = spec.model.partition(":")
    if provider == "local":
        from llmkit.models.local.chat_model import load_local

        return load_local(name, spec)
    if provider == "scripted":
        from llmkit.models.scripted import load_scripted

        return load_scripted(name)
    if provider == "openai":
        from llmkit.models.openai.chat import load_openai

        return load_openai(name, spec)
    if provider == "transformers":
        from llmkit.models.local.transformers import load_transformers

        return load_transformers(name, spec)
    return _by_langchain(provider, spec)


def context_window(model: BaseChatModel) -> int | None:
    """Tokens the model reads and writes together; None where nobody says."""
    window = getattr(model, "context", None)
    if isinstance(window, int):
        return window
    profile = getattr(model, "profile", None) or {}
    limit = profile.get("max_input_tokens")
    return limit if isinstance(limit, int) else None


def with_slots(spec: ChatModelSpec, wanted: int) -> ChatModelSpec:
    """The spec with the slots that are wanted, 8 at most, whose keys and values fit into 1.5 GiB.

    As it is where it names a number, or where the model has none.

    Raises:
        ModelError: the weights are not there, or are no GGUF file.
    """
    provider, _, name = spec.model.partition(":")
    if provider != "local" or spec.runtime == "openvino" or spec.slots:
        return spec
    path = weights.find(name)
    each = (gguf.bytes_per_token(path) or _ROOM) * gguf.window(path, spec.context)
    return spec.replace(slots=max(1, min(wanted, 8, _ROOM // each)))


def count_tokens(model: BaseChatModel, messages: Sequence[Message]) -> int:
    """Tokens of a prompt: exact for local models, never too few for others.

    A byte-level vocabulary has a token for every byte, so the bytes of the text bound its tokens; where the model
    cannot count, a third of them is added up, which ordinary text stays below, and eight tokens a message.
    """
    if isinstance(model, CountsPromptTokens):
        return int(model.count_prompt_tokens(messages))
    return sum(len(message.content.encode()) // 3 + 8 for message in messages)


def schema_options(model: BaseChatModel, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What to give a call with so that the model can write nothing but JSON of the schema; empty where it cannot be.

    Local GGUF models take a schema, OpenAI's protocol has ``response_format``. A server may still take it for a hint:
    what comes back has to be checked.
    """
    spec = getattr(model, "spec", None)  # of a model that remembers
    provider = spec.model.partition(":")[0] if isinstance(spec, ChatModelSpec) else ""
    kind = getattr(model, "_llm_type", "")
    base = getattr(model, "base", None)  # a folder: transformers, which knows no schemas
    if provider == "local" or (not provider and kind == "llmkit-local" and base is not None and base.is_file()):
        return {"response_schema": dict(schema)}
    if provider == "openai" or (not provider and kind == "openai-chat"):
        named = {"name": "reply", "schema": dict(schema), "strict": False}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {}


def translate(error: Exception) -> LlmkitError:
    """A provider's exception as ours: what happened, and whether trying again may help."""
    if isinstance(error, LlmkitError):
        return error
    status = getattr(error, "status_code", None)
    kind = type(error).__name__
    if status is None and not kind.endswith(("ConnectionError", "TimeoutError", "ConnectError", "ReadTimeout")):
        return ModelError(f"the model failed: {kind}: {error}")
    said = str(error).splitlines()[0] if str(error) else kind
    if status is None:
        return ModelError(f"the model's server does not answer ({kind}: {said}): is it running?", retryable=True)
    if status in (401, 403):
        return ModelError(f"the server refused the key ({status}): {said}")
    if status == 404:
        return ModelError(f"the server does not know this model or address (404): {said}")
    response = getattr(error, "response", None)
    wait = response.headers.get("retry-after") if response is not None else None
    after = float(wait) if wait and wait.replace(".", "", 1).isdigit() else None
    retryable = status in (408, 409, 429) or status >= 500
    return ModelError(f"the server answered {status}: {said}", retryable=retryable, retry_after=after)


def _by_langchain(provider: str, spec: ChatModelSpec) -> BaseChatModel:
    with optional():
        from langchain.chat_models import init_chat_model

    name = spec.model.partition(":")[2]
    settings: dict[str, Any] = {
        **({} if spec.temperature is None else {"temperature": spec.temperature}),
        "max_tokens": spec.max_tokens,
        "timeout": spec.timeout,
        "max_retries": spec.retries,
    }
    if spec.stop:
        settings["stop"] = list(spec.stop)
    try:
        model: BaseChatModel = init_chat_model(name, model_provider=provider, **settings)
        return model
    except ImportError as error:
        raise ModelError(f"{spec.model} needs another package: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"unknown provider {provider!r} (ours: local, transformers, openai, scripted). LangChain says: {error}"
        ) from error
