"""Code that passes its tests: pass@k, estimated without bias from n samples (Chen et al. 2021, arXiv 2107.03374)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import ClassVar

from pydantic import Field

from llmkit.errors import SandboxError
from llmkit.evaluation.metrics.normalize import read_answer
from llmkit.part import Part
from llmkit.sandbox import Sandbox
from llmkit.sandbox.unit_tests import extract_code, run_tests
from llmkit.types import Figure, Sample, Score, State

_SCORED = ("pass@1", "tests_passed")


class UnitTests(Part):
    """Runs the answer's Python and the sample's tests in the sandbox.

    With the task's ``repeats: n``, pass@1 is the share of a sample's n answers that pass, and pass@k, for k up to n,
    the chance that one of k does.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "unit-tests"

    field: str = "tests"
    """Column with the list of tests."""
    imports: str = "imports"
    """Column with lines that stand before the code; it may be missing."""
    k: tuple[int, ...] = ()
    """For which k above 1 pass@k is estimated; the task's repeats must be as many."""
    sandbox: Sandbox = Field(default=Sandbox())
    """Limits of the code."""

    def figures(self) -> Mapping[str, Figure]:
        """pass@1, the further pass@k, and the share of the tests."""
        return {
            "pass@1": Figure("Answers that pass every test"),
            "tests_passed": Figure("Tests that the answer passes"),
            **{f"pass@{k}": Figure(f"Chance that one of {k} answers passes every test") for k in self.k if k > 1},
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where there are no tests, or nothing isolates untrusted code."""
        tests, imports = sample.fields.get(self.field), sample.fields.get(self.imports)
        answer = read_answer(state)
        if isinstance(answer, str):
            return dict.fromkeys(_SCORED, Score.unscored(answer))
        if not isinstance(tests, list) or not tests:
            return dict.fromkeys(_SCORED, Score.unscored(f"the sample has no list {self.field!r}"))
        before = [str(line) for line in imports] if isinstance(imports, list) else []
        try:
            tested = run_tests(extract_code(answer.text), [str(t) for t in tests], self.sandbox, imports=before)
        except SandboxError as error:
            return dict.fromkeys(_SCORED, Score.unscored(str(error)))
        return {"pass@1": Score(float(tested.all_passed)), "tests_passed": Score(tested.share)}

    def across(self, values: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
        """Figures of a sample from those of all its repeats: pass@k, where there are k of them."""
        passed = values.get("pass@1", ())
        n, right = len(passed), sum(value == 1 for value in passed)
        return {f"pass@{k}": pass_at(k, n, right) for k in self.k if 1 < k <= n}


def pass_at(k: int, n: int, right: int) -> float:
    """The chance that one of `k` answers drawn from `n`, of which `right` pass, passes: 1 - C(n-c, k) / C(n, k).

    Raises:
        ValueError: k is not in 1 to n.
    """
    if not 1 <= k <= n or not 0 <= right <= n:
        raise ValueError(f"pass@{k} of {n} answers with {right} right is not defined")
    return 1 - comb(n - right, k) / comb(n, k)
