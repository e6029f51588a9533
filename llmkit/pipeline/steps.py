"""Retrieval as a step."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llmkit.knowledge.filters import WhereField
from llmkit.knowledge.retrievers import fit_query, unread
from llmkit.part import Part
from llmkit.protocols import Context, Retriever
from llmkit.registry import one_of
from llmkit.types import State


class Retrieve(Part):
    """Finds passages for the question."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "retrieve"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"hits"})

    k: int = Field(default=10, ge=1, le=10_000)
    """How many passages."""
    retriever: Annotated[Retriever, one_of("retriever")] = Field(default="hybrid", validate_default=True)
    """How they are found: dense, bm25, hybrid, mmr, or a mapping with 'type'."""
    where: WhereField | None = None
    """Only passages whose metadata pass this filter: ``type == "pdf" and page >= 3``."""

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.hits`` and ``state.retrieved``, best first."""
        kb = ctx.knowledge
        question, cut = fit_query(kb.encoder, state.question)
        if cut:
            ctx.note(f"the question is longer than the encoder reads: its last {cut} tokens were not searched for")
        if getattr(self.retriever, "type", "") != "bm25" and (hole := unread(kb.encoder, question)):
            ctx.note(hole)
        hits = self.retriever.retrieve(kb, [question], self.k, self.where)[0]
        for text in kb.untold():
            ctx.note(text)
        ctx.record(
            **({"generation": kb.generation} if kb.reader is None else {"reader": list(kb.reader)}),
            k=self.k,
            retriever=self.config()["retriever"],
            hits=[{"chunk": hit.chunk.id, "score": hit.score, **hit.scores} for hit in hits],
        )
        return state.replace(hits=tuple(hits), retrieved=tuple(hits))
