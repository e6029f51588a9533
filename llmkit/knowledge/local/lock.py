"""One writer at a time, and a name for the one who has it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from llmkit.errors import Busy, KnowledgeError


@contextmanager
def writer_lock(folder: Path, doing: str = "write") -> Iterator[None]:
    """Hold the knowledge base for writing. The system frees it when the process dies, however it dies.

    Args:
        folder: the knowledge base.
        doing: what for, to be told to others.

    Raises:
        Busy: somebody else holds it; says who, since when and for what.
        KnowledgeError: the disk is full or read-only.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "writer.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(f"{folder} is busy: it is being written {_owner(folder)}. Wait for it, or stop it") from error
    except OSError as error:
        raise KnowledgeError(f"{folder} cannot be written: {error}") from error
    try:
        _sign(folder, doing)
        yield
    except OSError as error:  # a full disk, most often
        raise KnowledgeError(
            f"writing to {folder} stopped: {error}. What was committed is whole; the same command goes on from it"
        ) from error
    finally:
        with suppress(OSError):
            (folder / "writer.json").unlink(missing_ok=True)
        lock.release()


def read_only(folder: Path) -> bool:
    """Whether it lies on a disk that is mounted for reading only."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _sign(folder: Path, doing: str) -> None:
    """Say who writes, so that no one reads half of it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "doing": doing}
    draft = folder / "writer.json.tmp"
    draft.write_text(json.dumps(who), encoding="utf-8")
    draft.replace(folder / "writer.json")


def _owner(folder: Path) -> str:
    """Who writes. Between taking the lock and signing lies a moment."""
    for _ in range(10):
        try:
            who = json.loads((folder / "writer.json").read_text(encoding="utf-8"))
            return f"by process {who['pid']} on {who['host']} since {who['since']} ({who['doing']})"
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.01)
    return "by another process"
