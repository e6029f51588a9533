"""Files in, documents out: one at a time in this process, or many in processes that may crash and be killed."""

from __future__ import annotations

import atexit
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from llmkit.errors import DataError
from llmkit.text.formats.limits import Limits, Status
from llmkit.text.formats.tabular.rows import Rows
from llmkit.text.loading.parse import Parsed, before, parse
from llmkit.text.loading.scan_files import Source
from llmkit.text.loading.worker_pool import Worker
from llmkit.types import Document

__all__ = ["Limits", "Loaded", "Rows", "Status", "load", "load_all"]

_Tasks: TypeAlias = "queue.SimpleQueue[tuple[Source, Future[Parsed]] | None]"
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
    tasks: _Tasks = queue.SimpleQueue()
    pool = [Worker(limits) for _ in range(max(1, workers))]
    # daemon threads, so that a script that ends while a file is parsed does not wait for it
    threads = [threading.Thread(target=_serve, args=(worker, tasks), daemon=True) for worker in pool]
    flying: deque[tuple[Source, Future[Parsed]]] = deque()
    try:
        for worker, thread in zip(pool, threads, strict=True):
            atexit.register(worker.close)
            thread.start()
        for source in sources:
            future: Future[Parsed] = Future()
            tasks.put((source, future))
            flying.append((source, future))
            if len(flying) >= _AHEAD * len(pool):
                yield _landed(*flying.popleft())
        while flying:
            yield _landed(*flying.popleft())
    finally:
        for _, future in flying:
            future.cancel()
        for worker in pool:
            tasks.put(None)
            worker.close()
            atexit.unregister(worker.close)
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _serve(worker: Worker, tasks: _Tasks) -> None:
    """Parse what comes in, until nothing comes."""
    while (task := tasks.get()) is not None:
        source, future = task
        if future.set_running_or_notify_cancel():
            try:
                early = before(source.path, source.id, worker.limits)
                future.set_result(early or worker.parse(source.path, source.id))
            except Exception as error:
                future.set_exception(error)


def _landed(source: Source, future: Future[Parsed]) -> Loaded:
    parsed = future.result()
    return Loaded(source, parsed.kind, parsed.status, parsed.reason, parsed.documents)
