"""Runs inside the sandbox: loads a solution, runs each test, and prints one line of JSON for each.

Each line begins with a random word from the input, so that no output of the solution is mistaken for a result.
A malicious solution can forge results, because it runs in the same process. This file uses the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Load the solution (result number -1), then run the tests."""
    job = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")

    def report(**row: Any) -> None:
        out.write(f"{job['word']} {json.dumps(row)}\n")
        out.flush()

    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        try:
            names = runpy.run_path(str(Path(__file__).with_name("solution.py")))
        except BaseException as error:
            report(n=-1, ok=False, error=_describe(error))
            return
        report(n=-1, ok=True)
        for n, test in enumerate(job["tests"]):
            try:
                _run(test["code"], names)
            except BaseException as error:
                report(n=n, ok=False, error=_describe(error), got=_value(test["left"], names))
            else:
                report(n=n, ok=True)
    out.flush()
    os._exit(0)  # do not wait for threads of the solution


def _run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    path = Path(".llmkit-test.py")
    path.write_text(code, encoding="utf-8")
    return runpy.run_path(str(path), init_globals=dict(names))


def _value(expression: str | None, names: dict[str, Any]) -> str | None:
    """The value of the left side of a failed comparison; None where there is none or it raises."""
    if expression is None:
        return None
    try:
        return repr(_run(f"_llmkit_value = (\n{expression}\n)", names)["_llmkit_value"])[:200]
    except BaseException:
        return None


def _describe(error: BaseException) -> str:
    """Type and message of an error, and for a syntax error its line."""
    if isinstance(error, SyntaxError):
        where = f" in line {error.lineno}: {(error.text or '').strip()[:100]}" if error.lineno else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    text = str(error)[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main()
