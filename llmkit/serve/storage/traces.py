"""Traces of runs: one SQLite file per caller, with a limit beyond which the oldest are deleted.

An answer does not wait for its trace. A background thread writes traces a moment later, several in one transaction;
readers of this store see them at once.
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
from llmkit.serve.json_encoding import encode_json
from llmkit.serve.storage.background_writer import BackgroundWriter
from llmkit.serve.storage.private_files import create_private_file
from llmkit.sqlite_file import connect
from llmkit.types import State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL, pipeline TEXT NOT NULL,
    session TEXT NOT NULL, n INTEGER NOT NULL, trace TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS traces_by_turn ON traces (session, n);
"""
_PRUNE = "DELETE FROM traces WHERE seq <= (SELECT max(seq) FROM traces) - ?"
_PRUNE_INTERVAL = 64  # traces written between two prunings
_MAX_UNWRITTEN = 64  # beyond this number, the thread that adds a trace writes them


def new_trace_id() -> str:
    """Return a fresh, random trace id."""
    return f"tr-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class _UnwrittenTrace:
    id: str
    at: str
    pipeline: str
    session: str
    turn: int
    question: str
    state: State

    def row(self) -> tuple[Any, ...]:
        """Return the values of the table's row."""
        state = self.state
        chunks = {id(hit.chunk): hit.chunk for hit in (*state.retrieved, *state.hits)}.values()
        passages = {passage_key(chunk): chunk_row(chunk) for chunk in chunks}
        trace = {**state_row(state), "asked": self.question, "passages": passages}
        return self.id, self.at, self.pipeline, self.session, self.turn, _encode(trace)


class TraceStore:
    """The traces of one caller, by id.

    Args:
        path: the SQLite file; it is created where it does not exist.
        max_traces: number of traces to keep.
        writer: writes new traces in the background.

    Raises:
        DataError: the file cannot be created or read.
    """

    def __init__(self, path: Path, max_traces: int, writer: BackgroundWriter) -> None:
        self.path, self.max_traces = path, max_traces
        self._writer = writer
        self._lock = threading.RLock()
        self._unwritten: deque[_UnwrittenTrace] = deque()
        self._written = 0
        try:
            self._db = connect(create_private_file(path), synchronous="NORMAL", secure_delete=True)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"traces cannot be stored in {path}: {error}") from error

    def close(self) -> None:
        """Write what is not written yet, and close the file."""
        try:
            self.flush()
        finally:
            self._db.close()

    def add(
        self, trace_id: str, pipeline: str, state: State, *, question: str, session: str = "", turn: int = 0
    ) -> None:
        """Store the trace of a run, soon.

        Args:
            trace_id: id of the trace; see :func:`new_trace_id`.
            pipeline: name of the pipeline.
            state: final state of the run.
            question: the question before any step rewrote it.
            session: name of the conversation; empty outside one.
            turn: number of the turn in the conversation, from 1.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._unwritten.append(_UnwrittenTrace(trace_id, at, pipeline, session, turn, question, state))
        if len(self._unwritten) > _MAX_UNWRITTEN:
            self.flush()
        else:
            self._writer.schedule(self.flush)

    def flush(self) -> None:
        """Write what is not written yet.

        Raises:
            DataError: the file cannot be written; the traces are lost.
        """
        with self._lock:
            rows = [self._unwritten.popleft().row() for _ in range(len(self._unwritten))]
            if not rows:
                return
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    self._db.executemany("INSERT INTO traces VALUES (NULL, ?, ?, ?, ?, ?, ?)", rows)
                    before, self._written = self._written, self._written + len(rows)
                    if not before or before // _PRUNE_INTERVAL < self._written // _PRUNE_INTERVAL:
                        self._db.execute(_PRUNE, (self.max_traces,))
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be written, and {len(rows)} traces are lost: {error}") from error

    def get(self, trace_id: str) -> dict[str, Any] | None:
        """Return a trace as a JSON object: the state of the run, its passages by key, its conversation and turn."""
        rows = self._query("SELECT at, pipeline, session, n, trace FROM traces WHERE id = ?", (trace_id,))
        if not rows:
            return None
        at, pipeline, session, turn, trace = rows[0]
        head = {"id": trace_id, "at": at, "pipeline": pipeline, "session": session or None, "turn": turn or None}
        return {**head, **json.loads(trace)}

    def ids_by_turn(self, session: str) -> dict[int, str]:
        """Return the trace id of each turn of a conversation."""
        return dict(self._query("SELECT n, id FROM traces WHERE session = ? ORDER BY seq", (session,)))

    def delete_session(self, session: str, after: int = 0) -> None:
        """Delete the traces of a conversation's turns with a number above `after`."""
        self._execute("DELETE FROM traces WHERE session = ? AND n > ?", (session, after))

    def erase(self, quotes: Quotes) -> int:
        """Delete the traces that were given a passage of some documents or quote them; return their number."""
        rows = self._query("SELECT seq, trace FROM traces", ())
        matches = [seq for seq, text in rows if quotes.in_value(json.loads(text))]
        for seq in matches:
            self._execute("DELETE FROM traces WHERE seq = ?", (seq,))
        if matches:
            self._execute("VACUUM", ())
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)", ())
        return len(matches)

    def _query(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            self.flush()
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise DataError(f"{self.path}: {error}") from error

    def _execute(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self.flush()
            try:
                self._db.execute(sql, values)
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be written: {error}") from error


def _encode(trace: dict[str, Any]) -> str:
    try:
        return pydantic_core.to_json(trace, fallback=str).decode()
    except (ValueError, TypeError):  # a lone surrogate, which is not UTF-8
        return encode_json(trace, default=str).decode()
