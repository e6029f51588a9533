"""llmkit turns your documents into answers you can check.

from llmkit import load_pipeline
state = load_pipeline("docs-qa").run("What does the warranty exclude?")
print(state.answer.text, state.answer.citations)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.part import Part
    from llmkit.pipeline.pipeline import Pipeline, load_pipeline
    from llmkit.types import Answer, Chunk, Citation, Document, Event, Hit, State

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
    **dict.fromkeys(("Answer", "Chunk", "Citation", "Document", "Event", "Hit", "State"), "llmkit.types"),
    "KnowledgeBase": "llmkit.knowledge.knowledge_base",
    "Part": "llmkit.part",
    "Pipeline": "llmkit.pipeline.pipeline",
    "load_pipeline": "llmkit.pipeline.pipeline",
}


def __getattr__(name: str) -> object:
    """Each name's module is imported on first use (PEP 562): pydantic alone takes a tenth of a second."""
    from importlib import import_module

    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'llmkit' has no attribute {name!r}")
