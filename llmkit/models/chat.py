"""Chat models by name: LangChain's ``BaseChatModel`` for every one of them.

``local:`` runs a GGUF file in this process, ``transformers:`` a folder of safetensors, ``openai:`` asks any
OpenAI-compatible server, ``scripted:`` says what it is told to; any other prefix goes to LangChain's
``init_chat_model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from llmkit import weights
from llmkit.errors import ConfigError, LlmkitError, ModelError
from llmkit.extras import optional
from llmkit.models.local import adapter as adapters_on_disk
from llmkit.models.local import gguf
from llmkit.part import Part
from llmkit.types import Message

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


_ROOM = 1536 * 2**20
"""Bytes that keys and values of slots nobody asked for may take."""


class ChatModelSpec(Part):
    """Which chat model, and how it is asked."""

    model: str
    """``local:smollm2``, ``local:FILE.gguf``, ``transformers:FOLDER``, ``openai:gpt-5-mini``, any ``PREFIX:NAME``.

    ``local:answerer`` is short for ``local:smollm2`` with the adapter ``answerer``, which comes with llmkit.
    """
    adapter: str | None = None
    """Folder of a LoRA adapter (`llmkit train lora`) that a local or transformers model answers with, or the name of
    one that comes with llmkit."""
    adapters: dict[str, str] = Field(default_factory=dict)
    """Folders of further adapters on the same base, by the name a call chooses one with: ``bind(adapter=NAME)``."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0: the most likely token each time."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest answer, in tokens."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""
    seed: int | None = None
    """Makes sampling repeatable, where the model can."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds for one call to a server."""
    retries: int = Field(default=3, ge=0)
    """Further attempts after 429, 5xx and lost connections, waiting as long as the server asks."""
    runtime: Literal["auto", "llamacpp", "openvino"] = "auto"
    """Of `local:` models; auto: llama.cpp, which starts fastest and knows grammars and adapters."""
    context: int | None = Field(default=None, ge=256)
    """Context window of a local model in tokens; none: what it was trained with, at most 8192."""
    threads: int | None = Field(default=None, ge=1)
    """Of a local model; none: OMP_NUM_THREADS, or all CPUs."""
    slots: int | None = Field(default=None, ge=1, le=64)
    """Calls a GGUF model on llama.cpp answers at a time, each with a whole context window of its own; none: one, or as
    many as `llmkit serve` finds room for."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    @field_validator("model")
    @classmethod
    def _has_provider(cls, value: str) -> str:
        provider, _, name = value.partition(":")
        if not provider or not name:
            raise ValueError(f"a model is PROVIDER:NAME, as in local:smollm2 or openai:gpt-5-mini, not {value!r}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        value = {"model": value} if isinstance(value, str) else value
        if isinstance(value, dict) and str(value.get("model", "")).startswith("local:"):
            name = value["model"].removeprefix("local:")
            if base := adapters_on_disk.shipped(name):  # an adapter that is named takes the place of the shipped one
                return {**value, "model": f"local:{base}", "adapter": value.get("adapter") or name}
        return value

    @model_validator(mode="after")
    def _adapters_fit(self) -> Self:
        provider = self.model.partition(":")[0]
        if (self.adapter or self.adapters) and provider not in ("local", "transformers"):
            raise ValueError(f"adapters belong to local: and transformers: models; {self.model} is neither")
        if "default" in self.adapters and self.adapter:
            raise ValueError("'default' is the name of `adapter`: give the other one another name")
        return self

    def config(self) -> dict[str, Any]:
        """Slots that were not asked for shape no answer, and no digest."""
        values = super().config()
        return values if self.slots else {key: value for key, value in values.items() if key != "slots"}

    def named_adapters(self) -> dict[str, str]:
        """Folders of all adapters by name; the one of `adapter` is called ``default``."""
        return ({"default": self.adapter} if self.adapter else {}) | self.adapters


def load_chat(spec: str | Mapping[str, Any] | ChatModelSpec) -> BaseChatModel:
    """The chat model of a spec, ready to be asked.

    Raises:
        ConfigError: an unknown provider, or one that is not available yet.
        ModelError: weights, key or server are missing; says what to do.
        MissingExtra: the provider's package is not installed.
    """
    if not isinstance(spec, ChatModelSpec):
        spec = ChatModelSpec.model_validate(spec)
    provider, _, name = spec.model.partition(":")
    if provider == "local":
        from llmkit.models.local.chat_model import load_local

        return load_local(name, spec)
    if provider == "scripted":
        from llmkit.models.scripted import load_scripted

        return load_scripted(name)
    if provider == "openai":
        from llmkit.models.openai import load_openai

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
    counted = getattr(model, "count_prompt_tokens", None)
    if counted is not None:
        return int(counted(messages))
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
        "temperature": spec.temperature,
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
