"""Verifier ``citations``: whether the cited passages support the draft, by the same check as the step ``ground``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.pipeline.steps.answering.ground import Ground
from llmkit.types import State, Verdict

_MAX_SHOWN = 300  # characters of a sentence and of a reason in a message


class CitationsSupported(Part):
    """Scores the share of sentences that a cited passage supports."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "citations"

    overlap: float = Field(default=0.75, gt=0, le=1)
    """Lowest share of a sentence's content words that its passage must contain."""
    attribute: bool = False
    """Whether a sentence without a citation passes where some passage supports it."""

    def verify(self, draft: str, state: State) -> Verdict:
        """Score 1 where every sentence is supported, 0 where the draft has no sentence."""
        checked = Ground(overlap=self.overlap, attribute=self.attribute).check(draft, state.hits)
        if not checked:
            return Verdict(0.0, ("The answer has no sentence.",))
        failed = [item for item in checked if not item.supported]
        messages = tuple(
            f"Not supported: {item.text[:_MAX_SHOWN]!r} ({item.why[:_MAX_SHOWN]}). Cite a passage that says it."
            for item in failed
        )
        return Verdict(1 - len(failed) / len(checked), messages)
