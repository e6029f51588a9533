"""Questions about one generation that the catalogue answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge.filters.where import as_filter
from llmkit.knowledge.local import generations
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.filter_sql import compile_filter
from llmkit.knowledge.notes import Notes
from llmkit.knowledge.store import Diff, Generation, LiveDocument, SourceRow
from llmkit.protocols import Where
from llmkit.types import Chunk, Document

_ALIVE = "born <= ? AND (died IS NULL OR died > ?)"
_SOURCE = "uri, root, name, kind, sha256, size, status, reason, access"


class GenerationReads:
    """Read-only queries on the documents, chunks and sources of one generation."""

    def __init__(self, catalog: Catalog, generation: int, language: str, notes: Notes) -> None:
        """Read `generation` from `catalog`; `language` is the one in which words are stemmed."""
        self.path: Path = catalog.path.parent
        self.catalog = catalog
        self.generation = generation
        self.language = language
        self.notes = notes

    def live_rows(self, where: Where = None) -> NDArray[np.int64]:
        """Rows of the live chunks, of those that pass `where`, ascending, shape (n,)."""
        if where is None:
            return self.catalog.live_rows(self.generation)
        condition, parameters = compile_filter(as_filter(where))
        return self.catalog.live_rows(self.generation, condition, parameters)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Rows of the chunks of these documents, in the order of the ids and of the text; unknown ids have none."""
        found: dict[str, list[int]] = {}
        for at in range(0, len(ids), 500):
            some = list(ids[at : at + 500])
            rows = self.catalog.rows(
                f"""SELECT d.id, c.row FROM chunks c JOIN documents d ON d.seq = c.document
                    WHERE d.id IN ({_marks(some)}) AND d.born <= ? AND (d.died IS NULL OR d.died > ?)
                    ORDER BY c.ordinal""",  # noqa: S608
                (*some, self.generation, self.generation),
            )
            for name, row in rows:
                found.setdefault(name, []).append(row)
        return [row for name in ids for row in found.get(name, ())]

    def log(self) -> list[Generation]:
        """Every generation, oldest first."""
        return generations.log(self.catalog)

    def diff(self, a: int | str, b: int | str) -> Diff:
        """Documents that differ between two generations (numbers or dates)."""
        return generations.diff(self.catalog, a, b)

    def whole_document(self, row: int) -> tuple[str, tuple[Chunk, ...]]:
        """Text and all chunks, in order, of the version of a document that a chunk belongs to.

        Raises:
            KnowledgeError: there is no such chunk.
        """
        rows = self.catalog.rows(
            """SELECT c.row FROM chunks c WHERE c.document = (SELECT document FROM chunks WHERE row = ?)
               ORDER BY c.ordinal""",
            (int(row),),
        )
        text = self.catalog.rows(
            "SELECT d.text FROM documents d JOIN chunks c ON c.document = d.seq WHERE c.row = ?", (int(row),)
        )
        chunks = self.catalog.chunks([one for (one,) in rows] or [int(row)])
        return text[0][0], tuple(chunks)

    def find(self, name: str) -> LiveDocument | None:
        """A live document without its text; None where there is none."""
        found = self.catalog.rows(
            f"""SELECT id, source, version, EXISTS (SELECT 1 FROM duplicates t WHERE t.document = seq)
                FROM documents WHERE id = ? AND {_ALIVE}""",  # noqa: S608
            (name, self.generation, self.generation),
        )
        for document, source, version, duplicate in found:
            return LiveDocument(document, source, version, bool(duplicate))
        return None

    def document(self, name: str, version: str | None = None) -> Document | None:
        """The live version of a document, or the version named, in whatever generation; None where there is none."""
        return self.catalog.document(name, version, self.generation)

    def documents(self, ids: Sequence[str] | None = None) -> Iterator[Document]:
        """Live documents, without their structure blocks: all of them, or those of `ids` that exist, by id."""
        alive = (self.generation, self.generation)
        if ids is None:
            yield from self.catalog.documents(f"{_ALIVE} ORDER BY id", alive)
            return
        names = sorted(set(ids))
        for at in range(0, len(names), 500):
            some = names[at : at + 500]
            yield from self.catalog.documents(f"id IN ({_marks(some)}) AND {_ALIVE} ORDER BY id", (*some, *alive))

    def versions(self) -> dict[str, str]:
        """Version of every live document by its id, in the order of the ids."""
        sql = f"SELECT id, version FROM documents WHERE {_ALIVE} ORDER BY id"  # noqa: S608
        return dict(self.catalog.rows(sql, (self.generation, self.generation)))

    def document_ids(self, source: str | None = None) -> list[str]:
        """Ids of the live documents, of all sources or of one, in the order they were added."""
        sql = f"SELECT id FROM documents WHERE {_ALIVE} AND (? IS NULL OR source = ?) ORDER BY seq"  # noqa: S608
        return [name for (name,) in self.catalog.rows(sql, (self.generation, self.generation, source, source))]

    def documents_by_source(self) -> dict[str, list[str]]:
        """Ids of the live documents by source, in the order they were added."""
        found: dict[str, list[str]] = {}
        sql = f"SELECT source, id FROM documents WHERE {_ALIVE} ORDER BY seq"  # noqa: S608
        for source, name in self.catalog.rows(sql, (self.generation, self.generation)):
            found.setdefault(source, []).append(name)
        return found

    def sources(self, *, name: str | None = None, root: str | None = None, under: str | None = None) -> list[SourceRow]:
        """Sources, by name; only those of a name, of a root, or at and below a path, where one is given."""
        sql = f"""SELECT {_SOURCE} FROM sources WHERE {_ALIVE} AND (? IS NULL OR name = ?) AND (? IS NULL OR root = ?)
                  AND (? IS NULL OR uri = ? OR substr(uri, 1, ?) = ?) ORDER BY name"""  # noqa: S608
        below = under, under, len(under or "") + 1, f"{under}/"
        rows = self.catalog.rows(sql, (self.generation, self.generation, name, name, root, root, *below))
        return [source_row(row) for row in rows]

    def source(self, uri: str) -> SourceRow | None:
        """The source of a URI; None where there is none."""
        sql = f"SELECT {_SOURCE} FROM sources WHERE uri = ? AND {_ALIVE}"  # noqa: S608
        found = self.catalog.rows(sql, (uri, self.generation, self.generation))
        return source_row(found[0]) if found else None

    def source_of(self, name: str) -> str | None:
        """The source of a document, live or of an older generation; None where there never was one."""
        found = self.catalog.rows("SELECT source FROM documents WHERE id = ? ORDER BY seq DESC LIMIT 1", (name,))
        return str(found[0][0]) if found else None

    def every_version(self, ids: Sequence[str] | None = None) -> Iterator[tuple[Document, str]]:
        """Every kept version of every document, or of those of `ids`, of any generation, with its source."""
        fields = "SELECT id, text, title, metadata, access, source FROM documents"
        if ids is None:
            rows = self.catalog.each(f"{fields} ORDER BY seq", size=50)
        else:
            rows = (row for name in ids for row in self.catalog.rows(f"{fields} WHERE id = ? ORDER BY seq", (name,)))
        for name, text, title, metadata, access, source in rows:
            yield Document(name, text, title, json.loads(metadata), access=tuple(json.loads(access))), source


def source_row(row: Sequence[Any]) -> SourceRow:
    """A row of the table ``sources``, in the order of the fields of :class:`llmkit.knowledge.store.SourceRow`."""
    uri, root, name, kind, sha256, size, status, reason, access = row
    return SourceRow(uri, root, name, kind, sha256, size, status, reason, tuple(json.loads(access)))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
