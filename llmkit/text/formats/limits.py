"""How much a file may cost, and the error of a file that is not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmkit.errors import DataError

Status = Literal["parsed", "empty", "encrypted", "unsupported", "too_large", "timeout", "failed"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost before it is refused with a reason."""

    max_bytes: int = 200 * MIB
    """Size of a file that is read whole; row files (JSONL) are streamed and may be larger."""
    max_seconds: float = 60.0
    """Wall-clock time for parsing one file in a worker process."""
    max_ratio: float = 200.0
    """Expanded over compressed size of an archive member larger than 8 MiB."""
    max_expanded: int = 512 * MIB
    """Sum of the expanded members of an archive, or of one gzip file."""
    max_entries: int = 20_000
    """Members of an archive."""
    max_line: int = 10_000_000
    """Characters of one line of a text or row file, and of one CSV field."""
    max_memory: int = 3072 * MIB
    """Address space of a worker process, where the system can limit it."""


class Unreadable(DataError):
    """A file that ends in a status other than parsed; the message is the plain reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def size(count: float) -> str:
    """A number of bytes in words: ``3.2 MiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 image``, ``1,234 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
