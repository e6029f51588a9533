"""Tools a model may call, and the guards around the loop in which it does."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.agents.budget import Budget as Budget
    from llmkit.agents.middleware import Rules as Rules
    from llmkit.agents.tool import Arguments as Arguments
    from llmkit.agents.tool import Output as Output
    from llmkit.agents.tool import Tool as Tool
    from llmkit.agents.tool import Toolbox as Toolbox

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "budget": ["Budget"],
        "middleware": ["Rules"],
        "tool": ["Arguments", "Output", "Tool", "Toolbox"],
    },
)
