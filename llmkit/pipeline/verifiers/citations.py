"""Do the cited passages support what the draft says? Asked of the code behind `ground`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from llmkit.part import Part
from llmkit.pipeline.steps.answering.ground import Ground
from llmkit.types import State, Verdict

_SHOWN = 300  # characters of a sentence and of what was found


class CitationsSupported(Part):
    """The share of the sentences that a passage they cite supports, by its words."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "citations"

    overlap: float = Field(default=0.75, gt=0, le=1)
    """Least share of a sentence's content words that its passage must hold."""
    attribute: bool = False
    """Whether a sentence that cites nothing passes where some passage supports it."""

    def verify(self, draft: str, state: State) -> Verdict:
        """1 where every sentence is supported; 0 where there is none."""
        checked = Ground(overlap=self.overlap, attribute=self.attribute).check(draft, state.hits)
        if not checked:
            return Verdict(0.0, ("The answer has no sentence.",))
        failed = [item for item in checked if not item.supported]
        said = tuple(
            f"Not supported: {item.text[:_SHOWN]!r} ({item.why[:_SHOWN]}). Cite a passage that says it."
            for item in failed
        )
        return Verdict(1 - len(failed) / len(checked), said)
