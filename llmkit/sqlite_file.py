"""An SQLite file that several threads and processes read and write."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal


def connect(path: Path, *, synchronous: Literal["FULL", "NORMAL"], secure_delete: bool = False) -> sqlite3.Connection:
    """Open or create a file, and its folder. Use the connection under a lock; each statement commits itself.

    Args:
        path: path of the file.
        synchronous: with FULL, commits survive a power cut. With NORMAL, a power cut can lose the last commits and
            does not damage the file.
        secure_delete: whether deleted content is overwritten with zeros.

    Raises:
        OSError: the folder cannot be made.
        sqlite3.Error: the file cannot be opened, or is not a database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    if secure_delete:  # otherwise the default of this build of SQLite
        db.execute("PRAGMA secure_delete = ON")
    return db
