"""Rows for the answer step, from questions and a knowledge base: what a model sees when it is asked, and what is right.

A question is shown with the passages that retrieval really finds, the one that holds the answer put among them where it
was missed. Some are shown a second time without any passage that holds the answer, and then the right thing to say is
that it is not there: nobody learns to refuse from examples that never need it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.evaluation.corpus import passages_of
from llmkit.evaluation.metrics.normal import contains
from llmkit.knowledge.base import KnowledgeBase
from llmkit.protocols import Retriever
from llmkit.types import Chunk, Sample

_BATCH = 64


@dataclass
class Counts:
    """What became of the questions."""

    answered: int = 0
    """Rows with an answer."""
    refused: int = 0
    """Rows whose passages hold none."""
    without_answer_in_text: int = 0
    """Questions left out: no relevant passage holds an answer word for word."""
    too_few_passages: int = 0
    """Questions whose passages nearly all hold the answer: no row to refuse was made."""


def question_rows(
    kb: KnowledgeBase, retriever: Retriever, samples: Iterable[Sample], counts: Counts, *,
    passages: int = 5, refuse: float = 0.3, seed: int = 0,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows ``{"question", "passages", "answer"}`` as :class:`llmkit.training.chat_examples.QuestionRows` reads them.

    Args:
        kb: holds the documents that the samples' ``relevant`` name.
        retriever: finds what is shown; the one that will be asked later.
        samples: with answers, or without any where the documents hold none.
        counts: filled in on the way.
        passages: at most this many are shown; how many is drawn anew for each row.
        refuse: share of the answerable questions that are shown a second time without their answer.
        seed: of what is drawn.
    """
    rng = random.Random(seed)  # noqa: S311
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == _BATCH:
            yield from _rows(kb, retriever, batch, counts, passages, refuse, rng)
            batch = []
    if batch:
        yield from _rows(kb, retriever, batch, counts, passages, refuse, rng)


def _rows(
    kb: KnowledgeBase, retriever: Retriever, batch: Sequence[Sample], counts: Counts, passages: int, refuse: float,
    rng: random.Random,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    found = retriever.retrieve(kb, [sample.question for sample in batch], 3 * passages)
    for sample, hits in zip(batch, found, strict=True):
        chunks = [hit.chunk for hit in hits]
        shown = rng.randint(1, passages)
        if not sample.answers:
            counts.refused += 1
            yield _row(sample, chunks[:shown], None)
            continue
        gold = [(chunk, _short(chunk, sample.answers)) for chunk in passages_of(kb, list(sample.relevant))]
        gold = [(chunk, answer) for chunk, answer in gold if answer]
        if not gold:
            counts.without_answer_in_text += 1
            continue
        counts.answered += 1
        yield _answered(sample, chunks[:shown], gold, rng)
        if rng.random() < refuse:
            others = [
                chunk for chunk in chunks
                if chunk.document not in sample.relevant and not _short(chunk, sample.answers)
            ]  # fmt: skip
            if not others:
                counts.too_few_passages += 1
                continue
            counts.refused += 1
            yield _row(sample, others[:shown], None)


def _answered(
    sample: Sample, shown: list[Chunk], gold: Sequence[tuple[Chunk, str]], rng: random.Random
) -> dict[str, Any]:
    """The row with its answer and the number of the passage that holds it."""
    rows = [chunk.row for chunk in shown]
    for chunk, answer in gold:
        if chunk.row in rows:
            return _row(sample, shown, f"{answer} [{rows.index(chunk.row) + 1}]")
    chunk, answer = gold[0]
    at = rng.randrange(len(shown)) if shown else 0
    shown[at : at + 1] = [chunk]
    return _row(sample, shown, f"{answer} [{at + 1}]")


def _short(chunk: Chunk, answers: Sequence[str]) -> str:
    """The shortest of the answers that stands in the passage, without the punctuation around it."""
    held = [answer.strip(" .,;:\"'") for answer in answers if contains(chunk.text, answer)]
    return min((answer for answer in held if answer), key=len, default="")


def _row(sample: Sample, shown: Sequence[Chunk], answer: str | None) -> dict[str, Any]:
    passages = [{"title": chunk.context or chunk.document, "text": chunk.text} for chunk in shown]
    return {"id": sample.id, "question": sample.question, "passages": passages, "answer": answer}
