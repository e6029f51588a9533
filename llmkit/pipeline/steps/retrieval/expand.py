"""Growing passages as a step."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.protocols import Context
from llmkit.retrieval.context_expansion import Reach, expand
from llmkit.types import State


class Expand(Part):
    """Small passages are found best, larger ones are read best: every hit grows into its surroundings.

    Passages that touch become one, with the best score; no chunk is in two of them. Citations point to the exact place
    as ever: a passage is a run of its document's text.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "expand"
    needs: ClassVar[frozenset[str]] = frozenset({"hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"hits"})

    to: Reach = "window"
    """window: the neighbouring passages; section: all under the same heading; document: all of it."""
    window: int = Field(default=1, ge=0, le=100)
    """Of window: how many neighbours on either side."""
    budget: int = Field(default=1024, ge=1)
    """Most tokens of a grown passage, as the encoder counts; the nearest surroundings come first."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.hits`` by the passages they have grown into."""
        found = expand(ctx.knowledge, state.hits, self.to, self.window, self.budget)
        if found.cut:
            ctx.note(
                f"{found.cut} of {len(found.hits)} passages were not grown to their whole {self.to}: "
                f"the budget is {self.budget} tokens"
            )
        ctx.record(
            merged=found.merged,
            cut=found.cut,
            hits=[
                {"chunk": h.chunk.id, "start": h.chunk.start, "end": h.chunk.end, "score": h.score} for h in found.hits
            ],
        )
        return state.replace(hits=tuple(found.hits))
