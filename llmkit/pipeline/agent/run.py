"""Runs LangChain's agent for one question: resumes from memory, waits for approvals, returns the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langgraph.types import Command

from llmkit import prompts
from llmkit.agents.budget import BudgetTracker
from llmkit.agents.middleware import ToolMiddleware, ToolPolicy
from llmkit.agents.tool import Tool
from llmkit.approval import ApprovalNeeded, Decision, Request
from llmkit.errors import ConfigError, DataError, EmptyReply, LlmkitError
from llmkit.models.chat import translate
from llmkit.pipeline.agent.context import ToolContext
from llmkit.pipeline.agent.messages import (
    RECALLED,
    collect_hits,
    earlier_messages,
    fit_messages,
    load_messages,
    pending_question,
    render_question,
)
from llmkit.pipeline.agent.settings import AgentSettings
from llmkit.pipeline.tools.injection_report import find_instructions
from llmkit.pipeline.tools.result import format_result
from llmkit.protocols import Context
from llmkit.replies import read_message
from llmkit.types import FinishReason, Hit, State

_ONCE = "once-"  # prefix of conversations that are not kept


@dataclass(frozen=True, slots=True)
class AgentResult:
    """The result of an agent."""

    text: str
    """The answer, or the best partial answer; empty where there is none."""
    hits: tuple[Hit, ...]
    """The passages of all searches, in the order of their numbers."""
    tracker: BudgetTracker
    finish_reason: FinishReason = "stop"
    """How the reply with the text ended."""


def run_agent(agent: AgentSettings, tools: dict[str, Tool], state: State, ctx: Context) -> AgentResult:
    """Ask the question, or continue the one that waits for decisions.

    Raises:
        ApprovalNeeded: a call waits for a decision.
        DataError: the decisions do not match the waiting calls.
        LlmkitError: the model failed.
    """
    caller = ctx.caller
    thread = _thread(agent, ctx)
    once = thread.startswith(_ONCE)
    tracker = BudgetTracker(agent.budget, caller.spent)
    prompt = ctx.prompt(agent.prompt)
    system, message = render_question(prompt, state.question)
    model = ctx.model(agent.model)
    if type(model).bind_tools is BaseChatModel.bind_tools:
        raise ConfigError(f"{type(model).__name__} cannot call tools: use another model")
    saved = load_messages(agent.saver, thread)

    def why(name: str, messages: Sequence[Any]) -> str:
        return needs_approval(agent, tools, name, messages)

    policy = ToolPolicy(agent.seconds, prompts.load(agent.close).messages[0][1], why, caller.attended)
    tool_middleware = ToolMiddleware(
        tools, tracker, policy, ToolContext(ctx, tracker),
        lambda tool, output, first: format_result(tool, output, first=first, max_chars=agent.result, fence=agent.fence),
        lambda tool, output, first: find_instructions(tool, output, first, agent.result, tools),
        lambda messages: fit_messages(model, system, messages, list(tools.values())),
    )  # fmt: skip
    middleware: list[Any] = [*([_approval_middleware(tools, why)] if caller.attended else []), tool_middleware]
    graph: Any = create_agent(
        model, [_spec(tool) for tool in tools.values()], system_prompt=system or None, middleware=middleware,
        checkpointer=agent.saver,
    )  # fmt: skip
    config = {"configurable": {"thread_id": thread}, "recursion_limit": 10 * agent.budget.model_calls + 50}
    pending = graph.get_state(config).interrupts if saved else ()
    start: Any
    if caller.decisions:
        start = Command(resume={"decisions": _resume_values(caller.decisions, pending)})
    elif pending and pending_question(saved) == state.question and caller.attended:
        raise _approval_needed(pending, thread, tracker, why, saved)
    else:
        start = {"messages": [*earlier_messages(agent.saver, thread, saved, state, ctx), message]}
    tool_middleware.next_passage = 1 + len(collect_hits(load_messages(agent.saver, thread)))
    try:
        result = graph.invoke(start, config)
    except Exception as error:
        if once:
            agent.saver.delete_thread(thread)
        if isinstance(error, LlmkitError):
            raise
        raise translate(error) from error
    if result.get("__interrupt__"):
        raise _approval_needed(result["__interrupt__"], thread, tracker, why, result["messages"])
    messages = result["messages"]
    _add_rejected(tracker, messages)
    text = messages[-1].text.strip() if isinstance(messages[-1], AIMessage) else ""
    ending = read_message(messages[-1]).finish_reason if text else "stop"
    text = text or _last_result(tracker)
    agent.saver.delete_thread(thread)
    if not text and tracker.stopped == "empty replies":
        raise EmptyReply(f"{tracker.empty}. It was asked twice, and no tool had given a result")
    if not once:  # memory keeps the end of the turn, not its intermediate checkpoints
        graph.update_state(config, {"messages": [*messages[:-1], AIMessage(text)]}, as_node="model")
    return AgentResult(text, collect_hits(messages), tracker, ending)


def _thread(agent: AgentSettings, ctx: Context) -> str:
    """The name of the conversation in memory. Readers with other access labels have separate memories."""
    name = ctx.caller.thread or f"{_ONCE}{uuid4().hex}"
    reader = ctx.knowledge.reader if agent.reads_knowledge and not name.startswith(_ONCE) else None
    suffix = "" if reader is None else f"@{','.join(reader)}"
    return name if name.endswith(suffix) else f"{name}{suffix}"


def needs_approval(agent: AgentSettings, tools: Mapping[str, Tool], name: str, messages: Sequence[Any]) -> str:
    """Why a call of a tool needs approval after these messages; empty: it does not.

    An answer of an earlier turn whose calls are no longer known may rest on text by others, and counts as such text.
    """
    if name in agent.approve:
        return f"every call of {name} needs approval"
    tool = tools.get(name)
    if tool is None or not tool.side_effects or not agent.guarded:
        return ""
    read = [
        one.name for one in messages
        if one.type == "tool" and one.name in tools and tools[one.name].untrusted
        and (one.artifact or {}).get("status") in ("ok", "error")  # the text of an error is by others, too
    ]  # fmt: skip
    if read:
        return f"{name} has side effects, and text from {read[-1]} was read"
    earlier = any(one.type == "ai" and one.additional_kwargs.get(RECALLED) for one in messages)
    return f"{name} has side effects, and earlier turns may rest on text by others" if earlier else ""


def _approval_middleware(tools: Mapping[str, Tool], why: Any) -> HumanInTheLoopMiddleware[Any, Any, Any]:
    """LangChain's middleware that stops before a call that needs approval."""
    on: Any = {
        name: {
            "allowed_decisions": ["approve", "edit", "reject"],
            "when": lambda request: bool(why(request.tool_call["name"], request.state["messages"])),
        }
        for name in tools
    }
    return HumanInTheLoopMiddleware(on, edit_notice=None)


def _resume_values(decisions: Sequence[Decision], pending: Sequence[Any]) -> list[dict[str, Any]]:
    """The decisions in the form that LangChain's middleware reads.

    Raises:
        DataError: the number of decisions is not the number of waiting calls.
    """
    waiting = [action for one in pending for action in one.value["action_requests"]]
    if len(waiting) != len(decisions):
        raise DataError(f"{len(waiting)} calls wait for a decision, but {len(decisions)} decisions were given")
    values: list[dict[str, Any]] = []
    for decision, action in zip(decisions, waiting, strict=True):
        if decision.kind == "edit":
            edited = {"name": action["name"], "args": dict(decision.arguments)}
            values.append({"type": "edit", "edited_action": edited})
        elif decision.kind == "reject":
            values.append({"type": "reject", **({"message": decision.reason} if decision.reason else {})})
        else:
            values.append({"type": "approve"})
    return values


def _approval_needed(
    pending: Sequence[Any], thread: str, tracker: BudgetTracker, why: Any, messages: Sequence[Any]
) -> ApprovalNeeded:
    actions = [action for one in pending for action in one.value["action_requests"]]
    requests = [Request(one["name"], one["args"], why(one["name"], messages)) for one in actions]
    return ApprovalNeeded(requests, thread, tracker.to_json())


def _add_rejected(tracker: BudgetTracker, messages: Sequence[Any]) -> None:
    """Add the calls that a person rejected, which never reach the tool middleware, to the trace."""
    traced = {entry["call"] for entry in tracker.trace if entry["kind"] == "tool"}
    requested = {call["id"] for entry in tracker.trace for call in entry.get("calls", ())}
    for one in messages:
        if one.type == "tool" and one.tool_call_id in requested - traced:
            tracker.counts["rejected calls"] += 1
            entry = {"kind": "tool", "call": one.tool_call_id, "name": one.name, "arguments": {}, "seconds": 0.0}
            tracker.trace.append({**entry, "status": "rejected", "result": one.text, "dropped": 0})


def _last_result(tracker: BudgetTracker) -> str:
    """The last text of the model, or the last result of a successful call that was no search."""
    for entry in reversed(tracker.trace):
        if entry["kind"] == "model" and entry["text"].strip():
            return str(entry["text"]).strip()
        if entry["kind"] == "tool" and entry["status"] == "ok" and "passages" not in entry:
            return f"Not finished. The last result, of {entry['name']}: {entry['result'][:500]}"
    return ""


def _spec(tool: Tool) -> StructuredTool:
    """A tool as LangChain knows it; the tool middleware makes the calls."""

    def never_called(**_: Any) -> str:
        raise AssertionError("the tool middleware makes the calls")

    return StructuredTool(
        name=tool.name, description=tool.description or tool.name, args_schema=dict(tool.parameters), func=never_called
    )
