"""From documents to a commit: splitting, encoding, near duplicates, progress."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.knowledge.ingestion.progress import IngestSummary as IngestSummary
    from llmkit.knowledge.ingestion.progress import Progress as Progress

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "progress": ["IngestSummary", "Progress"],
    },
)
