"""When a knowledge base gets a vector index, and of what: never inside a reader, never for its own sake."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from llmkit.encoders.fit_query import fit_query
from llmkit.errors import KnowledgeError, LlmkitError
from llmkit.knowledge import embedding_spaces
from llmkit.knowledge.local.ann.autotune import Questions, choose
from llmkit.knowledge.local.lock import writer_lock
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.recall_bound import Certificate
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.knowledge.vector_settings import VectorSettings, write_down, written

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

_QUERIES = 2000
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*|\n+")
_TAIL = 0.5  # rows since the index, beside those in it, from which on it is made anew


def due(kb: KnowledgeBase) -> bool:
    """Whether so many rows are searched without an index that it is time to make one.

    One that was there once, and is not since something it covered was purged or damaged, is due at once.
    """
    settings = written(kb.catalog)
    index = index_file.named(kb.catalog)
    covered = index.rows if index else 0
    rows = sum(len(segment) for segment in embedding_spaces.listed(kb.catalog, kb.space))
    if rows and index is None and "indexed" in kb.catalog.meta():
        return True
    return rows - covered > max(settings.small, _TAIL * covered)


def keep_up(kb: KnowledgeBase) -> None:
    """Make the index if it is due, and tell so; only for the one writer.

    Where it cannot be made, that is told, and everything is searched exactly.
    """
    if not due(kb):
        return
    try:
        told = f"a vector index was made: {describe(build(kb)[0])}"
    except LlmkitError as error:
        told = f"no vector index was made: {error}. Vectors are searched exactly"
    kb.notes.append(told)


def build_index(
    kb: KnowledgeBase, settings: VectorSettings | None = None, tell: Callable[[str], None] = lambda text: None
) -> tuple[Certificate, list[Certificate]]:
    """Make the vector index now; returns what it is and everything that was tried.

    Raises:
        KnowledgeError: there is nothing to index, or another process is writing.
    """
    from llmkit.knowledge.ingestion.writer import Writer

    kb.check_writable()
    with writer_lock(kb.path, "index the vectors"), Writer(kb, "index"):
        return build(kb, tell, settings=settings)


def build(
    kb: KnowledgeBase,
    tell: Callable[[str], None] = lambda text: None,
    questions: Questions | None = None,
    settings: VectorSettings | None = None,
) -> tuple[Certificate, list[Certificate]]:
    """Choose an index over every row, write it, name it in the catalogue; only for the one writer.

    `questions` are asked instead of sentences of sampled chunks; `settings` are written down once they have worked.
    """
    settings = settings or written(kb.catalog)
    rows = stored(kb)
    if not rows.live.count:
        raise KnowledgeError(f"{kb.path} holds no vectors: ingest something first")
    if questions is None:
        tell(f"encoding sentences of {min(_QUERIES, rows.live.count)} chunks as held-out queries")
        questions = held_out(kb, rows)
    index, certificate, tried = choose(rows, questions, settings, tell)
    folder = kb.path / index_file.FOLDER
    made = index_file.write(folder, index, rows.runs.size, rows.runs.last, kb.generation, certificate)
    del index
    with kb.catalog.transaction() as db:
        index_file.replace(db, made)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('indexed', '1')")
        write_down(db, settings)
    index_file.drop_unlisted(folder, kb.catalog)
    kb.__dict__.pop("index", None)
    return certificate, tried


def stored(kb: KnowledgeBase) -> StoredRows:
    """Every row that has a vector, as it lies on disk; those that died are buried."""
    rows = StoredRows(kb.dim)
    for segment in embedding_spaces.listed(kb.catalog, kb.space):
        rows.append(segment.ids, segments.read(kb.path / "vectors", segment, kb.dim))
    dead = kb.catalog.rows("SELECT row FROM chunks WHERE died IS NOT NULL")
    rows.bury(np.fromiter((row for (row,) in dead), dtype=np.int64, count=len(dead)))
    return rows


def held_out(kb: KnowledgeBase, rows: StoredRows) -> Questions:
    """Sentences of sampled chunks, encoded as queries: stand-ins for the questions of users, which nobody has yet."""
    rng = np.random.default_rng(11)
    live = rows.live.positions()
    sample = rng.choice(live, min(_QUERIES, len(live)), replace=False)
    texts, used = [], []
    for at in range(0, len(sample), 500):
        some = sample[at : at + 500]
        for position, chunk in zip(some.tolist(), kb.chunks(rows.runs.ids(some)), strict=True):
            sentences = [one.strip() for one in _SENTENCE.split(chunk.text) if 15 <= len(one.strip()) <= 300]
            if sentences:
                texts.append(fit_query(kb.encoder, sentences[int(rng.integers(len(sentences)))])[0])
                used.append(position)
    vectors = kb.encoder.encode_queries(texts) if texts else np.empty((0, kb.dim), dtype=np.float32)
    unit_vectors(vectors, len(texts), kb.dim, f"the encoder {kb.encoder.identity}")
    return Questions(vectors, "sentences of sampled chunks", np.array(used, dtype=np.int64))


def describe(certificate: Certificate) -> str:
    """One line for people."""
    one = certificate
    if one.structure == "flat":
        return f"searched exactly: a scan of half-precision codes, {one.bytes_per_vector:.0f} bytes each"
    where = f"{one.probes} of {one.lists} lists" if one.structure == "ivf" else f"a beam of {one.probes}"
    return (
        f"searched through {one.structure}/{one.codes}, {one.bytes_per_vector:.0f} bytes each: recall@10 "
        f"{one.recall:.4f}, at least {one.lower:.4f} with 95 % confidence, on {one.queries} {one.source} that had no "
        f"part in making it ({where}, {one.depth} scored again)"
    )
