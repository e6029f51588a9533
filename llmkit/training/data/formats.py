"""Training data in the layouts people have it in: question folders, BEIR, SQuAD, DPR's JSON, tables of pairs.

Each kind gives ``examples()`` and, where it has one, the corpus as ``documents()``. A row that cannot be learnt from
comes as a :class:`~llmkit.evaluation.tasks.rows.BadRow` with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from llmkit.errors import DataError
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.datasets import Beir, Documents, QAFolder, Samples
from llmkit.evaluation.tasks.public_datasets import DPR, Squad
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.training.data.examples import Example, Passage, key
from llmkit.types import Document

Examples = Iterator[Example | BadRow]

LABELS = ("id", "kind", "document")
"""Columns that name a row; nothing is learned from them."""


class Source(Protocol):
    """Training data: a part of the family ``examples``."""

    def examples(self) -> Examples:
        """One a question."""
        ...

    def documents(self) -> Documents:
        """The corpus the questions are asked of; nothing where the layout has none."""
        ...


class QA(QAFolder):
    """``corpus.jsonl`` and a file of ``{"id", "question", "answers", "relevant"}``, as evaluation reads it."""

    family: ClassVar[str] = "examples"

    def examples(self) -> Examples:
        """One a question with a relevant document."""
        return judged(self.samples(), self.documents())


class BEIR(Beir):
    """A BEIR folder; a split is its file of judgements: ``qrels: qrels/train.tsv``."""

    family: ClassVar[str] = "examples"

    def examples(self) -> Examples:
        """One a query with a judgement above 0."""
        return judged(self.samples(), self.documents())


class SQuAD(Squad):
    """SQuAD's JSON: the paragraph of a question is its positive; impossible questions teach no retriever."""

    family: ClassVar[str] = "examples"

    def examples(self) -> Examples:
        """One a question; an impossible one comes as a bad row."""
        for item in judged(self.samples(), self.documents()):
            impossible = isinstance(item, Example) and not item.answers
            yield BadRow(item.place, "impossible question") if impossible else item


class DPRPairs(DPR):
    """DPR's training JSON (Karpukhin et al. 2020): positive, hard negative and negative contexts, in that order."""

    family: ClassVar[str] = "examples"

    def examples(self) -> Examples:
        """One a row."""
        path = Path(self.path).expanduser()
        value = rows.whole(path)
        if not isinstance(value, list):
            raise DataError(f"{path}: expected a list of questions, got {type(value).__name__}")
        for number, row in enumerate(value):
            place = f"{path.name}, item {number}"
            try:
                positives, hard, easy = (
                    _contexts(row, kind) for kind in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
                )
                answers = rows.texts(row.get("answers"), "answers")
                yield usable(Example(str(row.get("question") or ""), positives, (*hard, *easy), answers, place))
            except (DataError, KeyError, TypeError, AttributeError) as error:
                yield BadRow(place, f"not a row of DPR's JSON ({error})")


class Pairs(Part):
    """Question and passage in columns of a CSV, TSV or JSONL file."""

    family: ClassVar[str] = "examples"
    type: ClassVar[str] = "pairs"

    path: str
    """``.csv``, ``.tsv`` or ``.jsonl``, also with ``.gz``."""
    query: str = "question"
    """Column of the question."""
    positive: str = "passage"
    """Column of a passage that answers it."""
    title: str | None = None
    """Column of the passage's title."""
    negatives: tuple[str, ...] = ()
    """Columns of passages (or, in JSONL, lists of passages) that do not."""
    answers: str | None = None
    """Column of short answers."""

    def examples(self) -> Examples:
        """One a row."""
        path = Path(self.path).expanduser()
        read = rows.table if set(path.suffixes) & {".csv", ".tsv"} else rows.jsonl
        for item in read(path):
            if isinstance(item, BadRow):
                yield item
                continue
            place, row = item
            try:
                positives = rows.texts(rows.pick(row, self.positive), self.positive)
                negatives = [text for name in self.negatives for text in rows.texts(rows.pick(row, name), name)]
                answers = rows.texts(rows.pick(row, self.answers), self.answers) if self.answers else ()
                title = str(rows.pick(row, self.title) or "") if self.title else ""
                query = str(rows.pick(row, self.query) or "")
            except DataError as error:
                yield BadRow(place, str(error))
                continue
            yield usable(
                Example(
                    query,
                    tuple(Passage(text, title) for text in positives),
                    tuple(Passage(text) for text in negatives),
                    answers,
                    place,
                    remarks=self._unread(row),
                )
            )

    def documents(self) -> Documents:
        """None: pairs come without a corpus."""
        yield from ()

    def _unread(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """A remark for each column with a value that no setting names."""
        named = [self.query, self.positive, self.title or "", self.answers or "", *self.negatives]
        return tuple(
            f"the column {name!r} is not read; query, positive, title, negatives and answers name the columns that are"
            for name, value in row.items()
            if value and name not in LABELS and not any(one == name or f"${name}" in one for one in named)
        )


def judged(samples: Samples, documents: Documents) -> Examples:
    """Examples from questions with the ids of their relevant documents; bad documents come first."""
    corpus: dict[str, Document] = {}
    for document in documents:
        if isinstance(document, BadRow):
            yield document
        else:
            corpus[document.id] = document
    for sample in samples:
        if isinstance(sample, BadRow):
            yield sample
            continue
        missing = [name for name in sample.relevant if name not in corpus]
        if missing:
            yield BadRow(f"question {sample.id}", f"relevant document {missing[0]!r} is not in the corpus")
            continue
        positives = tuple(Passage(corpus[name].text, corpus[name].title, name) for name in sample.relevant)
        yield usable(Example(sample.question, positives, (), sample.answers, f"question {sample.id}"))


def usable(example: Example) -> Example | BadRow:
    """The example, stripped, or why nothing can be learnt from it."""
    if not example.query.strip():
        return BadRow(example.place, "the question is empty")
    positives = tuple(passage for passage in example.positives if passage.text.strip())
    if not positives:
        return BadRow(example.place, "no passage that answers it" if not example.positives else "its passage is empty")
    if any(key(passage.text) == key(example.query) for passage in positives):
        return BadRow(example.place, "its passage is the question itself")
    same = {passage.key for passage in positives}
    keep = [bool(one.text.strip()) and one.key not in same for one in example.negatives]
    negatives = tuple(one for one, kept in zip(example.negatives, keep, strict=True) if kept)
    scores = example.scores
    if scores:
        if len(positives) < len(example.positives):
            return BadRow(example.place, "a positive passage is empty")
        scores = (
            *scores[: len(positives)],
            *(s for s, kept in zip(scores[len(positives) :], keep, strict=True) if kept),
        )
    remarks = list(example.remarks)
    if any(one.key in same for one in example.negatives):
        remarks.append("a negative is the same text as a positive and is left out")
    return Example(example.query.strip(), positives, negatives, example.answers, example.place, scores, tuple(remarks))


def _contexts(row: dict[str, Any], kind: str) -> tuple[Passage, ...]:
    found = row.get(kind) or []
    return tuple(
        Passage(
            str(context["text"]),
            str(context.get("title") or ""),
            str(context.get("passage_id") or context.get("psg_id") or ""),
        )
        for context in found
    )
