"""Length, form and wording: the verifiable instructions of IFEval as feedback."""

from __future__ import annotations

from typing import Any, ClassVar

from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.tasks.ifeval.checks import follows
from llmkit.tasks.ifeval.phrasing import request
from llmkit.types import State, Verdict


class InstructionsFollowed(Part):
    """The share of the instructions that the draft follows, by the rules of the metric of the same name."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "instructions"

    input: str = "checks"
    """Input with the list of ``{"name", "arguments"}``."""
    checks: tuple[dict[str, Any], ...] = ()
    """Instructions that hold for every question, in the same form; they take the place of the input."""

    def verify(self, draft: str, state: State) -> Verdict:
        """1 where all are followed; each that is not is said as a request."""
        asked = list(self.checks) or inputs.checks(state, self.input)
        failed = [one for one in asked if not follows(one["name"], one.get("arguments") or {}, draft)]
        said = tuple(request(one["name"], one.get("arguments") or {}) for one in failed)
        return Verdict(1 - len(failed) / len(asked), said)
