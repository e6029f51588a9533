"""Conversations as data: their turns, which of them are learned, and how a row of messages is read.

A row either has an effect on the training as a whole, or it is refused with its line. A key that would be ignored is an
error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmkit.errors import DataError, unknown
from llmkit.types import Message

ROLES = ("system", "user", "assistant", "tool")
_ALIASES = {"developer": "system"}  # OpenAI's newer word; the server reads it the same way
_TEXT_PARTS = ("text", "input_text", "output_text")
_TEMPLATE_FIELDS = ("name", "reasoning_content")
"""Keys of a message that have an effect only if the chat template writes them."""
_KEYS = ("role", "content", "weight", "tool_calls", "tool_call_id", *_TEMPLATE_FIELDS)
_ADVICE = {
    "function_call": "write it as tool_calls",
    "thinking": "name it reasoning_content",
    "reasoning": "name it reasoning_content",
    "refusal": "write the text of the refusal as content",
    "audio": "only text is learned",
}


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One message of a conversation."""

    role: str
    """One of :data:`ROLES`."""
    content: str
    learned: bool | None = None
    """Whether the model learns to write it (`weight` in the data); none: as the recipe's `learn` says."""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """Calls as OpenAI writes them, arguments as an object."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further keys that the chat template must write."""
    tool_call_id: str = ""
    """The call that a message of the role ``tool`` answers."""

    def template_values(self) -> dict[str, Any]:
        """The message as a chat template reads it."""
        values: dict[str, Any] = {"role": self.role, "content": self.content, **self.fields}
        if self.tool_calls:
            values["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.tool_call_id:
            values["tool_call_id"] = self.tool_call_id
        return values

    def texts(self) -> list[str]:
        """Every text of the message that reaches the model."""
        return [
            self.content,
            *self.fields.values(),
            *(json.dumps(call, ensure_ascii=False) for call in self.tool_calls),
        ]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that end with an answer of the assistant."""

    turns: tuple[ChatTurn, ...]
    place: str
    """File and line, for messages."""
    rejected: str = ""
    """An answer that is worse than the last turn; only in preferences."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """The tools that the model was offered, as OpenAI writes them."""

    @property
    def prompt_digest(self) -> str:
        """SHA-256 of the tools and everything before the last answer, without differences of white space and case."""
        turns = [[turn.role, *(" ".join(text.split()).casefold() for text in turn.texts())] for turn in self.turns[:-1]]
        tools = [dict(tool) for tool in self.tools]
        return hashlib.sha256(json.dumps([*turns, *tools], sort_keys=True).encode()).hexdigest()


def from_messages(messages: Sequence[Message]) -> tuple[ChatTurn, ...]:
    """Plain messages as turns."""
    return tuple(ChatTurn(message.role, message.content) for message in messages)


def parse_turns(value: Any, column: str) -> tuple[ChatTurn, ...]:
    """Read the messages of a row.

    Args:
        value: the value of the column.
        column: its name, for messages.

    Raises:
        DataError: not a list of messages, an unknown role or key, an empty turn, or no answer at the end.
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{column}: expected a list of {{role, content}}")
    turns = tuple(_parse_turn(message, f"{column}[{n}]") for n, message in enumerate(value))
    _check_tool_answers(turns, column)
    return check_turns(turns)


def parse_tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Read the column `tools`.

    Raises:
        DataError: not a list of ``{"type": "function", "function": {"name": …}}``.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"tools: expected a list, got {type(value).__name__}")
    for n, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise DataError(f'tools[{n}]: expected {{"type": "function", "function": {{"name": …}}}}')
    return tuple(value)


def check_turns(turns: tuple[ChatTurn, ...]) -> tuple[ChatTurn, ...]:
    """Return the turns if they can be learned from.

    Raises:
        DataError: they do not end in an answer, one of them is empty, nobody asks, or no answer has a weight above 0.
    """
    if not turns or turns[-1].role != "assistant":
        raise DataError("the last turn must be the assistant's: it is what is learned")
    for n, turn in enumerate(turns):
        if not turn.content.strip() and not turn.tool_calls:
            what = "the answer is empty" if n == len(turns) - 1 else f"turn {n + 1} ({turn.role}) is empty"
            raise DataError(what)
    if all(turn.role != "user" for turn in turns):
        raise DataError("no turn of the user's: there is nothing to answer")
    if all(turn.learned is False for turn in turns if turn.role == "assistant"):
        raise DataError("every answer has the weight 0: nothing would be learned from this row")
    return turns


def _parse_turn(message: Any, place: str) -> ChatTurn:
    if not isinstance(message, dict):
        raise DataError(f"{place}: expected an object with 'role' and a text 'content'")
    given = {key: value for key, value in message.items() if value is not None}
    for key in given:
        if key not in _KEYS:
            advice = _ADVICE.get(key, "nothing would be learned from it, remove it")
            raise DataError(f"{place}: {unknown('key', key, _KEYS)}; {advice}")
    role = _ALIASES.get(str(given.get("role")), given.get("role"))
    calls = _parse_calls(given.get("tool_calls"), place)
    content = _parse_content(given.get("content", "" if calls else None), place)
    if role not in ROLES:
        raise DataError(f"{place}: {unknown('role', str(role), ROLES)}")
    if calls and role != "assistant":
        raise DataError(f"{place}: tool_calls belong to the assistant, not to the role {role}")
    fields = {}
    for key in _TEMPLATE_FIELDS:
        if key in given:
            if not isinstance(given[key], str):
                raise DataError(f"{place}.{key}: expected a text, got {type(given[key]).__name__}")
            fields[key] = given[key]
    call_id = given.get("tool_call_id", "")
    if call_id and (role != "tool" or not isinstance(call_id, str)):
        raise DataError(f"{place}: tool_call_id is a text and belongs to the role tool")
    return ChatTurn(role, content, _parse_weight(given, role, place), calls, fields, call_id)


def _parse_content(value: Any, place: str) -> str:
    """A text, or a list of text parts, which are joined by newlines as the server joins them."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise DataError(f"{place}: expected an object with 'role' and a text 'content'")
    for n, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXT_PARTS:
            raise DataError(f"{place}.content[{n}]: only text is learned, not {str(kind)!r:.40}")
        if set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise DataError(f'{place}.content[{n}]: expected {{"type": "text", "text": "…"}}')
    return "\n".join(part["text"] for part in value)


def _parse_weight(given: Mapping[str, Any], role: str, place: str) -> bool | None:
    if "weight" not in given:
        return None
    weight = given["weight"]
    if role != "assistant":
        raise DataError(
            f"{place}: weight belongs to the assistant's messages; those of the role {role} are never learned"
        )
    if isinstance(weight, bool) or weight not in (0, 1):
        raise DataError(f"{place}.weight: expected 0 (not learned) or 1 (learned), got {weight!r:.40}")
    return bool(weight)


def _parse_calls(value: Any, place: str) -> tuple[Mapping[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"{place}.tool_calls: expected a list, got {type(value).__name__}")
    calls = []
    for n, call in enumerate(value):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise DataError(f'{place}.tool_calls[{n}]: expected {{"function": {{"name", "arguments"}}}}')
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except json.JSONDecodeError as error:
                raise DataError(f"{place}.tool_calls[{n}]: the arguments are not JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise DataError(f"{place}.tool_calls[{n}]: the arguments must be a JSON object")
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return tuple(calls)


def _check_tool_answers(turns: Sequence[ChatTurn], column: str) -> None:
    """Every message of the role ``tool`` must answer a call that was made before it.

    Raises:
        DataError: names the message.
    """
    made: list[Mapping[str, Any]] = []
    for n, turn in enumerate(turns):
        made += turn.tool_calls
        if turn.role != "tool":
            continue
        if not made:
            raise DataError(f"{column}[{n}]: a message of the role tool before any tool_calls")
        known = [str(call["id"]) for call in made if "id" in call]
        if turn.tool_call_id and turn.tool_call_id not in known:
            raise DataError(f"{column}[{n}]: {unknown('tool_call_id', turn.tool_call_id, known)}")
