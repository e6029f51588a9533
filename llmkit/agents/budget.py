"""What an agent may spend, what it spent, and what happened: budgets, stalls, the trace."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from llmkit.agents.delimiters import CLOSE, OPEN
from llmkit.part import Part
from llmkit.types import Usage

_SHOWN = 160  # characters of a result in a note
STALL = 2  # results of one call that are the same before it is not made again


class Budget(Part):
    """Limits of one question. At the last model call no tool can be called: the model is told to answer."""

    model_calls: int = Field(default=8, ge=1)
    """Calls of the model."""
    tool_calls: int = Field(default=12, ge=0)
    """Calls of tools, refused ones included."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens in and out; no call begins once they are spent, which the last call may pass."""
    seconds: float | None = Field(default=300.0, gt=0)
    """No call begins later."""


class Meter:
    """Counts one question's calls; safe to use from the threads in which tools run."""

    def __init__(self, budget: Budget, spent: Mapping[str, Any] | None = None) -> None:
        kept = dict(spent or {})
        self.budget = budget
        self.lock = threading.RLock()
        self.trace: list[dict[str, Any]] = list(kept.get("trace", ()))
        self.usage = Usage(**kept.get("usage", {}))
        self.model_calls: int = kept.get("model_calls", 0)
        self.tool_calls: int = kept.get("tool_calls", 0)
        self.closing: str = kept.get("closing", "")
        """Why no tool may be called any more; empty: they may."""
        self.stopped: str = ""
        """Which limit ended the work; empty: the model ended it."""
        self.empty: str = ""
        """Why the last reply without text and calls was empty."""
        self.counts: Counter[str] = Counter(kept.get("counts", {}))
        """What went wrong, by kind."""
        self._results: dict[str, list[str]] = dict(kept.get("results", {}))
        self._began: float = time.monotonic() - kept.get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """Since the question was asked; a wait for a person does not count."""
        return time.monotonic() - self._began

    def spent(self) -> str:
        """The limit at which no model call begins; empty: there is none."""
        budget = self.budget
        if self.model_calls >= budget.model_calls:
            return "model calls"
        if budget.tokens is not None and self.usage.input_tokens + self.usage.output_tokens >= budget.tokens:
            return "tokens"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        return ""

    def stalls(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether this call has given the same result twice in a row."""
        before = self._results.get(_key(name, arguments), [])
        return len(before) >= STALL and len(set(before[-STALL:])) == 1

    def note(self, name: str, arguments: Mapping[str, Any], result: str) -> None:
        """Remember what a call gave."""
        self._results.setdefault(_key(name, arguments), []).append(result)

    def first_of(self, kind: str) -> str:
        """The first call that `kind` of `counts` counted, as in ``; write_file: nobody is there``; empty: no call."""
        for entry in self.trace:
            if entry["kind"] == "tool" and f"{entry['status']} calls" == kind:
                text = entry["result"].removeprefix(f"{OPEN}\n").removesuffix(f"\n{CLOSE}")
                text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
                shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
                return f"; {entry['name']}: {shown.removeprefix(entry['name'] + ' failed: ')}"
        return ""

    def snapshot(self) -> dict[str, Any]:
        """What another meter goes on with, as JSON values."""
        usage = {name: getattr(self.usage, name) for name in ("input_tokens", "output_tokens", "calls")}
        return {
            "trace": self.trace, "usage": usage, "model_calls": self.model_calls, "tool_calls": self.tool_calls,
            "closing": self.closing, "counts": dict(self.counts), "results": self._results, "seconds": self.seconds,
        }  # fmt: skip


def _key(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name} {json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)}"
