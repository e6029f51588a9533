"""Questions about one generation that the catalogue answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.store import SourceRow
from llmkit.types import Document

_ALIVE = "born <= ? AND (died IS NULL OR died > ?)"
_SOURCE = "uri, root, name, kind, sha256, size, status, reason, access"


class GenerationReads:
    """Read-only queries on the documents, chunks and sources of one generation."""

    def __init__(self, catalog: Catalog, generation: int) -> None:
        self.catalog = catalog
        self.generation = generation

    def live_rows(self) -> NDArray[np.int64]:
        """Rows of the live chunks, ascending, shape (n,)."""
        return self.catalog.live_rows(self.generation)

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

    def sources(self, *, name: str | None = None, root: str | None = None) -> list[SourceRow]:
        """Files that were read, by name; only those of a name or of a root where one is given."""
        sql = f"""SELECT {_SOURCE} FROM sources WHERE {_ALIVE} AND (? IS NULL OR name = ?) AND (? IS NULL OR root = ?)
                  ORDER BY name"""  # noqa: S608
        rows = self.catalog.rows(sql, (self.generation, self.generation, name, name, root, root))
        return [source_row(row) for row in rows]

    def source_of(self, name: str) -> str | None:
        """The source of a document, live or of an older generation; None where there never was one."""
        found = self.catalog.rows("SELECT source FROM documents WHERE id = ? ORDER BY seq DESC LIMIT 1", (name,))
        return str(found[0][0]) if found else None

    def every_version(self) -> Iterator[tuple[Document, str]]:
        """Every version of every document that some generation still shows, with its source."""
        sql = "SELECT id, text, title, metadata, access, source FROM documents ORDER BY seq"
        for name, text, title, metadata, access, source in self.catalog.each(sql, size=50):
            yield Document(name, text, title, json.loads(metadata), access=tuple(json.loads(access))), source


def source_row(row: Sequence[Any]) -> SourceRow:
    """A row of the table ``sources``, in the order of the fields of :class:`llmkit.knowledge.store.SourceRow`."""
    uri, root, name, kind, sha256, size, status, reason, access = row
    return SourceRow(uri, root, name, kind, sha256, size, status, reason, tuple(json.loads(access)))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
