"""The HTML report of one or more runs."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.evaluation.report.page import render as render

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "page": ["render"],
    },
)
