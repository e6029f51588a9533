"""What happened to one sample, as JSON and back: the state a pipeline left, and the calls its models answered.

Passages are written once a run, under a key; a trace names the keys. A state read back equals the state written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from llmkit.types import Answer, Chunk, Citation, Hit, Message, Sample, State, StepRecord, Usage

Row = dict[str, Any]
_CHUNK = tuple(field.name for field in fields(Chunk))


def passage_key(chunk: Chunk) -> str:
    """Name of a passage in a run: its place, version and text."""
    content = json.dumps([chunk.document, chunk.ordinal, chunk.version, chunk.start, chunk.end, chunk.row, chunk.text])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def state_row(state: State) -> Row:
    """JSON values of a state; of its hits the keys, ranks and scores."""
    return {
        "question": state.question,
        "history": [[turn.role, turn.content] for turn in state.history],
        "inputs": dict(state.inputs),
        "retrieved": hit_rows(state.retrieved),
        "hits": hit_rows(state.hits),
        "answer": asdict(state.answer) if state.answer is not None else None,
        "records": [record_row(record) for record in state.records],
    }


def read_state(row: Mapping[str, Any], passages: Mapping[str, Chunk]) -> State:
    """The state of a row.

    Raises:
        KeyError: a passage that is not among `passages`.
    """
    answer = row["answer"]
    if answer is not None:
        citations = tuple(Citation(**citation) for citation in answer["citations"])
        answer = Answer(**{**answer, "citations": citations, "unsupported": tuple(answer["unsupported"])})
    records = [StepRecord(**{**record, "usage": Usage(**record["usage"])}) for record in row["records"]]
    return State(
        question=row["question"],
        history=tuple(Message(role, content) for role, content in row["history"]),
        inputs=row.get("inputs", {}),  # a run of 0.1 has none
        retrieved=read_hits(row["retrieved"], passages),
        hits=read_hits(row["hits"], passages),
        answer=answer,
        records=tuple(records),
    )


def record_row(record: StepRecord) -> Row:
    """JSON values of a step's record."""
    return {"step": record.step, "seconds": record.seconds, "usage": asdict(record.usage), "detail": record.detail}


def chunk_row(chunk: Chunk) -> Row:
    """JSON values of a passage."""
    return {name: getattr(chunk, name) for name in _CHUNK}  # asdict copies every value, which takes ten times as long


def read_chunk(row: Mapping[str, Any]) -> Chunk:
    """The passage of a row."""
    return Chunk(**{**row, "heading": tuple(row["heading"]), "access": tuple(row.get("access", ()))})


def sample_row(sample: Sample) -> Row:
    """JSON values of a sample."""
    return {
        "id": sample.id,
        "question": sample.question,
        "answers": list(sample.answers),
        "relevant": dict(sample.relevant),
        "history": [[turn.role, turn.content] for turn in sample.history],
        "cluster": sample.cluster,
        "fields": dict(sample.fields),
    }


def read_sample(row: Mapping[str, Any]) -> Sample:
    """The sample of a row."""
    history = tuple(Message(role, content) for role, content in row["history"])
    known = {field.name: row[field.name] for field in fields(Sample)}
    return Sample(**{**known, "answers": tuple(row["answers"]), "history": history})


def comparable(row: Mapping[str, Any]) -> str:
    """A state's row as one JSON text, without the times, which no replay can repeat."""
    return json.dumps({**row, "records": _timeless(row["records"])}, sort_keys=True, ensure_ascii=False)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key != "seconds"}
    return [_timeless(item) for item in value] if isinstance(value, list | tuple) else value


def hit_rows(hits: Sequence[Hit]) -> list[Row]:
    """JSON values of hits: key of the passage and scores, best first."""
    return [{"passage": passage_key(hit.chunk), "score": hit.score, "scores": dict(hit.scores)} for hit in hits]


def read_hits(rows: Sequence[Mapping[str, Any]], passages: Mapping[str, Chunk]) -> tuple[Hit, ...]:
    """The hits of rows."""
    return tuple(Hit(passages[row["passage"]], row["score"], row["scores"]) for row in rows)
