"""Unit tests of a Python solution, run in the sandbox."""

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
class Tested:
    """What became of the tests."""

    passed: tuple[bool, ...]
    """By test."""
    messages: tuple[str, ...]
    """Of what failed: the test and why, in words."""

    @property
    def all(self) -> bool:
        """Every test passed, and there was one."""
        return bool(self.passed) and all(self.passed)

    @property
    def share(self) -> float:
        """Of the tests that passed."""
        return sum(self.passed) / len(self.passed) if self.passed else 0.0


def code_in(reply: str) -> str:
    """The Python of a model's reply: its fenced blocks where it has some, else the whole reply."""
    blocks = _FENCE.findall(reply)
    return "\n\n".join(block.strip("\n") for block in blocks) if blocks else reply.strip("\n")


def run_tests(code: str, tests: Sequence[str], sandbox: Sandbox, *, imports: Sequence[str] = ()) -> Tested:
    """Run each test after the solution, in one process; what does not come to its turn has failed.

    Args:
        code: the solution.
        tests: statements, as ``assert double(2) == 4``.
        sandbox: its limits hold for all tests together.
        imports: lines that stand before the solution.

    Raises:
        SandboxError: nothing isolates here; nothing was run.
    """
    if not code.strip():
        return Tested((False,) * len(tests), ("There is no code.",))
    word = f"llmkit-{secrets.token_hex(8)}"
    told = {"word": word, "tests": [{"code": test, "left": _left(test)} for test in tests]}
    files = {"solution.py": "\n".join([*imports, code])}
    outcome = sandbox.run(_HARNESS.read_text(encoding="utf-8"), stdin=json.dumps(told) + "\n", files=files)
    return _read(outcome, tests, word)


def _read(outcome: Outcome, tests: Sequence[str], word: str) -> Tested:
    rows: dict[int, dict[str, Any]] = {}
    for line in outcome.stdout.splitlines():
        if line.startswith(word + " "):
            row = json.loads(line[len(word) :])
            rows.setdefault(int(row["n"]), row)
    loaded = rows.get(-1)
    if loaded is None or not loaded["ok"]:
        why = loaded["error"] if loaded else outcome.why or "it ended before the first test"
        return Tested((False,) * len(tests), (f"The code does not load: {why}",))
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
    return Tested(tuple(passed), tuple(messages))


def _left(test: str) -> str | None:
    """The left side of ``assert LEFT == RIGHT``, as source."""
    try:
        (statement,) = ast.parse(test).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    if isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare):
        return ast.unparse(statement.test.left)
    return None
