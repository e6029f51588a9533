"""What the capabilities promise one another. Standard library only; NumPy appears in annotations."""

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
    """Where an encoder's tokens begin, so that text can be cut where the encoder counts."""

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Character offset of each content token of `text`, ascending, special tokens left out.

        Shape (tokens,). ``np.searchsorted`` on it counts the tokens of any span.
        """
        ...

    @property
    def max_tokens(self) -> int:
        """Longest input the encoder reads, special tokens included."""
        ...

    @property
    def special_tokens(self) -> int:
        """Special tokens (and prompt tokens) added to every passage."""
        ...


@runtime_checkable
class Encoder(Tokenizer, Protocol):
    """Text to unit vectors. Long input is refused, never cut in silence."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def identity(self) -> str:
        """Model, revision, pooling, max tokens and precision in one line: two encoders with one identity agree."""
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
        """Leave rows out of every later search; unknown ids are ignored."""
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
    """What chunks must fulfil to be found; :mod:`llmkit.knowledge.filters` makes them, each store compiles them."""

    def matches(self, chunk: Chunk) -> bool:
        """Whether the chunk passes."""
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
        """The generation that is shown."""
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
        """What the user should know and was not told yet: each note is returned once."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """Finds chunks in a knowledge base, many questions at a time."""

    def retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[list[Hit]]:
        """For each query at most k hits, best first; fewer only where the knowledge base has no more."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders the hits of questions, many questions at a time; :class:`CountsTruncatedPairs` may stand beside it."""

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """For each query at most k of its hits, best first; equal scores keep their order.

        ``score`` is the reranker's; ``scores`` keeps what the retrievers gave and adds the reranker's own.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What is searched for beside the question itself, which is always searched for."""

    queries: tuple[str, ...] = ()
    """Other questions, each retrieved for; the rankings are fused."""
    passages: tuple[str, ...] = ()
    """Hypothetical passages, encoded as passages; together with the question they make one more dense ranking."""


@runtime_checkable
class Rewriter(Protocol):
    """Makes other queries of a question. Notes and usage go to the context."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """The other queries; empty where nothing usable was made, which is told."""
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
        """Tell the listener; raises Cancelled where the run was stopped."""
        ...

    def record(self, **detail: object) -> None:
        """Add JSON values (and `usage=Usage`) to the record of the step that is running."""
        ...

    def note(self, text: str) -> None:
        """Tell the listener something the user should know, and keep it in the step's record."""
        ...


@runtime_checkable
class QuestionAnswerer(Protocol):
    """A pipeline, as a knowledge base sees it: :class:`llmkit.pipeline.pipeline.Pipeline` is one."""

    @property
    def name(self) -> str:
        """What the pipeline is called in messages."""
        ...

    @property
    def digest(self) -> str:
        """Digest of its configuration."""
        ...

    def with_knowledge(self, kb: Any) -> QuestionAnswerer:
        """The same pipeline over an open knowledge base."""
        ...

    def with_filter(self, where: str) -> QuestionAnswerer:
        """The same pipeline, its retrieval limited to passages that pass the filter."""
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
    """Fields of State an earlier step must have given: ``{"hits"}``."""
    gives: ClassVar[frozenset[str]]
    """Fields of State this step fills."""

    def run(self, state: State, ctx: Context) -> State:
        """The state after this step."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """Judges a draft by a rule, so that a loop knows what to mend and when to stop."""

    type: ClassVar[str]
    """The word that names the verifier in YAML."""

    def verify(self, draft: str, state: State) -> Verdict:
        """A score and what is wrong, in words; `state` holds the question, its inputs and the passages.

        Raises:
            DataError: what the rule needs is not among ``state.inputs``.
        """
        ...


@runtime_checkable
class Metric(Protocol):
    """Scores what a pipeline made of a sample."""

    type: ClassVar[str]
    """The word that names the metric in YAML."""

    def figures(self) -> Mapping[str, Figure]:
        """The numbers it gives, by name."""
        ...

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """A score for each figure that applies to this sample; a figure that does not apply is left out."""
        ...


# Optional promises: a part may keep them beside its protocol, and whoever uses the part asks with isinstance.


@runtime_checkable
class MeasuresUnknownTokens(Protocol):
    """An encoder that knows how much of a text its vocabulary lacks; hybrid search then trusts dense search less."""

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that the vocabulary does not have, in [0, 1]."""
        ...


@runtime_checkable
class CountsTruncatedPairs(Protocol):
    """A reranker whose input is limited, and that counts the pairs it cannot read whole; the step tells the user."""

    def cut(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> int:
        """Number of pairs of a query and one of its hits whose end would not be read."""
        ...


@runtime_checkable
class RanksRows(Protocol):
    """A retriever that ranks rows without reading their text; fusion then reads the text of the best alone."""

    def rank(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> Sequence[Ranking]:
        """For each query the rows (n,) and scores (n,) of at most k chunks, best first."""
        ...


@runtime_checkable
class CountsPromptTokens(Protocol):
    """A chat model that counts the tokens of a prompt exactly; for others a safe upper estimate is used."""

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that these messages become."""
        ...


@runtime_checkable
class WithholdsText(Protocol):
    """A step that may withdraw an answer; text streamed before it is not shown until the step has decided."""

    withholds: ClassVar[bool]
    """Whether it does."""


@runtime_checkable
class ScoresAcrossRepeats(Protocol):
    """A metric with figures that need all repeats of a sample, as pass@k does."""

    def across(self, values: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
        """Figures of one sample, from the values of each figure over its repeats."""
        ...
