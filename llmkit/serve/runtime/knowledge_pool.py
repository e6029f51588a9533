"""The open knowledge base of the server: one shared view for each generation and reader.

A run holds a lease on a view, so nothing changes under it while it runs. When this or another process has committed a
new generation, the next lease opens that one. An old view is closed when its last lease ends.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline.pipeline import Pipeline
from llmkit.protocols import Encoder
from llmkit.serve.errors import HttpError

Reader: TypeAlias = tuple[str, ...] | None
"""The access labels of a reader; None stands for the owner, who reads everything."""

NO_DOCUMENTS = "there are no documents yet: add some on the page, or by POST /api/knowledge/files"
_CHECK_INTERVAL = 0.5  # seconds between two looks for a new generation; a long ingest commits often
_MAX_READERS = 32  # readers whose view stays open


class Lease:
    """One generation of the knowledge base, as one reader may see it. Several runs share it."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self.kb = kb
        self.pipelines: dict[str, Pipeline] = {}
        """Pipelines bound to this view, by name. Binding checks a pipeline, so each is bound once."""
        self.holders = 0
        self.retired = False

    def close_if_unused(self) -> None:
        """Close the knowledge base where the view is retired and nobody holds it."""
        if self.retired and not self.holders:
            self.kb.close()


class KnowledgePool:
    """Hands out leases of a knowledge base that may not exist yet.

    Args:
        path: folder of the knowledge base.
        encoder: the encoder to use; None loads the one the knowledge base names.
    """

    def __init__(self, path: Path, encoder: Encoder | None = None) -> None:
        self.path = path.expanduser()
        self._encoder = encoder
        self._lock = threading.RLock()
        self._owner: Lease | None = None
        self._readers: OrderedDict[tuple[str, ...], Lease] = OrderedDict()
        self._checked = 0.0

    @property
    def exists(self) -> bool:
        """Whether there is a knowledge base."""
        return KnowledgeBase.exists(self.path)

    @property
    def encoder(self) -> Encoder | None:
        """The encoder that is loaded or was given; None before the knowledge base was first opened."""
        with self._lock:
            return self._owner.kb.encoder if self._owner is not None else self._encoder

    @contextmanager
    def view(self, reader: Reader = None) -> Iterator[KnowledgeBase]:
        """Hold a lease and yield its knowledge base; see :meth:`lease`."""
        with self.lease(reader) as lease:
            yield lease.kb

    @contextmanager
    def lease(self, reader: Reader = None) -> Iterator[Lease]:
        """Hold the latest generation as a reader may see it. It does not change until the lease ends.

        Args:
            reader: access labels of the reader; None reads everything.

        Raises:
            HttpError: 409, there is no knowledge base.
            KnowledgeError: the knowledge base cannot be opened.
        """
        with self._lock:
            owner = self._open_latest()
            lease = owner if reader is None else self._reader_view(owner.kb, reader)
            held = {id(each): each for each in (lease, owner)}.values()  # a reader's view needs the owner's open
            for each in held:
                each.holders += 1
        try:
            yield lease
        finally:
            with self._lock:
                for each in held:
                    each.holders -= 1
                    each.close_if_unused()

    def create(self, encoder: Encoder) -> None:
        """Create an empty knowledge base where there is none.

        Raises:
            KnowledgeError: the folder cannot be created.
        """
        with self._lock:
            if not self.exists:
                self._encoder = encoder
                KnowledgeBase.create(self.path, encoder=encoder).close()

    def refresh(self) -> None:
        """Make the next lease look for a new generation at once."""
        with self._lock:
            self._checked = 0.0

    def close(self) -> None:
        """Close every view, or let its last holder close it."""
        with self._lock:
            self._retire_all()

    def _open_latest(self) -> Lease:
        """Return the owner's view of the latest generation."""
        if not self.exists:
            self._retire_all()
            raise HttpError(409, NO_DOCUMENTS)
        now = time.monotonic()
        if self._owner is not None:
            if now - self._checked < _CHECK_INTERVAL:
                return self._owner
            self._checked = now
            if self._owner.kb.is_current:
                return self._owner
        self._checked = now
        previous = self._owner.kb if self._owner is not None else None
        latest = KnowledgeBase.open(self.path, encoder=self._encoder if previous is None else previous.encoder)
        if previous is not None and latest.identity != previous.identity:  # another encoder was adopted meanwhile
            latest.close()
            latest = KnowledgeBase.open(self.path)
        latest.load()  # now, while the files on disk are those of this generation
        self._retire_all()
        self._owner = Lease(latest)
        return self._owner

    def _reader_view(self, owner: KnowledgeBase, reader: tuple[str, ...]) -> Lease:
        if reader not in self._readers:
            view = owner.as_reader(reader)
            view.load()
            self._readers[reader] = Lease(view)
            while len(self._readers) > _MAX_READERS:
                _, oldest = self._readers.popitem(last=False)
                oldest.retired = True
                oldest.close_if_unused()
        self._readers.move_to_end(reader)
        return self._readers[reader]

    def _retire_all(self) -> None:
        for lease in (*self._readers.values(), *([self._owner] if self._owner else ())):
            lease.retired = True
            lease.close_if_unused()
        self._readers.clear()
        self._owner = None
