"""The context of a step for tools, which run in their own threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.agents.budget import BudgetTracker
from llmkit.approval import Caller
from llmkit.protocols import Context, Knowledge
from llmkit.types import Event, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmkit.protocols import PromptTemplate


class ToolContext:
    """A thread-safe context. Model usage of tools counts against the agent's budget."""

    def __init__(self, ctx: Context, tracker: BudgetTracker) -> None:
        self._ctx, self._tracker = ctx, tracker

    @property
    def knowledge(self) -> Knowledge:
        """The pipeline's knowledge base."""
        return self._ctx.knowledge

    @property
    def identity(self) -> str:
        """Digest of the steps before the agent."""
        return self._ctx.identity

    @property
    def caller(self) -> Caller:
        """Nobody: the pipelines of a tool cannot ask for approval."""
        return Caller()

    def model(self, spec: object = None) -> BaseChatModel:
        """The chat model of a spec."""
        with self._tracker.lock:
            return self._ctx.model(spec)

    def prompt(self, ref: str) -> PromptTemplate:
        """The prompt of a reference."""
        with self._tracker.lock:
            return self._ctx.prompt(ref)

    def emit(self, event: Event) -> None:
        """Pass an event to the listener."""
        with self._tracker.lock:
            self._ctx.emit(event)

    def record(self, **detail: object) -> None:
        """Add values to the record; usage counts against the agent's budget."""
        usage = detail.pop("usage", None)
        with self._tracker.lock:
            if isinstance(usage, Usage):
                self._tracker.usage += usage
            if detail:
                self._ctx.record(**detail)

    def note(self, text: str) -> None:
        """Tell the user something."""
        with self._tracker.lock:
            self._ctx.note(text)
