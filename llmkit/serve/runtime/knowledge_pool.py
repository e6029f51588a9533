"""The knowledge base as it is served: one open copy a generation and reader, so that nothing moves under a run.

A run holds a lease on a copy. When another generation was committed, by this process or another one, the next lease
opens it; the old copy is closed when its last lease ends.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.serve.auth.principal import Refused

if TYPE_CHECKING:
    from llmkit.pipeline.pipeline import Pipeline
    from llmkit.protocols import Encoder

Reader = tuple[str, ...] | None
_FRESH = 0.5  # seconds for which a copy is not compared with the disk: a long ingest commits often
_VIEWS = 32  # readers whose view stays open


class Copy:
    """One generation as one reader sees it."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self.kb = kb
        self.pipelines: dict[str, Pipeline] = {}
        """Those that were put over it, by name: a pipeline is checked again when it is given another knowledge base."""
        self.leases = 0
        self.retired = False


class Shelf:
    """Leases of a knowledge base that may not be there yet."""

    def __init__(self, path: Path, encoder: Encoder | None = None) -> None:
        self.path = path.expanduser()
        self._given = encoder
        self._lock = threading.RLock()
        self._owner: Copy | None = None
        self._views: OrderedDict[tuple[str, ...], Copy] = OrderedDict()
        self._looked = 0.0

    @property
    def there(self) -> bool:
        """Whether there is a knowledge base."""
        return KnowledgeBase.exists(self.path)

    @property
    def encoder(self) -> Encoder | None:
        """The encoder that is loaded, or will be used; None before anything was opened."""
        with self._lock:
            return self._owner.kb.encoder if self._owner is not None else self._given

    @contextmanager
    def lease(self, reader: Reader = None) -> Iterator[KnowledgeBase]:
        """:meth:`copy`'s knowledge base."""
        with self.copy(reader) as copy:
            yield copy.kb

    @contextmanager
    def copy(self, reader: Reader = None) -> Iterator[Copy]:
        """The last generation, as this reader may see it; it stays what it is until the lease ends.

        Raises:
            Refused: there is no knowledge base.
            KnowledgeError: it cannot be opened.
        """
        with self._lock:
            self._level()
            assert self._owner is not None
            copy = self._owner if reader is None else self._view(self._owner.kb, reader)
            held = {id(one): one for one in (copy, self._owner)}.values()  # a view needs its owner open
            for one in held:
                one.leases += 1
        try:
            yield copy
        finally:
            with self._lock:
                for one in held:
                    one.leases -= 1
                    _close(one)

    def make(self, encoder: Encoder) -> None:
        """Make an empty knowledge base where there is none.

        Raises:
            KnowledgeError: the folder cannot be made.
        """
        with self._lock:
            if not self.there:
                self._given = encoder
                KnowledgeBase.create(self.path, encoder=encoder).close()

    def renew(self) -> None:
        """Make sure that the next lease shows what is committed now."""
        with self._lock:
            self._looked = 0.0

    def close(self) -> None:
        """Close every copy; those that are leased when they come back."""
        with self._lock:
            self._retire()

    def _level(self) -> None:
        if not self.there:
            self._retire()
            raise Refused(409, "there are no documents yet: add some on the page, or by POST /api/knowledge/files")
        now = time.monotonic()
        if self._owner is not None:
            if now - self._looked < _FRESH:
                return
            self._looked = now
            if self._owner.kb.is_current:
                return
        self._looked = now
        before = self._owner.kb if self._owner is not None else None
        known = self._given if before is None else before.encoder
        fresh = KnowledgeBase.open(self.path, encoder=known)
        if before is not None and fresh.identity != before.identity:  # another encoder was adopted
            fresh.close()
            fresh = KnowledgeBase.open(self.path)
        fresh.load()  # read while they are of this generation
        self._retire()
        self._owner = Copy(fresh)

    def _view(self, owner: KnowledgeBase, reader: tuple[str, ...]) -> Copy:
        if reader not in self._views:
            view = owner.as_reader(reader)
            view.load()
            self._views[reader] = Copy(view)
            while len(self._views) > _VIEWS:
                _, old = self._views.popitem(last=False)
                old.retired = True
                _close(old)
        self._views.move_to_end(reader)
        return self._views[reader]

    def _retire(self) -> None:
        for copy in (*self._views.values(), *([self._owner] if self._owner else ())):
            copy.retired = True
            _close(copy)
        self._views.clear()
        self._owner = None


def _close(copy: Copy) -> None:
    if copy.retired and not copy.leases:
        copy.kb.close()
