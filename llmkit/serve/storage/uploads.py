"""Files that callers bring: put into a folder of each caller's own, read one batch after another by one thread.

What a key brings may be read with that key only (label ``key:ID``), unless it names labels it holds. What comes
without keys may be read by everybody, as with ``llmkit ingest``.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llmkit import config
from llmkit.errors import Busy, Cancelled, LlmkitError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.serve.auth.principal import LOCAL, Caller, Refused
from llmkit.serve.runtime.knowledge_pool import Shelf
from llmkit.serve.settings import Settings
from llmkit.serve.storage.filenames import safe

if TYPE_CHECKING:
    from llmkit.knowledge.ingestion.progress import Progress

_PATIENCE = 600.0  # seconds for which another process may write before an upload fails
_SHOWN = 3600.0  # seconds for which a file that is done is told of, though its knowledge base may not know it
_BLOCK = 1 << 20


@dataclass(slots=True)
class Pending:
    """A file on its way into the knowledge base."""

    name: str
    """Of its source: ``FOLDER/FILE``."""
    file: str
    """As it was called."""
    caller: str
    path: Path
    size: int
    status: str = "waiting"
    """waiting, reading, then what the reader says: parsed, empty, failed, unsupported, encrypted, timeout, …"""
    reason: str = ""
    at: float = field(default_factory=time.time)

    @property
    def done(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in ("waiting", "reading")


class Uploads:
    """The one writer of a server."""

    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        self._settings, self._shelf = settings, shelf
        self.folder = (settings.data / "files").expanduser().resolve()
        self._pending: dict[Path, Pending] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Path, tuple[str, ...]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def mine(self, caller: Caller, path: str) -> bool:
        """Whether a file was brought by this caller."""
        return self._owner(Path(path)) == self._word(caller)

    def take(
        self, caller: Caller, files: Sequence[tuple[str | None, BinaryIO]], access: Sequence[str]
    ) -> list[Pending]:
        """Put files into the caller's folder and in line; one of the same name takes the place of the one before.

        Args:
            caller: whose they are.
            files: (name, content).
            access: labels of who may read them; none: the caller alone, or everybody where there are no keys.

        Raises:
            Refused: a name that is none, labels the caller does not hold, too many files in line, no room for them.
        """
        if not caller.may("admin") and not set(access) <= {*caller.labels, caller.own}:
            raise Refused(403, "a key lets in holders of its own labels only")
        names = [safe(name) for name, _ in files]
        with self._lock:
            for path in [p for p, one in self._pending.items() if one.done and time.time() - one.at > _SHOWN]:
                del self._pending[path]
            waiting = sum(not one.done for one in self._pending.values() if one.caller == caller.id)
        if waiting + len(names) > self._settings.max_files:
            raise Refused(429, f"{waiting} files of yours wait to be read: bring the rest later", retry_after=30)
        self._check_room(caller, [content for _, content in files])
        labels = tuple(sorted(set(access))) or (() if caller.id == LOCAL.id else (caller.own,))
        folder = self.folder / self._place(caller, labels)
        folder.mkdir(parents=True, exist_ok=True)
        belongs = _belongs(self._settings)
        if not belongs.exists():
            belongs.write_text(_seen_from_data(self._settings), encoding="utf-8")
        taken = []
        for name, (said, content) in zip(names, files, strict=True):
            path = folder / name
            draft = folder / f".{os.urandom(8).hex()}.part"  # hidden: no ingest reads half a file
            try:
                with draft.open("wb") as file:
                    shutil.copyfileobj(content, file, _BLOCK)
                size = draft.stat().st_size
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            one = Pending(f"{folder.name}/{name}", said or name, caller.id, path, size)
            with self._lock:
                self._pending[path] = one
            taken.append(one)
        self._put(folder, labels)
        return taken

    def pending(self, caller: Caller) -> list[Pending]:
        """What the caller brought since the server started, the last first; what is done leaves after a while."""
        with self._lock:
            return sorted((one for one in self._pending.values() if one.caller == caller.id), key=lambda one: -one.at)

    @contextmanager
    def writing(self) -> Iterator[KnowledgeBase]:
        """The knowledge base for a change, once no upload is being read; the next lease shows what was changed.

        Raises:
            Refused: it stays busy.
        """
        if not self._writing.acquire(timeout=10):
            raise Refused(409, "files are being read in: try again in a moment", code="busy", retry_after=10)
        try:
            with KnowledgeBase.open(self._shelf.path, encoder=self._shelf.encoder) as kb:
                yield kb
        finally:
            self._writing.release()
            self._shelf.renew()

    def remove(self, path: str) -> bool:
        """Delete a file that was uploaded; False where it is none."""
        file = Path(path)
        if self._owner(file) is None:
            return False
        file.unlink(missing_ok=True)
        with self._lock:
            self._pending.pop(file, None)
        return True

    def close(self) -> None:
        """Stop after the file that is being read; what was committed stays, the rest is read at the next upload."""
        self._stopped.set()
        self._work.put(None)
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _owner(self, path: Path) -> str | None:
        """The word of the caller in whose folder a file is."""
        if not path.is_relative_to(self.folder) or len(path.relative_to(self.folder).parts) != 2:
            return None
        return path.parent.name.partition("-")[0]

    def _check_room(self, caller: Caller, files: Sequence[BinaryIO]) -> None:
        """Refuse what would not fit beside the files the caller has here."""
        word = self._word(caller)
        kept = sum(path.stat().st_size for path in self.folder.glob(f"{word}*/*") if self._owner(path) == word)
        coming = 0
        for file in files:
            coming += file.seek(0, os.SEEK_END)
            file.seek(0)
        if kept + coming > self._settings.max_stored:
            most = self._settings.max_stored
            raise Refused(
                413, f"your files take {kept} bytes of {most}, these would take {coming}: take some out first"
            )

    def _word(self, caller: Caller) -> str:
        return "uploads" if caller.id == LOCAL.id else caller.id

    def _place(self, caller: Caller, labels: tuple[str, ...]) -> str:
        """A folder for each caller and set of readers, since readers are said of folders."""
        usual = () if caller.id == LOCAL.id else (caller.own,)
        if labels == usual:
            return self._word(caller)
        return f"{self._word(caller)}-{hashlib.sha256(','.join(labels).encode()).hexdigest()[:8]}"

    def _put(self, folder: Path, labels: tuple[str, ...]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="llmkit uploads", daemon=True)
                self._thread.start()
        self._work.put((folder, labels))

    def _serve(self) -> None:
        while (work := self._work.get()) is not None and not self._stopped.is_set():
            folder, labels = work
            with self._lock:
                batch = {one.name: one for one in self._pending.values() if one.path.parent == folder and not one.done}
            if not batch:
                continue  # read with the batch before
            try:
                self._read(folder, labels, batch)
            except Cancelled:
                return
            except Exception as error:  # whatever it was, the next batch may go well
                reason = str(error) if isinstance(error, LlmkitError) else f"{type(error).__name__} while it was read"
                for one in batch.values():
                    one.status, one.reason = "failed", reason

    def _read(self, folder: Path, labels: tuple[str, ...], batch: dict[str, Pending]) -> None:
        def tell(progress: Progress) -> None:
            if self._stopped.is_set():
                raise Cancelled("the server is being stopped")
            if progress.name in batch:
                batch[progress.name].status = "reading"

        if not self._shelf.there:
            self._shelf.make(config.build_part("encoder", self._settings.encoder))  # type: ignore[arg-type]
        until = time.monotonic() + _PATIENCE
        with self._writing, KnowledgeBase.open(self._shelf.path, encoder=self._shelf.encoder) as kb:
            while True:
                try:
                    kb.ingest([folder], on_progress=tell, workers=1, access=labels or None)
                    break
                except Busy:
                    if time.monotonic() > until or self._stopped.wait(1):
                        raise
            known = kb.sources(root=str(folder))
        self._shelf.renew()
        for row in known:
            if row.name in batch:
                batch[row.name].status, batch[row.name].reason = row.status, row.reason
        for one in batch.values():
            if not one.done:
                one.status, one.reason = "skipped", "the reader passed it over: an empty or hidden file"


def of_another(settings: Settings) -> str | None:
    """The knowledge base that kept uploads were brought for, where it is another: the next upload brings them too."""
    try:
        there = _belongs(settings).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return None if there == _seen_from_data(settings) else os.path.normpath(settings.data.expanduser() / there)


def _belongs(settings: Settings) -> Path:
    return settings.data.expanduser() / "knowledge.txt"


def _seen_from_data(settings: Settings) -> str:
    """Relative, so that it holds where both are moved together."""
    knowledge, data = settings.knowledge.expanduser().resolve(), settings.data.expanduser().resolve()
    try:
        return os.path.relpath(knowledge, data)
    except ValueError:  # another drive
        return str(knowledge)


def uploaded_by(name: str) -> str:
    """A document's or source's name without the folder of its caller."""
    with suppress(ValueError):
        return name[name.index("/") + 1 :]
    return name
