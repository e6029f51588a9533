"""One call of a tool: arguments checked, a deadline kept, whatever it does turned into a result."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.agents.tool import Output, Tool
from llmkit.errors import Cancelled, LlmkitError
from llmkit.extras import optional
from llmkit.protocols import Context

Status = Literal["ok", "error", "hung", "malformed"]
UNREAD = "__unread__"
"""Argument that holds the text of arguments which cannot be read."""
PROBLEM = "__problem__"
"""Argument that says beside it why they cannot."""
_WHY = 500  # characters of an error that are told


@dataclass(frozen=True, slots=True)
class Called:
    """How a call ended."""

    output: Output
    status: Status


def called(tool: Tool, arguments: Mapping[str, Any], ctx: Context, seconds: float) -> Called:
    """Call a tool.

    One that is not done in time is left behind in its thread, which nothing in Python can end: its result is dropped.

    Raises:
        Cancelled: the run was stopped.
    """
    wrong = _wrong(tool, arguments)
    if wrong:
        return Called(Output(wrong), "malformed")
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()  # an output, an error, or what a tool should not give

    def work() -> None:
        try:
            said.put(tool.call(arguments, ctx))
        except BaseException as error:  # told to the model, whatever it is
            said.put(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name=f"llmkit tool {tool.name}", daemon=True).start()
    try:
        found = said.get(timeout=seconds)
    except queue.Empty:
        return Called(Output(f"{tool.name} was not done after {seconds:g} seconds; it was given up."), "hung")
    if isinstance(found, Cancelled):
        raise found
    if isinstance(found, BaseException):
        kind = "" if isinstance(found, LlmkitError) else f"{type(found).__name__}: "
        return Called(Output(f"{tool.name} failed: {kind}{str(found)[:_WHY]}"), "error")
    if not isinstance(found, Output) or not isinstance(found.text, str | bytes):
        return Called(Output(f"{tool.name} failed: it gave {type(found).__name__}, not an Output of text"), "error")
    return Called(found, "ok")


def _wrong(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments, for the model; empty: nothing."""
    with optional():
        import jsonschema

    if UNREAD in arguments:
        why = arguments.get(PROBLEM) or "the arguments are not JSON"
        return f"This call was not made, {why}: {str(arguments[UNREAD])[:200]}"
    try:
        problems = list(jsonschema.Draft202012Validator(dict(tool.parameters)).iter_errors(dict(arguments)))
    except Exception as error:  # the schema is of a server
        return f"The schema of {tool.name} cannot be checked: {str(error)[:200]}"
    told = [f"{'.'.join(map(str, one.absolute_path)) or 'arguments'}: {one.message[:200]}" for one in problems[:3]]
    return f"The arguments do not fit: {'; '.join(told)}. Nothing was done." if told else ""
