"""A chat model that replies from a script: for tests, demonstrations and pipelines without a model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

from llmkit.errors import ModelError

Output = str | AIMessage | Mapping[str, Any] | Exception
"""Text; a message; an exception to raise; or an object with some of ``content``, ``tool_calls``, ``reasoning``,
``refusal`` and ``finish_reason``."""
_KEYS = ("content", "tool_calls", "reasoning", "refusal", "finish_reason")
_FORM = 'expected a JSON text, or {"content": "…", "tool_calls": [{"name": "…", "args": {…}}]}'
Script = Sequence[Output] | Callable[[list[BaseMessage]], Output]


class ScriptedChat(BaseChatModel):
    """Replies with the outputs of its script in turn, or with the result of a function of the messages.

    Args:
        script: outputs in order, or a function of the messages. A list that has run out is an error.
    """

    _script: Script = PrivateAttr()
    _calls: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    def __init__(self, script: Script = (), **fields: Any) -> None:
        super().__init__(**fields)
        self._script = script

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The messages of every call so far, in order."""
        return self._calls

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The model itself: its script holds the calls that it makes."""
        return self.bind(tools=list(tools), **kwargs)

    def _next(self, messages: list[BaseMessage], stop: list[str] | None) -> AIMessage:
        self._calls.append(messages)
        if callable(self._script):
            output = self._script(messages)
        elif len(self._calls) <= len(self._script):
            output = self._script[len(self._calls) - 1]
        else:
            raise ModelError(f"the script has {len(self._script)} outputs; this is call {len(self._calls)}")
        if isinstance(output, Exception):
            raise output
        if isinstance(output, str):
            message = AIMessage(output)
        elif isinstance(output, Mapping):
            message = _message(output)
        else:
            message = output
        return _counted(message, messages, stop)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, stop))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._next(messages, stop)
        if thoughts := message.additional_kwargs.get("reasoning_content"):
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="", additional_kwargs={"reasoning_content": thoughts})
            )
        for piece in re.findall(r"\S+\s*|\s+", message.text):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        last = AIMessageChunk(
            content="",
            tool_call_chunks=[
                {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": i}
                for i, call in enumerate(message.tool_calls)
            ],
            usage_metadata=message.usage_metadata,
            response_metadata=message.response_metadata,
            additional_kwargs={key: value for key, value in message.additional_kwargs.items() if key == "refusal"},
        )
        yield ChatGenerationChunk(message=last)


def load_scripted(name: str) -> ScriptedChat:
    """``scripted:TEXT`` always replies TEXT; ``scripted:@FILE.jsonl`` replies with the lines of the file in turn.

    A line is a JSON string, or an object with some of ``content``, ``tool_calls`` (each a ``name`` and ``args``),
    ``reasoning``, ``refusal`` and ``finish_reason``.

    Raises:
        ModelError: the file cannot be read, or a line is something else; says which line.
    """
    if not name.startswith("@"):
        return ScriptedChat(lambda _: name)
    path = Path(name[1:]).expanduser()
    outputs: list[Output] = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                outputs.append(_output(json.loads(line), number))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the script {path} cannot be read: {error}") from error
    except ValueError as error:
        what = f"not JSON: {error}" if isinstance(error, json.JSONDecodeError) else error
        raise ModelError(f"{path}, line {number}: {what}; {_FORM}") from error
    return ScriptedChat(outputs)


def _output(value: Any, number: int) -> Output:
    """A line of a script, its calls with ids.

    Raises:
        ValueError: it is not of the form.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise ValueError("neither a text nor an object")
    if value.keys() - set(_KEYS):
        raise ValueError(f"an object with the keys {', '.join(value)}")
    calls = value.get("tool_calls", [])
    texts = [value.get(key, "") for key in _KEYS if key != "tool_calls"]
    if not isinstance(calls, list) or any(not isinstance(text, str) for text in texts):
        raise ValueError("'tool_calls' is a list, every other value is a text")
    made = []
    for n, call in enumerate(calls, 1):
        if (
            not isinstance(call, dict)
            or not isinstance(call.get("name"), str)
            or not isinstance(call.get("args"), dict)
        ):
            raise ValueError(f"call {n} needs a 'name' and an object 'args'")
        made.append({"id": f"script_{number}_{n}", **call, "type": "tool_call"})
    return {**value, "tool_calls": made}


def _message(output: Mapping[str, Any]) -> AIMessage:
    extra = {"reasoning_content": output.get("reasoning"), "refusal": output.get("refusal")}
    ending = output.get("finish_reason")
    return AIMessage(
        output.get("content", ""),
        tool_calls=list(output.get("tool_calls", ())),
        additional_kwargs={name: value for name, value in extra.items() if value},
        response_metadata={} if ending is None else {"finish_reason": ending},
    )


def _counted(message: AIMessage, asked: Sequence[BaseMessage], stop: list[str] | None) -> AIMessage:
    """The message, cut at a stop text, with its words counted as tokens."""
    text: str = message.text
    for mark in stop or ():
        text = text.partition(mark)[0]
    spoken, heard = len(text.split()), sum(len(item.text.split()) for item in asked)
    usage = {"input_tokens": heard, "output_tokens": spoken, "total_tokens": heard + spoken}
    return message.model_copy(
        update={
            "content": text if stop else message.content,
            "usage_metadata": message.usage_metadata or usage,
            "response_metadata": {"finish_reason": "stop", **message.response_metadata},
        }
    )
