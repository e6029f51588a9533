"""What happened to every question: one SQLite file a caller, the oldest go first."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.evaluation.trace import chunk_row, passage_key, state_row
from llmkit.knowledge.quotes import Quotes
from llmkit.types import State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL, pipeline TEXT NOT NULL,
    session TEXT NOT NULL, n INTEGER NOT NULL, trace TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS traces_by_turn ON traces (session, n);
"""
_EVERY = 64  # additions between two prunings


def new_id() -> str:
    """A trace's name."""
    return f"tr-{secrets.token_hex(12)}"


class TraceStore:
    """Traces of one caller by id."""

    def __init__(self, path: Path, kept: int) -> None:
        """Open the file, or make it.

        Raises:
            DataError: it cannot be made or read.
        """
        self.path, self.kept = path, kept
        self._lock = threading.Lock()
        self._added = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last traces, never the file
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"traces cannot be kept in {path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, name: str, pipeline: str, state: State, *, asked: str, session: str = "", n: int = 0) -> None:
        """Keep the trace of a run.

        Args:
            name: its id.
            pipeline: that ran.
            state: what it left.
            asked: the question before any step changed it.
            session: the conversation it belongs to, if any.
            n: the turn in that.

        Raises:
            DataError: the disk is full.
        """
        chunks = {id(hit.chunk): hit.chunk for hit in (*state.retrieved, *state.hits)}.values()
        hits = {passage_key(chunk): chunk_row(chunk) for chunk in chunks}
        trace = json.dumps({**state_row(state), "asked": asked, "passages": hits}, ensure_ascii=False, default=str)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write("INSERT INTO traces VALUES (NULL, ?, ?, ?, ?, ?, ?)", (name, at, pipeline, session, n, trace))
        self._added += 1
        if self._added % _EVERY == 1:
            self._write("DELETE FROM traces WHERE seq <= (SELECT max(seq) FROM traces) - ?", (self.kept,))

    def find(self, name: str) -> dict[str, Any] | None:
        """A trace as JSON values: the run's state, its passages by key, and where it belongs."""
        rows = self._rows("SELECT at, pipeline, session, n, trace FROM traces WHERE id = ?", (name,))
        if not rows:
            return None
        at, pipeline, session, n, trace = rows[0]
        about = {"id": name, "at": at, "pipeline": pipeline, "session": session or None, "turn": n or None}
        return {**about, **json.loads(trace)}

    def of_session(self, session: str) -> dict[int, str]:
        """Ids of the traces of a conversation, by turn."""
        return dict(self._rows("SELECT n, id FROM traces WHERE session = ? ORDER BY seq", (session,)))

    def drop_session(self, session: str, after: int = 0) -> None:
        """Delete the traces of a conversation's turns beyond `after`."""
        self._write("DELETE FROM traces WHERE session = ? AND n > ?", (session, after))

    def erase(self, quotes: Quotes) -> int:
        """Delete the traces that were given a passage of some documents or quote them; returns how many."""
        dead = [
            seq for seq, text in self._rows("SELECT seq, trace FROM traces", ()) if quotes.in_value(json.loads(text))
        ]
        for seq in dead:
            self._write("DELETE FROM traces WHERE seq = ?", (seq,))
        if dead:
            self._write("VACUUM", ())
            self._write("PRAGMA wal_checkpoint(TRUNCATE)", ())
        return len(dead)

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise DataError(f"{self.path}: {error}") from error

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            try:
                self._db.execute(sql, values)
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be written: {error}") from error
