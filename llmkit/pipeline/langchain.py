"""Adapters for LangChain: a knowledge base as a vector store or retriever, an encoder as embeddings, a pipeline.

::

    store = KnowledgeVectorStore(KnowledgeBase.open("kb"))
    chain = KnowledgeRetriever(kb=kb, retriever="hybrid", k=5) | format | model
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Self

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, PrivateAttr

from llmkit import config
from llmkit.arguments import many, many_texts
from llmkit.errors import ConfigError, DataError
from llmkit.knowledge.access_labels import settled
from llmkit.knowledge.filters.expression import Filter
from llmkit.knowledge.filters.where import parse
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline.pipeline import Pipeline
from llmkit.protocols import Encoder, Retriever
from llmkit.retrieval.dense_and_bm25 import Dense
from llmkit.retrieval.mmr import MaximalMarginalRelevance
from llmkit.types import Chunk, Document, Metadata, State

_SOURCE = "langchain"


class EncoderEmbeddings(Embeddings):
    """An encoder as LangChain embeddings. Text beyond the encoder's maximum length is refused, not truncated."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of passages, of unit length."""
        many_texts(texts, "texts")
        vectors: list[list[float]] = self.encoder.encode_passages(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Vector of a question, of unit length."""
        vector: list[float] = self.encoder.encode_queries([text])[0].tolist()
        return vector


class KnowledgeVectorStore(VectorStore):
    """A knowledge base as a LangChain vector store.

    Long documents are split. Searches return passages with the ``id`` ``DOCUMENT#N`` and their place in ``metadata``; a
    document of one passage is returned as it was added.
    """

    def __init__(self, kb: KnowledgeBase) -> None:
        self.kb = kb

    @property
    def embeddings(self) -> Embeddings:
        """The encoder of the knowledge base."""
        return EncoderEmbeddings(self.kb.encoder)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str = ".llmkit/kb",
        **kwargs: Any,
    ) -> Self:
        """Create a knowledge base at `path` and add texts.

        Raises:
            ConfigError: `embedding` is no encoder of llmkit. A knowledge base stores its encoder, to be opened again.
        """
        many_texts(texts, "texts")
        if ids is not None:
            many_texts(ids, "ids")
        if not isinstance(embedding, EncoderEmbeddings):
            raise ConfigError(
                "a knowledge base stores the configuration of its encoder: give EncoderEmbeddings(encoder), not "
                f"{type(embedding).__name__}"
            )
        store = cls(KnowledgeBase.create(path, encoder=embedding.encoder))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, or replace those with a known id, and return the ids. Dates in metadata are stored as ISO texts.

        Raises:
            ConfigError: the numbers of texts, ids and metadata differ, or an id belongs to an ingested file.
            DataError: metadata contain something other than JSON values; the message names the key.
        """
        many(texts, "texts")
        if ids is not None:
            many_texts(ids, "ids")
        items = list(texts)
        names = [name or str(uuid.uuid4()) for name in (ids or [""] * len(items))]
        data = metadatas or [{}] * len(items)
        if not len(items) == len(names) == len(data):
            raise ConfigError(f"{len(items)} texts came with {len(names)} ids and {len(data)} metadata")
        documents = {
            name: settled(Document(name, text, metadata=_json(metadata, name)))
            for name, text, metadata in zip(names, items, data, strict=True)
        }
        by_source = self.kb.documents_by_source()
        of_files = documents.keys() & {name for source, ids in by_source.items() if source != _SOURCE for name in ids}
        if of_files:
            raise ConfigError(f"these ids belong to files that were ingested: {', '.join(sorted(of_files)[:5])}")
        self.kb.add(documents.values(), source=_SOURCE)
        return names

    def add_documents(self, documents: list[LangChainDocument], **kwargs: Any) -> list[str]:
        """Add documents, or replace those with a known id, and return the ids."""
        ids = kwargs.pop("ids", None) or [document.id or "" for document in documents]
        texts = [document.page_content for document in documents]
        return self.add_texts(texts, [document.metadata for document in documents], ids=ids, **kwargs)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete documents. Unknown ids are ignored; without ids nothing is deleted."""
        if ids is not None:
            many_texts(ids, "ids")
        if ids:
            self.kb.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[LangChainDocument]:
        """Whole documents, those that are here."""
        many_texts(ids, "ids")
        return [
            LangChainDocument(id=one.id, page_content=one.text, metadata=_with_labels(one.metadata, one.access))
            for one in self.kb.documents(ids)
        ]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: str | dict[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[LangChainDocument, float]]:
        """Passages and cosines, best first. `filter` is a filter of llmkit (text or mapping), applied in the search."""
        if k == 0:
            return []
        hits = Dense().retrieve(self.kb, [query], k, _filter(filter))[0]
        return [(self._document(hit.chunk), hit.score) for hit in hits]

    def similarity_search(
        self, query: str, k: int = 4, filter: str | dict[str, Any] | None = None, **kwargs: Any
    ) -> list[LangChainDocument]:
        """Passages, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: str | dict[str, Any] | None = None, **kwargs: Any
    ) -> list[LangChainDocument]:
        """Passages nearest to a unit vector, best first."""
        if k < 1:
            return []
        query = np.asarray([embedding], dtype=np.float32)
        rows, _ = self.kb.search_dense(query, k, _filter(filter))[0]
        return [self._document(chunk) for chunk in self.kb.chunks(rows)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[LangChainDocument]:
        """Passages that differ from one another (Carbonell & Goldstein 1998)."""
        if k == 0:
            return []
        retriever = MaximalMarginalRelevance(of=Dense(), fetch=fetch_k, trade_off=lambda_mult)
        return [self._document(hit.chunk) for hit in retriever.retrieve(self.kb, [query], k)[0]]

    def _select_relevance_score_fn(self) -> Any:
        return lambda score: (score + 1) / 2  # a cosine mapped to [0, 1]

    def _document(self, chunk: Chunk) -> LangChainDocument:
        return as_document(chunk, whole=chunk.ordinal == 0 and len(self.kb.rows_of([chunk.document])) == 1)


class KnowledgeRetriever(BaseRetriever):
    """A knowledge base as a LangChain retriever, with any retriever of llmkit."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kb: KnowledgeBase
    retriever: Any = "hybrid"
    """A word, a mapping with 'type', or a part."""
    k: int = 4
    where: str | dict[str, Any] | None = None
    """Filter on metadata."""
    _part: Retriever = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Build the retriever, so that a wrong configuration fails here and not at the first question."""
        super().model_post_init(context)
        part: Any = config.build_part("retriever", self.retriever)
        self._part = part

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[LangChainDocument]:
        hits = self._part.retrieve(self.kb, [query], int(kwargs.get("k", self.k)), _filter(self.where))[0]
        return [as_document(hit.chunk, whole=False) for hit in hits]


def as_runnable(pipeline: Pipeline) -> Runnable[str, State]:
    """A pipeline as a LangChain runnable: a question in, the state with answer, citations and records out."""
    return RunnableLambda(pipeline.run, afunc=pipeline.arun, name=pipeline.name)


def as_document(chunk: Chunk, *, whole: bool) -> LangChainDocument:
    """A passage as a LangChain document, with its place in the metadata unless it is the whole document."""
    if whole:
        metadata = _with_labels(chunk.metadata, chunk.access)
        return LangChainDocument(id=chunk.document, page_content=chunk.text, metadata=metadata)
    place = {"document": chunk.document, "start": chunk.start, "end": chunk.end}
    metadata = _with_labels(chunk.metadata, chunk.access) | place
    return LangChainDocument(id=chunk.id, page_content=chunk.text, metadata=metadata)


def _with_labels(metadata: Metadata, access: tuple[str, ...]) -> dict[str, Any]:
    """Metadata with the access labels under ``access``."""
    return {**metadata, "access": list(access)} if access else dict(metadata)


def _json(value: Any, place: str) -> Any:
    """Metadata as JSON values, with dates and times as ISO texts.

    Raises:
        DataError: a value is no JSON value; the message names its key and type.
    """
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DataError(f"metadata of {place}: the key {key!r} is a {type(key).__name__}, not a text")
        return {key: _json(item, f"{place}, {key!r}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, place) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise DataError(f"metadata of {place}: a {type(value).__name__} is no JSON value; give a text, a number or a list")


def _filter(value: str | dict[str, Any] | None) -> Filter | None:
    return None if value is None else parse(value)
