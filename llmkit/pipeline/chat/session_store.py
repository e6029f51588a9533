"""Stores conversations in one SQLite file. Each turn is written atomically."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from llmkit.errors import DataError
from llmkit.knowledge.verbatim_search import Quotes
from llmkit.sqlite_file import connect
from llmkit.types import Answer, Citation, State

FORMAT = 1
_SCHEMA = """
CREATE TABLE sessions (name TEXT PRIMARY KEY, pipeline TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE turns (
    session TEXT NOT NULL REFERENCES sessions (name), n INTEGER NOT NULL, at TEXT NOT NULL,
    question TEXT NOT NULL, answer TEXT NOT NULL, passages TEXT NOT NULL, records TEXT NOT NULL,
    PRIMARY KEY (session, n)) WITHOUT ROWID;
CREATE TABLE summaries (
    session TEXT NOT NULL REFERENCES sessions (name), upto INTEGER NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (session, upto)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer."""

    n: int
    """Position in the conversation, from 1."""
    question: str
    """The question as it was asked."""
    answer: Answer
    passages: tuple[Mapping[str, Any], ...]
    """The passages behind the answer: number, document, version, offsets, score."""
    records: tuple[Mapping[str, Any], ...]
    """The record of each step."""
    at: str
    """Time of the turn, ISO 8601 in UTC."""


class SessionStore:
    """Sessions by name. Processes may share a file; if two continue the same session, the second gets an error."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Raises:
            DataError: the file cannot be created or read, or another version of llmkit wrote it.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            self._db = connect(path, synchronous="FULL")
            self._db.execute("BEGIN IMMEDIATE")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {FORMAT}")
            self._db.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"sessions cannot be stored in {path}: {error}") from error
        if version not in (0, FORMAT):
            raise DataError(f"{path} has format {version}, this llmkit reads format {FORMAT}: move it away")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> list[tuple[str, str, int]]:
        """(name, time of the last turn, number of turns) of each session, the most recently used first."""
        return self._rows(
            """SELECT s.name, coalesce(max(t.at), s.at), count(t.n)
               FROM sessions s LEFT JOIN turns t ON t.session = s.name GROUP BY s.name ORDER BY 2 DESC"""
        )

    def titles(self) -> dict[str, str]:
        """The first question of each session that has one, by name."""
        return dict(
            self._rows(
                """SELECT t.session, t.question FROM turns t
                   WHERE t.n = (SELECT min(n) FROM turns WHERE session = t.session)"""
            )
        )

    def begin(self, name: str, pipeline: str) -> None:
        """Create a session if there is none of that name."""
        self._write("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?)", (name, pipeline, _now()))

    def turns(self, name: str) -> list[Turn]:
        """The turns of a session, in order."""
        return [_turn(row) for row in self._rows("SELECT * FROM turns WHERE session = ? ORDER BY n", (name,))]

    def add(self, name: str, n: int, question: str, state: State) -> Turn:
        """Append turn `n`.

        Raises:
            DataError: another process added that turn, or the file cannot be written.
        """
        answer = state.answer or Answer("")
        passages = [
            {
                "n": i,
                "document": hit.chunk.document,
                "version": hit.chunk.version,
                "start": hit.chunk.start,
                "end": hit.chunk.end,
                "score": hit.score,
            }
            for i, hit in enumerate(state.hits, 1)
        ]
        records = [asdict(record) for record in state.records]
        values = (name, n, _now(), question, _json(asdict(answer)), _json(passages), _json(records))
        try:
            self._write("INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError as error:
            raise DataError(
                f"another process continued the session {name!r}: it has turn {n} already. Open the session again to "
                "see it, or use another name"
            ) from error
        return self.turns(name)[-1]

    def undo(self, name: str) -> Turn | None:
        """Delete the last turn and return it; None where there is none."""
        turns = self.turns(name)
        if not turns:
            return None
        self._write("DELETE FROM turns WHERE session = ? AND n = ?", (name, turns[-1].n))
        self._write("DELETE FROM summaries WHERE session = ? AND upto >= ?", (name, turns[-1].n))
        return turns[-1]

    def summary(self, name: str) -> tuple[int, str]:
        """The last turn that the latest summary covers, and its text; (0, "") where there is no summary."""
        rows = self._rows("SELECT upto, text FROM summaries WHERE session = ? ORDER BY upto DESC LIMIT 1", (name,))
        return rows[0] if rows else (0, "")

    def summarise(self, name: str, upto: int, text: str) -> None:
        """Store a summary of the turns up to `upto`."""
        self._write("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?)", (name, upto, text))

    def erase(self, quotes: Quotes) -> int:
        """Delete the turns that used a passage of some documents or quote them, and return their number.

        All summaries of their sessions are deleted, too, and the bytes are overwritten.

        Raises:
            DataError: the file cannot be written.
        """
        turns, sessions = [], set()
        for session, n, *texts in self._rows("SELECT session, n, question, answer, passages, records FROM turns"):
            values = [texts[0], *map(json.loads, texts[1:])]
            if any(quotes.in_value(value) for value in values):
                turns.append((session, n))
                sessions.add(session)
        for session, text in self._rows("SELECT session, text FROM summaries"):
            sessions |= {session} if quotes.in_text(text) else set()
        for name in sessions:
            self._write("DELETE FROM summaries WHERE session = ?", (name,))
        for key in turns:
            self._write("DELETE FROM turns WHERE session = ? AND n = ?", key)
        if turns or sessions:
            self._write("VACUUM", ())
            self._write("PRAGMA wal_checkpoint(TRUNCATE)", ())
        return len(turns)

    def delete(self, name: str) -> bool:
        """Delete a session; returns False where there is none."""
        with self._lock:
            self._write("DELETE FROM turns WHERE session = ?", (name,))
            self._write("DELETE FROM summaries WHERE session = ?", (name,))
            before = self._db.total_changes
            self._write("DELETE FROM sessions WHERE name = ?", (name,))
            return self._db.total_changes > before

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise DataError(f"{self.path}: {error}") from error

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            try:
                self._db.execute(sql, values)
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                raise DataError(f"{self.path} cannot be written: {error}; earlier turns are kept") from error


def _turn(row: tuple[Any, ...]) -> Turn:
    _, n, at, question, answer, passages, records = row
    fields = json.loads(answer)
    citations = tuple(Citation(**one) for one in fields.pop("citations"))
    parsed = Answer(citations=citations, **{**fields, "unsupported": tuple(fields["unsupported"])})
    return Turn(n, question, parsed, tuple(json.loads(passages)), tuple(json.loads(records)), at)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
