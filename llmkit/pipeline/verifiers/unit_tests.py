"""Verifier ``unit-tests``: whether code passes its tests in the sandbox."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.sandbox import Sandbox
from llmkit.sandbox.unit_tests import extract_code, run_tests
from llmkit.types import State, Verdict

_ASSERT = re.compile(r"^[ \t]*(assert\b.*)$", re.MULTILINE)


class UnitTestsPassed(Part):
    """Scores the share of tests that the draft's Python passes in the sandbox; messages name the failures."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "unit-tests"

    input: str = "tests"
    """Input with a list of tests, statements such as ``assert double(2) == 4``. Without this input, the tests are the
    lines of the question that begin with ``assert``."""
    imports: str = "imports"
    """Optional input with lines to put before the code."""
    first: int | None = Field(default=None, ge=1)
    """Number of tests to use, from the first; the others stay hidden for scoring. null: all."""
    sandbox: Sandbox = Sandbox()
    """Limits of the code."""

    def verify(self, draft: str, state: State) -> Verdict:
        """Score 1 where all tests pass."""
        if self.input in state.inputs:
            tests = inputs.texts(state, self.input)
        else:
            tests = [match.group(1).strip() for match in _ASSERT.finditer(state.question)]
        if not tests:
            raise DataError(f"no tests: no input {self.input!r}, and no line of the question begins with 'assert'")
        before = inputs.texts(state, self.imports) if state.inputs.get(self.imports) else []
        results = run_tests(extract_code(draft), tests[: self.first], self.sandbox, imports=before)
        return Verdict(results.share, results.messages)
