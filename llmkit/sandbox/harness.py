"""Runs inside the sandbox: loads a solution, then each test, and says after each what became of it.

The lines it says begin with a word from its input, so that nothing the solution prints is taken for one by accident. A
solution that sets out to forge them can: it lives in the same process. Standard library only.
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
    """The whole run; the first line said is about loading, number -1."""
    told = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")

    def say(**row: Any) -> None:
        out.write(f"{told['word']} {json.dumps(row)}\n")
        out.flush()

    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        try:
            names = runpy.run_path(str(Path(__file__).with_name("solution.py")))
        except BaseException as error:
            say(n=-1, ok=False, error=_told(error))
            return
        say(n=-1, ok=True)
        for n, test in enumerate(told["tests"]):
            try:
                _run(test["code"], names)
            except BaseException as error:
                say(n=n, ok=False, error=_told(error), got=_value(test["left"], names))
            else:
                say(n=n, ok=True)
    out.flush()
    os._exit(0)  # threads the solution left behind do not keep us


def _run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    path = Path(".llmkit-test.py")
    path.write_text(code, encoding="utf-8")
    return runpy.run_path(str(path), init_globals=dict(names))


def _value(expression: str | None, names: dict[str, Any]) -> str | None:
    """What the left side of a failed comparison is; None where there is none, or it raises."""
    if expression is None:
        return None
    try:
        return repr(_run(f"_llmkit_value = (\n{expression}\n)", names)["_llmkit_value"])[:200]
    except BaseException:
        return None


def _told(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        where = f" in line {error.lineno}: {(error.text or '').strip()[:100]}" if error.lineno else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    text = str(error)[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main()
