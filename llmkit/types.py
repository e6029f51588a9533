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
    """A run of a document's text that is one thing: a heading, a paragraph, a table."""

    start: int
    end: int
    kind: BlockKind = "paragraph"
    level: int = 0
    """Depth of a heading, from 1; 0 for everything else."""
    heading: tuple[str, ...] = ()
    """Titles of the headings the block stands under, outermost first (a heading's own title included)."""
    page: int | None = None
    """Page or slide, counted from 1, where the format has one."""
    part: str | None = None
    """Sheet, chapter, notebook cell or attachment the block belongs to."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its origin. ``text`` is what offsets point into and is never changed after loading."""

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    """JSON values a filter can ask for: ``path``, ``type``, ``date``, and whatever the source gave."""
    blocks: tuple[Block, ...] = ()
    """Structure in order, without overlap; empty means plain text."""
    notes: tuple[str, ...] = ()
    """What the loader left out or guessed, in words: ``3 images without text``."""
    access: tuple[str, ...] = ()
    """Labels of those who may read it; empty: everybody."""

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
        """First 16 hex digits of the SHA-256 of text, title, metadata, and access where it is limited."""
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
    """Tokens the encoder sees for this chunk, context and special tokens included."""
    title: str = ""
    heading: tuple[str, ...] = ()
    page: int | None = None
    part: str | None = None
    version: str = ""
    """Version of the document the offsets belong to."""
    metadata: Metadata = field(default_factory=dict)
    access: tuple[str, ...] = ()
    """Labels of those who may read the document; empty: everybody."""
    row: int = -1
    """Key in the knowledge base, equal to its vector's id; -1 outside one."""

    @property
    def id(self) -> str:
        """``document#ordinal``."""
        return f"{self.document}#{self.ordinal}"

    @property
    def context(self) -> str:
        """What is put before the text when it is encoded and indexed: title and headings."""
        words = [self.title, *self.heading]
        return " › ".join(word for i, word in enumerate(words) if word and word not in words[:i])

    @property
    def indexed_text(self) -> str:
        """What the encoder and the lexical index read: the context, if any, a newline, the text."""
        context = self.context
        return f"{context}\n{self.text}" if context else self.text


@dataclass(frozen=True, slots=True)
class Span:
    """A run of a document's text and what became of it."""

    start: int
    end: int
    fate: Literal["indexed", "dropped", "truncated"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, with the score that ranked it."""

    chunk: Chunk
    score: float
    """Higher is better; the scale is the retriever's own."""
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
        """One line: score, place and the beginning of the text."""
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
    """A claim of support: where in which version of which document."""

    n: int
    """Number of the passage as the model saw it and as the answer shows it, from 1."""
    document: str
    version: str
    chunk: str
    start: int
    end: int
    quote: str
    """``document.text[start:end]``: the sentence that supports, or the whole passage."""
    supported: bool
    reason: str = ""
    """Why the citation counts as supported or not."""

    @property
    def doubt(self) -> str:
        """What is to be said against it: that no step checked it, or why it is not supported; empty: nothing."""
        said = UNCHECKED if self.reason == UNCHECKED else f"not supported: {self.reason}"
        return "" if self.supported else said

    def __str__(self) -> str:
        """One line: number, document, offsets, quote, and the doubt where there is one."""
        doubt = f" ({self.doubt})" if self.doubt else ""
        return f"[{self.n}] {self.document}, characters {self.start}-{self.end}: {_beginning(self.quote)}{doubt}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and calls of a model."""

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
    """What the pipeline says, and what it rests on."""

    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    """True where the documents do not hold the answer."""
    unsupported: tuple[str, ...] = ()
    """Sentences of the answer that no cited passage supports."""
    finish_reason: FinishReason = "stop"
    """How the reply that this answer was read from ended."""

    @property
    def complete(self) -> bool:
        """Whether the model ended the answer by itself; otherwise its last sentence may lack its end."""
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
    """What one step did: the trace is a list of these."""

    step: str
    """Place and type, as in ``steps[1] answer``."""
    seconds: float
    usage: Usage = field(default_factory=Usage)
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON values the step wants remembered: prompt digest, passages kept and dropped, scores."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a run, told as it happens."""

    kind: Literal["step", "token", "reasoning", "note", "done"]
    """``reasoning``: a piece of what the model writes for itself, which is no part of the answer."""
    step: str = ""
    text: str = ""
    """The token, the note in words, or the step's name."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """What a pipeline knows so far. Steps return a changed copy and never alter one."""

    question: str
    history: tuple[Message, ...] = ()
    inputs: Metadata = field(default_factory=dict)
    """What came with the question beside its text, as JSON values: words to use, tests to pass."""
    hits: tuple[Hit, ...] = ()
    """Passages the next step works with, best first."""
    retrieved: tuple[Hit, ...] = ()
    """Passages as they were found, before any step kept some of them."""
    answer: Answer | None = None
    records: tuple[StepRecord, ...] = ()

    def replace(self, **changes: Any) -> State:
        """A copy with the named fields changed."""
        return replace(self, **changes)

    @property
    def usage(self) -> Usage:
        """Sum over all records."""
        return sum((record.usage for record in self.records), Usage())


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a data set: what is asked and what is known about the right answer."""

    id: str
    question: str
    answers: tuple[str, ...] = ()
    """Right answers, aliases of one another; empty where the documents hold none."""
    relevant: Mapping[str, float] = field(default_factory=dict)
    """Ids of the documents that hold the answer, with their grade above 0; empty where nobody judged."""
    history: tuple[Message, ...] = ()
    cluster: str = ""
    """What the sample shares with others (a document, a template); empty: it stands alone."""
    fields: Metadata = field(default_factory=dict)
    """The row itself: constraints, labels, tools, whatever a metric asks for."""

    def __post_init__(self) -> None:
        many(self.answers, "answers")


@dataclass(frozen=True, slots=True)
class Score:
    """What a metric says about one sample: a finite number, or why there is none."""

    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a score without a value needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score is a finite number, not {self.value}")

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """No value can be computed; the sample is counted beside the mean and is not in it."""
        return cls(None, reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says about a draft."""

    score: float
    """In [0, 1]; 1: nothing is wrong."""
    messages: tuple[str, ...] = ()
    """What is wrong, each in a sentence a model can act on; empty where nothing is."""

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"a verdict's score lies in [0, 1], not {self.score}")


@dataclass(frozen=True, slots=True)
class Figure:
    """What one number of a metric means."""

    about: str
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["share", "count", "seconds", "tokens", "money"] = "share"
    """A share lies in [0, 1]; its interval makes use of that."""


def blocks_or_whole(document: Document) -> Iterator[Block]:
    """The document's blocks, or one paragraph that spans it."""
    if document.blocks:
        yield from document.blocks
    elif document.text:
        yield Block(0, len(document.text))


def _beginning(text: str, length: int = 90) -> str:
    """The first characters of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length] + "…"
