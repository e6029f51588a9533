"""The protocols of parts and of what parts use. Standard library only; NumPy appears in annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from llmkit.approval import Caller
from llmkit.types import Chunk, Document, Event, Figure, Hit, Message, Sample, Score, State, Verdict

if TYPE_CHECKING:
    import numpy as np
    from langchain_core.language_models import BaseChatModel
    from numpy.typing import NDArray


@runtime_checkable
class Tokenizer(Protocol):
    """The tokenizer of an encoder: where tokens begin, and how many fit."""

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Character offset of each content token of `text`, ascending, special tokens left out.

        Shape (tokens,). ``np.searchsorted`` on it counts the tokens of any span.
        """
        ...

    @property
    def max_tokens(self) -> int:
        """Maximum number of input tokens, special tokens included."""
        ...

    @property
    def special_tokens(self) -> int:
        """Special tokens (and prompt tokens) added to every passage."""
        ...


@runtime_checkable
class Encoder(Tokenizer, Protocol):
    """Turns texts into unit vectors. Input that is too long is refused, never cut."""

    @property
    def dim(self) -> int:
        """Number of dimensions of a vector."""
        ...

    @property
    def identity(self) -> str:
        """Model, revision, pooling, max tokens and precision in one line. Equal identities give equal vectors."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), rows of unit length, in the order given."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), rows of unit length, in the order given."""
        ...


@runtime_checkable
class VectorIndex(Protocol):
    """Nearest neighbours by inner product over (id, vector) rows."""

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows: ids (n,), vectors (n, dim)."""
        ...

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows by id; unknown ids are ignored."""
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None, *, exact: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed.

        With `exact`, the answer is that of brute force over the allowed rows, and depends on no other row.
        """
        ...


Ranking: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.float32]]"
"""Rows and scores of the chunks that answer one query, best first, both of shape (n,)."""


class Condition(Protocol):
    """A filter over chunks. :mod:`llmkit.knowledge.filters` makes them, and each store compiles them."""

    def matches(self, chunk: Chunk) -> bool:
        """Whether the chunk passes the filter."""
        ...


Where: TypeAlias = "Condition | str | Mapping[str, Any] | None"
"""A filter in any form a caller may write; :func:`llmkit.knowledge.filters.where.as_filter` reads it."""


class Searchable(Protocol):
    """What a retriever searches: a snapshot of a knowledge base, or a knowledge base, which shows one.

    The methods of a knowledge base answer from the snapshot it shows at that moment. A retriever that calls several of
    them calls :meth:`snapshot` first, so that all answers are of one generation.
    """

    @property
    def generation(self) -> int:
        """Number of the generation that is shown."""
        ...

    @property
    def encoder(self) -> Encoder:
        """The encoder that the vectors were made with."""
        ...

    @property
    def reader(self) -> tuple[str, ...] | None:
        """Access labels of the reader to whom it is shown; None: the owner, who sees everything."""
        ...

    def snapshot(self) -> Searchable:
        """One generation that does not change any more; a snapshot returns itself."""
        ...

    def search_dense(
        self, queries: NDArray[np.float32], k: int, where: Where = None, *, exact: bool = False
    ) -> list[Ranking]:
        """Rows and inner products of the k nearest chunks for each query (n, dim), of those that pass `where`."""
        ...

    def search_bm25(self, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """Rows and BM25 scores of the k best chunks for each query, of those that pass `where`."""
        ...

    def chunks(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Chunk]:
        """Chunks by row, in the order given."""
        ...

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given."""
        ...

    def whole_document(self, row: int) -> tuple[str, tuple[Chunk, ...]]:
        """Text and all chunks, in order, of the version of a document that a chunk belongs to."""
        ...

    def document(self, name: str, version: str | None = None) -> Document | None:
        """A document by id: its live version, or the version named."""
        ...


class Knowledge(Searchable, Protocol):
    """A knowledge base as a step sees it."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def take_notes(self) -> list[str]:
        """Notes for the user that were not returned before; each is returned once."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """Finds chunks in a knowledge base, for several questions at a time."""

    def retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[list[Hit]]:
        """For each query at most k hits, best first; fewer only if no more chunks pass the filter."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders the hits of several questions. It may implement :class:`CountsTruncatedPairs`, too."""

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """For each query at most k of its hits, best first; equal scores keep their order.

        ``score`` is the reranker's; ``scores`` keeps what the retrievers gave and adds the reranker's own.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Further texts to search for. The question itself is always searched for."""

    queries: tuple[str, ...] = ()
    """Other questions, each retrieved for; the rankings are fused."""
    passages: tuple[str, ...] = ()
    """Hypothetical passages, encoded as passages; together with the question they make one more dense ranking."""


@runtime_checkable
class Rewriter(Protocol):
    """Makes further queries from a question. It adds notes and usage to the context."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """The further queries. If none is usable, the result is empty and a note says so."""
        ...


class PromptTemplate(Protocol):
    """A versioned prompt whose variables can be filled in."""

    @property
    def ref(self) -> str:
        """Name and version, as in ``answer@v1``."""
        ...

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the prompt's file, hex."""
        ...

    def render(self, values: Mapping[str, str], examples: int | None = None) -> list[Message]:
        """The messages with every variable filled in; see :meth:`llmkit.prompts.Prompt.render`."""
        ...


class Context(Protocol):
    """What a running step may use: the services of its pipeline."""

    @property
    def knowledge(self) -> Knowledge:
        """The pipeline's knowledge base, opened on first use."""
        ...

    @property
    def identity(self) -> str:
        """Digest of the steps before the one that is running: their settings, prompts and models."""
        ...

    @property
    def caller(self) -> Caller:
        """Who runs the pipeline: which conversation, and whether somebody is there to decide."""
        ...

    def model(self, spec: object = None) -> BaseChatModel:
        """The chat model of that spec, or the pipeline's default; loaded once."""
        ...

    def prompt(self, ref: str) -> PromptTemplate:
        """The prompt of that reference, as in ``answer@v1``."""
        ...

    def emit(self, event: Event) -> None:
        """Send an event to the listener; raises Cancelled if the run was cancelled."""
        ...

    def record(self, **detail: object) -> None:
        """Add JSON values (and `usage=Usage`) to the record of the step that is running."""
        ...

    def note(self, text: str) -> None:
        """Send a note for the user to the listener, and add it to the record of the step."""
        ...


@runtime_checkable
class QuestionAnswerer(Protocol):
    """A pipeline, as a knowledge base sees it: :class:`llmkit.pipeline.pipeline.Pipeline` is one."""

    @property
    def name(self) -> str:
        """Name of the pipeline, for messages."""
        ...

    @property
    def digest(self) -> str:
        """Digest of its configuration."""
        ...

    def with_knowledge(self, kb: Any) -> QuestionAnswerer:
        """A copy of the pipeline that uses an open knowledge base."""
        ...

    def with_filter(self, where: str) -> QuestionAnswerer:
        """A copy of the pipeline that retrieves only passages that pass the filter."""
        ...

    def run(self, question: str, **options: Any) -> State:
        """Answer one question."""
        ...


@runtime_checkable
class Step(Protocol):
    """One stage of a pipeline: a state in, a changed copy out."""

    type: ClassVar[str]
    """The word that names the step in YAML."""
    needs: ClassVar[frozenset[str]]
    """Fields of State that an earlier step must fill: ``{"hits"}``."""
    gives: ClassVar[frozenset[str]]
    """Fields of State that this step fills."""

    def run(self, state: State, ctx: Context) -> State:
        """The state after this step."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """Checks a draft by a rule, so that a refinement loop knows what to correct and when to stop."""

    type: ClassVar[str]
    """The word that names the verifier in YAML."""

    def verify(self, draft: str, state: State) -> Verdict:
        """A score and the problems as texts; `state` holds the question, its inputs and the passages.

        Raises:
            DataError: ``state.inputs`` lacks a value that the rule needs.
        """
        ...


@runtime_checkable
class Metric(Protocol):
    """Scores the result of a pipeline on a sample."""

    type: ClassVar[str]
    """The word that names the metric in YAML."""

    def figures(self) -> Mapping[str, Figure]:
        """The numbers that it computes, by name."""
        ...

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """A score for each figure that applies to this sample; a figure that does not apply is left out."""
        ...


# Optional protocols: a part may implement them beside its own protocol; its users test for them with isinstance.


@runtime_checkable
class MeasuresUnknownTokens(Protocol):
    """An encoder that measures how much of a text its vocabulary lacks. Hybrid search then weighs dense search less."""

    def unknown_share(self, text: str) -> float:
        """Share of the tokens of the text that are not in the vocabulary, in [0, 1]."""
        ...


@runtime_checkable
class CountsTruncatedPairs(Protocol):
    """A reranker with limited input that counts the pairs it cannot read to the end. The step reports the count."""

    def cut(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> int:
        """Number of pairs of a query and one of its hits whose end would not be read."""
        ...


@runtime_checkable
class RanksRows(Protocol):
    """A retriever that ranks rows without loading their text. Fusion then loads the text of the best rows only."""

    def rank(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> Sequence[Ranking]:
        """For each query the rows (n,) and scores (n,) of at most k chunks, best first."""
        ...


@runtime_checkable
class CountsPromptTokens(Protocol):
    """A chat model that counts prompt tokens exactly. For other models, llmkit uses a safe upper estimate."""

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Number of tokens of the prompt that these messages make."""
        ...


@runtime_checkable
class WithholdsText(Protocol):
    """A step that may withdraw an answer. Text of earlier steps is streamed only after this step has decided."""

    withholds: ClassVar[bool]
    """Whether the step may withdraw the answer."""


@runtime_checkable
class ScoresAcrossRepeats(Protocol):
    """A metric with figures that need all repeats of a sample, as pass@k does."""

    def across(self, values: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
        """Figures of one sample, from the values of each figure over its repeats."""
        ...
