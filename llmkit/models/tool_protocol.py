"""The tool protocol of local models: how tools are listed in the prompt, the schema of a reply, and its parser.

A reply is one JSON object. The answer is a call like any other, named ``answer``, so that every reply has the same form
and the model decides at one place, the name::

    {"name": "calculator", "arguments": {"expression": "12 * 7"}}
    {"name": "answer", "arguments": {"text": "84 jars"}}

:func:`render_turns` is the only writer of the format: prompts and training data both come from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage

from llmkit import prompts
from llmkit.errors import ModelError
from llmkit.types import Message

PROMPT = "tool-protocol@v1"
ANSWER = "answer"
"""The name under which the answer is given; no tool may have it."""
Spec = Mapping[str, Any]
"""A tool in the form of OpenAI's API."""


def render_turns(messages: Sequence[BaseMessage], tools: Sequence[Spec]) -> list[Message]:
    """A conversation with tools as plain turns of system, user and assistant.

    Raises:
        ModelError: a message that is none of system, human, AI and tool.
    """
    instructions = "\n\n".join(one.text for one in messages if one.type == "system")
    values = {"instructions": instructions or "You answer questions.", "tools": format_tools(tools)}
    said = prompts.load(PROMPT).render(values)
    results = {one.tool_call_id: one for one in messages if isinstance(one, ToolMessage)}
    for message in messages:
        if isinstance(message, AIMessage):
            for call in message.tool_calls:  # several of one message are shown one after the other
                said.append(Message("assistant", format_call(call["name"], call["args"])))
                if call["id"] in results:
                    said.append(Message("user", f"Result of {call['name']}:\n{results[call['id']].text}"))
            if not message.tool_calls:
                said.append(Message("assistant", format_call(ANSWER, {"text": message.text})))
        elif message.type == "human":
            said.append(Message("user", message.text))
        elif message.type not in ("system", "tool"):
            raise ModelError(f"local models do not read messages of type {message.type!r}")
    return said


def format_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call in the form in which the model writes it."""
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def format_tools(tools: Sequence[Spec]) -> str:
    """The tools, one a line: ``- convert(value: number, from: string): Converts … (value: how much; from: unit)``."""
    return "\n".join(_line(one["function"]) for one in tools)


def reply_schema(tools: Sequence[Spec], choice: object = None) -> dict[str, Any]:
    """JSON schema of a reply: one of the allowed calls.

    Args:
        tools: the tools that the model may call.
        choice: none or ``auto``: a tool or the answer; ``any`` or ``required``: a tool; ``none``: the answer; a name:
            that tool.
    """
    functions = [one["function"] for one in tools]
    if any(one["name"] == ANSWER for one in functions):
        raise ModelError(f"a tool cannot be called {ANSWER!r}: that is how local models give their answer")
    if isinstance(choice, dict):
        choice = choice.get("function", choice).get("name")
    forms = [_form(one["name"], one.get("parameters") or {"type": "object"}) for one in functions]
    answer = _form(ANSWER, _text_schema())
    if choice in (None, "auto"):
        return {"anyOf": [*forms, answer]}
    if choice == "none":
        return answer
    if choice in ("any", "required", True):
        return {"anyOf": forms}
    named = [form for form in forms if form["properties"]["name"]["const"] == choice]
    if not named:
        raise ModelError(f"there is no tool {choice!r} (there is: {', '.join(one['name'] for one in functions)})")
    return named[0]


def parse_reply(text: str, tools: Sequence[Spec], number: int, *, cut: bool) -> dict[str, Any]:
    """Parse a reply into the fields of an AIMessage: content, tool_calls, invalid_tool_calls.

    A reply that does not follow the form is taken for the answer.

    Args:
        text: the reply.
        tools: the tools that the model was offered.
        number: of this call in its conversation; part of its id.
        cut: whether the reply was cut off at max_tokens.
    """
    name, arguments = _object(text)
    if name is None:
        started = _unfinished_answer(text) if cut else None
        if cut and started is None and text.lstrip().startswith("{"):
            broken = {"name": "unknown", "args": text, "id": f"call_{number}", "error": "cut off at max_tokens"}
            return {"content": "", "invalid_tool_calls": [{**broken, "type": "invalid_tool_call"}]}
        return {"content": text.strip() if started is None else started}
    if name == ANSWER:
        said = arguments.get("text", "")
        return {"content": said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)}
    call = {"name": name, "args": arguments, "id": f"call_{number}", "type": "tool_call"}
    return {"content": "", "tool_calls": [call]}


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """A message as the only chunk of a stream: half a call is of no use to a listener."""
    calls = [{**call, "args": json.dumps(call["args"])} for call in message.tool_calls]
    pieces = [
        {"name": call["name"], "args": call["args"], "id": call["id"], "index": n}
        for n, call in enumerate([*calls, *message.invalid_tool_calls])
    ]
    return AIMessageChunk(
        content=message.content,
        tool_call_chunks=pieces,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
    )


def _object(text: str) -> tuple[str | None, dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, {}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None, {}
    arguments = value.get("arguments", {})
    return (value["name"], arguments) if isinstance(arguments, dict) else (None, {})


def _unfinished_answer(text: str) -> str | None:
    """The text of an answer whose end was cut off."""
    head, _, rest = text.partition('"text"')
    begun = rest.partition('"')[2].rstrip("\\")
    if f'"{ANSWER}"' not in head or not begun:
        return None
    try:
        said: str = json.loads(f'"{begun}"', strict=False)
        return said
    except ValueError:
        return begun


def _form(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": dict(parameters)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _text_schema() -> dict[str, Any]:
    properties = {"text": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": ["text"], "additionalProperties": False}


def _line(function: Mapping[str, Any]) -> str:
    parameters = function.get("parameters") or {}
    known, required = parameters.get("properties", {}), parameters.get("required", ())
    arguments = [f"{name}{'' if name in required else '?'}: {_kind(value)}" for name, value in known.items()]
    about = "; ".join(f"{name}: {one['description']}" for name, one in known.items() if one.get("description"))
    described = " ".join((function.get("description") or "").split())
    return f"- {function['name']}({', '.join(arguments)}): {described}{f' ({about})' if about else ''}"


def _kind(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in value["enum"])
    kind = value.get("type")
    return kind if isinstance(kind, str) and kind not in ("object", "array") else json.dumps(value, ensure_ascii=False)
