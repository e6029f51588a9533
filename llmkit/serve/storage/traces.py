"""What happened to every question: one SQLite file a caller, the oldest go first.

An answer does not wait for its trace: it is written a moment later, several in one transaction. Readers see it at once.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic_core

from llmkit.errors import DataError
from llmkit.evaluation.runs.trace import chunk_row, passage_key, state_row
from llmkit.knowledge.verbatim_search import Quotes
from llmkit.serve.storage.background_writer import Scribe
from llmkit.sqlite_file import connect
from llmkit.types import State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL, pipeline TEXT NOT NULL,
    session TEXT NOT NULL, n INTEGER NOT NULL, trace TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS traces_by_turn ON traces (session, n);
"""
_PRUNE = "DELETE FROM traces WHERE seq <= (SELECT max(seq) FROM traces) - ?"
_EVERY = 64  # additions between two prunings
_WAITING = 64  # traces that wait to be written; at one more, whoever adds it writes them


def new_id() -> str:
    """A trace's name."""
    return f"tr-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A trace that is not written yet."""

    name: str
    at: str
    pipeline: str
    session: str
    n: int
    asked: str
    state: State

    def row(self) -> tuple[Any, ...]:
        """Values of its row."""
        state = self.state
        chunks = {id(hit.chunk): hit.chunk for hit in (*state.retrieved, *state.hits)}.values()
        hits = {passage_key(chunk): chunk_row(chunk) for chunk in chunks}
        trace = {**state_row(state), "asked": self.asked, "passages": hits}
        return self.name, self.at, self.pipeline, self.session, self.n, _json(trace)


class TraceStore:
    """Traces of one caller by id."""

    def __init__(self, path: Path, kept: int, scribe: Scribe) -> None:
        """Open the file, or make it.

        Args:
            path: of the file.
            kept: how many traces, at most.
            scribe: writes what was added.

        Raises:
            DataError: it cannot be made or read.
        """
        self.path, self.kept = path, kept
        self._scribe = scribe
        self._lock = threading.RLock()
        self._waiting: deque[_Waiting] = deque()
        self._added = 0
        try:
            self._db = connect(path, synchronous="NORMAL", secure_delete=True)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"traces cannot be kept in {path}: {error}") from error

    def close(self) -> None:
        """Write what waits, and close the file."""
        try:
            self.flush()
        finally:
            self._db.close()

    def add(self, name: str, pipeline: str, state: State, *, asked: str, session: str = "", n: int = 0) -> None:
        """Keep the trace of a run; it is written soon.

        Args:
            name: its id.
            pipeline: that ran.
            state: what it left.
            asked: the question before any step changed it.
            session: the conversation it belongs to, if any.
            n: the turn in that.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._waiting.append(_Waiting(name, at, pipeline, session, n, asked, state))
        if len(self._waiting) > _WAITING:
            self.flush()
        else:
            self._scribe.soon(self.flush)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            DataError: the disk is full; what was to be written is lost.
        """
        with self._lock:
            rows = [self._waiting.popleft().row() for _ in range(len(self._waiting))]
            if not rows:
                return
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    self._db.executemany("INSERT INTO traces VALUES (NULL, ?, ?, ?, ?, ?, ?)", rows)
                    if not self._added or self._added // _EVERY < (self._added + len(rows)) // _EVERY:
                        self._db.execute(_PRUNE, (self.kept,))
                    self._added += len(rows)
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be written, {len(rows)} traces are lost: {error}") from error

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
            self.flush()
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise DataError(f"{self.path}: {error}") from error

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self.flush()
            try:
                self._db.execute(sql, values)
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be written: {error}") from error


def _json(trace: dict[str, Any]) -> str:
    try:
        return pydantic_core.to_json(trace, fallback=str).decode()
    except (
        ValueError,
        TypeError,
    ):  # half of a surrogate pair that a client sent: no UTF-8, but JSON has a way to say it
        return json.dumps(trace, default=str)
