"""The step `agent`: a LangChain agent inside a pipeline."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.agent.step import Agent as Agent
    from llmkit.pipeline.agent.tool_call import ToolCallStep as ToolCallStep

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "step": ["Agent"],
        "tool_call": ["ToolCallStep"],
    },
)
