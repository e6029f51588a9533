"""The trace of a step as lines of a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmkit.cli.common.render import duration, excerpt

_DETAILS = (
    "prompt", "model", "retriever", "k", "condensed", "kept", "kept_because", "stopped", "partial", "confidence",
)  # fmt: skip


def trace_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The lines of one step record: its time, tokens and details, then each model call with its tool calls."""
    usage, detail = record["usage"], record["detail"]
    yield f"{record['step']}  {duration(record['seconds'])}{_tokens(usage) if usage['calls'] else ''}"
    for key in _DETAILS:
        if detail.get(key) is not None:
            yield f"│  {key}: {excerpt(str(detail[key]))}"
    for note in detail.get("notes", ()):
        yield f"│  note: {excerpt(note)}"
    trace = detail.get("trace", ())
    results = {entry["call"]: entry for entry in trace if entry["kind"] == "tool"}
    for entry in trace:
        if entry["kind"] != "model":
            continue
        closing = f" (told to answer: {entry['closing']})" if entry.get("closing") else ""
        yield f"├─ model {entry['n']}  {duration(entry['seconds'])}{_tokens(entry)}{closing}"
        if entry["text"].strip():
            yield f"│  {excerpt(entry['text'])}"
        for call in entry.get("calls", ()):
            yield from _call_lines(call, results.get(call["id"]))
        for call in entry.get("ignored", ()):
            yield f"│  └─ {_call_text(call)}  ignored"


def _call_lines(call: Mapping[str, Any], result: Mapping[str, Any] | None) -> Iterator[str]:
    if result is None:
        yield f"│  └─ {_call_text(call)}  no result"
        return
    dropped = f", {result['dropped']} characters not shown" if result["dropped"] else ""
    yield f"│  └─ {_call_text(call)}  {result['status']}, {duration(result['seconds'])}{dropped}"
    yield f"│     {excerpt(result['result'])}"
    for one in result.get("addressed", ()):
        yield f"│     addresses the assistant ({one['why']}): {excerpt(one['quote'])}"


def _call_text(call: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={excerpt(repr(value), 80)}" for name, value in call["arguments"].items())
    return f"{call['name']}({arguments})"


def _tokens(counts: Mapping[str, Any]) -> str:
    return f", {counts['input_tokens']} tokens in, {counts['output_tokens']} out"
