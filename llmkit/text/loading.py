"""Files in, documents out: one at a time in this process, or many in processes that may crash and be killed."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.errors import DataError
from llmkit.text.formats.limits import Limits, Status
from llmkit.text.formats.rows import Rows
from llmkit.text.parsing import Parsed, before, parse
from llmkit.text.sources import Source
from llmkit.text.workers import Worker
from llmkit.types import Document

__all__ = ["Limits", "Loaded", "Rows", "Status", "load", "load_all"]

_AHEAD = 2  # files in flight for each worker


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one source."""

    source: Source
    kind: str
    """Word of the format: ``pdf``, ``markdown``; empty where it was not told."""
    status: Status
    reason: str = ""
    """Why there is no document, in a sentence; empty for ``parsed``."""
    documents: Iterable[Document] = ()
    """A tuple, or :class:`Rows` (read lazily; its `rejected_count`, `rejected` and `summary` say what was left out)."""


def load(path: str | Path, *, id: str | None = None, limits: Limits | None = None) -> list[Document]:
    """The documents of one file, parsed in this process, without its time and memory limits.

    Args:
        path: The file.
        id: Name of the document; the file's name by default.
        limits: Sizes that are refused.

    Raises:
        DataError: The file is missing, empty, encrypted, unsupported, too large or damaged.
    """
    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        raise DataError(f"{path}: {'a folder; scan() walks folders' if path.is_dir() else 'no such file'}")
    id = id or path.name
    parsed = before(path, id, limits) or parse(path, id, limits)
    documents = list(parsed.documents)
    if isinstance(parsed.documents, Rows) and parsed.documents.rejected_count:
        if not documents:
            raise DataError(f"{path}: {parsed.documents.summary}")
        documents[0] = replace(documents[0], notes=(*documents[0].notes, parsed.documents.summary))
    if not documents:
        raise DataError(f"{path}: {parsed.reason or 'no text in it'}")
    return documents


def load_all(sources: Iterable[Source], limits: Limits | None = None, workers: int = 2) -> Iterator[Loaded]:
    """What becomes of each source, in the order given.

    Files are parsed in `workers` processes under time and memory limits; a crash costs one file. A few files are in
    flight at any time, however many there are. Row files are read as their documents are asked for.
    Closing the generator, or an exception in it, kills the processes.
    """
    limits = limits or Limits()
    pool = [Worker(limits) for _ in range(max(1, workers))]
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in pool:
        free.put(worker)
    stopped = threading.Event()

    def run(source: Source) -> Parsed:
        early = before(source.path, source.id, limits)
        if early is not None:
            return early
        worker = free.get()
        try:
            return Parsed("", "failed", "stopped") if stopped.is_set() else worker.parse(source.path, source.id)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(len(pool), thread_name_prefix="llmkit-load")
    flying: deque[tuple[Source, Future[Parsed]]] = deque()
    try:
        for source in sources:
            flying.append((source, threads.submit(run, source)))
            if len(flying) >= _AHEAD * len(pool):
                yield _landed(*flying.popleft())
        while flying:
            yield _landed(*flying.popleft())
    finally:
        stopped.set()
        for _, future in flying:
            future.cancel()
        for worker in pool:
            worker.close()
        threads.shutdown(wait=True, cancel_futures=True)


def _landed(source: Source, future: Future[Parsed]) -> Loaded:
    parsed = future.result()
    return Loaded(source, parsed.kind, parsed.status, parsed.reason, parsed.documents)
