"""The vectors of a generation, from the files that the catalogue names."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import EmbeddingSpace
from llmkit.knowledge.local import spaces
from llmkit.knowledge.local.ann import faiss_build
from llmkit.knowledge.local.ann.ann_index import CodedIndex
from llmkit.knowledge.local.reads import GenerationReads
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.flat_index import FlatIndex
from llmkit.knowledge.local.vectors.index_file import IndexFile
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.local.vectors.vector_set import VectorSet


@dataclass(frozen=True)
class _Named:
    """What one commit of the catalogue says of the vectors: read apart, a compaction in between would mix two."""

    shown: int
    """The last row of the generation shown."""
    listed: list[Segment]
    dead: NDArray[np.int64]
    """Rows that the generation shows no more."""
    index: IndexFile | None
    """Where it is of the encoder of the generation shown: of older ones there is none."""


def open_vectors(view: GenerationReads, space: EmbeddingSpace) -> VectorSet:
    """Vectors of the generation that `view` reads, which are of `space`.

    Raises:
        KnowledgeError: a vector file is missing or damaged.
    """
    for _ in range(5):
        try:
            return _load(view, space, _named(view, space))
        except FileNotFoundError as error:  # merged away by a writer since the catalogue was read
            missing = error
            time.sleep(0.05)
    if index_file.FOLDER in str(missing.filename):
        view.notes.add(f"the vector index {missing.filename} is missing, vectors are searched exactly: {_MEND}")
        return _load(view, space, replace(_named(view, space), index=None))
    raise KnowledgeError(f"the vector file {missing.filename} is missing: {segments.RECOVER}")


_MEND = "llmkit kb repair makes it anew"


def _named(view: GenerationReads, space: EmbeddingSpace) -> _Named:
    catalog, generation = view.catalog, view.generation
    with catalog.snapshot():
        newest = spaces.every(catalog)[-1]
        index = index_file.named(catalog)
        usable = index is not None and space == newest and index.last >= newest.first_row
        last = catalog.rows("SELECT row FROM chunks WHERE born <= ? ORDER BY row DESC LIMIT 1", (generation,))
        dead = catalog.rows("SELECT row FROM chunks WHERE died IS NOT NULL AND died <= ?", (generation,))
        return _Named(
            last[0][0] if last else 0,
            spaces.listed(catalog, space),
            np.fromiter((row for (row,) in dead), dtype=np.int64, count=len(dead)),
            index if usable else None,
        )


def _load(view: GenerationReads, space: EmbeddingSpace, named: _Named) -> VectorSet:
    """Rows that an index covers stay on disk; those after it are read."""
    index, shown = named.index, named.shown
    covered, rest = StoredRows(space.dim), FlatIndex(space.dim)
    for segment in named.listed:
        vectors = segments.read(view.path / segments.FOLDER, segment, space.dim)
        inside = int(np.searchsorted(segment.ids, index.last, side="right")) if index else 0
        covered.append(segment.ids[:inside], vectors[:inside])
        end = int(np.searchsorted(segment.ids, shown, side="right"))
        rest.add(segment.ids[inside:end], vectors[inside:end])
    head = _head(view, index, covered, shown) if index else None
    if index and head is None:
        return _load(view, space, replace(named, index=None))
    parts = [part for part in (head, rest) if part is not None and part.rows.runs.size]
    for part in parts:
        part.remove(named.dead)
    return VectorSet(space.dim, parts, index.certificate if index else None)


def _head(view: GenerationReads, index: IndexFile, rows: StoredRows, shown: int) -> CodedIndex | FlatIndex | None:
    """The rows of the index file; None, and a note, where it cannot be read or is not of these rows."""
    path = view.path / index_file.FOLDER / index.file
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    if (rows.runs.size, rows.runs.last) != (index.rows, index.last):
        if index_file.named(view.catalog) != index:
            raise FileNotFoundError(2, "replaced meanwhile", str(path))
        view.notes.add(f"the vector index {index.file} is of other rows, vectors are searched exactly: {_MEND}")
        return None
    try:
        mapped = faiss_build.mapped(path, index.certificate.structure)
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2][:120]
        view.notes.add(
            f"the vector index {index.file} cannot be read ({reason}), vectors are searched exactly: {_MEND}"
        )
        return None
    rows.bury(_after(rows, shown))
    if index.certificate.structure == "flat":
        return FlatIndex(rows.dim, rows, mapped)
    return CodedIndex(rows, mapped, index.certificate)


def _after(rows: StoredRows, shown: int) -> NDArray[np.int64]:
    """Ids of rows that an older generation does not show."""
    if rows.runs.last <= shown:
        return np.empty(0, dtype=np.int64)
    ids = rows.runs.ids()
    return ids[ids > shown]
