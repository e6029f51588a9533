"""Answers of chat models, remembered: by everything that shapes them, sample and repeat included.

A :class:`Tape` is what one sample's run says to its models and hears from them. With a cache, what was asked before is
answered from there; with a recording, nothing is asked at all.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.sqlite_file import connect

Response = dict[str, Any]


@dataclass
class Tape:
    """The calls of one sample's run, in order."""

    sample: str = ""
    repeat: int = 0
    recorded: Mapping[str, Response] | None = None
    """Answers by key; where it is given, a call that is not in it is an error."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """``{"key", "response", "cached"}`` each."""
    _seen: Counter[str] = field(default_factory=Counter)

    def key(self, content: str) -> str:
        """The same question asked twice in one run is two calls with two keys."""
        turn = self._seen[content]
        self._seen[content] += 1
        return hashlib.sha256(json.dumps([self.sample, self.repeat, turn, content]).encode()).hexdigest()[:32]


TAPE: ContextVar[Tape | None] = ContextVar("llmkit_tape", default=None)
"""The tape of the run in this thread."""


class CacheError(DataError):
    """The cache cannot be written: the disk is full or gone, and no further answer would be kept."""


class ResponseCache:
    """A SQLite file of answers; safe between threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = connect(path, synchronous="NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, response TEXT) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            raise DataError(
                f"the response cache {path} cannot be opened: {error}; delete it, or use --no-cache"
            ) from error

    def get(self, key: str) -> Response | None:
        """The answer under a key, or None."""
        with self._lock:
            row = self._db.execute("SELECT response FROM responses WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, response: Response) -> None:
        """Remember an answer."""
        try:
            with self._lock:
                text = json.dumps(response, ensure_ascii=False)
                self._db.execute("INSERT OR REPLACE INTO responses VALUES (?, ?)", (key, text))
        except sqlite3.Error as error:
            raise CacheError(
                f"the response cache {self.path} cannot be written ({error}): what was done before is kept; "
                "make room and run the same command again, or use --no-cache"
            ) from error

    def erase(self, unwanted: Callable[[str, Response], bool]) -> int:
        """Delete answers for good, by key and answer; returns how many. Their bytes are overwritten.

        Raises:
            CacheError: the file cannot be written, or another process holds on to old pages.
        """
        try:
            with self._lock:
                rows = self._db.execute("SELECT key, response FROM responses")
                gone = [(key,) for key, response in rows if unwanted(key, json.loads(response))]
                self._db.execute("PRAGMA secure_delete = ON")
                self._db.executemany("DELETE FROM responses WHERE key = ?", gone)
                self._db.execute("VACUUM")
                (busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise CacheError(f"the response cache {self.path} cannot be written: {error}") from error
        if busy:
            raise CacheError(
                f"another process reads {self.path} and holds on to old pages: close it and run this again"
            )
        return len(gone)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
