"""Samples run again from their traces: passages and answers of models come from there, nothing is asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from llmkit.arguments import many_texts
from llmkit.errors import LlmkitError
from llmkit.evaluation.runs.entry_step import answering_step
from llmkit.evaluation.runs.plan import caching_loader
from llmkit.evaluation.runs.reopen import RecordedRun
from llmkit.evaluation.runs.trace import comparable, read_hits, read_state, state_row
from llmkit.models.response_cache import CALL_LOG, CallLog
from llmkit.types import State


@dataclass(frozen=True, slots=True)
class ReplayedSample:
    """One sample, run again."""

    id: str
    repeat: int
    same: bool
    """Whether the state is, but for the times, byte for byte the one that was recorded."""
    why: str
    """What differs, or what went wrong; empty where nothing did."""
    state: State | None


def replay(run: RecordedRun, ids: Collection[str] = ()) -> Iterator[ReplayedSample]:
    """Run the steps after retrieval again, for all samples that went through or those named.

    No chat model is loaded or asked: a call that is not in the trace is an error. Sentences are encoded anew by the
    knowledge base's own encoder where a step compares them.
    """
    many_texts(ids, "ids")
    passages = run.folder.passages()
    pipeline = run.pipeline.with_models(caching_loader(None))
    first = answering_step(pipeline)
    for trace in run.folder.traces():
        if trace["status"] != "ok" or (ids and trace["id"] not in ids):
            continue
        recorded = trace["state"]
        before = read_state(recorded, passages)
        state = State(
            before.question,
            before.history,
            before.inputs,
            hits=read_hits(trace["entering"], passages),
            retrieved=before.retrieved,
            records=tuple(record for record in before.records if _position(record.step) < first),
        )
        calls = {call["key"]: call["response"] for call in trace["calls"]}
        token = CALL_LOG.set(CallLog(trace["id"], trace["repeat"], recorded=calls))
        try:
            state = pipeline.resume(state, first)
        except LlmkitError as error:
            yield ReplayedSample(trace["id"], trace["repeat"], False, str(error), None)
            continue
        finally:
            CALL_LOG.reset(token)
        again = json.loads(json.dumps(state_row(state), default=str))
        same = comparable(again) == comparable(recorded)
        yield ReplayedSample(trace["id"], trace["repeat"], same, "" if same else _where(recorded, again), state)


def _position(step: str) -> int:
    return int(step[step.index("[") + 1 : step.index("]")])


def _where(recorded: dict[str, Any], again: dict[str, Any]) -> str:
    for key in recorded:
        if key != "records" and recorded[key] != again.get(key):
            return f"{key} differs"
    return "the records differ"
