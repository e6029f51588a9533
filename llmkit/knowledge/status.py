"""What a knowledge base holds, and what became of every file and character."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.errors import LlmkitError
from llmkit.knowledge import embedding_spaces
from llmkit.knowledge.local.ann.index_policy import describe
from llmkit.knowledge.local.vectors import index_file

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase


_DEAD = 0.2  # share of an index from which on it is worth saying


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file, or what was added through the API under one name."""

    name: str
    path: str
    kind: str
    status: str
    reason: str
    """Why it is not whole: the last error, rejected rows, what the loader left out."""
    documents: int
    chunks: int
    embedded: int
    """Chunks that have a vector."""
    indexed: int
    """Characters inside a chunk."""
    dropped: dict[str, int]
    """Characters left out, by reason."""
    truncated: int
    """Characters the encoder did not read."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The whole knowledge base."""

    path: str
    generation: int
    at: str
    """When the last generation was committed, UTC."""
    encoder: str
    words: tuple[str, ...]
    """Dictionaries that the encoder reads with."""
    documents: int
    chunks: int
    embedded: int
    """Chunks that have a vector: all of them, unless something is broken."""
    language: str
    """The language words are stemmed in."""
    duplicates: int
    """Documents that are near duplicates of others, and not indexed."""
    files: dict[str, int]
    """Files by status."""
    characters: dict[str, int]
    """The ledger: characters by what became of them."""
    bytes: dict[str, int] = field(default_factory=dict)
    """Size on disk: catalogue, vectors, their index, lexical index."""
    vectors: str = ""
    """How vectors are searched, and with what recall."""
    index: dict[str, Any] | None = None
    """The certificate of the vector index, where there is one."""
    notes: tuple[str, ...] = ()
    """What the user should know: about its encoder, its lexical index."""


def status(kb: KnowledgeBase) -> Status:
    """The totals, once its encoder and its lexical index have been looked at."""
    notes = _looked_at(kb)
    rows = kb.catalog.rows
    live = kb.catalog.live_rows(kb.generation)
    at = rows("SELECT at FROM generations ORDER BY id DESC LIMIT 1")
    counts = rows("SELECT status, count(*) FROM sources WHERE died IS NULL GROUP BY status")
    characters: Counter[str] = Counter()
    documents = 0
    for (fates,) in kb.catalog.each("SELECT fates FROM documents WHERE died IS NULL"):
        documents += 1
        characters.update(json.loads(fates))
    sizes = {
        "catalogue": sum(path.stat().st_size for path in kb.path.glob("catalog.sqlite*")),
        "vectors": sum(path.stat().st_size for path in kb.path.glob("vectors/*")),
        "index": sum(path.stat().st_size for path in kb.path.glob("index/*")),
        "lexical": sum(path.stat().st_size for path in kb.path.glob("lexical/**/*") if path.is_file()),
    }
    index = index_file.named(kb.catalog)
    return Status(
        path=str(kb.path),
        generation=kb.generation,
        at=at[0][0] if at else "",
        encoder=kb.identity,
        words=tuple(json.loads(kb.space.encoder).get("words", ())),
        documents=documents,
        chunks=len(live),
        embedded=int(kb.index.holds(live).sum()),
        language=kb.language,
        duplicates=len(_duplicates(kb)),
        files=dict(counts),
        characters=dict(characters),
        bytes=sizes if kb.reader is None else {},
        vectors=_searched(kb, index),
        index=asdict(index.certificate) if index else None,
        notes=notes,
    )


def _duplicates(kb: KnowledgeBase, source: str | None = None) -> list[tuple[str, str, float]]:
    """(id, original, similarity) of the near duplicates, of all sources or of one."""
    return kb.catalog.rows(
        """SELECT d.id, t.original, t.similarity FROM duplicates t JOIN documents d ON d.seq = t.document
           WHERE d.died IS NULL AND (? IS NULL OR d.source = ?) ORDER BY d.seq""",
        (source, source),
    )


def _searched(kb: KnowledgeBase, index: index_file.IndexFile | None) -> str:
    if index is None:
        return "searched exactly: a scan of half-precision codes in memory"
    since = sum(len(segment) for segment in embedding_spaces.listed(kb.catalog, kb.space)) - index.rows
    dead = kb.catalog.rows(
        "SELECT count(*) FROM chunks WHERE died IS NOT NULL AND row <= ? AND row >= ?", (index.last, kb.space.first_row)
    )[0][0]
    told = describe(index.certificate) + (f"; {since} newer ones exactly" if since else "")
    if dead > _DEAD * index.rows:
        told += f"; {dead / index.rows:.0%} of those in the index are of older generations: `llmkit kb compact`"
    return told


def _looked_at(kb: KnowledgeBase) -> tuple[str, ...]:
    """The notes of a knowledge base that is open, and what keeps it from being searched."""
    problems = []
    for part in ("encoder", "lexical"):
        try:
            getattr(kb, part)
        except LlmkitError as error:
            problems.append(str(error))
    return (*kb.notes, *problems)


def files(kb: KnowledgeBase) -> Iterator[FileStatus]:
    """Every source, in order of its name."""
    sources = kb.catalog.rows(
        """SELECT uri, name, kind, status, reason FROM sources WHERE died IS NULL
           UNION SELECT DISTINCT source, source, 'api', 'parsed', '' FROM documents
                 WHERE died IS NULL AND source NOT IN (SELECT uri FROM sources WHERE died IS NULL)
           ORDER BY 2"""
    )
    for uri, name, kind, state, reason in sources:
        documents = kb.catalog.rows("SELECT fates, notes FROM documents WHERE source = ? AND died IS NULL", (uri,))
        rows = kb.catalog.rows(
            """SELECT c.row FROM chunks c JOIN documents d ON d.seq = c.document
               WHERE d.source = ? AND d.died IS NULL""",
            (uri,),
        )
        fates: Counter[str] = Counter()
        notes: dict[str, None] = {}
        for one, said in documents:
            fates.update(json.loads(one))
            notes |= dict.fromkeys(json.loads(said))
        for one, original, similarity in _duplicates(kb, uri):
            notes[f"{one} is a near duplicate of {original} ({similarity:.0%} of the wording): not indexed"] = None
        dropped = {key.partition(": ")[2]: count for key, count in fates.items() if key.startswith("dropped")}
        yield FileStatus(
            name=name,
            path=uri,
            kind=kind,
            status=state,
            reason=reason,
            documents=len(documents),
            chunks=len(rows),
            embedded=int(kb.index.holds(np.array([row for (row,) in rows], dtype=np.int64)).sum()),
            indexed=fates["indexed"],
            dropped=dropped,
            truncated=sum(count for key, count in fates.items() if key.startswith("truncated")),
            notes=tuple(notes)[:20],
        )
