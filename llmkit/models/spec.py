"""Which chat model is asked, and how: the `model:` of a pipeline."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from llmkit.models.local import adapter as adapters_on_disk
from llmkit.part import Part

HIDDEN = "***"
"""Stands in place of a header's value in the record of a run."""

_SINCE_0_1 = (
    "slots", "max_tokens_field", "stream_options", "reasoning_effort", "extra_body", "headers", "api_version",
)  # fmt: skip
"""Fields whose default leaves the digest of a spec as it was before they were there."""


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
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """0: the most likely token each time; null: it is not sent, and the server's own holds."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest answer, in tokens."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""
    seed: int | None = None
    """Makes sampling repeatable, where the model can."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds that a server may be silent before a call counts as lost."""
    retries: int = Field(default=3, ge=0)
    """Further attempts after 429, 5xx and lost connections, waiting as long as the server asks."""
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] | None = "auto"
    """Of a server: the name under which `max_tokens` is sent; auto: max_completion_tokens to OpenAI and Azure and for
    OpenAI's reasoning models, else max_tokens; null: it is not sent."""
    stream_options: bool = True
    """Of a server: whether ``stream_options`` asks it to count the tokens of a stream."""
    reasoning_effort: str | None = None
    """Of a server with reasoning models: none, minimal, low, medium or high; null: it is not sent."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Of a server: further parameters of the request, as JSON values; they take the place of llmkit's own."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Of a server: further headers; their values are left out of every record."""
    api_version: str | None = None
    """Of Azure: the ``api-version`` of the address; the key is then sent as ``api-key``."""
    runtime: Literal["auto", "llamacpp", "openvino"] = "auto"
    """Of `local:` models; auto: llama.cpp, which starts fastest and knows grammars and adapters."""
    context: int | None = Field(default=None, ge=256)
    """Context window in tokens. Of a local model, none: what it was trained with, at most 8192. Of a server, none:
    it is not known, and a prompt that is too long is refused by the server."""
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

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r} is not the name of a header")
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"the value of the header {name} holds characters that no header can hold")
        return value

    @field_validator("extra_body")
    @classmethod
    def _is_not_what_is_asked(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in ("messages", "stream"):
            if name in value:
                raise ValueError(f"{name} cannot be given: llmkit sets it with each call")
        return value

    def config(self) -> dict[str, Any]:
        """The spec as YAML values. Fields that shape no answer at their default are left out, and out of digests."""
        values = super().config()
        fields = type(self).model_fields
        left_out = {
            name for name in _SINCE_0_1 if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        if self.headers:
            values["headers"] = dict.fromkeys(self.headers, HIDDEN)
        return {key: value for key, value in values.items() if key not in left_out}

    def named_adapters(self) -> dict[str, str]:
        """Folders of all adapters by name; the one of `adapter` is called ``default``."""
        return ({"default": self.adapter} if self.adapter else {}) | self.adapters
