"""One call of a tool: checks the arguments, keeps a deadline, and turns every outcome into a result."""

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
"""Argument that carries the text of arguments which cannot be parsed."""
PROBLEM = "__problem__"
"""Argument that carries the reason why they cannot be parsed."""
_MAX_ERROR = 500  # characters of an error that the model is shown


@dataclass(frozen=True, slots=True)
class CallResult:
    """The output of a call and how it ended."""

    output: Output
    status: Status


def call_tool(tool: Tool, arguments: Mapping[str, Any], ctx: Context, seconds: float) -> CallResult:
    """Call a tool in a thread.

    Python cannot end a thread. A tool that misses its deadline keeps running in the background, and its result is
    dropped.

    Args:
        tool: the tool.
        arguments: as the model wrote them.
        ctx: the context of the running step.
        seconds: the deadline.

    Raises:
        Cancelled: the run was stopped.
    """
    problem = _check_arguments(tool, arguments)
    if problem:
        return CallResult(Output(problem), "malformed")
    outcomes: queue.SimpleQueue[Any] = (
        queue.SimpleQueue()
    )  # an Output, an error, or something that a tool should not return

    def work() -> None:
        try:
            outcomes.put(tool.call(arguments, ctx))
        except BaseException as error:  # the model is shown every error
            outcomes.put(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name=f"llmkit tool {tool.name}", daemon=True).start()
    try:
        outcome = outcomes.get(timeout=seconds)
    except queue.Empty:
        return CallResult(
            Output(f"{tool.name} did not finish within {seconds:g} seconds; its result is not used."), "hung"
        )
    if isinstance(outcome, Cancelled):
        raise outcome
    if isinstance(outcome, BaseException):
        kind = "" if isinstance(outcome, LlmkitError) else f"{type(outcome).__name__}: "
        return CallResult(Output(f"{tool.name} failed: {kind}{str(outcome)[:_MAX_ERROR]}"), "error")
    if not isinstance(outcome, Output) or not isinstance(outcome.text, str | bytes):
        wrong = type(outcome).__name__
        return CallResult(Output(f"{tool.name} failed: it returned {wrong}, not an Output of text"), "error")
    return CallResult(outcome, "ok")


def _check_arguments(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """The problems of the arguments, as a sentence for the model; empty: there is none."""
    with optional():
        import jsonschema

    if UNREAD in arguments:
        why = arguments.get(PROBLEM) or "the arguments are not JSON"
        return f"This call was not made, {why}: {str(arguments[UNREAD])[:200]}"
    try:
        problems = list(jsonschema.Draft202012Validator(dict(tool.parameters)).iter_errors(dict(arguments)))
    except Exception as error:  # the schema may come from an MCP server
        return f"The schema of {tool.name} cannot be checked: {str(error)[:200]}"
    messages = [f"{'.'.join(map(str, one.absolute_path)) or 'arguments'}: {one.message[:200]}" for one in problems[:3]]
    return f"The arguments do not fit: {'; '.join(messages)}. The call was not made." if messages else ""
