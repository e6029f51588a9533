"""A knowledge base in a folder of this machine; see :class:`llmkit.knowledge.store.Store`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from llmkit.knowledge.local import access_rows, commit, status
from llmkit.knowledge.local.ann import index_policy
from llmkit.knowledge.local.create import create_catalog, open_catalog
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.maintenance import purge, reencode, rollback, verify
from llmkit.knowledge.recall_bound import Certificate
from llmkit.knowledge.store import Capability, Change, Diff, Erased, Finding, Reencoded
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.protocols import Encoder
from llmkit.types import Document


class LocalStore(Folder):
    """SQLite for the truth, NumPy files and FAISS for vectors, tantivy for BM25; one writer at a time."""

    capabilities: frozenset[Capability] = frozenset(
        ("bm25", "exact", "as_of", "private_statistics", "erase", "vector_index")
    )

    @classmethod
    def create(cls, path: Path, made_with: Mapping[str, str], encoder: Encoder | None = None) -> Self:
        """Make an empty knowledge base with these settings.

        Raises:
            KnowledgeError: the folder is not empty, or cannot be made.
        """
        return cls(create_catalog(path, made_with), encoder)

    @classmethod
    def open(cls, path: Path, encoder: Encoder | None = None) -> Self:
        """Open a knowledge base; `encoder` is used instead of the one that was written down.

        Raises:
            KnowledgeError: there is none, or it was never finished.
        """
        return cls(open_catalog(path), encoder)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether a folder holds a knowledge base."""
        return (path / "catalog.sqlite").is_file()

    @contextmanager
    def writing(self, purpose: str) -> Iterator[None]:
        """Keep other writers out for the block; a vector index that is due afterwards is made.

        Raises:
            Busy: another writer is at work.
        """
        with self.exclusive(purpose):
            yield
            index_policy.keep_up(self)

    def commit(self, note: str, change: Change) -> int:
        """Apply a change as the next generation: all of it or nothing. Returns the generation."""
        with self.writing(note):
            return commit.commit(self, note, change)

    def known_vectors(self, keys: Sequence[bytes]) -> dict[tuple[bytes, str], int]:
        """Rows that hold the vector of a key, by (key, labels as JSON) and by (key, id of the document)."""
        return commit.known_vectors(self.catalog, keys, self.newest.space.first_row)

    def signatures(self) -> Iterator[tuple[str, bytes]]:
        """Id and MinHash of every live document that has one."""
        return commit.signatures(self.catalog)

    def lost_duplicates(self, leaving: Iterable[str]) -> list[tuple[str, Document]]:
        """Near duplicates, with source and structure, whose original is gone, or is among the ids that leave now."""
        return commit.lost_duplicates(self.catalog, leaving)

    def root_labels(self) -> dict[str, tuple[str, ...]]:
        """Access labels by the root they were set for."""
        return access_rows.root_labels(self.catalog)

    def set_root_labels(self, labels: Mapping[str, tuple[str, ...]]) -> None:
        """Write down access labels of roots; outside of any generation."""
        access_rows.set_root_labels(self.write_catalog, labels)

    def id_ending(self, end: str) -> str | None:
        """The id of some document of any generation whose last path component is `end`."""
        return purge.similar_id(self.catalog, end)

    def rollback(self, to: int | str) -> Diff:
        """Commit a generation that holds what an older one held; nothing is encoded.

        Raises:
            KnowledgeError: no such generation, it was compacted, or another process is writing.
        """
        with self.writing("rollback"):
            return rollback.rollback(self, to)

    def compact(self, keep: int = 1) -> Erased:
        """Drop what only generations older than the last `keep` can show, and give the space back."""
        with self.writing("compact"):
            return purge.compact(self, keep)

    def erase(self, ids: Sequence[str], before: Callable[[Sequence[str]], None] = lambda _: None) -> Erased:
        """Take documents out of every generation; `before` is called with every id once this is sure to succeed."""
        with self.writing("forget"):
            return purge.erase(self, ids, before)

    def reencode(self, encoder: Encoder, on_progress: Callable[[int, int], None] | None = None) -> Reencoded:
        """Encode every live passage with another encoder, as one new generation."""
        with self.writing("adopt an encoder"):
            return reencode.reencode(self, encoder, on_progress)

    def build_index(
        self, settings: VectorSettings | None = None, tell: Callable[[str], None] = lambda text: None
    ) -> tuple[Certificate, list[Certificate]]:
        """Build the vector index now; returns what was chosen and all that was tried.

        Raises:
            KnowledgeError: there is nothing to index, or another process is writing.
        """
        with self.writing("index the vectors"):
            return index_policy.build(self, tell, settings=settings)

    def verify(self) -> list[Finding]:
        """Compare everything derived with the catalogue, and change nothing."""
        return verify.verify(self)

    def repair(self) -> list[Finding]:
        """Make anew what is damaged and derived; returns what was found."""
        return verify.repair(self)

    def stats(self) -> Mapping[str, Any]:
        """Sizes in bytes by part."""
        return status.sizes(self.newest)
