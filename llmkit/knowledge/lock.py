"""One writer at a time, and a name for the one who has it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from llmkit.errors import KnowledgeError


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the knowledge base for writing. The system frees it when the process dies, however it dies.

    Raises:
        KnowledgeError: somebody else holds it; says who and since when.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "writer.lock", timeout=0)
    owner = folder / "writer.json"
    try:
        lock.acquire()
    except Timeout as error:
        try:
            who = json.loads(owner.read_text(encoding="utf-8"))
            said = f"by process {who['pid']} on {who['host']} since {who['since']}"
        except (OSError, ValueError, KeyError):
            said = "by another process"
        raise KnowledgeError(f"{folder} is busy: it is being written {said}. Wait for it, or stop it") from error
    except OSError as error:
        raise KnowledgeError(f"{folder} cannot be written: {error}") from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        owner.write_text(
            json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}), encoding="utf-8"
        )
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
