"""The files that callers upload, and which of them still have to be read into the knowledge base.

Each caller has a folder, and one more for each set of access labels. A key's uploads can be read with that key only
(label ``key:ID``), unless the upload names labels that the key holds. Uploads without a key can be read by everybody,
as with ``llmkit ingest``.

``uploads.sqlite`` lists every file. It is written before the server accepts an upload, so that a server that was
stopped or killed reads the remaining files when it starts again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from llmkit.errors import DataError
from llmkit.serve.auth.principal import LOCAL_PRINCIPAL, Principal
from llmkit.serve.errors import HttpError
from llmkit.serve.settings import Settings
from llmkit.serve.storage.filenames import number_name, safe_relative_path, split_name
from llmkit.serve.storage.private_files import create_private_file, make_private_folder, open_private
from llmkit.sqlite_file import connect

_SHOW_SECONDS = 3600.0  # how long a finished upload is listed, though the knowledge base may not know the file
_BLOCK = 1 << 20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    path TEXT PRIMARY KEY, client_name TEXT NOT NULL, caller TEXT NOT NULL, labels TEXT NOT NULL,
    size INTEGER NOT NULL, at REAL NOT NULL, waiting INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Upload:
    """An uploaded file on its way into the knowledge base."""

    name: str
    """Name of its source in the knowledge base: ``FOLDER/FILE``, or ``FOLDER/SUBFOLDER/FILE``."""
    caller: str
    """Id of the caller."""
    path: Path
    size: int
    """Bytes."""
    labels: tuple[str, ...] = ()
    """Access labels of the documents in it; empty means everybody."""
    replaced: bool = False
    """Whether it took the place of an earlier upload of the same name."""
    status: str = "waiting"
    """``waiting``, ``reading``, or what became of it: ``parsed``, ``empty``, ``failed``, ``unsupported``, …"""
    reason: str = ""
    at: float = field(default_factory=time.time)

    @property
    def file(self) -> str:
        """Its name without the folder of the caller."""
        return self.name.partition("/")[2]

    @property
    def finished(self) -> bool:
        """Whether its status is final."""
        return self.status not in ("waiting", "reading")


class UploadStore:
    """The uploaded files of a server.

    Args:
        settings: settings of the server.

    Raises:
        DataError: the list of files cannot be created or read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = (settings.data / "files").expanduser().resolve()
        self._uploads: dict[Path, Upload] = {}
        self._lock = threading.RLock()
        path = settings.data.expanduser() / "uploads.sqlite"
        try:
            self._db = connect(create_private_file(path), synchronous="FULL", secure_delete=True)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"the list of uploads cannot be stored in {path}: {error}") from error

    def close(self) -> None:
        """Close the list of files."""
        self._db.close()

    def belongs_to(self, caller: Principal, path: str) -> bool:
        """Return whether this caller uploaded a file."""
        return self._owner(Path(path)) == _folder_name(caller)

    def accept(
        self, caller: Principal, files: Sequence[tuple[str | None, BinaryIO]], access: Sequence[str]
    ) -> list[Upload]:
        """Store files in the caller's folder, and list them as waiting.

        A file takes the place of an earlier one that the client gave the same name. Where another file has the same
        safe path, as with two files of one name in one upload, the name gets a number.

        Args:
            caller: the caller whose files they are.
            files: name and content of each file.
            access: labels of those who may read them; empty means the caller alone, or everybody without keys.

        Raises:
            HttpError: a file has no name, the caller does not hold a label, or there is no room for the files.
            DataError: the files cannot be stored.
        """
        if not caller.may("admin") and not set(access) <= {*caller.labels, caller.own_label}:
            raise HttpError(403, "a key can give access to holders of its own labels only")
        names = [("/".join(split_name(name)), safe_relative_path(name)) for name, _ in files]
        labels = tuple(sorted(set(access))) or (() if caller.id == LOCAL_PRINCIPAL.id else (caller.own_label,))
        with self._lock:
            self._forget_old()
            self._check_room(caller, [content for _, content in files])
            folder = make_private_folder(self.folder / _label_folder(caller, labels))
            self._record_knowledge_base()
            chosen: dict[Path, bool] = {}  # whether a path replaces a file; all are chosen before any is written
            for client_name, parts in names:
                path, replaces = self._choose_path(folder, parts, client_name, chosen)
                chosen[path] = replaces
            accepted: dict[Path, Upload] = {}
            try:
                for (path, replaces), (_, content) in zip(chosen.items(), files, strict=True):
                    name = path.relative_to(self.folder).as_posix()
                    accepted[path] = Upload(name, caller.id, path, _store(folder, path, content), labels, replaces)
            except OSError as error:
                raise DataError(f"the upload cannot be stored in {folder}: {error}") from error
            self._list_files(accepted.values(), [client_name for client_name, _ in names])
            self._uploads.update(accepted)
        return list(accepted.values())

    def of_caller(self, caller: Principal) -> list[Upload]:
        """Return the caller's uploads that wait, are read, or finished lately; the latest first."""
        with self._lock:
            uploads = [upload for upload in self._uploads.values() if upload.caller == caller.id]
        return sorted(uploads, key=lambda upload: -upload.at)

    def unfinished(self, folder: Path) -> list[Upload]:
        """Return the uploads in a folder of a caller that have to be read."""
        with self._lock:
            return [
                upload
                for upload in self._uploads.values()
                if not upload.finished and upload.path.is_relative_to(folder)
            ]

    def restore(self) -> list[Upload]:
        """List what an earlier process of the server accepted and did not read; return these uploads."""
        restored = []
        with self._lock:
            rows = self._execute("SELECT path, caller, labels, size, at FROM uploads WHERE waiting ORDER BY at", ())
            for name, caller, labels, size, at in rows:
                path = self.folder / name
                if not path.is_file():
                    self._execute("DELETE FROM uploads WHERE path = ?", (name,))
                elif path not in self._uploads:
                    upload = Upload(name, caller, path, size, tuple(labels.split(",")) if labels else (), at=at)
                    self._uploads[path] = upload
                    restored.append(upload)
        return restored

    def mark_read(self, uploads: Sequence[Upload]) -> None:
        """Note that uploads were read, so that a restart does not read them again.

        Raises:
            DataError: the list of files cannot be written.
        """
        with self._lock:
            for upload in uploads:  # a later upload of the same name, at another time, still waits
                self._execute("UPDATE uploads SET waiting = 0 WHERE path = ? AND at = ?", (upload.name, upload.at))

    def remove(self, path: str) -> bool:
        """Delete an uploaded file; False where the path is not one.

        Raises:
            DataError: the list of files cannot be written.
        """
        file = Path(path)
        if self._owner(file) is None:
            return False
        with self._lock:
            file.unlink(missing_ok=True)
            self._uploads.pop(file, None)
            self._execute("DELETE FROM uploads WHERE path = ?", (file.relative_to(self.folder).as_posix(),))
            for parent in file.relative_to(self.folder).parents[:-2]:  # empty folders below the caller's
                if any((self.folder / parent).iterdir()):
                    break
                (self.folder / parent).rmdir()
        return True

    def _owner(self, path: Path) -> str | None:
        """Return the name of the caller's folder that a file is in; None where it is in none."""
        if not path.is_relative_to(self.folder) or len(path.relative_to(self.folder).parts) < 2:
            return None
        return path.relative_to(self.folder).parts[0].partition("-")[0]

    def _forget_old(self) -> None:
        oldest = time.time() - _SHOW_SECONDS
        for path in [path for path, upload in self._uploads.items() if upload.finished and upload.at < oldest]:
            del self._uploads[path]

    def _check_room(self, caller: Principal, files: Sequence[BinaryIO]) -> None:
        """Refuse files beyond the limits of their number or size."""
        waiting = sum(not upload.finished for upload in self._uploads.values() if upload.caller == caller.id)
        if waiting + len(files) > self._settings.max_files:
            raise HttpError(
                429,
                f"{waiting} of your files wait to be read, and the limit is {self._settings.max_files}: "
                "upload the rest later",
                retry_after=30,
            )
        name = _folder_name(caller)
        paths = self.folder.glob(f"{name}*/**/*")
        stored = sum(path.stat().st_size for path in paths if self._owner(path) == name and path.is_file())
        size = sum(_size(file) for file in files)
        if stored + size > self._settings.max_stored:
            raise HttpError(
                413,
                f"your files take {stored} of {self._settings.max_stored} bytes, and these would take {size} more: "
                "delete some first",
            )

    def _choose_path(
        self, folder: Path, parts: Sequence[str], client_name: str, chosen: Collection[Path]
    ) -> tuple[Path, bool]:
        """Return the path for a file, and whether it replaces one that is there."""
        *folders, name = parts
        parent = folder.joinpath(*folders)
        for each in (parent, *parent.parents):
            if each == folder:
                break
            if each.is_file() or each in chosen:
                shown = each.relative_to(folder).as_posix()
                raise HttpError(
                    409, f"{shown!r} is one of your files, so it cannot be a folder as well: rename one of them"
                )
        folders_chosen = {ancestor for each in chosen for ancestor in each.parents}
        number = 1
        while True:
            path = parent / (name if number == 1 else number_name(name, number))
            if path not in chosen and path not in folders_chosen and not path.is_dir():
                key = path.relative_to(self.folder).as_posix()
                known = self._execute("SELECT client_name FROM uploads WHERE path = ?", (key,))
                if not path.exists() or not known or known[0][0] == client_name:
                    return path, path.exists()
            number += 1

    def _list_files(self, uploads: Iterable[Upload], client_names: Sequence[str]) -> None:
        rows = [
            (upload.name, _encodable(client_name), upload.caller, ",".join(upload.labels), upload.size, upload.at)
            for upload, client_name in zip(uploads, client_names, strict=True)
        ]
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, 1)", rows)
        except sqlite3.Error as error:
            raise DataError(f"the list of uploads cannot be written: {error}") from error

    def _record_knowledge_base(self) -> None:
        note = _knowledge_note(self._settings)
        if not note.exists():
            with open_private(note, encoding="utf-8") as file:
                file.write(_knowledge_path(self._settings))

    def _execute(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise DataError(f"the list of uploads cannot be read or written: {error}") from error


def mismatched_knowledge_base(settings: Settings) -> str | None:
    """Return the path of the knowledge base that the stored uploads belong to, where it is another than the server's.

    Reading them into this one would mix the two, so the server warns about it at its start.
    """
    try:
        recorded = _knowledge_note(settings).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if recorded == _knowledge_path(settings):
        return None
    return os.path.normpath(settings.data.expanduser() / recorded)


def _knowledge_note(settings: Settings) -> Path:
    return settings.data.expanduser() / "knowledge.txt"


def _knowledge_path(settings: Settings) -> str:
    """Return the path of the knowledge base relative to the data folder, which holds when both are moved together."""
    knowledge, data = settings.knowledge.expanduser().resolve(), settings.data.expanduser().resolve()
    try:
        return os.path.relpath(knowledge, data)
    except ValueError:  # on another drive of Windows
        return str(knowledge)


def _folder_name(caller: Principal) -> str:
    return "uploads" if caller.id == LOCAL_PRINCIPAL.id else caller.id


def _label_folder(caller: Principal, labels: tuple[str, ...]) -> str:
    """Return the folder for a caller's files with these labels; access labels belong to a folder as a whole."""
    default = () if caller.id == LOCAL_PRINCIPAL.id else (caller.own_label,)
    if labels == default:
        return _folder_name(caller)
    return f"{_folder_name(caller)}-{hashlib.sha256(','.join(labels).encode()).hexdigest()[:8]}"


def _store(folder: Path, path: Path, content: BinaryIO) -> int:
    """Write a file, whole or not at all; return its size in bytes."""
    draft = folder / f".{os.urandom(8).hex()}.part"  # hidden, so that no ingest reads half a file
    try:
        with open_private(draft, "wb") as file:
            shutil.copyfileobj(content, file, _BLOCK)
        size = draft.stat().st_size
        make_private_folder(path.parent)
        draft.replace(path)
        return size
    finally:
        draft.unlink(missing_ok=True)


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
