"""The services of a step, as tools that run in threads of their own may use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.agents.budget import Meter
from llmkit.approval import Caller
from llmkit.protocols import Context, Knowledge
from llmkit.types import Event, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmkit.prompts import Prompt


class ToolContext:
    """A context for many threads; what tools use of models counts against the budget."""

    def __init__(self, ctx: Context, meter: Meter) -> None:
        self._ctx, self._meter = ctx, meter

    @property
    def knowledge(self) -> Knowledge:
        """The pipeline's knowledge base."""
        return self._ctx.knowledge

    @property
    def identity(self) -> str:
        """That of the steps before the agent."""
        return self._ctx.identity

    @property
    def caller(self) -> Caller:
        """Nobody: a tool's own pipelines cannot ask."""
        return Caller()

    def model(self, spec: object = None) -> BaseChatModel:
        """The chat model of that spec."""
        with self._meter.lock:
            return self._ctx.model(spec)

    def prompt(self, ref: str) -> Prompt:
        """The prompt of that reference."""
        with self._meter.lock:
            return self._ctx.prompt(ref)

    def emit(self, event: Event) -> None:
        """Tell the listener."""
        with self._meter.lock:
            self._ctx.emit(event)

    def record(self, **detail: object) -> None:
        """Add to the record; usage to what the agent has spent."""
        usage = detail.pop("usage", None)
        with self._meter.lock:
            if isinstance(usage, Usage):
                self._meter.usage += usage
            if detail:
                self._ctx.record(**detail)

    def note(self, text: str) -> None:
        """Say something the user should know."""
        with self._meter.lock:
            self._ctx.note(text)
