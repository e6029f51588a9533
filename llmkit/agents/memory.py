"""The memory of agents across turns and restarts: LangGraph checkpoints in one SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.extras import optional

FORMAT = 1


def open_memory(path: Path) -> Any:
    """Open the checkpointer of a file, and create the file if it is missing.

    Only messages and plain values are deserialised, never a pickled object or an instance of another class.

    Raises:
        DataError: the file cannot be used, or another version of llmkit wrote it.
    """
    with optional():
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
        from langgraph.checkpoint.sqlite import SqliteSaver

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, check_same_thread=False, timeout=30)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"the agent's memory cannot be kept in {path}: {error}") from error
    if version != FORMAT and (version or tables):
        db.close()
        raise DataError(
            f"{path} was written by another version (format {version}, this llmkit reads format {FORMAT}): "
            "move it away; conversations go on without what their tools gave before"
        )
    saver = SqliteSaver(db, serde=JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None))
    saver.setup()
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.commit()
    return saver
