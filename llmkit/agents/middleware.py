r"""Middleware of LangChain's agent that keeps the budgets, calls the tools and writes down everything.

::

    model call --> no call in it ------------------------------> answer
        ^     \-> calls --> unknown, malformed, stalled,  ----> a result that says so
        |                    over budget, not approved
        |                --> tool, with a deadline ------------> bounded, fenced result
        \--------------------------- results <-----------------/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.types import Command

from llmkit.agents.budget import Meter
from llmkit.agents.calling import UNREAD, called
from llmkit.agents.tool import Output, Tool
from llmkit.errors import unknown
from llmkit.protocols import Context
from llmkit.types import Event, Usage

_TOLD = 4000  # characters of a text in the trace
Show = Callable[[Tool, Output, int], tuple[str, int]]
"""A result as the model is shown it, and how much of it is left out; from the number of its first passage."""
Listen = Callable[[Tool, Output, int], list[dict[str, Any]]]
"""The places of a result that speak to the assistant, for the record; from the number of its first passage."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the guard holds to."""

    seconds: float
    """Of one call of a tool."""
    close: str
    """What the model is told where no tool can be called any more."""
    needs_approval: Callable[[str, Sequence[Any]], str]
    """Why a call needs a decision, from the tool's name and the messages; empty: it does not."""
    attended: bool
    """Somebody decides before a call comes here; otherwise what needs a decision is not done."""


class Guard(AgentMiddleware[Any, Any, Any]):
    """One question's guard."""

    def __init__(
        self, tools: Mapping[str, Tool], meter: Meter, rules: Rules, ctx: Context, show: Show,
        listen: Listen, fit: Callable[[list[Any]], tuple[list[Any], int]],
    ) -> None:  # fmt: skip
        """Take what it needs.

        Args:
            tools: by name.
            meter: counts.
            rules: the limits that are not counted.
            ctx: of the running step.
            show: makes the text of a result.
            listen: finds what in a result speaks to the assistant.
            fit: shortens old results until the messages fit the model; says how many.
        """
        super().__init__()
        self._tools, self._meter, self._rules, self._ctx = tools, meter, rules, ctx
        self._show, self._listen, self._fit = show, listen, fit
        self.next = 1
        """Number of the next passage."""
        self._hung: set[str] = set()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Ask the model within the budgets; an empty reply is asked for once more."""
        meter = self._meter
        said = AIMessage("")
        for _ in range(2):
            why = meter.spent()
            if why:
                meter.stopped = meter.stopped or meter.closing or why
                return said
            closing = meter.closing or ("model calls" if meter.model_calls + 1 == meter.budget.model_calls else "")
            said = self._asked(request, handler, closing)
            if said.tool_calls or said.text.strip():
                return said
            meter.counts["empty replies"] += 1
            if closing:
                return said
        meter.stopped = meter.stopped or "empty replies"
        return said

    def _asked(self, request: ModelRequest[Any], handler: Callable[..., ModelResponse[Any]], closing: str) -> AIMessage:
        meter = self._meter
        self._ctx.emit(Event("token"))  # nothing to show, but a listener that has gone stops the work
        messages, shortened = self._fit(list(request.messages))
        meter.counts["shortened results"] += shortened
        if closing:
            messages = [*messages, HumanMessage(self._rules.close)]
        specs: list[Any] = [tool.spec() for tool in self._tools.values()]
        began = time.perf_counter()
        response = handler(
            request.override(messages=messages, tools=specs, tool_choice="none" if closing and specs else None)
        )
        reply = response.result[-1]
        assert isinstance(reply, AIMessage)
        meter.model_calls += 1
        counts: Any = reply.usage_metadata or {}
        used = Usage(counts.get("input_tokens", 0), counts.get("output_tokens", 0), 1)
        if not counts:  # a budget must hold where nobody counts
            meter.counts["calls without usage"] += 1
            used = Usage(sum(len(one.text.encode()) // 3 + 8 for one in messages), len(reply.text.encode()) // 3, 1)
        meter.usage += used
        calls = _calls(reply, request.messages)
        finish = reply.response_metadata.get("finish_reason", "")
        meter.counts["replies cut off at max_tokens"] += finish == "length"
        entry: dict[str, Any] = {
            "kind": "model", "n": meter.model_calls, "seconds": time.perf_counter() - began, "text": reply.text[:_TOLD],
            "calls": [{"id": one["id"], "name": one["name"], "arguments": one["args"]} for one in calls],
            "input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
            "finish": finish,
        }  # fmt: skip
        if closing:
            meter.stopped = closing
            entry["closing"] = closing
            if calls:
                entry["ignored"] = entry.pop("calls")
                calls = []
        meter.trace.append(entry)
        return AIMessage(reply.text, tool_calls=calls, usage_metadata=reply.usage_metadata)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage:
        """Make a call, or say why it is not made."""
        call, meter = request.tool_call, self._meter
        name, arguments = call["name"], call["args"]
        began = time.perf_counter()
        with meter.lock:
            refusal = self._refusal(name, arguments, request.state)
            meter.tool_calls += 1
        if refusal is not None:
            status, text = refusal
            return self._written(call, status, text, began)
        tool = self._tools[name]
        told = ", ".join(f"{key}={str(value)[:80]!r}" for key, value in arguments.items())
        self._ctx.emit(Event("step", text=f"{name}({told})", data={"tool": name}))
        done = called(tool, arguments, self._ctx, self._rules.seconds)
        with meter.lock:
            first = self.next
            self.next += len(done.output.hits)
            if done.status == "hung":
                self._hung.add(name)
        text, dropped = self._show(tool, done.output, first)
        return self._written(call, done.status, text, began, dropped, done.output, first)

    def _refusal(self, name: str, arguments: Mapping[str, Any], state: Any) -> tuple[str, str] | None:
        meter = self._meter
        if meter.tool_calls >= meter.budget.tool_calls:
            meter.closing = meter.closing or "tool calls"
            return "over budget", f"No more than {meter.budget.tool_calls} calls are allowed; this one was not made."
        if meter.stalls(name, arguments):
            meter.closing = meter.closing or "stalled"
            return "stalled", "This call gave the same result twice; it is not made again."
        if name not in self._tools:
            return "unknown", f"There is {unknown('tool', name, self._tools).replace('unknown tool', 'no tool')}."
        if name in self._hung:
            return "refused", f"{name} did not answer in time before; it is not called again."
        why = self._rules.needs_approval(name, state["messages"])
        if why and not self._rules.attended:
            return "refused", f"This call needs a person's approval ({why}), and nobody is there. It was not made."
        return None

    def _written(
        self, call: Any, status: str, text: str, began: float, dropped: int = 0, output: Output | None = None,
        first: int = 0,
    ) -> ToolMessage:  # fmt: skip
        meter = self._meter
        hits = output.hits if output is not None and status == "ok" else ()
        with meter.lock:
            meter.note(call["name"], call["args"], text)
            if status != "ok":
                meter.counts[f"{status} calls"] += 1
            meter.counts["characters not shown"] += dropped
            entry = {
                "kind": "tool", "call": call["id"], "name": call["name"], "arguments": call["args"], "status": status,
                "result": text[:_TOLD], "dropped": dropped, "seconds": time.perf_counter() - began,
            }  # fmt: skip
            speaking = self._listen(self._tools[call["name"]], output, first) if output is not None else []
            if speaking:
                entry["addressed"] = speaking
            if hits:
                entry["passages"] = {str(first + n): hit.chunk.id for n, hit in enumerate(hits)}
            meter.trace.append(entry)
        return ToolMessage(
            text, name=call["name"], tool_call_id=call["id"], status="success" if status == "ok" else "error",
            artifact={"status": status, "first": first, "hits": [asdict(hit) for hit in hits]},
        )  # fmt: skip


def _calls(reply: AIMessage, before: Sequence[Any]) -> list[Any]:
    """The calls of a reply, broken ones among them, each with an id that no other has."""
    broken: list[Any] = [
        {"name": one["name"] or "unknown", "args": {UNREAD: one["args"] or ""}, "id": one["id"], "type": "tool_call"}
        for one in reply.invalid_tool_calls
    ]
    taken: set[Any] = {call["id"] for one in before if isinstance(one, AIMessage) for call in one.tool_calls}
    calls = []
    for n, one in enumerate([*reply.tool_calls, *broken], 1):
        name = one["id"] if one["id"] and one["id"] not in taken else f"call_{len(before)}_{n}"
        taken.add(name)
        calls.append({**one, "id": name})
    return calls
