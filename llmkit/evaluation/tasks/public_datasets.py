"""Data sets in the layouts they were published in: SQuAD, DPR, HotpotQA, and names on the Hugging Face hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from llmkit.errors import DataError
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.datasets import Documents, Rows, Samples, question_text, read_sample
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.extras import need
from llmkit.part import Part
from llmkit.types import Document, Sample


class Squad(Part):
    """SQuAD's JSON, versions 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): each paragraph is a document."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "squad"

    path: str
    """The JSON file."""

    def samples(self) -> Samples:
        """One a question; the impossible ones have no answers."""
        for place, name, paragraph in self._paragraphs():
            for asked in paragraph.get("qas", []):
                yield read_sample((place, asked), lambda row, name=name: self._read(row, name))

    def documents(self) -> Documents:
        """One a paragraph."""
        for place, name, paragraph in self._paragraphs():
            text = paragraph.get("context")
            if isinstance(text, str) and text.strip():
                yield Document(name, text, title=str(paragraph.get("_title", "")))
            else:
                yield BadRow(place, "a paragraph without 'context'")

    def _paragraphs(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        path = Path(self.path).expanduser()
        value = rows.whole(path)
        articles = value.get("data") if isinstance(value, dict) else None
        if not isinstance(articles, list):
            raise DataError(f"{path} is not SQuAD's JSON: it has no list 'data'")
        for a, article in enumerate(articles):
            for p, paragraph in enumerate(article.get("paragraphs", [])):
                place = f"{path.name}, data[{a}].paragraphs[{p}]"
                yield place, f"squad-{a}-{p}", {**paragraph, "_title": article.get("title", "")}

    def _read(self, row: dict[str, Any], name: str) -> Sample:
        impossible = bool(row.get("is_impossible"))
        answers = [] if impossible else [answer["text"] for answer in row.get("answers", [])]
        if not impossible and not answers:
            raise DataError("neither answers nor is_impossible")
        unique = tuple(dict.fromkeys(answers))
        return Sample(str(row["id"]), question_text(row.get("question")), unique, {name: 1.0}, cluster=name)


class DPR(Part):
    """The retriever training JSON of DPR (Karpukhin et al. 2020): every context of every row is a document."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "dpr"

    path: str
    """The JSON file: a list of ``{"question", "answers", "positive_ctxs", "hard_negative_ctxs", "negative_ctxs"}``."""

    def samples(self) -> Samples:
        """One a row; its positive contexts are relevant."""
        for number, item in enumerate(_listed(self.path)):
            yield item if isinstance(item, BadRow) else read_sample(item, lambda row, n=number: self._read(row, n))

    def documents(self) -> Documents:
        """Every context once, the longest list being three a row."""
        seen: set[str] = set()
        for item in _listed(self.path):
            if isinstance(item, BadRow):
                continue  # told with the samples
            place, row = item
            for kind in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs"):
                for context in row.get(kind) or []:
                    try:
                        name = _context_id(context)
                    except (KeyError, TypeError):
                        yield BadRow(place, f"{kind}: a context needs 'text'")
                        continue
                    if name not in seen:
                        seen.add(name)
                        yield Document(name, context["text"], title=str(context.get("title") or ""))

    def _read(self, row: dict[str, Any], number: int) -> Sample:
        relevant = dict.fromkeys((_context_id(context) for context in row["positive_ctxs"]), 1.0)
        answers = rows.texts(row.get("answers"), "answers")
        name = str(row.get("id", f"dpr-{number}"))
        return Sample(name, question_text(row.get("question")), answers, relevant, cluster=next(iter(relevant), ""))


class Hotpot(Part):
    """HotpotQA's JSON (Yang et al. 2018): every paragraph of every question is a document, named by its title."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "hotpot"

    path: str
    """The JSON file: a list of ``{"_id", "question", "answer", "context", "supporting_facts"}``."""

    def samples(self) -> Samples:
        """One a question; the paragraphs of its supporting facts are relevant."""
        for item in _listed(self.path):
            yield item if isinstance(item, BadRow) else read_sample(item, self._read)

    def documents(self) -> Documents:
        """Every paragraph once."""
        seen: set[str] = set()
        for item in _listed(self.path):
            if isinstance(item, BadRow):
                continue
            place, row = item
            try:
                paragraphs = [(str(title), "".join(sentences)) for title, sentences in row["context"]]
            except (KeyError, TypeError, ValueError):
                yield BadRow(place, "'context' is not a list of [title, sentences]")
                continue
            for title, text in paragraphs:
                if title not in seen:
                    seen.add(title)
                    yield Document(title, text, title=title)

    def _read(self, row: dict[str, Any]) -> Sample:
        relevant = dict.fromkeys((str(title) for title, _ in row.get("supporting_facts", [])), 1.0)
        answers = rows.texts(row["answer"], "answer")
        return Sample(str(row["_id"]), question_text(row.get("question")), answers, relevant)


class HuggingFace(Part):
    """A data set of the Hugging Face hub by name, through the package ``datasets``; needs the network once."""

    family: ClassVar[str] = "dataset"
    type: ClassVar[str] = "huggingface"

    path: str
    """Name on the hub, or a local folder the package reads."""
    name: str | None = None
    """Configuration of the data set."""
    split: str = "validation"
    """Split."""
    revision: str | None = None
    """Commit on the hub; without one, figures of two days may come from two data sets."""
    question: str = "question"
    """Column or text with ``$column``."""
    answers: str | None = "answers"
    """Column of the right answers."""

    def samples(self) -> Samples:
        """One a row.

        Raises:
            MissingExtra: the package is not installed.
            DataError: the data set cannot be had.
        """
        library = need("datasets", feature="data sets of the Hugging Face hub", extra="train")
        try:
            found = library.load_dataset(self.path, self.name, split=self.split, revision=self.revision)
        except Exception as error:
            raise DataError(f"{self.path} cannot be loaded ({type(error).__name__}: {error})") from error
        reader = Rows(path=self.path, question=self.question, answers=self.answers, relevant=None)
        for number, row in enumerate(found, 1):
            yield read_sample((f"{self.path}, row {number}", dict(row)), lambda row, n=number: reader.read(row, n))

    def documents(self) -> Documents:
        """None: the hub's question sets come without a corpus."""
        yield from ()


def _listed(name: str) -> Iterator[rows.Row | BadRow]:
    path = Path(name).expanduser()
    value = rows.whole(path)
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a list of questions, got {type(value).__name__}")
    for number, row in enumerate(value):
        place = f"{path.name}, item {number}"
        yield (place, row) if isinstance(row, dict) else BadRow(place, "expected an object")


def _context_id(context: dict[str, Any]) -> str:
    given = context.get("passage_id") or context.get("psg_id")
    return str(given) if given else hashlib.sha256(context["text"].encode()).hexdigest()[:16]
