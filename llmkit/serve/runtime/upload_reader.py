"""Reads uploaded files into the knowledge base, in one thread, a folder at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmkit import config
from llmkit.errors import Busy, Cancelled, LlmkitError
from llmkit.knowledge.ingestion.progress import Progress
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.serve.errors import HttpError
from llmkit.serve.runtime.knowledge_pool import KnowledgePool
from llmkit.serve.runtime.log import log_failure
from llmkit.serve.settings import Settings
from llmkit.serve.storage.uploads import Upload, UploadStore, mismatched_knowledge_base

_MAX_BUSY_SECONDS = 600.0  # how long another process may write before an upload fails
_MAX_WRITE_WAIT = 10.0  # how long a deletion waits for uploads that are read

Work = tuple[Path, tuple[str, ...]]


class UploadReader:
    """The one thread of a server that writes into the knowledge base.

    Files that an earlier process accepted and did not read are read first, unless they belong to another knowledge
    base.

    Args:
        settings: settings of the server.
        store: the uploaded files.
        knowledge: the knowledge base; the first upload creates it.
    """

    def __init__(self, settings: Settings, store: UploadStore, knowledge: KnowledgePool) -> None:
        self._settings, self._store, self._knowledge = settings, store, knowledge
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        if mismatched_knowledge_base(settings) is None:
            self.read(store.restore())

    def read(self, uploads: Sequence[Upload]) -> None:
        """Put uploads into the queue."""
        folders = {self._store.folder / upload.name.partition("/")[0]: upload.labels for upload in uploads}
        for folder, labels in folders.items():
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="llmkit uploads", daemon=True)
                    self._thread.start()
            self._work.put((folder, labels))

    @contextmanager
    def open_for_writing(self) -> Iterator[KnowledgeBase]:
        """Open the knowledge base for a change, once no upload is being read. The next lease shows the change.

        Raises:
            HttpError: 409, uploads are still being read.
        """
        if not self._writing.acquire(timeout=_MAX_WRITE_WAIT):
            raise HttpError(409, "uploaded files are being read: try again in a moment", code="busy", retry_after=10)
        try:
            with KnowledgeBase.open(self._knowledge.path, encoder=self._knowledge.encoder) as kb:
                yield kb
        finally:
            self._writing.release()
            self._knowledge.refresh()

    def close(self) -> None:
        """Stop after the file that is being read. The next start of the server reads the rest."""
        self._stopped.set()
        self._work.put(None)
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while (work := self._work.get()) is not None and not self._stopped.is_set():
            folder, labels = work
            batch = {upload.name: upload for upload in self._store.unfinished(folder)}
            if not batch:
                continue  # they were read with the previous batch
            try:
                self._read_batch(folder, labels, batch)
                self._store.mark_read(list(batch.values()))
            except Cancelled:
                return
            except Exception as error:  # the next batch may succeed
                if not isinstance(error, LlmkitError):
                    log_failure("uploads", error)
                reason = str(error) if isinstance(error, LlmkitError) else f"{type(error).__name__} while it was read"
                for upload in batch.values():
                    upload.status, upload.reason = "failed", reason

    def _read_batch(self, folder: Path, labels: tuple[str, ...], batch: dict[str, Upload]) -> None:
        def show_progress(progress: Progress) -> None:
            if self._stopped.is_set():
                raise Cancelled("the server is being stopped")
            if progress.name in batch:
                batch[progress.name].status = "reading"

        if not self._knowledge.exists:
            self._knowledge.create(config.build_part("encoder", self._settings.encoder))  # type: ignore[arg-type]
        deadline = time.monotonic() + _MAX_BUSY_SECONDS
        with self._writing, KnowledgeBase.open(self._knowledge.path, encoder=self._knowledge.encoder) as kb:
            while True:
                try:
                    kb.ingest([folder], on_progress=show_progress, workers=1, access=labels or None)
                    break
                except Busy:
                    if time.monotonic() > deadline or self._stopped.wait(1):
                        raise
            sources = kb.sources(root=str(folder))
        self._knowledge.refresh()
        for source in sources:
            if source.name in batch:
                batch[source.name].status, batch[source.name].reason = source.status, source.reason
        for upload in batch.values():
            if not upload.finished:
                upload.status, upload.reason = "skipped", "empty and hidden files are not read"
