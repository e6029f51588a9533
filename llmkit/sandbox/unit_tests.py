"""Runs unit tests of a Python solution in the sandbox."""

from __future__ import annotations

import ast
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.sandbox.sandbox import Outcome, Sandbox

_HARNESS = Path(__file__).with_name("harness.py")
_FENCE = re.compile(
    r"^```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)(?:^```|\Z)", re.MULTILINE | re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class TestResults:
    """Results of all tests of a solution."""

    __test__ = False  # not a test class of pytest

    passed: tuple[bool, ...]
    """Whether each test passed, in order."""
    messages: tuple[str, ...]
    """A sentence for each failed test: the test and why it failed."""

    @property
    def all_passed(self) -> bool:
        """Whether there was a test and every test passed."""
        return bool(self.passed) and all(self.passed)

    @property
    def share(self) -> float:
        """Share of the tests that passed, in [0, 1]."""
        return sum(self.passed) / len(self.passed) if self.passed else 0.0


def extract_code(reply: str) -> str:
    """The Python code in a model's reply: its fenced blocks, or the whole reply where it has none."""
    blocks = _FENCE.findall(reply)
    return "\n\n".join(block.strip("\n") for block in blocks) if blocks else reply.strip("\n")


def run_tests(code: str, tests: Sequence[str], sandbox: Sandbox, *, imports: Sequence[str] = ()) -> TestResults:
    """Run the solution and then each test in one process. A test that does not get its turn has failed.

    Args:
        code: the solution.
        tests: statements, as in ``assert double(2) == 4``.
        sandbox: limits, for all tests together.
        imports: lines to put before the solution.

    Raises:
        SandboxError: this machine cannot isolate code; nothing was run.
    """
    if not code.strip():
        return TestResults((False,) * len(tests), ("There is no code.",))
    word = f"llmkit-{secrets.token_hex(8)}"
    job = {"word": word, "tests": [{"code": test, "left": _left_side(test)} for test in tests]}
    files = {"solution.py": "\n".join([*imports, code])}
    outcome = sandbox.run(_HARNESS.read_text(encoding="utf-8"), stdin=json.dumps(job) + "\n", files=files)
    return _parse_results(outcome, tests, word)


def _parse_results(outcome: Outcome, tests: Sequence[str], word: str) -> TestResults:
    rows: dict[int, dict[str, Any]] = {}
    for line in outcome.stdout.splitlines():
        if line.startswith(word + " "):
            row = json.loads(line[len(word) :])
            rows.setdefault(int(row["n"]), row)
    loaded = rows.get(-1)
    if loaded is None or not loaded["ok"]:
        why = loaded["error"] if loaded else outcome.why or "it ended before the first test"
        return TestResults((False,) * len(tests), (f"The code does not load: {why}",))
    passed, messages = [], []
    for n, test in enumerate(tests):
        row = rows.get(n)
        passed.append(bool(row and row["ok"]))
        if row is None:
            stopped = n == 0 or n - 1 in rows
            why = outcome.why or "the code ended the program"
            messages += [f"{test} was not finished: {why}"] if stopped else []
        elif not row["ok"]:
            got = f"; the left side is {row['got']}" if row.get("got") is not None else ""
            messages.append(f"{test} failed: {row['error']}{got}")
    return TestResults(tuple(passed), tuple(messages))


def _left_side(test: str) -> str | None:
    """The source of LEFT in ``assert LEFT == RIGHT``; None for other statements."""
    try:
        (statement,) = ast.parse(test).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    if isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare):
        return ast.unparse(statement.test.left)
    return None
