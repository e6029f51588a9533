"""Rows for the answer step, from questions and a knowledge base: what a model sees when it is asked, and what is right.

A question is shown with the passages that retrieval really finds, the one that holds the answer put among them where it
was missed. Then other questions are asked of the same passages, those that they answer and those that they do not:
reading is most of the work of training, and the passages are read once for all of them (`training/packing.py`).

Nobody learns to refuse from examples that never need it, nor from easy ones. Asked in vain are questions whose own
search found some of these passages, but whose answer stands in none of them; and questions of a passage from which the
sentences with the answer were taken out.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.evaluation.metrics.normalize import contains
from llmkit.evaluation.tasks.corpus import document_passages
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.protocols import Retriever
from llmkit.text.sentences import sentences
from llmkit.types import Chunk, Sample

_MOST = 3  # times that a question is asked in vain of passages that were found for others


@dataclass
class Counts:
    """What became of the questions."""

    answered: int = 0
    """Rows with an answer."""
    refused: int = 0
    """Rows whose passages hold none."""
    contexts: int = 0
    """Different lists of passages."""
    without_answer_in_text: int = 0
    """Questions left out: no relevant passage holds an answer word for word."""


@dataclass(frozen=True)
class _Asked:
    """A question and what was found for it."""

    sample: Sample
    found: list[Chunk]
    gold: dict[int, tuple[Chunk, str]]
    """By row: passages that hold an answer, and the answer; none where the documents hold none."""


def question_rows(
    kb: KnowledgeBase, retriever: Retriever, samples: Sequence[Sample], counts: Counts, *,
    passages: int = 3, refuse: float = 0.5, seed: int = 0,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows ``{"question", "passages", "answer"}`` as :class:`llmkit.training.lora.datasets.QuestionRows` reads them.

    Args:
        kb: holds the documents that the samples' ``relevant`` name.
        retriever: finds what is shown; the one that will be asked later.
        samples: with answers, or without any where the documents hold none.
        counts: filled in on the way.
        passages: at most this many are shown; how many is drawn anew for each list of passages.
        refuse: refusals for each row with an answer, as far as questions can be found for them.
        seed: of what is drawn.
    """
    rng = random.Random(seed)  # noqa: S311
    asked = _asked(kb, retriever, samples, 3 * passages, counts)
    answered_by, near = defaultdict(list), defaultdict(list)
    for n, one in enumerate(asked):
        for row in one.gold:
            answered_by[row].append(n)
        for chunk in one.found:
            near[chunk.row].append(n)
    answered, in_vain = set[int](), Counter[int]()
    order = list(range(len(asked)))
    rng.shuffle(order)
    for n in order:
        one = asked[n]
        if n in answered:
            continue  # from passages that were found for another question
        counts.contexts += 1
        shown = _shown(one, rng.randint(1, passages), rng)
        rows = [chunk.row for chunk in shown]
        mine = [n, *(other for row in rows for other in answered_by[row] if other != n)] if one.gold else []
        for other in dict.fromkeys(mine):
            answered.add(other)
            counts.answered += 1
            row, (_, answer) = next((row, asked[other].gold[row]) for row in rows if row in asked[other].gold)
            yield _row(asked[other].sample, shown, f"{answer} [{rows.index(row) + 1}]")
        if not one.gold:
            counts.refused += 1
            yield _row(one.sample, shown, None)
        documents = {chunk.document for chunk in shown}
        others = {
            other for row in rows for other in near[row]
            if other != n and in_vain[other] < _MOST and not documents & set(asked[other].sample.relevant)
            and not _holds(shown, asked[other])
        }  # fmt: skip
        wanted = _drawn(refuse * len(mine), rng)
        for other in rng.sample(sorted(others), min(wanted, len(others))):
            in_vain[other] += 1
            counts.refused += 1
            yield _row(asked[other].sample, shown, None)
        if one.gold and rng.random() < refuse / 3:
            robbed = [replace(chunk, text=_without(chunk.text, one.sample.answers)) for chunk in shown]
            if all(chunk.text for chunk in robbed) and not _holds(robbed, one):
                counts.contexts += 1
                counts.refused += 1
                yield _row(one.sample, robbed, None)


def _asked(kb: KnowledgeBase, retriever: Retriever, samples: Sequence[Sample], k: int, counts: Counts) -> list[_Asked]:
    asked = []
    found = retriever.retrieve(kb, [sample.question for sample in samples], k)
    for sample, hits in zip(samples, found, strict=True):
        relevant = document_passages(kb, list(sample.relevant)) if sample.answers else []
        answers = [(chunk, _short(chunk, sample.answers)) for chunk in relevant]
        gold = {chunk.row: (chunk, answer) for chunk, answer in answers if answer}
        if sample.answers and not gold:
            counts.without_answer_in_text += 1
        else:
            asked.append(_Asked(sample, [hit.chunk for hit in hits], gold))
    return asked


def _shown(one: _Asked, count: int, rng: random.Random) -> list[Chunk]:
    """The first `count` passages that were found, one that holds the answer among them."""
    shown = one.found[:count]
    if one.gold and not any(chunk.row in one.gold for chunk in shown):
        at = rng.randrange(len(shown)) if shown else 0
        shown[at : at + 1] = [next(iter(one.gold.values()))[0]]
    return shown


def _holds(shown: Sequence[Chunk], one: _Asked) -> bool:
    """Whether an answer stands in the passages."""
    return any(contains(chunk.text, answer) for chunk in shown for answer in one.sample.answers)


def _without(text: str, answers: Sequence[str]) -> str:
    """The text without the sentences that hold an answer."""
    spans = [(start, end) for start, end in sentences(text) if not any(contains(text[start:end], a) for a in answers)]
    return " ".join(text[start:end] for start, end in spans)


def _short(chunk: Chunk, answers: Sequence[str]) -> str:
    """The shortest of the answers that stands in the passage, without the punctuation around it."""
    held = [answer.strip(" .,;:\"'") for answer in answers if contains(chunk.text, answer)]
    return min((answer for answer in held if answer), key=len, default="")


def _drawn(expected: float, rng: random.Random) -> int:
    """A whole number with this expectation."""
    return int(expected) + (rng.random() < expected - int(expected))


def _row(sample: Sample, shown: Sequence[Chunk], answer: str | None) -> dict[str, Any]:
    passages = [{"title": chunk.context or chunk.document, "text": chunk.text} for chunk in shown]
    return {"id": sample.id, "question": sample.question, "passages": passages, "answer": answer}
