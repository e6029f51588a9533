"""Turns that wait for a person's approval: one SQLite file per caller, at most one turn per conversation.

A waiting turn survives a restart of the server. The table and its columns keep the names of earlier versions.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmkit.approval import ApprovalNeeded, Request
from llmkit.errors import DataError
from llmkit.evaluation.runs.trace import chunk_row, passage_key, read_chunk, read_state, state_row
from llmkit.knowledge.verbatim_search import Quotes
from llmkit.serve.storage.private_files import create_private_file
from llmkit.sqlite_file import connect

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waits (
    session TEXT PRIMARY KEY, id TEXT NOT NULL, at TEXT NOT NULL, pipeline TEXT NOT NULL, turns INTEGER NOT NULL,
    process TEXT NOT NULL, wait TEXT NOT NULL) WITHOUT ROWID;
"""
_SELECT_ALL = "SELECT session, wait FROM waits"
_PROCESS = secrets.token_hex(8)  # an agent's memory that is not in a file ends with the process


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """A turn that waits for decisions."""

    id: str
    at: str
    """When the turn began to wait, in ISO 8601."""
    pipeline: str
    turns: int
    """Number of turns the conversation had at that time."""
    of_this_process: bool
    """Whether the turn began to wait since the server started."""
    needed: ApprovalNeeded

    def row(self) -> dict[str, Any]:
        """Return the JSON object that clients see."""
        calls = [asdict(request) for request in self.needed.requests]
        question = self.needed.state.question if self.needed.state else ""
        return {"wait": self.id, "at": self.at, "pipeline": self.pipeline, "question": question, "calls": calls}


class ApprovalStore:
    """The waiting turns of one caller, by conversation.

    Args:
        path: the SQLite file; it is created where it does not exist.

    Raises:
        DataError: the file cannot be created or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = connect(create_private_file(path), synchronous="FULL", secure_delete=True)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"turns that wait for approval cannot be stored in {path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def put(self, session: str, pipeline: str, turns: int, needed: ApprovalNeeded) -> PendingApproval:
        """Store a waiting turn, and replace one of the same conversation.

        Args:
            session: name of the conversation.
            pipeline: name of the pipeline.
            turns: number of turns of the conversation.
            needed: what the pipeline raised.

        Raises:
            DataError: the file cannot be written.
        """
        pending = PendingApproval(f"wt-{secrets.token_hex(12)}", _now(), pipeline, turns, True, needed)
        values = (session, pending.id, pending.at, pipeline, turns, _PROCESS, _encode(needed))
        self._execute("INSERT OR REPLACE INTO waits VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return pending

    def get(self, session: str) -> PendingApproval | None:
        """Return the waiting turn of a conversation; None where there is none."""
        query = "SELECT id, at, pipeline, turns, process, wait FROM waits WHERE session = ?"
        rows = self._execute(query, (session,))
        if not rows:
            return None
        id_, at, pipeline, turns, process, content = rows[0]
        return PendingApproval(id_, at, pipeline, turns, process == _PROCESS, _decode(json.loads(content)))

    def claim(self, session: str, approval: str) -> bool:
        """Remove a waiting turn in order to resume it; False where somebody else has done so before."""
        query = "DELETE FROM waits WHERE session = ? AND id = ? RETURNING id"
        return bool(self._execute(query, (session, approval)))

    def drop(self, session: str) -> bool:
        """Give up the waiting turn of a conversation; False where there is none."""
        return bool(self._execute("DELETE FROM waits WHERE session = ? RETURNING id", (session,)))

    def questions(self) -> dict[str, str]:
        """Return the question of each conversation that has a waiting turn."""
        return {session: json.loads(text)["state"]["question"] for session, text in self._execute(_SELECT_ALL, ())}

    def erase(self, quotes: Quotes) -> int:
        """Delete the turns that were given a passage of some documents or quote them; return their number."""
        sessions = [session for session, text in self._execute(_SELECT_ALL, ()) if quotes.in_value(json.loads(text))]
        for session in sessions:
            self.drop(session)
        if sessions:
            self._execute("VACUUM", ())
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)", ())
        return len(sessions)

    def _execute(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise DataError(f"{self.path}: {error}") from error


def _encode(needed: ApprovalNeeded) -> str:
    assert needed.state is not None
    chunks = {id(hit.chunk): hit.chunk for hit in (*needed.state.retrieved, *needed.state.hits)}.values()
    row = {
        "state": state_row(needed.state),
        "passages": {passage_key(chunk): chunk_row(chunk) for chunk in chunks},
        "step": needed.step,
        "thread": needed.thread,
        "spent": needed.spent,
        "requests": [asdict(request) for request in needed.requests],
    }
    return json.dumps(row, default=str)


def _decode(row: Mapping[str, Any]) -> ApprovalNeeded:
    needed = ApprovalNeeded([Request(**request) for request in row["requests"]], row["thread"], row["spent"])
    needed.state = read_state(row["state"], {key: read_chunk(chunk) for key, chunk in row["passages"].items()})
    needed.step = row["step"]
    return needed


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
