"""What a knowledge base stores, as values: no SQL and no files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A file that was read, or could not be."""

    uri: str
    """Path of the file."""
    root: str
    """The folder it was found in."""
    name: str
    """Path below the root."""
    kind: str
    sha256: str
    size: int
    status: str
    reason: str
    """Why it was not read whole."""
    access: tuple[str, ...] = ()
    """Labels of its readers; empty: everybody."""
