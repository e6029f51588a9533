"""Ingestion: files and folders become documents; unchanged files are read but not encoded again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from llmkit.errors import DataError
from llmkit.knowledge.access_labels import RootLabels, labels, settled
from llmkit.knowledge.ingestion.progress import IngestSummary, Progress
from llmkit.knowledge.ingestion.writer import Writer
from llmkit.knowledge.store import SourceRow
from llmkit.text.loading.load_files import Limits, Loaded, load_all
from llmkit.text.loading.scan_files import Skipped, Source, digest, scan
from llmkit.types import Document


def ingest(
    writer: Writer,
    roots: Sequence[Path],
    *,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    workers: int = 2,
    reparse: bool = False,
    access: str | Iterable[str] | None = None,
) -> IngestSummary:
    """Make the knowledge base hold what the roots hold now.

    New and changed files are read, split and encoded; unchanged ones (by SHA-256) are left alone; documents of files
    that are gone from a scanned root are removed. What was committed before an interruption stays, and the next
    ingest goes on from there.

    Args:
        writer: of the knowledge base, not yet entered.
        roots: files and folders.
        limits: of size, time and memory for one file.
        on_progress: called after every file.
        workers: processes that parse.
        reparse: read unchanged files again too.
        access: labels for these roots, now and in later ingests; empty: everybody; None: as was said before.

    Raises:
        DataError: a root that does not exist.
        KnowledgeError: another process is writing.
    """
    started = time.perf_counter()
    with writer:
        work = _Ingest(writer, on_progress)
        if access is not None:
            work.limits.set(roots, labels(access) if access else ())
        work.find(roots)
        for loaded in load_all(work.changed(reparse), limits or Limits(), workers):
            work.take(loaded)
        writer.flush()
        work.drop_unlimited()
        writer.flush()
    return work.finish(started)


def add(writer: Writer, documents: Iterable[Document], *, source: str) -> IngestSummary:
    """Add or replace documents by id; those of the same version are left alone.

    `problems` of the summary say where an id was given twice, or is another source's.

    Args:
        writer: of the knowledge base, not yet entered.
        documents: what to add.
        source: whose they are.
    """
    started = time.perf_counter()
    with writer:
        work = _Ingest(writer, None)
        for note in work.documents(documents, source, ""):
            work.problem(source, "parsed", note)
        writer.flush()
    return work.finish(started)


class _Ingest:
    def __init__(self, writer: Writer, on_progress: Callable[[Progress], None] | None) -> None:
        self.writer, self.on_progress = writer, on_progress
        self.summary = IngestSummary()
        self.statuses: Counter[str] = Counter()
        self.total = 0
        self.hashes: dict[str, str] = {}
        """SHA-256 of the files on their way through the parsers."""
        self.limits = RootLabels(writer.store)

    def find(self, roots: Sequence[Path]) -> None:
        """Look at everything once: note what is there, take out what is gone."""
        seen: set[str] = set()
        self.roots = [root.expanduser().resolve() for root in roots]
        lost = []
        for item in self.scan(roots):
            if isinstance(item, Skipped):
                self.summary.skipped += 1
                kept = " (what was read below it before is kept)" if item.lost else ""
                self.problem(str(item.path), "skipped", item.reason + kept)
                lost += [item.path] if item.lost else []
                # it is there: what was read from it before, while it could be, stays
                seen.add(str(item.path))
                continue
            seen.add(str(item.path))
            self.total += 1
        gone = [
            row.uri
            for root in self.roots
            for row in self.writer.snapshot.sources(under=str(root))
            if row.uri not in seen
        ]
        for uri in dict.fromkeys(gone):
            if any(Path(uri).is_relative_to(folder) for folder in lost):
                continue
            self.summary.removed += self.writer.remove_source(uri)
        self.given = roots

    def drop_unlimited(self) -> None:
        """Take out what could not be read again and is open to others than it was said now."""
        for row in self.writer.snapshot.sources():
            inside = any(Path(row.uri).is_relative_to(root) for root in self.roots)
            if inside and set(row.access) != set(self.limits.of(row.uri)):
                self.summary.removed += self.writer.remove_source(row.uri)
                self.problem(row.name, "skipped", "it could not be read again for its new readers and was taken out")

    def scan(self, roots: Sequence[Path]) -> Iterator[Source | Skipped]:
        """Everything below the roots but this knowledge base itself."""
        own = Path(self.writer.store.location).resolve()
        for item in scan(roots):
            if not item.path.is_relative_to(own):
                yield item

    def changed(self, reparse: bool) -> Iterable[Source]:
        """The files that must be read."""
        for item in self.scan(self.given):
            if isinstance(item, Skipped):
                continue
            uri = str(item.path)
            try:
                content = digest(item.path)
            except OSError:
                content = ""  # the loader will say why
            known = self.writer.snapshot.source(uri)
            same = (
                known is not None
                and (known.name, known.sha256) == (item.id, content)
                and known.status in ("parsed", "empty")
                and set(known.access) == set(self.limits.of(uri))
            )
            if not reparse and content and same:
                self.summary.unchanged += 1
                self.done(item.id, "unchanged")
                continue
            self.hashes[uri] = content
            yield item

    def take(self, loaded: Loaded) -> None:
        """One file, read or not."""
        source = loaded.source
        uri, content = str(source.path), self.hashes.pop(str(source.path), "")
        reason = loaded.reason
        about = uri, str(source.root), source.id, loaded.kind
        limit = self.limits.of(uri)
        if loaded.status in ("parsed", "empty"):
            why = "an ingest was interrupted in the middle of it; the next one reads it again"
            self.writer.begin_source(SourceRow(*about, "", source.size, "partial", why, limit))
            notes = self.documents(loaded.documents, uri, source.id, limit)
            rejected = getattr(loaded.documents, "rejected_count", 0)
            if rejected:
                some = "; ".join(loaded.documents.rejected)  # type: ignore[attr-defined]
                notes.insert(0, f"{rejected} rows were rejected: {some}")
            reason = "; ".join(filter(None, [reason, *notes]))
        else:
            self.summary.failed += 1
            kept = len(self.writer.snapshot.document_ids(uri))
            noted = self.writer.snapshot.source(uri)
            if kept and noted and set(noted.access) != set(limit):
                self.summary.removed += self.writer.remove_source(uri)
                reason += f" (what was read from it before was for other readers and is taken out: {kept} documents)"
            elif kept:
                reason += f" (what was read from it before is kept: {kept} documents)"
        if reason:
            self.problem(source.id, loaded.status, reason)
        self.writer.put_source(SourceRow(*about, content, source.size, loaded.status, reason, limit))
        self.done(source.id, loaded.status)

    def documents(
        self, documents: Iterable[Document], source: str, name: str, limit: tuple[str, ...] = ()
    ) -> list[str]:
        """Put documents in; those the source had before and has no more are taken out. Returns what to tell."""
        mine = source if name else ""  # what is added through the API is added to, never taken out by what is not named
        before = dict.fromkeys(self.writer.snapshot.document_ids(mine))
        taken: dict[str, int] = {}
        renamed = 0
        refused: list[str] = []
        for given in documents:
            try:
                document = settled(given, limit)
            except DataError as error:
                refused.append(f"{given.id}: {error}")
                continue
            known = self.writer.live(document.id)
            if known is not None and known[0] != source:
                document = replace(document, id=f"{name or source}:{document.id}")
                renamed += 1
                known = self.writer.live(document.id)
            taken[document.id] = taken.get(document.id, 0) + 1
            if taken[document.id] > 1:
                continue
            before.pop(document.id, None)
            if known is not None and known[1] == document.version:
                continue
            self.writer.put(source, document)
            self.summary.documents += 1
        for id_before in before:
            self.writer.remove(id_before)
            self.summary.removed += 1
        twice = sum(count - 1 for count in taken.values())
        notes = []
        if renamed:
            notes.append(f"{renamed} ids are taken by other sources: stored here as '{name or source}:ID'")
        if refused:
            notes.append(f"{len(refused)} documents were left out for their access labels: {'; '.join(refused[:3])}")
        if twice:
            notes.append(f"{twice} documents repeat an id of the same source and were left out")
        return notes

    def done(self, name: str, status: str) -> None:
        """Count a file and tell the listener."""
        self.summary.files += 1
        self.statuses[status] += 1
        if self.on_progress is not None:
            counts = self.writer.chunks, self.writer.encoded
            self.on_progress(Progress(self.summary.files, self.total, *counts, name, status))

    def problem(self, name: str, status: str, reason: str) -> None:
        """Remember what the user should know."""
        if len(self.summary.problems) < 1000:
            self.summary.problems.append((name, status, reason))

    def finish(self, started: float) -> IngestSummary:
        """The totals."""
        summary, writer = self.summary, self.writer
        summary.chunks, summary.encoded, summary.reused = writer.chunks, writer.encoded, writer.reused
        summary.duplicates = writer.duplicates
        summary.given, summary.generation = writer.given, writer.snapshot.generation
        summary.statuses = dict(self.statuses)
        summary.seconds = time.perf_counter() - started
        return summary
