"""What a run is a run of: everything that shapes an answer, in values and one digest."""

from __future__ import annotations

from typing import Any

from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline.digest import digest, model_identity, models, prompt_digests

__all__ = ["digest", "knowledge_identity", "model_identity", "models", "prompt_digests"]


def knowledge_identity(kb: KnowledgeBase) -> dict[str, Any]:
    """What a knowledge base holds: its documents with their versions, its encoder, its splitter."""
    rows = list(kb.versions().items())
    content = digest([rows, kb.identity, kb.splitter.config()])
    return {
        "path": str(kb.path),
        "generation": kb.generation,
        "encoder": kb.identity,
        "documents": len(rows),
        "chunks": kb.count,
        "digest": content,
    }
