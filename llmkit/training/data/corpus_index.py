"""The passages that hard negatives are mined from, with BM25 index and embeddings; from a file or a knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import tokens
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.protocols import Encoder
from llmkit.training.data.examples import Passage

Vectors = NDArray[np.float32]
_ROWS = 256


class CorpusIndex:
    """Passages with their embeddings and a BM25 index, all in memory."""

    def __init__(self, passages: Sequence[Passage], encoder: Encoder, vectors: Vectors, lexical: LexicalIndex) -> None:
        """The BM25 index `lexical` names passages by their position."""
        self.passages, self.encoder, self.vectors, self.lexical = list(passages), encoder, vectors, lexical
        self.cut = 0
        """Passages that were cut at what the encoder reads."""
        self._at = {passage.key: position for position, passage in enumerate(self.passages)}
        self._extra: dict[str, Vectors] = {}
        self.passage_tokens = cache(lambda position: tokens(self.passages[position].indexed_text))

    @classmethod
    def build(cls, passages: Sequence[Passage], encoder: Encoder) -> Self:
        """Encode and index passages; equal passages once."""
        unique = list({passage.key: passage for passage in passages}.values())
        texts, cut = _cut_to_fit(encoder, [passage.indexed_text for passage in unique])
        lexical = LexicalIndex(None)
        lexical.update(1, (), enumerate(passage.indexed_text for passage in unique))
        pool = cls(unique, encoder, encoder.encode_passages(texts), lexical)
        pool.cut = cut
        return pool

    @classmethod
    def from_knowledge_base(cls, kb: KnowledgeBase) -> Self:
        """The chunks of a knowledge base, with the embeddings that it holds."""
        rows_of_chunks = kb.live_rows()
        chunks = kb.chunks(rows_of_chunks)
        passages = [Passage(chunk.text, chunk.context, chunk.id) for chunk in chunks]
        lexical = LexicalIndex(None)
        lexical.update(1, (), enumerate(passage.indexed_text for passage in passages))
        return cls(passages, kb.encoder, kb.vectors(rows_of_chunks), lexical)

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Embeddings (n, dim); a query longer than the encoder reads is cut."""
        return self.encoder.encode_queries(_cut_to_fit(self.encoder, queries)[0])

    def bm25(self, queries: Sequence[str], k: int) -> list[list[int]]:
        """Positions of the k best passages by BM25, for each query."""
        return [found.tolist() for found, _ in self.lexical.search(queries, k)]

    def dense(self, queries: Vectors, k: int) -> list[list[int]]:
        """Positions of the k best passages by cosine, for each query."""
        k = min(k, len(self.passages))
        ranked: list[list[int]] = []
        for start in range(0, len(queries), _ROWS):
            scores = queries[start : start + _ROWS] @ self.vectors.T
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
            ranked += np.take_along_axis(best, order, axis=1).tolist()
        return ranked

    def best(self, query: Vectors, positives: Sequence[Passage]) -> tuple[float, int]:
        """The best cosine of a query with its positives, and how many positives were cut."""
        new = [one for one in positives if one.key not in self._at and one.key not in self._extra]
        texts, cut = _cut_to_fit(self.encoder, [passage.indexed_text for passage in new])
        if new:
            made = self.encoder.encode_passages(texts)
            self._extra |= {passage.key: row for passage, row in zip(new, made, strict=True)}
        at, extra = self._at, self._extra
        vectors = [extra[one.key] if one.key in extra else self.vectors[at[one.key]] for one in positives]
        return float((np.stack(vectors) @ query).max()), cut


def read_corpus(path: Path) -> list[Passage]:
    """Passages of a JSONL file with the keys id (or _id), title and text.

    Raises:
        DataError: a row without a text, by its line.
    """
    found = []
    for item in rows.jsonl(path.expanduser()):
        if isinstance(item, BadRow) or not isinstance(item[1].get("text"), str):
            raise DataError(str(item) if isinstance(item, BadRow) else f"{item[0]}: a passage needs 'text'")
        row = item[1]
        found.append(Passage(row["text"], str(row.get("title") or ""), str(row.get("id", row.get("_id", "")))))
    return found


def _cut_to_fit(encoder: Encoder, texts: Sequence[str]) -> tuple[list[str], int]:
    """The texts, cut to what the encoder reads, and how many were cut."""
    room = encoder.max_tokens - encoder.special_tokens
    fitted, cut = [], 0
    for text in texts:
        starts = encoder.token_starts(text)
        cut += len(starts) > room
        fitted.append(text[: starts[room]] if len(starts) > room else text)
    return fitted, cut
