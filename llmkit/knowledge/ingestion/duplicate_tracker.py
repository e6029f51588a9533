"""Near duplicates while a knowledge base is written: which documents are, and which are no longer."""

from __future__ import annotations

from llmkit.knowledge.ingestion.batch import Batch
from llmkit.knowledge.ingestion.near_duplicates import NearDuplicates
from llmkit.knowledge.store import NearDuplicate, Snapshot, Store
from llmkit.types import Document


class DuplicateTracker:
    """Compares documents with those that are indexed now or will be with the batch."""

    def __init__(self, store: Store, threshold: float) -> None:
        """Read the signatures of the documents that are there; `threshold`: least Jaccard similarity."""
        self._store = store
        self.near = NearDuplicates(store.signatures(), threshold)

    def original_of(self, document: Document, batch: Batch, snapshot: Snapshot) -> NearDuplicate | None:
        """What the document is a near duplicate of; one that is none is noted, to be compared with."""
        self.near.remove(document.id)
        for name in self.near.candidates(document):
            original = self._indexed(name, batch, snapshot)
            found = self.near.compare(document, original) if original else None
            if found:
                return found
        self.near.add(document)
        return None

    def lost(self, batch: Batch) -> list[tuple[str, Document]]:
        """Near duplicates, with their sources, whose original is gone, goes, or changes with the batch."""
        return self._store.lost_duplicates(batch.removed)

    def without_original(self, batch: Batch, snapshot: Snapshot) -> list[int]:
        """Positions of the batch's own near duplicates whose originals it took out afterwards."""
        found = []
        for position, (_, document, _) in enumerate(batch.documents):
            known = batch.duplicates.get(document.id)
            original = self._indexed(known.original, batch, snapshot) if known else None
            if known and (original is None or original.version != known.version):
                found.append(position)
        return found

    def _indexed(self, name: str, batch: Batch, snapshot: Snapshot) -> Document | None:
        """A document that has chunks now, or will have them with this batch."""
        if name in batch.by_id:
            return None if name in batch.duplicates else batch.by_id[name][1]
        known = snapshot.find(name)
        if known is None or known.is_duplicate or name in batch.removed:
            return None
        return snapshot.document(name)
