"""What a reranker sees: a question with the passages a retriever found for it, some of them right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.evaluation.metrics.normalize import contains
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.hybrid import Hybrid
from llmkit.retrieval.rerankers.local_cross_encoder import min_max_scale
from llmkit.training.data.examples import Example
from llmkit.types import Chunk

_BATCH = 256


@dataclass(frozen=True)
class Group:
    """One question and its passages, best first by the retriever."""

    query: str
    passages: tuple[str, ...]
    right: tuple[bool, ...]
    prior: NDArray[np.float32]
    """The retriever's scores, scaled to [0, 1]; zeros where none ranked them."""
    found: bool
    """Whether the retriever found a right passage. Where it did not, one was added for training: no reranker could."""
    cluster: str
    """What questions share: the first right passage."""
    place: str

    @property
    def positives(self) -> list[int]:
        """Positions of the right passages."""
        return [i for i, right in enumerate(self.right) if right]

    @property
    def negatives(self) -> list[int]:
        """Positions of the others."""
        return [i for i, right in enumerate(self.right) if not right]


@dataclass(frozen=True)
class Candidates:
    """Groups, and what was left out of them."""

    groups: list[Group]
    left: Counter[str]


def retrieve_candidates(examples: Sequence[Example], kb: KnowledgeBase, depth: int, screen: bool = True) -> Candidates:
    """Retrieve candidates for each question by BM25 and embeddings together.

    Args:
        examples: questions with their right passages.
        kb: that holds the passages.
        depth: passages of a question.
        screen: leave passages out that hold an answer and are not marked right: they may well be.
    """
    groups: list[Group] = []
    left: Counter[str] = Counter()
    for at in range(0, len(examples), _BATCH):
        some = list(examples[at : at + _BATCH])
        for one, hits in zip(some, Hybrid().retrieve(kb, [e.query for e in some], depth), strict=True):
            prior = min_max_scale([hit.score for hit in hits])
            kept: list[tuple[str, bool, float]] = []
            for hit, value in zip(hits, prior.tolist(), strict=True):
                right = is_right(hit.chunk, one)
                if not right and screen and any(contains(hit.chunk.text, answer) for answer in one.answers):
                    left["passages that hold an answer and are not marked right"] += 1
                    continue
                kept.append((hit.chunk.indexed_text, right, value))
            groups.append(_group(one, kept))
    left["questions whose right passage was not found"] += sum(not group.found for group in groups)
    return Candidates(groups, +left)


def candidates_of_examples(examples: Iterable[Example], depth: int) -> Candidates:
    """The negatives that the examples have, as `llmkit train mine` finds them; no retriever ranked them."""
    groups, left = [], Counter[str]()
    for one in examples:
        if not one.negatives:
            left["examples without negatives"] += 1
            continue
        right = [(passage.indexed_text, True, 0.0) for passage in one.positives]
        wrong = [(passage.indexed_text, False, 0.0) for passage in one.negatives]
        groups.append(_group(one, [*right, *wrong][:depth]))
    return Candidates(groups, +left)


def is_right(chunk: Chunk, example: Example) -> bool:
    """Whether a passage of the knowledge base is one of the example's: by id, or because one text holds the other."""
    return any(
        (passage.id and passage.id in (chunk.id, chunk.document))
        or passage.text.strip() in chunk.text
        or chunk.text.strip() in passage.text
        for passage in example.positives
    )


def _group(one: Example, kept: list[tuple[str, bool, float]]) -> Group:
    found = any(right for _, right, _ in kept)
    if not found:
        kept = [*kept, (one.positives[0].indexed_text, True, 0.0)]
    texts, right, prior = zip(*kept, strict=True)
    first = one.positives[0]
    cluster = (first.id or first.text).partition("#")[0]
    return Group(one.query, texts, right, np.array(prior, dtype=np.float32), found, cluster, one.place)
