"""Turns that wait for a person's decision: one SQLite file a caller, one turn a conversation, over restarts."""

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
from llmkit.sqlite_file import connect

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waits (
    session TEXT PRIMARY KEY, id TEXT NOT NULL, at TEXT NOT NULL, pipeline TEXT NOT NULL, turns INTEGER NOT NULL,
    process TEXT NOT NULL, wait TEXT NOT NULL) WITHOUT ROWID;
"""
_PROCESS = secrets.token_hex(8)  # what is remembered in memory alone is gone with this process


@dataclass(frozen=True, slots=True)
class Wait:
    """A turn that waits."""

    id: str
    at: str
    pipeline: str
    turns: int
    """How many turns the conversation had."""
    here: bool
    """Whether this process made it."""
    needed: ApprovalNeeded

    def row(self) -> dict[str, Any]:
        """As a client is told of it."""
        calls = [asdict(one) for one in self.needed.requests]
        question = self.needed.state.question if self.needed.state else ""
        return {"wait": self.id, "at": self.at, "pipeline": self.pipeline, "question": question, "calls": calls}


class WaitStore:
    """The turns of one caller that wait, by conversation."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            DataError: it cannot be made or read.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = connect(path, synchronous="FULL", secure_delete=True)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"turns that wait cannot be kept in {path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def keep(self, session: str, pipeline: str, turns: int, needed: ApprovalNeeded) -> Wait:
        """Keep a turn that waits, in the place of one that did.

        Raises:
            DataError: the disk is full.
        """
        made = Wait(f"wt-{secrets.token_hex(12)}", _now(), pipeline, turns, True, needed)
        values = (session, made.id, made.at, pipeline, turns, _PROCESS, _written(needed))
        self._do("INSERT OR REPLACE INTO waits VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return made

    def find(self, session: str) -> Wait | None:
        """What waits in a conversation."""
        rows = self._do("SELECT id, at, pipeline, turns, process, wait FROM waits WHERE session = ?", (session,))
        if not rows:
            return None
        name, at, pipeline, turns, process, wait = rows[0]
        return Wait(name, at, pipeline, turns, process == _PROCESS, _read(json.loads(wait)))

    def take(self, session: str, name: str) -> bool:
        """Take a turn out, to go on with it; False where somebody was faster."""
        return bool(self._do("DELETE FROM waits WHERE session = ? AND id = ? RETURNING id", (session, name)))

    def drop(self, session: str) -> bool:
        """Give up what waits in a conversation; False where nothing does."""
        return bool(self._do("DELETE FROM waits WHERE session = ? RETURNING id", (session,)))

    def questions(self) -> dict[str, str]:
        """What was asked in each conversation that waits."""
        return {session: json.loads(wait)["state"]["question"] for session, wait in self._do(_EVERY, ())}

    def erase(self, quotes: Quotes) -> int:
        """Delete the turns that were given a passage of some documents or quote them; returns how many."""
        dead = [session for session, wait in self._do(_EVERY, ()) if quotes.in_value(json.loads(wait))]
        for session in dead:
            self.drop(session)
        if dead:
            self._do("VACUUM", ())
            self._do("PRAGMA wal_checkpoint(TRUNCATE)", ())
        return len(dead)

    def _do(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise DataError(f"{self.path}: {error}") from error


_EVERY = "SELECT session, wait FROM waits"


def _written(needed: ApprovalNeeded) -> str:
    assert needed.state is not None
    chunks = {id(hit.chunk): hit.chunk for hit in (*needed.state.retrieved, *needed.state.hits)}.values()
    row = {
        "state": state_row(needed.state),
        "passages": {passage_key(chunk): chunk_row(chunk) for chunk in chunks},
        "step": needed.step,
        "thread": needed.thread,
        "spent": needed.spent,
        "requests": [asdict(one) for one in needed.requests],
    }
    return json.dumps(row, default=str)


def _read(row: Mapping[str, Any]) -> ApprovalNeeded:
    needed = ApprovalNeeded([Request(**one) for one in row["requests"]], row["thread"], row["spent"])
    needed.state = read_state(row["state"], {key: read_chunk(one) for key, one in row["passages"].items()})
    needed.step = row["step"]
    return needed


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
