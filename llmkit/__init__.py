"""llmkit turns your documents into answers you can check.

from llmkit import load_pipeline
state = load_pipeline("docs-qa").run("What does the warranty exclude?")
print(state.answer.text, state.answer.citations)
"""

from __future__ import annotations

from llmkit.part import Part
from llmkit.types import Answer, Chunk, Citation, Document, Event, Hit, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.knowledge.base import KnowledgeBase
    from llmkit.pipeline.pipeline import Pipeline, load_pipeline

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Chunk",
    "Citation",
    "Document",
    "Event",
    "Hit",
    "KnowledgeBase",
    "Part",
    "Pipeline",
    "State",
    "load_pipeline",
]

_LATER = {
    "KnowledgeBase": "llmkit.knowledge.base",
    "Pipeline": "llmkit.pipeline.pipeline",
    "load_pipeline": "llmkit.pipeline.pipeline",
}


def __getattr__(name: str) -> object:
    """The names whose modules take time to import, on first use (PEP 562)."""
    from importlib import import_module

    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'llmkit' has no attribute {name!r}")
