"""Tool ``search``: the knowledge base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.encoders.fit_query import fit_query
from llmkit.knowledge.filters.where import WhereField
from llmkit.part import Part
from llmkit.protocols import Context, Retriever
from llmkit.registry import one_of


class Search(Part):
    """Finds passages in the pipeline's knowledge base. The model cites them by number, and ``ground`` checks that."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "search"

    name: str = Field(default="search", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    """Name of the tool for the model."""
    about: str = "Finds passages in the documents."
    """Description of the tool for the model: say what the documents are about."""
    k: int = Field(default=3, ge=1, le=50)
    """Number of passages that a call returns."""
    retriever: Annotated[Retriever, one_of("retriever")] = Field(default="hybrid", validate_default=True)
    """The retriever: dense, bm25, hybrid, mmr, or a mapping with 'type'."""
    where: WhereField | None = None
    """Filter on metadata."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            kb = ctx.knowledge
            query, cut = fit_query(kb.encoder, given["query"])
            if cut:
                ctx.note(
                    f"{self.name}: the query is longer than the encoder's input: its last {cut} tokens were left out"
                )
            hits = self.retriever.retrieve(kb, [query], self.k, self.where)[0]
            return Output("" if hits else "Nothing was found.", tuple(hits))

        return (Tool(self.name, self.about, Arguments().text("query", "what to look for").schema, call),)
