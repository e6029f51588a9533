"""Does the code pass its tests? Asked of the sandbox."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.sandbox import Sandbox
from llmkit.sandbox.unit_tests import code_in, run_tests
from llmkit.types import State, Verdict

_ASSERT = re.compile(r"^[ \t]*(assert\b.*)$", re.MULTILINE)


class UnitTestsPassed(Part):
    """The share of the tests that the draft's Python passes in the sandbox; says which fail, and how."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "unit-tests"

    input: str = "tests"
    """Input with the list of tests, statements such as ``assert double(2) == 4``; where there is none, the lines of the
    question that begin with ``assert``."""
    imports: str = "imports"
    """Input with lines that stand before the code, where there is one."""
    first: int | None = Field(default=None, ge=1)
    """Only so many of the tests, in order: the others stay hidden, to score by."""
    sandbox: Sandbox = Sandbox()
    """Limits of the code."""

    def verify(self, draft: str, state: State) -> Verdict:
        """1 where all pass."""
        if self.input in state.inputs:
            tests = inputs.texts(state, self.input)
        else:
            tests = [found.group(1).strip() for found in _ASSERT.finditer(state.question)]
        if not tests:
            raise DataError(f"no tests: no input {self.input!r}, and no line of the question begins with 'assert'")
        before = inputs.texts(state, self.imports) if state.inputs.get(self.imports) else []
        tested = run_tests(code_in(draft), tests[: self.first], self.sandbox, imports=before)
        return Verdict(tested.share, tested.messages)
