"""A SQLite cache of chat models' replies, and the log of the calls that one sample's run makes.

A reply is kept under everything that shapes it: the model's spec and weights, the messages, the options of the call,
the sample and the repeat. A :class:`CallLog` counts the calls of one run, so that the same question asked twice is two
calls. With a recording, replies come from it alone and no model is asked.
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
class CallLog:
    """The model calls of one sample's run, in order."""

    sample: str = ""
    repeat: int = 0
    recorded: Mapping[str, Response] | None = None
    """Replies by key. Where it is given, a call that is not in it is an error."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """``{"key", "response", "cached"}`` each."""
    _seen: Counter[str] = field(default_factory=Counter)

    def key(self, content: str) -> str:
        """The key of the next call with this content; the same content asked again has another key."""
        turn = self._seen[content]
        self._seen[content] += 1
        return hashlib.sha256(json.dumps([self.sample, self.repeat, turn, content]).encode()).hexdigest()[:32]


CALL_LOG: ContextVar[CallLog | None] = ContextVar("llmkit_tape", default=None)
"""The log of the run in this context."""


class CacheError(DataError):
    """The cache cannot be written: the disk is full or gone, and no further reply would be kept."""


class ResponseCache:
    """A SQLite file of replies; safe to share between threads and processes."""

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
        """The reply under a key, or None."""
        with self._lock:
            row = self._db.execute("SELECT response FROM responses WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, response: Response) -> None:
        """Keep a reply.

        Raises:
            CacheError: the file cannot be written.
        """
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
        """Delete the replies that `unwanted(key, reply)` picks and overwrite their bytes; returns their number.

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
