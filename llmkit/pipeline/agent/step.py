"""An agent: the model calls tools until it can answer, within budgets; what happened is in the record."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from llmkit.agents.budget import Budget
from llmkit.agents.tool import Tool, Toolbox
from llmkit.errors import ConfigError
from llmkit.extras import optional
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.answering.answer import read_citations
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.pipeline.tools.injection_report import instruction_notes, tainted_sentences
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.registry import one_of
from llmkit.types import Answer, Event, State


class Agent(Part):
    """Answers with tools, by LangChain's ``create_agent``.

    At a limit the best partial answer is given and the record says so (``stopped``, ``partial``). Passages that
    searches gave are numbered through and stand in ``state.hits``, so that ``ground`` can check what cites them.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "agent"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer", "hits"})

    tools: tuple[Annotated[Toolbox, one_of("tool")], ...] = Field(min_length=1)
    """What the model may call; each is a word or a mapping with 'type'."""
    prompt: Annotated[str, PromptRef("question")] = "agent@v1"
    """Prompt with the variable ``question``."""
    close: Annotated[str, PromptRef()] = "agent-close@v1"
    """Prompt that asks for the answer where no tool may be called any more; without variables."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""
    budget: Budget = Budget()
    """What one question may take."""
    seconds: float = Field(default=30.0, gt=0)
    """Of one call of a tool."""
    result: int = Field(default=4000, ge=100)
    """Characters of a result that the model is shown; the others are counted."""
    approve: tuple[str, ...] = ()
    """Tools whose every call a person must approve; where nobody is there, it is not made."""
    guarded: bool = True
    """Whether calls with side effects need approval once text by others (a passage, a file, a web page) was read."""
    fence: bool = True
    """Whether results by others are shown as data, between marks they cannot hold."""
    memory: str | None = None
    """SQLite file in which conversations keep their calls and results over turns and restarts; null: they do not."""

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` and ``state.hits``.

        Raises:
            ApprovalNeeded: somebody is there and must decide on a call.
        """
        with optional():
            from llmkit.pipeline.agent.run import finished

        found = finished(self, self.toolset(), state, ctx)
        meter = found.meter
        if meter.stopped:
            ctx.note(f"the agent was stopped ({meter.stopped}): this is the best it had")
        for note in instruction_notes(meter.trace):
            ctx.note(note)
        counts = {name: count for name, count in sorted(meter.counts.items()) if count}
        for name, count in counts.items():
            ctx.note(f"{name}: {count}{meter.first_of(name)}")
        ctx.record(
            usage=meter.usage, trace=meter.trace, stopped=meter.stopped or "answered", partial=bool(meter.stopped),
            counts=counts, model_calls=meter.model_calls, tool_calls=meter.tool_calls,
        )  # fmt: skip
        if not found.text or found.text.casefold().startswith(NOT_FOUND.casefold().rstrip(".")):
            answer = Answer(NOT_FOUND, abstained=True)
        else:
            ctx.emit(Event("token", text=found.text))
            marked = tainted_sentences(found.text, state.question, found.hits, meter.trace)
            if marked:
                ctx.note(f"sentences of the answer that hold what only such text says, and are marked: {len(marked)}")
            citations = tuple(read_citations(found.text, found.hits))
            answer = Answer(found.text, citations, unsupported=marked, finish_reason=found.finish_reason)
        return state.replace(answer=answer, hits=found.hits, retrieved=state.retrieved or found.hits)

    def toolset(self) -> dict[str, Tool]:
        """The tools by name.

        Raises:
            ConfigError: two have one name, or `approve` names one that is not there.
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

    @property
    def reads_knowledge(self) -> bool:
        """Whether one of the tools searches the knowledge base."""
        return any(box.type == "search" for box in self.tools)

    def forget(self, thread: str) -> None:
        """Drop what a conversation remembers, for whichever reader."""
        known = {one.config["configurable"]["thread_id"] for one in self.saver.list(None)}
        for name in known:
            if name == thread or name.startswith(f"{thread}@"):
                self.saver.delete_thread(name)

    @cached_property
    def saver(self) -> Any:
        """Where conversations are kept: the file of `memory`, or this process."""
        with optional():
            from langgraph.checkpoint.memory import InMemorySaver

        from llmkit.agents.memory import open_memory

        return InMemorySaver() if self.memory is None else open_memory(Path(self.memory).expanduser())
