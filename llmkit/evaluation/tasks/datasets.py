"""Data sets: where the samples of a task come from, and the documents they are asked about.

Each kind reads one layout that people have on disk. A row that cannot be used is told with its place and left out;
the samples are read as they are needed and never held all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from llmkit.errors import DataError
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.types import Document, Message, Sample

Samples = Iterator[Sample | BadRow]
Documents = Iterator[Document | BadRow]


class Rows(Part):
    """Rows of a JSONL or CSV file of your own; columns are named, or put together as in ``"$input ($hint)"``."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "rows"

    path: str
    """``.jsonl``, ``.csv`` or ``.tsv``, also with ``.gz``."""
    corpus: str | None = None
    """JSONL of the documents: id (or _id), title, text."""
    id: str = "id"
    """Column of the id; where no row has an ``id``, rows are numbered."""
    question: str = "question"
    """Column or text with ``$column``."""
    answers: str | None = "answers"
    """Column with one right answer or a list of them, an empty list where the documents hold none; null: no column."""
    relevant: str | None = None
    """Column with the ids of the documents that hold the answer."""
    history: str | None = None
    """Column with earlier turns: a list of ``{"role", "content"}``."""
    cluster: str | None = None
    """Column (or text) of what samples share; none: the first relevant document."""

    def samples(self) -> Samples:
        """One a row."""
        path = Path(self.path).expanduser()
        read = rows.table if set(path.suffixes) & {".csv", ".tsv"} else rows.jsonl
        for number, item in enumerate(read(path), 1):
            yield item if isinstance(item, BadRow) else read_sample(item, lambda row, n=number: self.read(row, n))

    def documents(self) -> Documents:
        """The corpus, if there is one."""
        if self.corpus is not None:
            yield from _corpus(Path(self.corpus).expanduser())

    def read(self, row: dict[str, Any], number: int) -> Sample:
        """The sample of one row.

        Raises:
            DataError: a column is missing, or holds something else.
        """
        relevant = rows.texts(_optional(row, self.relevant), "relevant")
        return Sample(
            id=str(row.get("id", number) if self.id == "id" else rows.pick(row, self.id)),
            question=question_text(rows.pick(row, self.question)),
            answers=rows.texts(_optional(row, self.answers), "answers"),
            relevant=dict.fromkeys(relevant, 1.0),
            history=_turns(_optional(row, self.history) or []),
            cluster=str(rows.pick(row, self.cluster)) if self.cluster else (relevant[0] if relevant else ""),
            fields=row,
        )


class QAFolder(Part):
    """A question answering folder: ``corpus.jsonl`` and files of ``{"id", "question", "answers", "relevant"}``."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "qa"

    path: str
    """The folder."""
    questions: str = "questions.jsonl"
    """File in it with the questions."""
    cluster: str | None = None
    """Column (or text) of what samples share; none: the first relevant document."""

    def samples(self) -> Samples:
        """One a question."""
        yield from self._rows().samples()

    def documents(self) -> Documents:
        """The corpus."""
        yield from _corpus(rows.find_variant(Path(self.path).expanduser(), "corpus.jsonl"))

    def _rows(self) -> Rows:
        return Rows(
            path=str(rows.find_variant(Path(self.path).expanduser(), self.questions)),
            relevant="relevant",
            cluster=self.cluster,
        )


class Beir(Part):
    """A BEIR folder (Thakur et al. 2021): ``corpus.jsonl``, ``queries.jsonl``, judgements in ``qrels``."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "beir"

    path: str
    """The folder."""
    qrels: str = "qrels.tsv"
    """Judgements below the folder, with a head line: query, document, score; only scores above 0 are relevant."""

    def samples(self) -> Samples:
        """One a query that has a relevant document."""
        folder = Path(self.path).expanduser()
        judged: dict[str, dict[str, float]] = {}
        for item in rows.table(rows.find_variant(folder, self.qrels)):
            if isinstance(item, BadRow):
                yield item
                continue
            place, row = item
            query, document, score = [*row.values(), "", ""][:3]
            try:
                grade = float(score)
            except ValueError:
                yield BadRow(place, f"a judgement's score is a number, not {score!r}")
                continue
            if grade > 0:
                judged.setdefault(query, {})[document] = grade
        for item in rows.jsonl(rows.find_variant(folder, "queries.jsonl")):
            if isinstance(item, BadRow):
                yield item
            elif str(item[1].get("_id")) in judged:
                yield read_sample(item, lambda row: self._read(row, judged))

    def documents(self) -> Documents:
        """The corpus."""
        yield from _corpus(rows.find_variant(Path(self.path).expanduser(), "corpus.jsonl"))

    def _read(self, row: dict[str, Any], judged: dict[str, dict[str, float]]) -> Sample:
        name = str(row["_id"])
        return Sample(name, question_text(row.get("text")), relevant=judged[name], fields=row)


def _corpus(path: Path) -> Documents:
    for item in rows.jsonl(path):
        if isinstance(item, BadRow):
            yield item
            continue
        place, row = item
        name, text = row.get("id", row.get("_id")), row.get("text")
        if name is None or not isinstance(text, str):
            yield BadRow(place, "a document needs 'id' (or '_id') and 'text'")
            continue
        yield Document(str(name), text, title=str(row.get("title") or ""))


def read_sample(item: rows.Row, read: Any) -> Sample | BadRow:
    """The sample that `read` makes of a row, or why it makes none."""
    place, row = item
    try:
        sample: Sample = read(row)
        return sample
    except DataError as error:
        return BadRow(place, str(error))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return BadRow(place, f"not in the form of this data set ({type(error).__name__}: {error})")


def _optional(row: dict[str, Any], column: str | None) -> Any:
    return rows.pick(row, column) if column is not None else None


def question_text(value: Any) -> str:
    """The question without white space around it.

    Raises:
        DataError: not a text, or empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise DataError("the question is missing or empty")
    return value.strip()


def _turns(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise DataError("history: expected a list of {role, content}")
    turns = []
    for turn in value:
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "user", "assistant"):
            raise DataError("history: a turn has a 'role' (system, user, assistant) and 'content'")
        turns.append(Message(turn["role"], str(turn.get("content", ""))))
    return tuple(turns)
