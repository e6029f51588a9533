"""Step ``retrieve``: finds passages in the knowledge base."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llmkit.encoders.fit_query import fit_query
from llmkit.knowledge.filters.where import WhereField
from llmkit.part import Part
from llmkit.protocols import Context, Retriever, Rewriter, Rewritten
from llmkit.registry import one_of
from llmkit.retrieval.multi_query import search
from llmkit.retrieval.one_snapshot import on_one_snapshot
from llmkit.retrieval.vocabulary_coverage import unread
from llmkit.types import State


class Retrieve(Part):
    """Finds passages for the question."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "retrieve"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"hits"})

    k: int = Field(default=10, ge=1, le=10_000)
    """Number of passages."""
    retriever: Annotated[Retriever, one_of("retriever")] = Field(default="hybrid", validate_default=True)
    """The retriever: dense, bm25, hybrid, mmr, or a mapping with 'type'."""
    where: WhereField | None = None
    """Filter on metadata, as in ``type == "pdf" and page >= 3``."""
    rewriter: Annotated[Rewriter, one_of("rewriter")] | None = None
    """Adds queries to the question: multi-query, hyde, step-back, decompose, or a mapping with 'type'."""

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.hits`` and ``state.retrieved``, best first."""
        kb = ctx.knowledge
        question, cut = fit_query(kb.encoder, state.question)
        if cut:
            ctx.note(f"the question is longer than the encoder's input: its last {cut} tokens were not searched for")
        rewritten = self.rewriter.rewrite(state.question, ctx) if self.rewriter is not None else Rewritten()
        view, (hits, rankings) = on_one_snapshot(
            kb, lambda view: (view, search(view, self.retriever, question, rewritten, self.k, self.where))
        )
        kind, best = getattr(self.retriever, "type", ""), hits[0].chunk.text if hits else ""
        if kind != "bm25" and (warning := unread(kb.encoder, question, best, mixed=kind == "hybrid")):
            ctx.note(warning)
        for text in kb.take_notes():
            ctx.note(text)
        ctx.record(
            **({"generation": view.generation} if view.reader is None else {"reader": list(view.reader)}),
            k=self.k,
            retriever=self.config()["retriever"],
            hits=[{"chunk": hit.chunk.id, "score": hit.score, **hit.scores} for hit in hits],
        )
        if self.rewriter is not None:
            ctx.record(
                queries=[{"query": one.query, "hits": [hit.chunk.id for hit in one.hits]} for one in rankings],
                hypothetical=list(rewritten.passages),
            )
        return state.replace(hits=tuple(hits), retrieved=tuple(hits))
