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
from llmkit.agents.calling import PROBLEM, UNREAD, called
from llmkit.agents.tool import Output, Tool
from llmkit.agents.turn import Turn
from llmkit.errors import unknown
from llmkit.protocols import Context
from llmkit.replies import Reply, read_message
from llmkit.types import Event, Usage

_TOLD = 4000  # characters of a text in the trace
_SENT_BACK = ("reasoning_content", "reasoning_field")
"""What a server that reasons between calls wants back with the calls."""
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
        self._current: Turn | None = None

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
        message = response.result[-1]
        assert isinstance(message, AIMessage)
        reply = read_message(message, tuple(self._tools))
        meter.model_calls += 1
        used = reply.usage
        if not reply.counted:  # a budget must hold where nobody counts
            meter.counts["calls without usage"] += 1
            written = len((reply.text + reply.reasoning).encode()) // 3
            used = Usage(sum(len(one.text.encode()) // 3 + 8 for one in messages), written, 1)
        meter.usage += used
        if reply.refusal and not reply.tool_calls:
            reply.with_text()  # raises with the model's own words
        calls = _calls(reply, request.messages)
        meter.counts["replies cut off at max_tokens"] += reply.finish_reason == "length"
        meter.counts["replies cut off by a content filter"] += reply.finish_reason == "content_filter"
        meter.counts["replies without a finish reason"] += reply.finish_reason == "missing"
        entry: dict[str, Any] = {
            "kind": "model", "n": meter.model_calls, "seconds": time.perf_counter() - began, "text": reply.text[:_TOLD],
            "calls": [{"id": one["id"], "name": one["name"], "arguments": one["args"]} for one in calls],
            "input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
            "finish": reply.finish_reason,
        }  # fmt: skip
        if reply.reasoning:
            entry["reasoning"] = reply.reasoning[:_TOLD]
        if closing:
            meter.stopped = closing
            entry["closing"] = closing
            if calls:
                entry["ignored"] = entry.pop("calls")
                calls = []
        meter.trace.append(entry)
        kept = {name: message.additional_kwargs[name] for name in _SENT_BACK if message.additional_kwargs.get(name)}
        return AIMessage(
            reply.text,
            tool_calls=calls,
            usage_metadata=message.usage_metadata,
            additional_kwargs=kept if calls else {},
            response_metadata={"finish_reason": reply.finish_reason},
        )

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage:
        """Make a call, or say why it is not made.

        LangGraph calls this in a thread for each call of a reply; :class:`Turn` keeps their order.
        """
        turn, call = self._turn(request.state), request.tool_call
        name, failed = str(call["id"]), True
        try:
            if turn.in_order:
                turn.wait_for_earlier(name, self._check)
            message = self._call(call, request.state, turn)
            failed = False
            return message
        finally:
            turn.finish(name, failed=failed)

    def _turn(self, state: Any) -> Turn:
        """The calls of the last reply that have no result yet; the same object for all of them."""
        messages = state["messages"]
        place = max(n for n, one in enumerate(messages) if isinstance(one, AIMessage))
        answered = {one.tool_call_id for one in messages[place:] if isinstance(one, ToolMessage)}
        calls = [one for one in messages[place].tool_calls if one["id"] not in answered]
        ids = tuple(str(one["id"]) for one in calls)
        with self._meter.lock:
            if self._current is None or self._current.calls != ids:
                writes = any(one["name"] in self._tools and self._tools[one["name"]].side_effects for one in calls)
                left = self._meter.budget.tool_calls - self._meter.tool_calls
                self._current = Turn(ids, left, in_order=writes)
                self._meter.tool_calls += len(ids)
            return self._current

    def _check(self) -> None:
        self._ctx.emit(Event("token"))  # shows nothing, but lets a listener that has gone stop the work

    def _call(self, call: Any, state: Any, turn: Turn) -> ToolMessage:
        meter, name, arguments = self._meter, call["name"], call["args"]
        began = time.perf_counter()
        with meter.lock:
            refusal = self._refusal(call, state, turn)
        if refusal is not None:
            status, text = refusal
            turn.wait_for_earlier(call["id"], self._check)
            return self._written(call, status, text, began)
        tool = self._tools[name]
        told = ", ".join(f"{key}={str(value)[:80]!r}" for key, value in arguments.items() if key != PROBLEM)
        self._ctx.emit(Event("step", text=f"{name}({told})", data={"tool": name}))
        done = called(tool, arguments, self._ctx, self._rules.seconds)
        with meter.lock:
            if done.status == "hung":
                self._hung.add(name)
        turn.wait_for_earlier(call["id"], self._check)  # passages are numbered and results recorded in order
        with meter.lock:
            first = self.next
            self.next += len(done.output.hits)
        text, dropped = self._show(tool, done.output, first)
        return self._written(call, done.status, text, began, dropped, done.output, first)

    def _refusal(self, call: Any, state: Any, turn: Turn) -> tuple[str, str] | None:
        meter, name, arguments = self._meter, call["name"], call["args"]
        if not turn.admits(call["id"]):
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


def _calls(reply: Reply, before: Sequence[Any]) -> list[Any]:
    """The calls of a reply, malformed ones among them, each with an id that no other has."""
    taken: set[Any] = {call["id"] for one in before if isinstance(one, AIMessage) for call in one.tool_calls}
    calls = []
    for n, one in enumerate(reply.tool_calls, 1):
        name = one.id if one.id and one.id not in taken else f"call_{len(before)}_{n}"
        taken.add(name)
        arguments = {UNREAD: one.raw, PROBLEM: one.problem} if one.problem else dict(one.arguments)
        calls.append({"name": one.name, "args": arguments, "id": name, "type": "tool_call"})
    return calls
