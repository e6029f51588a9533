"""Verifiable instructions followed, as in IFEval (Zhou et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.tasks.ifeval.checks import follows, loosened
from llmkit.types import Figure, Sample, Score, State


class Instructions(Part):
    """Checks the instructions of a sample by rules: strictly, and loosely on variants without first or last line.

    Our own reading of the paper's 25 kinds; do not put its figures beside published ones without saying so.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "instructions"

    field: str = "checks"
    """Column with the list of ``{"name", "arguments"}``."""

    def figures(self) -> Mapping[str, Figure]:
        """Four shares."""
        return {
            "instructions": Figure("Instructions followed"),
            "instructions_all": Figure("Answers that follow every instruction"),
            "instructions_loose": Figure("Instructions followed by the answer or a variant of it"),
            "instructions_all_loose": Figure("Answers that follow every instruction, variants allowed"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where the sample has no instruction, or one that is not known."""
        checks: Any = sample.fields.get(self.field)
        if state.answer is None or not isinstance(checks, list) or not checks:
            return {name: Score.unscored(f"no answer, or no list {self.field!r}") for name in self.figures()}
        text = state.answer.text
        try:
            strict = [_follows(check, text) for check in checks]
            loose = [any(_follows(check, variant) for variant in loosened(text)) for check in checks]
        except (DataError, KeyError, TypeError) as error:
            return {name: Score.unscored(str(error)) for name in self.figures()}
        return {
            "instructions": Score(sum(strict) / len(strict)),
            "instructions_all": Score(float(all(strict))),
            "instructions_loose": Score(sum(loose) / len(loose)),
            "instructions_all_loose": Score(float(all(loose))),
        }


def _follows(check: Mapping[str, Any], text: str) -> bool:
    return follows(str(check["name"]), check["arguments"], text)
