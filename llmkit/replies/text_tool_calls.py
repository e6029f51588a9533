"""Tool calls that a server leaves in the text of a reply because it has no parser for the model's format.

The formats are those that open models write: ``<tool_call>{…}</tool_call>`` (Hermes, Qwen), ``<function=NAME>…``
(Llama, Qwen Coder), ``[TOOL_CALLS][…]`` (Mistral), ``<|python_tag|>{…}`` (Llama), and one JSON object or list that is
the whole text. A marked call counts whatever its name. A bare JSON object counts only where it names a tool that was
offered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from llmkit.replies.reply import ToolCall

_TAGGED = re.compile(r"<(tool_call|function_call|tools?)>\s*(.*?)\s*(?:</\1>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([\w.-]+)>\s*(.*?)\s*(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_FENCED = re.compile(r"\A```(?:json|tool_call|tool_code)?\s*\n(.*)\n\s*```\Z", re.DOTALL)
_MARKS = ("[TOOL_CALLS]", "<|python_tag|>")


def text_tool_calls(text: str, offered: Collection[str]) -> tuple[str, tuple[ToolCall, ...]]:
    """The text without its calls, and the calls in order; the text as it is where it holds none.

    Args:
        text: of the reply, without reasoning.
        offered: names of the tools that the model may call.
    """
    for pattern in (_TAGGED, _FUNCTION):
        calls: list[ToolCall] = []
        for found in pattern.finditer(text):
            calls += _tagged(found.group(2)) if pattern is _TAGGED else [_function(found.group(1), found.group(2))]
        if calls:
            return pattern.sub("", text).strip(), tuple(calls)
    for mark in _MARKS:
        before, found_mark, after = text.partition(mark)
        if found_mark and (calls := _of_json(after.strip(), None)):
            return before.strip(), tuple(calls)
    fenced = _FENCED.match(text.strip())
    bare = _of_json(fenced.group(1) if fenced else text.strip(), offered)
    return ("", tuple(bare)) if bare else (text, ())


def parse_arguments(raw: object) -> tuple[dict[str, Any], str, str]:
    """The arguments of a call: the object, why it cannot be used, and its text where it cannot.

    Servers send a JSON object as text. Some send the object itself, some the text of the text, some nothing at all for
    a call without arguments; all of these are read. Anything else is a malformed call.
    """
    value: Any = raw
    for _ in range(2):
        if not isinstance(value, str):
            break
        if not value.strip():
            return {}, "", ""
        try:
            value = json.loads(value, strict=False, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            return {}, f"the arguments are not JSON ({_first_line(error)})", str(raw)
    if value is None:
        return {}, "", ""
    if isinstance(value, dict):
        return value, "", ""
    return {}, f"the arguments are {_kind(value)}, not a JSON object", raw if isinstance(raw, str) else json.dumps(raw)


def tool_call(name: object, raw: object, identity: object = "") -> ToolCall:
    """A call as a server sends it, its arguments read or their problem named."""
    arguments, problem, text = parse_arguments(raw)
    # tokens of a chat template that a server has left behind the name
    clean = name.partition("<|")[0].strip() if isinstance(name, str) else ""
    if not clean:
        problem, text = problem or "the call names no tool", text or json.dumps(arguments, ensure_ascii=False)
        arguments = {}
    return ToolCall(clean, arguments, str(identity or ""), problem, text)


def _tagged(body: str) -> list[ToolCall]:
    if inner := _FUNCTION.search(body):
        return [_function(inner.group(1), inner.group(2))]
    read = [call for line in _objects(body) for call in _of_json(line, None)]
    return read or [ToolCall("", {}, "", "the call is not JSON", body)]


def _objects(body: str) -> list[str]:
    """The JSON values of a block: one, or one a line."""
    try:
        json.loads(body, strict=False)
    except (ValueError, RecursionError):
        lines = [line for line in body.splitlines() if line.strip()]
        return lines if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines) else [body]
    return [body]


def _function(name: str, body: str) -> ToolCall:
    parameters = _PARAMETER.findall(body)
    if not parameters:
        return tool_call(name, body)
    return ToolCall(name, {key: _value(text) for key, text in parameters})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _of_json(text: str, offered: Collection[str] | None) -> list[ToolCall]:
    if not text.startswith(("{", "[")):
        return []
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return []
    calls = []
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and isinstance(one.get("function"), dict):
            one = one["function"]
        name = one.get("name") if isinstance(one, dict) else None
        key = next((key for key in ("arguments", "parameters", "args") if isinstance(one, dict) and key in one), None)
        if not isinstance(name, str) or (offered is not None and (name not in offered or key is None)):
            return []
        calls.append(tool_call(name, one[key] if key else {}))
    return calls


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), type(value).__name__)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
