"""When a knowledge base gets a vector index, and of what: never inside a reader, never for its own sake."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np

from llmkit.encoders.fit_query import fit_query
from llmkit.errors import KnowledgeError, LlmkitError
from llmkit.knowledge.local import spaces
from llmkit.knowledge.local.ann.autotune import Questions, choose
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.recall_bound import Certificate, describe
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.knowledge.vector_settings import VectorSettings, written_settings

_QUERIES = 2000
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*|\n+")
_TAIL = 0.5  # rows since the index, beside those in it, from which on it is made anew


def due(folder: Folder) -> bool:
    """Whether so many rows are searched without an index that it is time to make one.

    An index that was there once, and is gone since rows that it covered were purged or damaged, is due at once.
    """
    meta = folder.meta()
    index = index_file.named(folder.catalog)
    covered = index.rows if index else 0
    rows = sum(len(segment) for segment in spaces.listed(folder.catalog, folder.newest.space))
    if rows and index is None and "indexed" in meta:
        return True
    return rows - covered > max(written_settings(meta).small, _TAIL * covered)


def keep_up(folder: Folder) -> None:
    """Make the index if it is due, and note that; only for the one writer.

    Where it cannot be made, a note says why, and everything is searched exactly.
    """
    if not due(folder):
        return
    try:
        note = f"a vector index was made: {describe(build(folder)[0])}"
    except LlmkitError as error:
        note = f"no vector index was made: {error}. Vectors are searched exactly"
    folder.notes.add(note)


def build(
    folder: Folder,
    report: Callable[[str], None] = lambda text: None,
    questions: Questions | None = None,
    settings: VectorSettings | None = None,
) -> tuple[Certificate, list[Certificate]]:
    """Choose an index over every row, write it, name it in the catalogue; only for the one writer.

    `questions` are asked instead of sentences of sampled chunks; `settings` are written down once they have worked.
    """
    settings = settings or written_settings(folder.meta())
    rows = stored_rows(folder)
    if not rows.live.count:
        raise KnowledgeError(f"{folder.path} holds no vectors: ingest something first")
    if questions is None:
        report(f"encoding sentences of {min(_QUERIES, rows.live.count)} chunks as held-out queries")
        questions = held_out(folder, rows)
    index, certificate, tried = choose(rows, questions, settings, report)
    path = folder.path / index_file.FOLDER
    written = index_file.write(path, index, rows.runs.size, rows.runs.last, folder.head(), certificate)
    del index
    with folder.write_catalog.transaction() as db:
        index_file.replace(db, written)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('indexed', '1')")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('vectors', ?)", (json.dumps(settings.config()),))
    index_file.drop_unlisted(path, folder.catalog)
    folder.reopen()
    return certificate, tried


def stored_rows(folder: Folder) -> StoredRows:
    """Every row that has a vector, as it lies on disk; those that died are buried."""
    space = folder.newest.space
    rows = StoredRows(space.dim)
    for segment in spaces.listed(folder.catalog, space):
        rows.append(segment.ids, segments.read(folder.path / segments.FOLDER, segment, space.dim))
    dead = folder.catalog.rows("SELECT row FROM chunks WHERE died IS NOT NULL")
    rows.bury(np.fromiter((row for (row,) in dead), dtype=np.int64, count=len(dead)))
    return rows


def held_out(folder: Folder, rows: StoredRows) -> Questions:
    """Sentences of sampled chunks, encoded as queries: stand-ins for the questions of users, which nobody has yet."""
    rng = np.random.default_rng(11)
    encoder, dim = folder.newest.encoder, folder.newest.space.dim
    live = rows.live.positions()
    sample = rng.choice(live, min(_QUERIES, len(live)), replace=False)
    texts, used = [], []
    for at in range(0, len(sample), 500):
        some = sample[at : at + 500]
        for position, chunk in zip(some.tolist(), folder.newest.chunks(rows.runs.ids(some)), strict=True):
            sentences = [one.strip() for one in _SENTENCE.split(chunk.text) if 15 <= len(one.strip()) <= 300]
            if sentences:
                texts.append(fit_query(encoder, sentences[int(rng.integers(len(sentences)))])[0])
                used.append(position)
    vectors = encoder.encode_queries(texts) if texts else np.empty((0, dim), dtype=np.float32)
    unit_vectors(vectors, len(texts), dim, f"the encoder {encoder.identity}")
    return Questions(vectors, "sentences of sampled chunks", np.array(used, dtype=np.int64))
