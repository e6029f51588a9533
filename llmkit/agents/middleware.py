r"""Middleware of LangChain's agent: keeps the budget, calls the tools, and records every call in the trace.

::

    model call --> reply without calls ------------------------> answer
        ^     \-> calls --> unknown, malformed, stalled,  ----> a result with the reason
        |                    over budget, not approved
        |                --> tool, with a deadline ------------> truncated, delimited result
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

from llmkit.agents.budget import BudgetTracker
from llmkit.agents.calling import PROBLEM, UNREAD, call_tool
from llmkit.agents.tool import Output, Tool
from llmkit.agents.turn import Turn
from llmkit.errors import EmptyReply, unknown
from llmkit.protocols import Context
from llmkit.replies import Reply, read_message
from llmkit.types import Event, Usage

_MAX_TRACED = 4000  # characters of a text in the trace
_SENT_BACK = ("reasoning_content", "reasoning_field")
"""Fields that servers of reasoning models require back together with the calls."""
FormatResult = Callable[[Tool, Output, int], tuple[str, int]]
"""Formats a result for the model; takes the number of its first passage, returns the text and how much was left out."""
FindInstructions = Callable[[Tool, Output, int], list[dict[str, Any]]]
"""Finds text in a result that addresses the assistant; takes the number of the first passage."""


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """Limits of an agent that are not counted."""

    seconds: float
    """Deadline of one tool call."""
    close: str
    """Message to the model when no more tools can be called."""
    needs_approval: Callable[[str, Sequence[Any]], str]
    """Takes the name of a tool and the messages; returns why the call needs approval, or an empty text."""
    attended: bool
    """Whether a person decides on calls before they arrive here. Otherwise calls that need approval are refused."""


class ToolMiddleware(AgentMiddleware[Any, Any, Any]):
    """The middleware of one question."""

    def __init__(
        self, tools: Mapping[str, Tool], tracker: BudgetTracker, policy: ToolPolicy, ctx: Context,
        format_result: FormatResult, find_instructions: FindInstructions,
        fit: Callable[[list[Any]], tuple[list[Any], int]],
    ) -> None:  # fmt: skip
        """Set up the middleware.

        Args:
            tools: the tools by name.
            tracker: counts calls against the budget.
            policy: the other limits.
            ctx: the context of the running step.
            format_result: formats a result for the model.
            find_instructions: finds text in a result that addresses the assistant.
            fit: leaves old results out until the messages fit the model; returns the messages and how many it left out.
        """
        super().__init__()
        self._tools, self._tracker, self._policy, self._ctx = tools, tracker, policy, ctx
        self._format_result, self._find_instructions, self._fit = format_result, find_instructions, fit
        self.next_passage = 1
        """Number of the next passage."""
        self._hung: set[str] = set()
        self._current: Turn | None = None

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Ask the model within the budget; after an empty reply, ask once more."""
        tracker = self._tracker
        reply = AIMessage("")
        for _ in range(2):
            limit = tracker.exhausted()
            if limit:
                tracker.stopped = tracker.stopped or tracker.closing or limit
                return reply
            closing = tracker.closing or (
                "model calls" if tracker.model_calls + 1 == tracker.budget.model_calls else ""
            )
            reply = self._ask(request, handler, closing)
            if reply.tool_calls or reply.text.strip():
                return reply
            tracker.counts["empty replies"] += 1
            if closing:
                return reply
        tracker.stopped = tracker.stopped or "empty replies"
        return reply

    def _ask(self, request: ModelRequest[Any], handler: Callable[..., ModelResponse[Any]], closing: str) -> AIMessage:
        tracker = self._tracker
        self._ctx.emit(Event("token"))  # shows nothing, but lets a listener that has gone stop the work
        messages, shortened = self._fit(list(request.messages))
        tracker.counts["shortened results"] += shortened
        if closing:
            messages = [*messages, HumanMessage(self._policy.close)]
        specs: list[Any] = [tool.spec() for tool in self._tools.values()]
        started = time.perf_counter()
        response = handler(
            request.override(messages=messages, tools=specs, tool_choice="none" if closing and specs else None)
        )
        message = response.result[-1]
        assert isinstance(message, AIMessage)
        reply = read_message(message, tuple(self._tools))
        tracker.model_calls += 1
        used = reply.usage
        if not reply.counted:  # a budget must hold even where the server reports no usage
            tracker.counts["calls without usage"] += 1
            written = len((reply.text + reply.reasoning).encode()) // 3
            used = Usage(sum(len(one.text.encode()) // 3 + 8 for one in messages), written, 1)
        tracker.usage += used
        if reply.refusal and not reply.tool_calls:
            reply.with_text()  # raises with the model's own words
        for note in reply.notes:
            self._ctx.note(note)
        try:
            reply.with_text()
        except EmptyReply as error:
            tracker.empty = str(error)
        calls = _calls(reply, request.messages)
        tracker.counts["replies cut off at max_tokens"] += reply.finish_reason == "length"
        tracker.counts["replies cut off by a content filter"] += reply.finish_reason == "content_filter"
        tracker.counts["replies without a finish reason"] += reply.finish_reason == "missing"
        entry: dict[str, Any] = {
            "kind": "model", "n": tracker.model_calls, "seconds": time.perf_counter() - started,
            "text": reply.text[:_MAX_TRACED],
            "calls": [{"id": one["id"], "name": one["name"], "arguments": one["args"]} for one in calls],
            "input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
            "finish": reply.finish_reason,
        }  # fmt: skip
        if reply.reasoning:
            entry["reasoning"] = reply.reasoning[:_MAX_TRACED]
        if closing:
            tracker.stopped = closing
            entry["closing"] = closing
            if calls:
                entry["ignored"] = entry.pop("calls")
                calls = []
        tracker.trace.append(entry)
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
        """Make a call, or return why it is not made.

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
        with self._tracker.lock:
            if self._current is None or self._current.calls != ids:
                writes = any(one["name"] in self._tools and self._tools[one["name"]].side_effects for one in calls)
                left = self._tracker.budget.tool_calls - self._tracker.tool_calls
                self._current = Turn(ids, left, in_order=writes)
                self._tracker.tool_calls += len(ids)
            return self._current

    def _check(self) -> None:
        self._ctx.emit(Event("token"))  # shows nothing, but lets a listener that has gone stop the work

    def _call(self, call: Any, state: Any, turn: Turn) -> ToolMessage:
        tracker, name, arguments = self._tracker, call["name"], call["args"]
        started = time.perf_counter()
        with tracker.lock:
            refusal = self._refusal(call, state, turn)
        if refusal is not None:
            status, text = refusal
            turn.wait_for_earlier(call["id"], self._check)
            return self._record(call, status, text, started)
        tool = self._tools[name]
        shown = ", ".join(f"{key}={str(value)[:80]!r}" for key, value in arguments.items() if key != PROBLEM)
        self._ctx.emit(Event("step", text=f"{name}({shown})", data={"tool": name}))
        result = call_tool(tool, arguments, self._ctx, self._policy.seconds)
        with tracker.lock:
            if result.status == "hung":
                self._hung.add(name)
        turn.wait_for_earlier(call["id"], self._check)  # passages are numbered and results recorded in order
        with tracker.lock:
            first = self.next_passage
            self.next_passage += len(result.output.hits)
        text, dropped = self._format_result(tool, result.output, first)
        return self._record(call, result.status, text, started, dropped, result.output, first)

    def _refusal(self, call: Any, state: Any, turn: Turn) -> tuple[str, str] | None:
        tracker, name, arguments = self._tracker, call["name"], call["args"]
        if not turn.admits(call["id"]):
            tracker.closing = tracker.closing or "tool calls"
            return "over budget", f"No more than {tracker.budget.tool_calls} calls are allowed; this one was not made."
        if tracker.is_stalled(name, arguments):
            tracker.closing = tracker.closing or "stalled"
            return "stalled", "This call gave the same result twice; it is not made again."
        if name not in self._tools and UNREAD in arguments:
            return "malformed", f"This call was not made, {arguments[PROBLEM]}: {str(arguments[UNREAD])[:200]}"
        if name not in self._tools:
            return "unknown", f"There is {unknown('tool', name, self._tools).replace('unknown tool', 'no tool')}."
        if name in self._hung:
            return "refused", f"{name} did not answer in time before; it is not called again."
        why = self._policy.needs_approval(name, state["messages"])
        if why and not self._policy.attended:
            return "refused", f"This call needs a person's approval ({why}), and nobody is there. It was not made."
        return None

    def _record(
        self, call: Any, status: str, text: str, started: float, dropped: int = 0, output: Output | None = None,
        first: int = 0,
    ) -> ToolMessage:  # fmt: skip
        tracker = self._tracker
        hits = output.hits if output is not None and status == "ok" else ()
        with tracker.lock:
            tracker.add_result(call["name"], call["args"], text)
            if status != "ok":
                tracker.counts[f"{status} calls"] += 1
            tracker.counts["characters not shown"] += dropped
            entry = {
                "kind": "tool", "call": call["id"], "name": call["name"], "arguments": call["args"], "status": status,
                "result": text[:_MAX_TRACED], "dropped": dropped, "seconds": time.perf_counter() - started,
            }  # fmt: skip
            instructions = (
                self._find_instructions(self._tools[call["name"]], output, first) if output is not None else []
            )
            if instructions:
                entry["addressed"] = instructions
            if hits:
                entry["passages"] = {str(first + n): hit.chunk.id for n, hit in enumerate(hits)}
            tracker.trace.append(entry)
        return ToolMessage(
            text, name=call["name"], tool_call_id=call["id"], status="success" if status == "ok" else "error",
            artifact={"status": status, "first": first, "hits": [asdict(hit) for hit in hits]},
        )  # fmt: skip


def _calls(reply: Reply, before: Sequence[Any]) -> list[Any]:
    """The calls of a reply, malformed ones included, each with a unique id."""
    used: set[Any] = {call["id"] for one in before if isinstance(one, AIMessage) for call in one.tool_calls}
    calls = []
    for n, one in enumerate(reply.tool_calls, 1):
        name = one.id if one.id and one.id not in used else f"call_{len(before)}_{n}"
        used.add(name)
        arguments = {UNREAD: one.raw, PROBLEM: one.problem} if one.problem else dict(one.arguments)
        calls.append({"name": one.name or "unknown", "args": arguments, "id": name, "type": "tool_call"})
    return calls
