"""A knowledge base as one reader may see it: what that reader may not read does not exist, for any method.

The tables themselves are narrowed, by views over them in a connection of its own, so that whatever is asked of the
catalogue is asked of the permitted part. Words have an index of their own
(:mod:`llmkit.knowledge.local.lexical.reader_indexes`), because
BM25's statistics count every passage of an index. Vectors are searched exactly, and scored one by one in an order of
their own, so that not even the last bit of a score depends on what stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge import embedding_spaces
from llmkit.knowledge.access_labels import labels
from llmkit.knowledge.filters.expression import Where
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.lexical.index import Found, LexicalIndex
from llmkit.knowledge.local.lexical.reader_indexes import open_view
from llmkit.knowledge.local.vectors.load import Vectors
from llmkit.protocols import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmkit.knowledge.filters.expression import Filter

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


class ReaderView(KnowledgeBase):
    """Made by :meth:`KnowledgeBase.as_reader`, or by ``KnowledgeBase.open(path, reader=[...])``; for reading only."""

    exact = True
    """What was trained on all vectors must not decide what is found."""

    def __init__(self, owner: KnowledgeBase, reader: str | Iterable[str], *, owned: bool = False) -> None:
        """Show what holders of these labels may read.

        Args:
            owner: sees all; its vectors are shared while both show the same generation.
            reader: labels; none: what everybody may read.
            owned: close `owner` with this.

        Raises:
            DataError: what is no label.
        """
        self.reader = labels(reader) if reader else ()
        self.owner = owner
        self._owned = owned
        catalog = Catalog(owner.path / "catalog.sqlite")
        for statement in _NARROWED.split(";"):
            catalog.rows(statement)
        for label in self.reader:
            catalog.rows("INSERT INTO reader_labels VALUES (?)", (label,))
        super().__init__(owner.path, catalog, owner.given_encoder, owner.as_of)
        self._forget_past()

    def close(self) -> None:
        """Close the files."""
        super().close()
        if self._owned:
            self.owner.close()

    def as_reader(self, reader: str | Iterable[str], *, owned: bool = False) -> KnowledgeBase:
        """A view of this view: never more than both may read."""
        both = set(labels(reader) if reader else ()) & set(self.reader or ())
        return ReaderView(self.owner, sorted(both), owned=owned)

    def check_writable(self) -> None:
        """Refuse.

        Raises:
            KnowledgeError: always.
        """
        shown = ", ".join(self.reader or ()) or "everybody"
        raise KnowledgeError(f"{self.path} is open for reading as {shown}: only its owner can do this")

    check_owner = check_writable

    @cached_property
    def encoder(self) -> Encoder:
        """The owner's encoder, where both show generations of one."""
        given = self.owner.encoder if self.owner.space == self.space else None
        encoder, note = embedding_spaces.encoder_of(self.space, given, self.path)
        self.notes += [note] if note else []
        return encoder

    @cached_property
    def visible(self) -> NDArray[np.int64]:
        """Rows that may be read, ascending."""
        return self.catalog.live_rows(self.generation)

    @property
    def count(self) -> int:
        """Live chunks that may be read."""
        return len(self.visible)

    @property
    def index(self) -> Vectors:
        """Vectors of the generation that is open, all of them: never searched but within what is visible."""
        return self.owner.index if self.owner.generation == self.generation else self._own.index

    @cached_property
    def _own(self) -> KnowledgeBase:
        return KnowledgeBase(self.path, self.owner.catalog, as_of=self.generation)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """Terms of what is visible, and of nothing else."""
        return open_view(self, self.visible)

    def allowed(self, where: Where) -> NDArray[np.int64]:
        """Visible rows that pass the filter, ascending."""
        found = super().allowed(where)
        return self.visible if found is None else found

    def search_text(self, queries: Sequence[str], k: int, where: Filter | None = None) -> list[Found]:
        """Rows and BM25 scores of the k best chunks for each query, counted among what is visible alone."""
        allowed = None if where is None else self.allowed(where)
        try:
            return self.lexical.search(queries, k, allowed)
        except KnowledgeError:
            self.__dict__["lexical"] = open_view(self, self.visible, anew=True)
            return self.lexical.search(queries, k, allowed)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given.

        Raises:
            KnowledgeError: a row that is not there, for this reader.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if not np.isin(wanted, self.visible).all():
            raise KnowledgeError("asked for the vector of a row that has none")
        return self.index.vectors(wanted)

    def refresh_generation(self) -> None:
        """Move on to the last generation, with the rights of that moment."""
        before = self.generation
        super().refresh_generation()
        if self.generation != before:
            self._forget_past()

    def reread(self) -> None:
        """Drop what was read from memory."""
        for name in ("visible", "lexical", "_own"):
            self.__dict__.pop(name, None)

    def _forget_past(self) -> None:
        """A document whose last version is forbidden, be it gone or not, shows none of its older versions either."""
        self.reread()
        self.catalog.rows("DELETE FROM without_past")
        self.catalog.rows(
            f"""INSERT INTO without_past SELECT d.id FROM main.documents AS d
                WHERE d.seq IN (SELECT max(seq) FROM main.documents GROUP BY id) AND NOT {_READABLE}"""  # noqa: S608
        )
