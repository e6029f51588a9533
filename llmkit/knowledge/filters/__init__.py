"""Filters over metadata: the expression, and its text form."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.knowledge.filters.expression import Filter as Filter
    from llmkit.knowledge.filters.where import Where as Where
    from llmkit.knowledge.filters.where import as_filter as as_filter
    from llmkit.knowledge.filters.where import parse as parse

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "expression": ["Filter"],
        "where": ["Where", "as_filter", "parse"],
    },
)
