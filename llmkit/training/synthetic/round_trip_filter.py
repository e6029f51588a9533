"""Which of the questions made are kept: found again, answered once, asked once; and how they are parted.

The round trip (Alberti et al. 2019): a question that does not bring back its own passage was badly made, and one that
other documents answer as well would punish a retriever for being right.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.evaluation.metrics.normalize import contains
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.hybrid import Hybrid
from llmkit.training.synthetic.rule_questions import Question

_BATCH = 256
_DEPTH = 20
"""Passages looked at for other answers."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """Questions that are kept, and what became of the rest."""

    kept: list[Question]
    dropped: Counter[str]


def sift(kb: KnowledgeBase, questions: Sequence[Question], *, top: int = 3, most: int = 3) -> Sifted:
    """Keep the questions that hold.

    Args:
        kb: that the passages are in; asked by BM25 and dense vectors together.
        questions: any number.
        top: a question's own passage must be among the first so many.
        most: passages among the first 20 that may hold the answer; with more of them the question is no question.
    """
    dropped: Counter[str] = Counter()
    owners: dict[str, set[str]] = {}
    for one in questions:
        owners.setdefault(one.key, set()).add(one.chunk.document)
    unique: dict[str, Question] = {}
    for one in questions:
        if len(owners[one.key]) > 1:
            dropped["asked of several documents"] += 1
        elif one.key in unique:
            dropped["asked twice"] += 1
        else:
            unique[one.key] = one
    kept: list[Question] = []
    for one, hits in _found(kb, list(unique.values())):
        own = next((rank for rank, hit in enumerate(hits) if hit.chunk.row == one.chunk.row), None)
        if own is None or own >= top:
            dropped[f"own passage not among the first {top}"] += 1
        elif one.answer and sum(contains(hit.chunk.text, one.answer) for hit in hits) > most:
            dropped[f"answer in more than {most} of {_DEPTH} passages"] += 1
        elif any(hit.chunk.text == one.chunk.text and hit.chunk.row != one.chunk.row for hit in hits):
            dropped["passage stands in the documents more than once"] += 1
        else:
            kept.append(one)
    return Sifted(kept, dropped)


def _found(kb: KnowledgeBase, questions: list[Question]) -> Iterator[tuple[Question, list[Any]]]:
    for at in range(0, len(questions), _BATCH):
        some = questions[at : at + _BATCH]
        yield from zip(some, Hybrid().retrieve(kb, [one.text for one in some], _DEPTH), strict=True)


def parted(questions: Iterable[Question], share: float, seed: int) -> tuple[list[Question], list[Question]]:
    """Training and dev questions, whole documents on either side: nothing of dev was seen in training.

    Which side a document is on depends on its id and the seed alone, not on the other documents.
    """
    train: list[Question] = []
    dev: list[Question] = []
    for one in questions:
        digest = hashlib.sha256(f"{seed}\0{one.chunk.document}".encode()).digest()
        (dev if int.from_bytes(digest[:8], "big") / 2**64 < share else train).append(one)
    return train, dev


def write(questions: Sequence[Question], path: Path) -> None:
    """One JSON object a line, as training reads it (``{type: mined}``), with the kind and the document beside it."""
    part = path.with_name(f"{path.name}.tmp")
    with part.open("w", encoding="utf-8") as file:
        for one in questions:
            file.write(json.dumps(_row(one), ensure_ascii=False) + "\n")
    part.replace(path)


def _row(one: Question) -> dict[str, Any]:
    chunk = one.chunk
    return {
        "query": one.text,
        "answers": [one.answer] if one.answer else [],
        "positives": [{"id": chunk.id, "title": chunk.context, "text": chunk.text}],
        "negatives": [],
        "kind": one.kind,
        "document": chunk.document,
    }
