"""Step ``agent``: the model calls tools, within a budget, until it can answer; the record has every call."""

from __future__ import annotations

from typing import ClassVar

from llmkit.agents.tool import Tool
from llmkit.errors import ConfigError
from llmkit.extras import optional
from llmkit.pipeline.agent.settings import AgentSettings
from llmkit.pipeline.steps.answering.answer import read_citations
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.pipeline.tools.injection_report import instruction_notes, tainted_sentences
from llmkit.protocols import Context
from llmkit.types import Answer, Event, State


class Agent(AgentSettings):
    """Answers with tools, by LangChain's ``create_agent``.

    At a limit of the budget, the step gives the best partial answer, and the record says so (``stopped``, ``partial``).
    Passages of all searches are numbered consecutively and put into ``state.hits``, so that ``ground`` can check
    citations.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "agent"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer", "hits"})

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` and ``state.hits``.

        Raises:
            ApprovalNeeded: a person is there and must decide on a call.
            LlmkitError: the model failed.
        """
        with optional():
            from llmkit.pipeline.agent.run import run_agent

        result = run_agent(self, self.toolset(), state, ctx)
        tracker = result.tracker
        if tracker.stopped:
            ctx.note(f"the agent was stopped by its limit of {tracker.stopped}: this is its best answer so far")
        for note in instruction_notes(tracker.trace):
            ctx.note(note)
        counts = {name: count for name, count in sorted(tracker.counts.items()) if count}
        for name, count in counts.items():
            ctx.note(f"{name}: {count}{tracker.describe_first(name)}")
        ctx.record(
            usage=tracker.usage, trace=tracker.trace, stopped=tracker.stopped or "answered",
            partial=bool(tracker.stopped), counts=counts, model_calls=tracker.model_calls,
            tool_calls=tracker.tool_calls,
        )  # fmt: skip
        if not result.text or result.text.casefold().startswith(NOT_FOUND.casefold().rstrip(".")):
            answer = Answer(NOT_FOUND, abstained=True)
        else:
            ctx.emit(Event("token", text=result.text))
            tainted = tainted_sentences(result.text, state.question, result.hits, tracker.trace)
            if tainted:
                ctx.note(
                    "sentences with details that only text addressing the assistant contains, marked as unsupported: "
                    f"{len(tainted)}"
                )
            citations = tuple(read_citations(result.text, result.hits))
            answer = Answer(result.text, citations, unsupported=tainted, finish_reason=result.finish_reason)
        return state.replace(answer=answer, hits=result.hits, retrieved=state.retrieved or result.hits)

    def toolset(self) -> dict[str, Tool]:
        """The tools by name.

        Raises:
            ConfigError: two tools have one name, or `approve` names an unknown tool.
        """
        tools: dict[str, Tool] = {}
        for tool in (tool for box in self.tools for tool in box.tools()):
            if tool.name in tools:
                raise ConfigError(f"two tools are called {tool.name!r}: give one another `name`")
            tools[tool.name] = tool
        missing = [name for name in self.approve if name not in tools]
        if missing:
            raise ConfigError(f"approve: there is no tool {', '.join(missing)} (there is: {', '.join(tools)})")
        return tools

    def forget(self, thread: str) -> None:
        """Delete the memory of a conversation, for all readers."""
        threads = {one.config["configurable"]["thread_id"] for one in self.saver.list(None)}
        for name in threads:
            if name == thread or name.startswith(f"{thread}@"):
                self.saver.delete_thread(name)
