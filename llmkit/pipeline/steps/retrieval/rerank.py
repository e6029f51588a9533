"""Step ``rerank``: reorders passages by a reranker."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.protocols import Context, CountsTruncatedPairs, Reranker
from llmkit.registry import one_of
from llmkit.types import State


class Rerank(Part):
    """Scores the question with every retrieved passage and keeps the best passages."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "rerank"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"hits"})

    k: int = Field(default=5, ge=1)
    """Number of passages to keep."""
    reranker: Annotated[Reranker, one_of("reranker")]
    """The reranker: a mapping with 'type' and 'model'."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.hits`` by the best of them; ``state.retrieved`` keeps the retrieved passages."""
        if not state.hits:
            ctx.note("no passages were found: there is nothing to rerank")
            return state
        queries, hits = [state.question], [state.hits]
        cut = self.reranker.cut(queries, hits) if isinstance(self.reranker, CountsTruncatedPairs) else 0
        if cut:
            ctx.note(
                f"{cut} of {len(state.hits)} passages are longer than the reranker's input: their ends were not read"
            )
        (kept,) = self.reranker.rerank_all(queries, hits, self.k)
        ctx.record(
            reranker=self.config()["reranker"],
            read=len(state.hits),
            cut=cut,
            hits=[{"chunk": hit.chunk.id, "score": hit.score, **hit.scores} for hit in kept],
        )
        return state.replace(hits=tuple(kept))
