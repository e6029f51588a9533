"""Reranking as a step."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.protocols import Context, Reranker
from llmkit.registry import one_of
from llmkit.types import State


class Rerank(Part):
    """Reads the question beside every passage that was found and keeps the best."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "rerank"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"hits"})

    k: int = Field(default=5, ge=1)
    """How many passages are kept."""
    reranker: Annotated[Reranker, one_of("reranker")]
    """What reads them: a mapping with 'type' and 'model'."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.hits`` by the best of them; ``state.retrieved`` stays what was found."""
        if not state.hits:
            ctx.note("no passages were found: there is nothing to rerank")
            return state
        queries, hits = [state.question], [state.hits]
        count = getattr(self.reranker, "cut", None)
        cut = count(queries, hits) if count is not None else 0
        if cut:
            ctx.note(
                f"{cut} of {len(state.hits)} passages are longer than the reranker reads: their ends did not count"
            )
        (kept,) = self.reranker.rerank_all(queries, hits, self.k)
        ctx.record(
            reranker=self.config()["reranker"],
            read=len(state.hits),
            cut=cut,
            hits=[{"chunk": hit.chunk.id, "score": hit.score, **hit.scores} for hit in kept],
        )
        return state.replace(hits=tuple(kept))
