"""Step ``expand``: adds surrounding text to passages."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.protocols import Context
from llmkit.retrieval.context_expansion import Reach, expand
from llmkit.types import State


class Expand(Part):
    """Adds the surroundings of each hit: small passages are easier to find, larger ones are easier to answer from.

    Passages that touch are merged and keep the best score, so no chunk is in two passages. Citations stay exact,
    because an expanded passage is still a run of its document's text.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "expand"
    needs: ClassVar[frozenset[str]] = frozenset({"hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"hits"})

    to: Reach = "window"
    """window: the neighbouring passages; section: all passages under the same heading; document: the whole document."""
    window: int = Field(default=1, ge=0, le=100)
    """With window, how many neighbours on either side."""
    budget: int = Field(default=1024, ge=1)
    """Maximum tokens of an expanded passage, as the encoder counts. The nearest surroundings are added first."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.hits`` by the expanded passages."""
        expanded = expand(ctx.knowledge, state.hits, self.to, self.window, self.budget)
        if expanded.cut:
            ctx.note(
                f"{expanded.cut} of {len(expanded.hits)} passages were not expanded to their whole {self.to}: "
                f"the budget is {self.budget} tokens"
            )
        ctx.record(
            merged=expanded.merged,
            cut=expanded.cut,
            hits=[
                {"chunk": hit.chunk.id, "start": hit.chunk.start, "end": hit.chunk.end, "score": hit.score}
                for hit in expanded.hits
            ],
        )
        return state.replace(hits=tuple(expanded.hits))
