"""Samples as the report shows them: what was asked, found, said and scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llmkit.errors import DataError
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.runs.trace import read_hits
from llmkit.types import Chunk

SAMPLES = 2000
"""Samples of a run that the page holds at most, failed ones first; it says so where there are more."""


def blamed(run: RunFolder) -> dict[str, Any] | None:
    """What `llmkit blame` found, if it was run."""
    path = run.path / "blame.json"
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; run llmkit blame again") from error


def samples_of(run: RunFolder, number: int) -> tuple[list[dict[str, Any]], int]:
    """Samples of a run for the page, failed ones first, and how many are left out."""
    decides = run.run["primary"]
    kinds: dict[tuple[str, int], tuple[str, dict[str, Any]]] = {}
    for row in run.scores():
        value = row["scores"].get(decides)
        kinds[row["id"], row["repeat"]] = _kind(row, value), row
    ordered = sorted(kinds, key=lambda key: kinds[key][0] == "right")
    wanted = set(ordered[:SAMPLES])
    why = (blamed(run) or {}).get("by_sample", {})
    passages = run.passages()
    found = [
        _sample(trace, number, *kinds[trace["id"], trace["repeat"]], why.get(trace["id"], {}), passages)
        for trace in run.traces()
        if (trace["id"], trace["repeat"]) in wanted
    ]
    return sorted(found, key=lambda sample: sample["kind"] == "right"), len(ordered) - len(wanted)


def _kind(row: dict[str, Any], value: float | None) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    if value is None:
        return "unscored"
    return "right" if value >= 0.5 else "wrong"


def _sample(
    trace: dict[str, Any], run: int, kind: str, row: dict[str, Any], why: dict[str, str], passages: dict[str, Chunk]
) -> dict[str, Any]:
    state, given = trace["state"] or {}, trace["sample"]
    answer = state.get("answer") or {}
    records = state.get("records", [])
    return {
        "run": run, "id": trace["id"], "kind": kind, "question": given["question"], "history": given["history"],
        "answers": given["answers"], "error": trace["error"], "said": answer.get("text", ""),
        "abstained": answer.get("abstained", False), "citations": answer.get("citations", []),
        "stage": why.get("stage", ""), "why": why.get("why", ""),
        "scores": row["scores"], "unscored": row["unscored"],
        "hits": list(_hits(state, given, answer, passages)),
        "prompt": next((record["detail"]["messages"] for record in records if "messages" in record["detail"]), []),
        "steps": [_step(record) for record in records],
    }  # fmt: skip


def _step(record: dict[str, Any]) -> str:
    usage = record["usage"]
    notes = "".join(f"; {note}" for note in record["detail"].get("notes", []))
    tokens = f", {usage['input_tokens']} tokens in, {usage['output_tokens']} out" if usage["calls"] else ""
    return f"{record['step']}: {record['seconds']:.3f} s{tokens}{notes}"


def _hits(
    state: dict[str, Any], sample: dict[str, Any], answer: dict[str, Any], passages: dict[str, Chunk]
) -> Iterator[dict[str, Any]]:
    for n, hit in enumerate(read_hits(state.get("hits", [])[:20], passages), 1):
        chunk = hit.chunk
        marks = [
            [_utf16(chunk.text, citation["start"] - chunk.start), _utf16(chunk.text, citation["end"] - chunk.start)]
            for citation in answer.get("citations", [])
            if citation["chunk"] == chunk.id
        ]
        yield {
            "n": n, "document": chunk.id, "score": hit.score, "text": chunk.text, "marks": marks,
            "right": chunk.document in sample["relevant"],
        }  # fmt: skip


def _utf16(text: str, position: int) -> int:
    """A position in a text as the page's script counts it: an emoji is two."""
    return len(text[:position].encode("utf-16-le", "surrogatepass")) // 2
