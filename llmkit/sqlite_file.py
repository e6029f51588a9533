"""A SQLite file that several threads and processes read and write."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal


def connect(path: Path, *, synchronous: Literal["FULL", "NORMAL"], secure_delete: bool = False) -> sqlite3.Connection:
    """Open the file, or make it and its folder. One connection, to be used under a lock; statements commit themselves.

    Args:
        path: of the file.
        synchronous: FULL: what was committed outlives a power cut. NORMAL: a cut may cost the last commits, never the
            file.
        secure_delete: what is deleted is overwritten.

    Raises:
        OSError: the folder cannot be made.
        sqlite3.Error: the file cannot be opened, or is no database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    if secure_delete:  # else as SQLite was built
        db.execute("PRAGMA secure_delete = ON")
    return db
