"""The settings of an agent, and where it keeps its memory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from llmkit.agents.budget import Budget
from llmkit.agents.tool import Toolbox
from llmkit.extras import optional
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.prompts import PromptRef
from llmkit.registry import one_of


class AgentSettings(Part):
    """The fields of the step ``agent``."""

    tools: tuple[Annotated[Toolbox, one_of("tool")], ...] = Field(min_length=1)
    """The tools that the model may call; each is a word or a mapping with 'type'."""
    prompt: Annotated[str, PromptRef("question")] = "agent@v1"
    """Prompt with the variable ``question``."""
    close: Annotated[str, PromptRef()] = "agent-close@v1"
    """Prompt without variables that asks for the answer when no more tools can be called."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""
    budget: Budget = Budget()
    """Limits of one question."""
    seconds: float = Field(default=30.0, gt=0)
    """Deadline of one tool call."""
    result: int = Field(default=4000, ge=100)
    """Maximum characters of a result that the model is shown. The rest is counted."""
    approve: tuple[str, ...] = ()
    """Tools of which a person must approve every call. Where nobody can approve, the calls are not made."""
    guarded: bool = True
    """Whether calls with side effects need approval once text by others (a passage, a file, a web page) was read."""
    fence: bool = True
    """Whether results by others are put between delimiters, as data."""
    memory: str | None = None
    """SQLite file that keeps calls and results over turns and restarts; null: they are kept for one process."""

    @property
    def reads_knowledge(self) -> bool:
        """Whether one of the tools searches the knowledge base."""
        return any(box.type == "search" for box in self.tools)

    @cached_property
    def saver(self) -> Any:
        """The checkpointer of the file `memory`, or of this process."""
        with optional():
            from langgraph.checkpoint.memory import InMemorySaver

        from llmkit.agents.memory import open_memory

        return InMemorySaver() if self.memory is None else open_memory(Path(self.memory).expanduser())
