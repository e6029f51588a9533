"""Tools that an agent can call and that need no pipeline."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.agents.tools.calculator_clock_units import Calculator as Calculator
    from llmkit.agents.tools.calculator_clock_units import Convert as Convert
    from llmkit.agents.tools.calculator_clock_units import Now as Now
    from llmkit.agents.tools.files import ReadFile as ReadFile
    from llmkit.agents.tools.files import WriteFile as WriteFile
    from llmkit.agents.tools.langchain_and_mcp import MCP as MCP
    from llmkit.agents.tools.langchain_and_mcp import LangChainTool as LangChainTool
    from llmkit.agents.tools.python import Python as Python
    from llmkit.agents.tools.table import Table as Table

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "calculator_clock_units": ["Calculator", "Convert", "Now"],
        "files": ["ReadFile", "WriteFile"],
        "langchain_and_mcp": ["LangChainTool", "MCP"],
        "python": ["Python"],
        "table": ["Table"],
    },
)
