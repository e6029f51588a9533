"""Chat models in this process, behind one class: GGUF files on llama.cpp or OpenVINO, folders on transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

from llmkit import cpu, weights
from llmkit.errors import ModelError
from llmkit.models import tool_protocol
from llmkit.models.local.adapter import Adapter, read_adapter
from llmkit.models.local.engine import Done, Engine, Request, Turn
from llmkit.models.local.engine_calls import EngineCalls
from llmkit.models.local.gguf import window
from llmkit.models.spec import ChatModelSpec
from llmkit.types import Message

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "user"}


class LocalChat(BaseChatModel):
    """One loaded model. It answers as many calls at a time as it has slots; other threads wait their turn.

    `bind(response_schema=…)` makes it answer JSON of that schema, `bind(grammar=…)` text of a GBNF grammar
    (llama.cpp only), `bind(adapter=NAME)` with that adapter, `bind(adapter=None)` with none; `bind_tools(…)` lets it
    call tools, by the protocol of :mod:`llmkit.models.tool_protocol`. A prompt longer than the context window is
    refused, never cut.
    """

    name_of_model: str
    context: int
    """Tokens of prompt and answer together."""
    max_tokens: int
    temperature: float
    stop: tuple[str, ...] = ()
    seed: int | None = None
    adapter: str | None = None
    """Name of the adapter it answers with where a call names none."""
    base: Path | None = None
    """File or folder of the weights, which adapters must belong to."""

    _calls: EngineCalls = PrivateAttr()

    def __init__(self, calls: EngineCalls, **fields: Any) -> None:
        super().__init__(**fields)
        self._calls = calls

    @property
    def _engine(self) -> Engine:
        return self._calls.engine

    @property
    def slots(self) -> int:
        """EngineCalls it answers at a time."""
        return self._calls.slots.most

    @property
    def _llm_type(self) -> str:
        return "llmkit-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.name_of_model, "temperature": self.temperature, "seed": self.seed}

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt, chat template included. Exact, but for prompts whose bytes alone fit."""
        most = sum(len(message.content.encode()) + 16 for message in messages) + 64
        if most + self.max_tokens <= self.context:
            return most
        return self._calls.count([(message.role, message.content) for message in messages])

    def set_adapter(self, name: str, folder: str | Path) -> None:
        """Load an adapter under a name, in place of the one that had it, between two calls.

        Raises:
            ModelError: not an adapter, of another base, or without effect; the adapters before stay.
        """
        assert self.base is not None
        adapter = read_adapter(folder)
        adapter.check_base(self.base)
        self._calls.set_adapter(name, adapter)

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The model with tools it may call: functions, LangChain tools or their specs; one call a reply.

        A runtime with schemas holds every reply to the protocol; on transformers a reply that does not follow it is
        taken for an answer.
        """
        specs = [convert_to_openai_tool(tool) for tool in tools]
        tool_protocol.reply_schema(specs, tool_choice)  # refuses what cannot be, before anything is asked
        return self.bind(tools=specs, tool_choice=tool_choice, **kwargs)

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> Request:
        known = {"max_tokens", "temperature", "seed", "response_schema", "grammar", "adapter", "tools", "tool_choice"}
        strange = set(options) - known
        if strange:
            raise ModelError(f"local models do not know {sorted(strange)} (known: {', '.join(sorted(known))})")
        tools, held = options.get("tools"), options.get("response_schema")
        if tools and self._engine.knows_schemas:
            held = tool_protocol.reply_schema(tools, options.get("tool_choice"))
        return Request(
            turns=_turns_with(messages, tools) if tools else [_turn(message) for message in messages],
            max_tokens=options.get("max_tokens", self.max_tokens),
            temperature=options.get("temperature", self.temperature),
            seed=options.get("seed", self.seed),
            stop=tuple(stop or self.stop),
            schema=held,
            grammar=options.get("grammar"),
            adapter=options.get("adapter", self.adapter),
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text: list[str] = []
        done = None
        for piece in self._calls.stream(self._request(messages, stop, kwargs), self.name_of_model):
            if isinstance(piece, Done):
                done = piece
            else:
                text.append(piece)
        assert done is not None
        said: dict[str, Any] = {"content": "".join(text)}
        if tools := kwargs.get("tools"):
            number = 1 + sum(len(one.tool_calls) for one in messages if isinstance(one, AIMessage))
            said = tool_protocol.parse_reply(said["content"], tools, number, cut=done.finish_reason == "length")
        message = AIMessage(**said, usage_metadata=_usage(done), response_metadata=_metadata(self, done))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if kwargs.get("tools"):  # a call is nothing to show half way
            whole: Any = self._generate(messages, stop, run_manager, **kwargs).generations[0].message
            yield ChatGenerationChunk(message=tool_protocol.as_chunk(whole))
            return
        for piece in self._calls.stream(self._request(messages, stop, kwargs), self.name_of_model):
            if isinstance(piece, Done):
                last = AIMessageChunk(
                    content="", usage_metadata=_usage(piece), response_metadata=_metadata(self, piece)
                )
                yield ChatGenerationChunk(message=last)
                continue
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk


def load_local(name: str, spec: ChatModelSpec) -> LocalChat:
    """``local:NAME`` of the catalogue, or ``local:PATH`` of a GGUF file.

    Raises:
        ModelError: not there, not GGUF, or the runtime is not installed.
    """
    path = weights.find(name)
    if path.is_dir():
        raise ModelError(f"{path} is a folder: local: takes a GGUF file, transformers: a folder")
    context = window(path, spec.context)

    def load(adapters: Mapping[str, Adapter]) -> Engine:
        return _engine(path, spec, context, adapters)

    return chat_of(EngineCalls(load, adapters_of(spec, path)), path, name, spec, context)


def adapters_of(spec: ChatModelSpec, path: Path) -> dict[str, Adapter]:
    """The adapters of a spec, by name.

    Raises:
        ModelError: one is no adapter, or belongs to another base than `path`.
    """
    adapters = {name: read_adapter(folder) for name, folder in spec.named_adapters().items()}
    for adapter in adapters.values():
        adapter.check_base(path)
    return adapters


def chat_of(calls: EngineCalls, path: Path, name: str, spec: ChatModelSpec, context: int) -> LocalChat:
    """The chat model of an engine."""
    return LocalChat(
        calls,
        name_of_model=name,
        context=context,
        max_tokens=spec.max_tokens,
        temperature=spec.temperature or 0.0,
        stop=spec.stop,
        seed=spec.seed,
        adapter="default" if spec.adapter else None,
        base=path,
    )


def one_at_a_time(spec: ChatModelSpec, runtime: str) -> None:
    """Refuse slots where the runtime has none.

    Raises:
        ModelError: the spec asks for more than one.
    """
    if (spec.slots or 1) > 1:
        raise ModelError(f"{spec.model} on {runtime} answers one call at a time: slots need runtime: llamacpp")


def _engine(path: Path, spec: ChatModelSpec, context: int, adapters: Mapping[str, Adapter]) -> Engine:
    threads = spec.threads or cpu.threads()
    if spec.runtime == "openvino":
        from llmkit.models.local.openvino import OpenVINOEngine

        one_at_a_time(spec, "openvino")
        openvino = OpenVINOEngine(path, context=context, threads=threads)
        openvino.with_adapters(adapters)
        return openvino
    from llmkit.models.local.llamacpp import LlamaCppEngine

    return LlamaCppEngine(path, context=context, threads=threads, adapters=adapters, slots=spec.slots or 1)


def _turn(message: BaseMessage) -> Turn:
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type)
    if role is None:
        raise ModelError(f"local models do not read messages of type {message.type!r}")
    if not isinstance(message.content, str) and any(
        isinstance(block, dict) and block.get("type") != "text" for block in message.content
    ):
        raise ModelError("local models read text only: the message holds an image, a file or another part")
    return role, message.text


def _turns_with(messages: Sequence[BaseMessage], tools: Sequence[tool_protocol.Spec]) -> list[Turn]:
    for message in messages:
        _turn(message)  # refuses images
    return [(turn.role, turn.content) for turn in tool_protocol.render_turns(messages, tools)]


def _usage(done: Done) -> UsageMetadata:
    total = done.input_tokens + done.output_tokens
    return UsageMetadata(input_tokens=done.input_tokens, output_tokens=done.output_tokens, total_tokens=total)


def _metadata(model: LocalChat, done: Done) -> dict[str, Any]:
    return {"finish_reason": done.finish_reason, "model_name": model.name_of_model, "cached_tokens": done.cached_tokens}
