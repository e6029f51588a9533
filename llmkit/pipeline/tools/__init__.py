"""Tools that need a knowledge base or another pipeline."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.tools.pipeline import PipelineTool as PipelineTool
    from llmkit.pipeline.tools.search import Search as Search

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "pipeline": ["PipelineTool"],
        "search": ["Search"],
    },
)
