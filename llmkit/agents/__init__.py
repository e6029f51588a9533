"""Tools that a model may call, and the middleware that limits and records the calls."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.agents.budget import Budget as Budget
    from llmkit.agents.middleware import ToolPolicy as ToolPolicy
    from llmkit.agents.tool import Arguments as Arguments
    from llmkit.agents.tool import Output as Output
    from llmkit.agents.tool import Tool as Tool
    from llmkit.agents.tool import Toolbox as Toolbox

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "budget": ["Budget"],
        "middleware": ["ToolPolicy"],
        "tool": ["Arguments", "Output", "Tool", "Toolbox"],
    },
)
