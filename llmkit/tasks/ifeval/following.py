"""Verifiable instructions followed, as in IFEval (Zhou et al. 2023): as a metric and as feedback to a draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import read_answer
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.tasks.ifeval.checks import follows, loosened
from llmkit.tasks.ifeval.phrasing import request
from llmkit.types import Figure, Sample, Score, State, Verdict


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
        wanted = list(self.checks) or inputs.checks(state, self.input)
        failed = [one for one in wanted if not follows(one["name"], one.get("arguments") or {}, draft)]
        advice = tuple(request(one["name"], one.get("arguments") or {}) for one in failed)
        return Verdict(1 - len(failed) / len(wanted), advice)


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
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if not isinstance(checks, list) or not checks:
            return {name: Score.unscored(f"the sample has no list {self.field!r}") for name in self.figures()}
        text = answer.text
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
