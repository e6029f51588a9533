"""The budget of an agent, and the tracker that counts calls, detects stalls and keeps the trace."""

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

_MAX_SHOWN = 160  # characters of a result in a note
STALL = 2  # equal results in a row after which the same call is not made again


class Budget(Part):
    """Limits of one question. At the last model call no tool can be called: the model is asked to answer."""

    model_calls: int = Field(default=8, ge=1)
    """Maximum number of model calls."""
    tool_calls: int = Field(default=12, ge=0)
    """Maximum number of tool calls, refused ones included."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens in and out. No call begins once they are used, so the last call may exceed them."""
    seconds: float | None = Field(default=300.0, gt=0)
    """Seconds after which no call begins."""


class BudgetTracker:
    """Counts the calls of one question. The threads in which tools run may share it."""

    def __init__(self, budget: Budget, saved: Mapping[str, Any] | None = None) -> None:
        """Start at zero, or at the counts that :meth:`to_json` saved."""
        kept = dict(saved or {})
        self.budget = budget
        self.lock = threading.RLock()
        self.trace: list[dict[str, Any]] = list(kept.get("trace", ()))
        self.usage = Usage(**kept.get("usage", {}))
        self.model_calls: int = kept.get("model_calls", 0)
        self.tool_calls: int = kept.get("tool_calls", 0)
        self.closing: str = kept.get("closing", "")
        """Why no tool may be called any more; empty: tools may be called."""
        self.stopped: str = ""
        """The limit that ended the work; empty: the model ended it."""
        self.empty: str = ""
        """Why the last reply without text and calls was empty."""
        self.counts: Counter[str] = Counter(kept.get("counts", {}))
        """Number of problems by kind."""
        self._results: dict[str, list[str]] = dict(kept.get("results", {}))
        self._started: float = time.monotonic() - kept.get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """Seconds since the question was asked, without the time spent waiting for a person."""
        return time.monotonic() - self._started

    def exhausted(self) -> str:
        """The limit that does not allow another model call; empty: all allow one."""
        budget = self.budget
        if self.model_calls >= budget.model_calls:
            return "model calls"
        if budget.tokens is not None and self.usage.input_tokens + self.usage.output_tokens >= budget.tokens:
            return "tokens"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        return ""

    def is_stalled(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether this call gave the same result twice in a row."""
        results = self._results.get(_key(name, arguments), [])
        return len(results) >= STALL and len(set(results[-STALL:])) == 1

    def add_result(self, name: str, arguments: Mapping[str, Any], result: str) -> None:
        """Remember the result of a call."""
        self._results.setdefault(_key(name, arguments), []).append(result)

    def describe_first(self, kind: str) -> str:
        """The first tool call counted under `kind` in `counts`, as in ``; write_file: nobody is there``; else empty."""
        for entry in self.trace:
            if entry["kind"] == "tool" and f"{entry['status']} calls" == kind:
                text = entry["result"].removeprefix(f"{OPEN}\n").removesuffix(f"\n{CLOSE}")
                text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
                shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
                return f"; {entry['name']}: {shown.removeprefix(entry['name'] + ' failed: ')}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """All counts as JSON values, from which another tracker can continue."""
        usage = {name: getattr(self.usage, name) for name in ("input_tokens", "output_tokens", "calls")}
        return {
            "trace": self.trace, "usage": usage, "model_calls": self.model_calls, "tool_calls": self.tool_calls,
            "closing": self.closing, "counts": dict(self.counts), "results": self._results, "seconds": self.seconds,
        }  # fmt: skip


def _key(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name} {json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)}"
