"""Constrained writing: are the given words used?"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.tasks.concepts import missing
from llmkit.types import State, Verdict


class ConceptsUsed(Part):
    """The share of the given words that the draft uses, in any inflection; names the missing ones."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "concepts"

    input: str = "concepts"
    """Input with the list of words."""
    show: int | None = Field(default=None, ge=1)
    """How many missing words are named at a time; a small model does better with few."""

    def verify(self, draft: str, state: State) -> Verdict:
        """1 where every word is used."""
        wanted = list(dict.fromkeys(inputs.texts(state, self.input)))
        left = missing(draft, wanted)
        if not left:
            return Verdict(1.0)
        return Verdict(1 - len(left) / len(wanted), (f"Use these words too: {', '.join(left[: self.show])}.",))
