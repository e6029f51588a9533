"""Near duplicates while a knowledge base is written: which documents are, and which are no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.knowledge.ingestion.near_duplicates import NearDuplicates, Twin, with_blocks
from llmkit.types import Document

if TYPE_CHECKING:
    from llmkit.knowledge.ingestion.writer import Writer


class Twins:
    """Compares the documents of a writer's batch with what is indexed or will be."""

    def __init__(self, writer: Writer, threshold: float) -> None:
        self.writer, self.catalog = writer, writer.kb.catalog
        self.near = NearDuplicates(self.catalog, threshold)

    def of(self, document: Document) -> Twin | None:
        """What the document is a near duplicate of; a document that is none is noted, to be compared with."""
        self.near.remove(document.id)
        for name in self.near.candidates(document):
            original = self._indexed(name)
            twin = self.near.twin(document, original) if original else None
            if twin:
                return twin
        self.near.add(document)
        return None

    def compare_again(self) -> None:
        """Compare those whose original is gone, goes, or changes with the batch; the batch is changed where need be."""
        batch = self.writer.batch
        sql = """SELECT t.document, d.source, t.blocks FROM duplicates t
                 JOIN documents d ON d.seq = t.document AND d.died IS NULL """
        lost = self.catalog.rows(
            f"""{sql} LEFT JOIN documents o ON o.id = t.original AND o.version = t.version AND o.died IS NULL
                AND o.seq NOT IN (SELECT document FROM duplicates) WHERE o.seq IS NULL"""  # noqa: S608
        )
        for seq in list(batch.dead_documents):
            lost += self.catalog.rows(f"{sql} JOIN documents o ON o.id = t.original WHERE o.seq = ?", (seq,))
        for seq, source, blocks in sorted(set(lost)):
            if seq not in batch.dead_documents:
                (document,) = self.catalog.documents("seq = ?", (seq,))
                self.writer.take(source, with_blocks(document, blocks), seq)
        if batch.dead_documents:
            self._within_batch()

    def _within_batch(self) -> None:
        """Those of the batch itself, whose originals it took out afterwards."""
        batch = self.writer.batch
        for at, (source, document, _) in enumerate(batch.documents):
            twin = batch.twins.get(document.id)
            original = self._indexed(twin.original) if twin else None
            if twin and (original is None or original.version != twin.version):
                batch.documents[at] = (source, document, self.writer.chunks_of(document))

    def _indexed(self, name: str) -> Document | None:
        """A document that has chunks now, or will have them with this batch."""
        batch = self.writer.batch
        if name in batch.given:
            return None if name in batch.twins else batch.given[name]
        known = self.writer.live(name)
        if known is None or self.catalog.rows("SELECT 1 FROM duplicates WHERE document = ?", (known[0],)):
            return None
        return next(iter(self.catalog.documents("seq = ?", (known[0],))))
