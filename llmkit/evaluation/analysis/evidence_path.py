"""Where the evidence for an answer got lost on its way from the documents to the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llmkit.evaluation.metrics.normalize import contains
from llmkit.evaluation.tasks.corpus import document_passages
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Chunk, Document, Hit, Sample

Stage = Literal["ingested", "chunked", "retrieved@100", "retrieved@k", "kept"]
STAGES: tuple[Stage, ...] = ("ingested", "chunked", "retrieved@100", "retrieved@k", "kept")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What holds the answer in one relevant document, and the first stage that has it no more."""

    document: str
    passages: tuple[Chunk, ...]
    """Passages of the knowledge base that hold it, best first; empty where none does."""
    lost: Stage | None
    """None: it was there to the end."""
    why: str


def trace_evidence(
    sample: Sample,
    originals: Mapping[str, Document],
    kb: KnowledgeBase,
    found: Mapping[Stage, Sequence[Hit]],
) -> list[Evidence]:
    """Follow the evidence of every relevant document.

    Args:
        sample: its relevant documents and right answers.
        originals: documents of the data set by id, as far as they are known.
        kb: what was searched.
        found: hits at ``retrieved@100``, ``retrieved@k`` and ``kept``.
    """
    return [_follow(name, sample, originals.get(name), kb, found) for name in sample.relevant]


def _follow(
    name: str,
    sample: Sample,
    original: Document | None,
    kb: KnowledgeBase,
    found: Mapping[Stage, Sequence[Hit]],
) -> Evidence:
    chunks = document_passages(kb, [name])
    if not chunks:
        return Evidence(name, (), "ingested", f"{name} has no passage in the knowledge base")
    text = original.text if original is not None else kb.document(name).text
    golds = [gold for gold in sample.answers if contains(text, gold)]
    holding = [chunk for chunk in chunks if any(contains(chunk.text, gold) for gold in golds)]
    if golds and not holding:
        whole = kb.document(name).text
        if not any(contains(whole, gold) for gold in golds):
            return Evidence(name, (), "ingested", f"the text of {name} was ingested without the answer")
        return Evidence(name, (), "chunked", f"the answer stands in {name}, but in no single passage")
    holding = holding or chunks  # an answer that is not there word for word: any passage of the document
    rows = {chunk.row for chunk in holding}
    reasons = {
        "retrieved@100": "not among the first 100 found",
        "retrieved@k": "found, but not among the passages asked for",
        "kept": "retrieved, but not shown to the step that answers",
    }
    for stage, reason in reasons.items():
        if not any(hit.chunk.row in rows for hit in found[stage]):  # type: ignore[index]
            return Evidence(name, tuple(holding), stage, f"{holding[0].id} was {reason}")  # type: ignore[arg-type]
    return Evidence(name, tuple(holding), None, "")
