"""One question put to LangChain's agent: what it goes on from, where it waits, what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langgraph.types import Command

from llmkit import prompts
from llmkit.agents.budget import Meter
from llmkit.agents.middleware import Guard, Rules
from llmkit.agents.tool import Tool
from llmkit.approval import ApprovalNeeded, Decision, Request
from llmkit.errors import ConfigError, DataError, EmptyReply, LlmkitError
from llmkit.models.chat import translate
from llmkit.pipeline.agent.context import ToolContext
from llmkit.pipeline.agent.messages import RECALLED, asked, fitted, hits_of, recalled, remembered, waits_for
from llmkit.pipeline.tools.injection_report import find_instructions
from llmkit.pipeline.tools.result import format_result
from llmkit.protocols import Context
from llmkit.replies import read_message
from llmkit.types import FinishReason, Hit, State

if TYPE_CHECKING:
    from llmkit.pipeline.agent.step import Agent


_ONCE = "once-"  # begins the name of a conversation that is not kept


@dataclass(frozen=True, slots=True)
class Finished:
    """What the agent leaves behind."""

    text: str
    """The answer, or the best there is; empty where there is nothing."""
    hits: tuple[Hit, ...]
    """Every passage a search gave, by number."""
    meter: Meter
    finish_reason: FinishReason = "stop"
    """How the reply that gave the text ended."""


def finished(agent: Agent, tools: dict[str, Tool], state: State, ctx: Context) -> Finished:
    """Put the question, or go on with the one that waits for decisions.

    Raises:
        ApprovalNeeded: a call waits for a decision.
        LlmkitError: the model failed.
    """
    caller = ctx.caller
    thread = _thread(agent, ctx)
    once = thread.startswith(_ONCE)
    meter = Meter(agent.budget, caller.spent)
    prompt = ctx.prompt(agent.prompt)
    system, message = asked(prompt, state.question)
    model = ctx.model(agent.model)
    if type(model).bind_tools is BaseChatModel.bind_tools:
        raise ConfigError(f"{type(model).__name__} cannot call tools: use another model")
    saved = remembered(agent.saver, thread)

    def why(name: str, messages: Sequence[Any]) -> str:
        return needs_approval(agent, tools, name, messages)

    rules = Rules(agent.seconds, prompts.load(agent.close).messages[0][1], why, caller.attended)
    guard = Guard(
        tools, meter, rules, ToolContext(ctx, meter),
        lambda tool, output, first: format_result(tool, output, first=first, max_chars=agent.result, fence=agent.fence),
        lambda tool, output, first: find_instructions(tool, output, first, agent.result, tools),
        lambda messages: fitted(model, system, messages, list(tools.values())),
    )  # fmt: skip
    middleware: list[Any] = [*([_asking(tools, why)] if caller.attended else []), guard]
    graph: Any = create_agent(
        model, [_spec(tool) for tool in tools.values()], system_prompt=system or None, middleware=middleware,
        checkpointer=agent.saver,
    )  # fmt: skip
    config = {"configurable": {"thread_id": thread}, "recursion_limit": 10 * agent.budget.model_calls + 50}
    pending = graph.get_state(config).interrupts if saved else ()
    given: Any
    if caller.decisions:
        given = Command(resume={"decisions": _answers(caller.decisions, pending)})
    elif pending and waits_for(saved) == state.question and caller.attended:
        raise _needed(pending, thread, meter, why, saved)
    else:
        given = {"messages": [*recalled(agent.saver, thread, saved, state, ctx), message]}
    guard.next = 1 + len(hits_of(remembered(agent.saver, thread)))
    try:
        result = graph.invoke(given, config)
    except Exception as error:
        if once:
            agent.saver.delete_thread(thread)
        if isinstance(error, LlmkitError):
            raise
        raise translate(error) from error
    if result.get("__interrupt__"):
        raise _needed(result["__interrupt__"], thread, meter, why, result["messages"])
    messages = result["messages"]
    _add_rejected(meter, messages)
    text = messages[-1].text.strip() if isinstance(messages[-1], AIMessage) else ""
    ending = read_message(messages[-1]).finish_reason if text else "stop"
    text = text or _last_result(meter)
    agent.saver.delete_thread(thread)
    if not text and meter.stopped == "empty replies":
        raise EmptyReply("the model answered twice with no text and no call, and no tool had given a result")
    if not once:  # only the end of a turn is kept: what was in between has served
        graph.update_state(config, {"messages": [*messages[:-1], AIMessage(text)]}, as_node="model")
    return Finished(text, hits_of(messages), meter, ending)


def _thread(agent: Agent, ctx: Context) -> str:
    """Where this conversation is remembered: what a reader with other access labels read is not theirs."""
    name = ctx.caller.thread or f"{_ONCE}{uuid4().hex}"
    reader = ctx.knowledge.reader if agent.reads_knowledge and not name.startswith(_ONCE) else None
    suffix = "" if reader is None else f"@{','.join(reader)}"
    return name if name.endswith(suffix) else f"{name}{suffix}"


def needs_approval(agent: Agent, tools: Mapping[str, Tool], name: str, messages: Sequence[Any]) -> str:
    """Why a call of the tool of that name needs a person's decision, after these messages; empty: it does not.

    An answer of an earlier turn whose calls are not known any more may rest on text by others, and counts as such.
    """
    if name in agent.approve:
        return f"every call of {name} does"
    tool = tools.get(name)
    if tool is None or not tool.side_effects or not agent.guarded:
        return ""
    read = [
        one.name for one in messages
        if one.type == "tool" and one.name in tools and tools[one.name].untrusted
        and (one.artifact or {}).get("status") in ("ok", "error")  # an error's text is others' too
    ]  # fmt: skip
    if read:
        return f"{name} has side effects, and text from {read[-1]} was read"
    earlier = any(one.type == "ai" and one.additional_kwargs.get(RECALLED) for one in messages)
    return f"{name} has side effects, and the turns before may rest on text by others" if earlier else ""


def _asking(tools: Mapping[str, Tool], why: Any) -> HumanInTheLoopMiddleware[Any, Any, Any]:
    """LangChain's middleware that stops before a call that needs a decision."""
    on: Any = {
        name: {
            "allowed_decisions": ["approve", "edit", "reject"],
            "when": lambda request: bool(why(request.tool_call["name"], request.state["messages"])),
        }
        for name in tools
    }
    return HumanInTheLoopMiddleware(on, edit_notice=None)


def _answers(decisions: Sequence[Decision], pending: Sequence[Any]) -> list[dict[str, Any]]:
    """The decisions as the middleware reads them.

    Raises:
        DataError: nothing waits, or not one decision a request.
    """
    waiting = [action for one in pending for action in one.value["action_requests"]]
    if len(waiting) != len(decisions):
        raise DataError(f"{len(waiting)} calls wait for a decision, {len(decisions)} decisions were given")
    answers: list[dict[str, Any]] = []
    for decision, action in zip(decisions, waiting, strict=True):
        if decision.kind == "edit":
            edited = {"name": action["name"], "args": dict(decision.arguments)}
            answers.append({"type": "edit", "edited_action": edited})
        elif decision.kind == "reject":
            answers.append({"type": "reject", **({"message": decision.reason} if decision.reason else {})})
        else:
            answers.append({"type": "approve"})
    return answers


def _needed(pending: Sequence[Any], thread: str, meter: Meter, why: Any, messages: Sequence[Any]) -> ApprovalNeeded:
    asked_for = [action for one in pending for action in one.value["action_requests"]]
    requests = [Request(one["name"], one["args"], why(one["name"], messages)) for one in asked_for]
    return ApprovalNeeded(requests, thread, meter.snapshot())


def _add_rejected(meter: Meter, messages: Sequence[Any]) -> None:
    """Calls that a person rejected never came to the guard."""
    known = {entry["call"] for entry in meter.trace if entry["kind"] == "tool"}
    made = {call["id"] for entry in meter.trace for call in entry.get("calls", ())}
    for one in messages:
        if one.type == "tool" and one.tool_call_id in made - known:
            meter.counts["rejected calls"] += 1
            entry = {"kind": "tool", "call": one.tool_call_id, "name": one.name, "arguments": {}, "seconds": 0.0}
            meter.trace.append({**entry, "status": "rejected", "result": one.text, "dropped": 0})


def _last_result(meter: Meter) -> str:
    """The last thing the model said, else what the last call that went well gave; a search is no answer."""
    for entry in reversed(meter.trace):
        if entry["kind"] == "model" and entry["text"].strip():
            return str(entry["text"]).strip()
        if entry["kind"] == "tool" and entry["status"] == "ok" and "passages" not in entry:
            return f"Not finished. The last result, of {entry['name']}: {entry['result'][:500]}"
    return ""


def _spec(tool: Tool) -> StructuredTool:
    """A tool as LangChain knows it by name; the guard makes its calls."""

    def never(**_: Any) -> str:
        raise AssertionError("calls are made by the guard")

    return StructuredTool(
        name=tool.name, description=tool.description or tool.name, args_schema=dict(tool.parameters), func=never
    )
