"""Questions are encoded by the model that encoded the passages, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmkit.encoders.identity import same_space
from llmkit.errors import KnowledgeError
from llmkit.protocols import Encoder

if TYPE_CHECKING:
    from llmkit.knowledge.base import KnowledgeBase


def same_encoder(kb: KnowledgeBase, encoder: Any) -> Encoder:
    """The encoder; noted where its precision is another than that of the vectors.

    Raises:
        KnowledgeError: it is not the same model.
    """
    if encoder.identity != kb.identity:
        if not same_space(encoder.identity, kb.identity):
            raise KnowledgeError(
                f"{kb.path} was made with the encoder {kb.identity}, this one is {encoder.identity}: their "
                "vectors cannot be compared. Use the same model, or ingest into a new knowledge base"
            )
        kb.notes.append(f"vectors were made by {kb.identity}, questions are encoded by {encoder.identity}")
    return encoder  # type: ignore[no-any-return]
