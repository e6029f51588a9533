"""The data that travels through llmkit: frozen dataclasses, standard library only.

Offsets are Python string indices (code points) into :attr:`Document.text`, half open: ``text[start:end]``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from llmkit import notebook
from llmkit.arguments import many
from llmkit.errors import DataError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Metadata: TypeAlias = Mapping[str, Json]
UNCHECKED = "not checked"  # the reason of a citation that no step has checked yet

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls", "missing"]
"""How a model's reply ended; ``missing``: the server did not say, so the reply may be incomplete."""

BlockKind: TypeAlias = Literal["heading", "paragraph", "list", "table", "code", "quote", "row", "front matter"]


@dataclass(frozen=True, slots=True)
class Block:
    """A structural piece of a document's text: a heading, a paragraph, a table."""

    start: int
    end: int
    kind: BlockKind = "paragraph"
    level: int = 0
    """Depth of a heading, from 1; 0 for other blocks."""
    heading: tuple[str, ...] = ()
    """Titles of the headings above the block, outermost first. A heading's own title is the last one."""
    page: int | None = None
    """Page or slide, counted from 1, where the format has one."""
    part: str | None = None
    """Sheet, chapter, notebook cell or attachment the block belongs to."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its id and metadata. Offsets point into ``text``, which never changes after loading."""

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    """JSON values that filters can use: ``path``, ``type``, ``date``, and those that the source gave."""
    blocks: tuple[Block, ...] = ()
    """The structure of the text: blocks in order, without overlap. Empty: plain text."""
    notes: tuple[str, ...] = ()
    """What the loader left out or guessed, as texts: ``3 images without text``."""
    access: tuple[str, ...] = ()
    """Access labels: a reader needs one of them. Empty: everybody may read the document."""

    def __post_init__(self) -> None:
        many(self.notes, "notes")
        many(self.access, "access")
        given: dict[str, object] = {"id": self.id, "text": self.text, "title": self.title}
        for name, value in given.items():
            if not isinstance(value, str):
                advice = ": write metadata=…" if isinstance(value, Mapping) else ""
                raise DataError(f"the {name} of a document is a string, not {type(value).__name__}{advice}")
        metadata: object = self.metadata
        if not isinstance(metadata, Mapping):
            raise DataError(f"the metadata of a document is a mapping, not {type(metadata).__name__}")

    @property
    def version(self) -> str:
        """First 16 hex digits of the SHA-256 of text, title, metadata and, if there are any, access labels."""
        parts = [self.text, self.title, self.metadata, *([sorted(self.access)] if self.access else [])]
        payload = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
        return hashlib.sha256(payload.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of retrieval: ``document.text[start:end] == text``."""

    document: str
    """Id of the document."""
    ordinal: int
    """Position among the document's chunks, from 0."""
    start: int
    end: int
    text: str
    tokens: int
    """Number of tokens that the encoder reads for this chunk, context and special tokens included."""
    title: str = ""
    heading: tuple[str, ...] = ()
    page: int | None = None
    part: str | None = None
    version: str = ""
    """Version of the document that the offsets refer to."""
    metadata: Metadata = field(default_factory=dict)
    access: tuple[str, ...] = ()
    """Access labels of the document. Empty: everybody may read it."""
    row: int = -1
    """Number of the chunk and of its vector in the knowledge base; -1 outside one."""

    @property
    def id(self) -> str:
        """``document#ordinal``."""
        return f"{self.document}#{self.ordinal}"

    @property
    def context(self) -> str:
        """Title and headings. They are placed before the text when the chunk is encoded and indexed."""
        words = [self.title, *self.heading]
        return " › ".join(word for i, word in enumerate(words) if word and word not in words[:i])

    @property
    def indexed_text(self) -> str:
        """The text that the encoder and the BM25 index read: the context, if any, a newline, the text."""
        context = self.context
        return f"{context}\n{self.text}" if context else self.text


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a document's text, and whether it was indexed, dropped or truncated."""

    start: int
    end: int
    fate: Literal["indexed", "dropped", "truncated"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk with its score."""

    chunk: Chunk
    score: float
    """Higher is better. Each retriever and reranker has its own scale."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores by retriever before fusion: ``{"dense": 0.61, "bm25": 7.2}``."""

    @property
    def document(self) -> str:
        """Id of the document."""
        return self.chunk.document

    @property
    def text(self) -> str:
        """Text of the chunk."""
        return self.chunk.text

    @property
    def title(self) -> str:
        """Title of the document."""
        return self.chunk.title

    @property
    def page(self) -> int | None:
        """Page or slide, counted from 1, where the format has one."""
        return self.chunk.page

    @property
    def metadata(self) -> Metadata:
        """Metadata of the document."""
        return self.chunk.metadata

    def __str__(self) -> str:
        """One line: score, document, page and the beginning of the text."""
        page = f", page {self.page}" if self.page is not None else ""
        return f"{self.score:.3f}  {self.document}{page}: {_beginning(self.text)}"

    def _repr_html_(self) -> str:
        return Hits([self])._repr_html_()


class Hits(list[Hit]):
    """The hits of one question, best first: a list that prints as lines and shows as a table in a notebook."""

    def __str__(self) -> str:
        """One numbered line for each hit."""
        return "\n".join(f"{n}. {hit}" for n, hit in enumerate(self, 1)) or "no hits"

    def _repr_html_(self) -> str:
        rows = [(n, hit.score, hit.document, hit.page, hit.text) for n, hit in enumerate(self, 1)]
        return notebook.table(("", "score", "document", "page", "text"), rows)


@dataclass(frozen=True, slots=True)
class Citation:
    """A claim that a passage supports the answer, and the result of checking it."""

    n: int
    """Number of the passage in the prompt and in the answer, from 1."""
    document: str
    version: str
    chunk: str
    start: int
    end: int
    quote: str
    """``document.text[start:end]``: the supporting sentence, or the whole passage."""
    supported: bool
    reason: str = ""
    """Why the citation counts as supported or not."""

    @property
    def doubt(self) -> str:
        """Why not to rely on the citation: nobody checked it, or it is not supported, and why. Empty if supported."""
        doubt = UNCHECKED if self.reason == UNCHECKED else f"not supported: {self.reason}"
        return "" if self.supported else doubt

    def __str__(self) -> str:
        """One line: number, document, offsets, quote, and the doubt if there is one."""
        doubt = f" ({self.doubt})" if self.doubt else ""
        return f"[{self.n}] {self.document}, characters {self.start}-{self.end}: {_beginning(self.quote)}{doubt}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Number of tokens and calls that a model used."""

    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.calls + other.calls,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a pipeline, with its citations."""

    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    """Whether the pipeline declined to answer: the documents do not say, or it was not sure enough."""
    unsupported: tuple[str, ...] = ()
    """Sentences of the answer that no cited passage supports."""
    finish_reason: FinishReason = "stop"
    """How the model's reply ended."""

    @property
    def complete(self) -> bool:
        """Whether the model finished the answer. If not, the last sentence may be incomplete."""
        return self.finish_reason in ("stop", "tool_calls")

    def __str__(self) -> str:
        """The text, then one line for each citation."""
        return "\n".join([self.text, *([""] if self.citations else []), *map(str, self.citations)])

    def _repr_html_(self) -> str:
        rows = [
            (cite.n, cite.document, f"{cite.start}-{cite.end}", cite.quote, cite.doubt or "supported")
            for cite in self.citations
        ]
        found = notebook.table(("", "document", "characters", "quote", "checked"), rows) if rows else ""
        return notebook.paragraph(self.text) + found


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did. The trace of a run is a list of these records."""

    step: str
    """Position and type of the step, as in ``steps[1] answer``."""
    seconds: float
    usage: Usage = field(default_factory=Usage)
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that the step recorded: prompt digest, passages kept and dropped, scores."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a run, reported at once."""

    kind: Literal["step", "token", "reasoning", "note", "done"]
    """``reasoning`` is text that the model writes before its answer and that is not part of the answer."""
    step: str = ""
    text: str = ""
    """The token, the text of the note, or the name of the step."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """The data that flows through a pipeline. A step returns a changed copy."""

    question: str
    history: tuple[Message, ...] = ()
    inputs: Metadata = field(default_factory=dict)
    """Further JSON values that came with the question: words to use, tests to pass."""
    hits: tuple[Hit, ...] = ()
    """Passages for the next step, best first."""
    retrieved: tuple[Hit, ...] = ()
    """All passages that were retrieved, before a step removed some."""
    answer: Answer | None = None
    records: tuple[StepRecord, ...] = ()

    def replace(self, **changes: Any) -> State:
        """A copy with the named fields changed."""
        return replace(self, **changes)

    @property
    def usage(self) -> Usage:
        """Sum of the usage of all records."""
        return sum((record.usage for record in self.records), Usage())


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a data set: a question, and what is known about the right answer."""

    id: str
    question: str
    answers: tuple[str, ...] = ()
    """Right answers, each of them sufficient. Empty: the documents do not hold the answer."""
    relevant: Mapping[str, float] = field(default_factory=dict)
    """Ids of the relevant documents with their grade, above 0. Empty: relevance was not judged."""
    history: tuple[Message, ...] = ()
    cluster: str = ""
    """Name of the group of dependent samples (one document, one template). Empty: the sample is independent."""
    fields: Metadata = field(default_factory=dict)
    """The row of the data set: constraints, labels, tools, or whatever a metric needs."""

    def __post_init__(self) -> None:
        many(self.answers, "answers")


@dataclass(frozen=True, slots=True)
class Score:
    """The result of a metric on one sample: a finite number, or the reason why there is none."""

    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a score without a value needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score is a finite number, not {self.value}")

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """A score without a value. The sample is counted beside the mean and does not enter it."""
        return cls(None, reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verifier on a draft."""

    score: float
    """In [0, 1]; 1 means that nothing is wrong."""
    messages: tuple[str, ...] = ()
    """Each problem as a sentence that a model can act on. Empty if nothing is wrong."""

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"a verdict's score lies in [0, 1], not {self.score}")


@dataclass(frozen=True, slots=True)
class Figure:
    """Description of one number that a metric computes."""

    about: str
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["share", "count", "seconds", "tokens", "money"] = "share"
    """A share lies in [0, 1], and its interval is bounded accordingly."""


def blocks_or_whole(document: Document) -> Iterator[Block]:
    """The blocks of a document; without any, one paragraph that spans its text."""
    if document.blocks:
        yield from document.blocks
    elif document.text:
        yield Block(0, len(document.text))


def _beginning(text: str, length: int = 90) -> str:
    """The first characters of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length] + "…"
