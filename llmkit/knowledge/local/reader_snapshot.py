"""One generation of a local knowledge base as one reader may see it.

A document that the reader may not read does not exist, for any method. The tables themselves are narrowed, by temporary
views over them in a connection that belongs to the snapshot, so that every question to the catalogue is answered from
the permitted part. BM25 has an index of its own (:mod:`llmkit.knowledge.local.lexical.reader_indexes`), because its
statistics count every passage of an index. Vectors are searched exactly, and scored one by one in a fixed order, so
that not even the last bit of a score depends on what the reader may not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import Encoders
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.lexical.index import LexicalSearcher
from llmkit.knowledge.local.lexical.reader_indexes import open_reader_index
from llmkit.knowledge.local.snapshot import LocalSnapshot
from llmkit.knowledge.local.vectors.vector_set import VectorSet
from llmkit.knowledge.notes import Notes
from llmkit.protocols import Ranking, Where

_READABLE = """(d.access = '[]' OR EXISTS (
    SELECT 1 FROM json_each(d.access) AS a JOIN temp.reader_labels AS l ON l.label = a.value))"""
_NARROWED = f"""
CREATE TEMP TABLE reader_labels (label TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE without_past (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP VIEW documents AS SELECT * FROM main.documents AS d
    WHERE {_READABLE} AND d.id NOT IN (SELECT id FROM temp.without_past);
CREATE TEMP VIEW chunks AS SELECT c.* FROM main.chunks AS c
    WHERE EXISTS (SELECT 1 FROM temp.documents AS d WHERE d.seq = c.document);
CREATE TEMP VIEW sources AS SELECT seq, uri, root, name, kind, '' AS sha256, 0 AS size, 'parsed' AS status,
    '' AS reason, '[]' AS access, born, died FROM main.sources AS s
    WHERE s.uri IN (SELECT source FROM temp.documents WHERE died IS NULL);
CREATE TEMP VIEW generations AS SELECT id, at, '' AS note FROM main.generations;
CREATE TEMP VIEW segments AS SELECT * FROM main.segments WHERE 0;
CREATE TEMP VIEW meta AS SELECT key, value FROM main.meta
    WHERE key NOT IN ('last_row', 'purged') AND key NOT LIKE 'access:%'
"""  # noqa: S608


class ReaderSnapshot(LocalSnapshot):
    """What a holder of some access labels may read of an owner's snapshot."""

    def __init__(self, owner: LocalSnapshot, encoders: Encoders, labels: Sequence[str], notes: Notes) -> None:
        """Show what a holder of `labels` may read; vectors are shared with `owner`.

        The rights are those of the moment this is opened. A document whose last version is forbidden, whether it is
        still there or not, shows none of its older versions either.
        """
        catalog = Catalog(owner.path / "catalog.sqlite")
        for statement in _NARROWED.split(";"):
            catalog.rows(statement)
        for label in labels:
            catalog.rows("INSERT INTO reader_labels VALUES (?)", (label,))
        catalog.rows(
            f"""INSERT INTO without_past SELECT d.id FROM main.documents AS d
                WHERE d.seq IN (SELECT max(seq) FROM main.documents GROUP BY id) AND NOT {_READABLE}"""  # noqa: S608
        )
        super().__init__(catalog, owner.generation, owner.space, encoders, owner.language, notes)
        self.reader = tuple(labels)
        self._owner = owner

    @property
    def index(self) -> VectorSet:
        """The owner's vectors, all of them: never searched but within what is visible."""
        return self._owner.index

    @cached_property
    def visible(self) -> NDArray[np.int64]:
        """Rows that may be read, ascending."""
        return self.catalog.live_rows(self.generation)

    @cached_property
    def count(self) -> int:
        """Live chunks that may be read."""
        return len(self.visible)

    @property
    def lexical(self) -> LexicalSearcher:
        """The BM25 index of what is visible, and of nothing else."""
        if self._lexical is None:
            with self._lock:
                if self._lexical is None:
                    self._lexical = open_reader_index(self, self.visible)
        return self._lexical

    def search_dense(
        self, queries: NDArray[np.float32], k: int, where: Where = None, *, exact: bool = False
    ) -> list[Ranking]:
        """Rows and inner products, always exact: an index trained on all vectors must not decide what is found."""
        return super().search_dense(queries, k, where, exact=True)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given.

        Raises:
            KnowledgeError: a row that is not there, for this reader.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if not np.isin(wanted, self.visible).all():
            raise KnowledgeError("asked for the vector of a row that has none")
        return super().vectors(wanted)

    def close(self) -> None:
        """Close the connection."""
        self.catalog.close()

    def _allowed(self, where: Where) -> NDArray[np.int64]:
        found = self._passing(where)
        return self.visible if found is None else found

    def _rebuilt(self) -> LexicalSearcher:
        return open_reader_index(self, self.visible, anew=True)

    def _purged(self) -> bool:
        row = self.catalog.rows("SELECT value FROM main.meta WHERE key = 'purged'")
        return bool(row) and int(row[0][0]) > self.generation
