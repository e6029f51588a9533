"""Vector files: written once, checked when read, merged as they grow in number.

Each is a plain ``.npy`` of float32, (rows, dim); which chunk a row belongs to stands in the catalogue's table
``segments``, in the same transaction as the chunk itself, so that ids and vectors cannot fall out of step.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Segment:
    """One vector file as the catalogue names it."""

    file: str
    ids: NDArray[np.int64]
    """Chunk rows, ascending; every id is larger than those of the segments before."""
    sha256: str


def listed(catalog: Catalog) -> list[Segment]:
    """The segments of the last commit, in order of their ids."""
    found = [
        Segment(file, np.frombuffer(ids, dtype="<i8"), digest)
        for file, ids, digest in catalog.rows("SELECT file, ids, sha256 FROM segments WHERE rows > 0")
    ]
    return sorted(found, key=lambda segment: int(segment.ids[0]))


def read(folder: Path, segment: Segment, dim: int) -> NDArray[np.float32]:
    """The vectors of a segment, memory-mapped, (rows, dim).

    Raises:
        FileNotFoundError: a writer merged it away meanwhile.
        KnowledgeError: not the shape the catalogue says.
    """
    path = folder / segment.file
    try:
        vectors: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise KnowledgeError(f"{path} is damaged ({error}): {RECOVER}") from error
    if vectors.dtype != np.float32 or vectors.shape != (len(segment.ids), dim):
        raise KnowledgeError(
            f"{path} holds {vectors.dtype} {vectors.shape}, the catalogue says ({len(segment.ids)}, {dim}): {RECOVER}"
        )
    return vectors


RECOVER = "llmkit kb repair encodes its passages again; or restore the file from a copy"


def write(folder: Path, vectors: NDArray[np.float32], ids: NDArray[np.int64], generation: int) -> Segment:
    """Write a segment so that it is on disk before its transaction commits.

    The name carries the generation it is written for; a file that no transaction names is dropped at the next open.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    name = f"{generation:08d}-{int(ids[0])}.npy"
    temporary = folder / f"{name}.tmp"
    with temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / name)
    sync_folder(folder)
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Segment(name, ids, digest)


def to_merge(segments: list[Segment], rows: int) -> list[Segment]:
    """The last segments that a new one of `rows` rows should take in, so that sizes stay far apart.

    Each row is copied at most a logarithmic number of times (O'Neil et al. 1996).
    """
    taken = 0
    for segment in reversed(segments):
        if len(segment.ids) > 2 * rows:
            break
        rows += len(segment.ids)
        taken += 1
    return segments[len(segments) - taken :]


def replace(db: sqlite3.Connection, old: Sequence[Segment], new: Sequence[Segment]) -> None:
    """Name new segments in the open transaction, instead of old ones."""
    db.executemany("DELETE FROM segments WHERE file = ?", [(segment.file,) for segment in old])
    rows = [(one.file, len(one.ids), one.sha256, one.ids.astype("<i8").tobytes()) for one in new]
    db.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", rows)


def unlink(folder: Path, old: Sequence[Segment]) -> None:
    """Delete segments that the last commit names no more."""
    for segment in old:
        with suppress(OSError):  # a system that keeps open files lets the next writer drop it
            (folder / segment.file).unlink(missing_ok=True)


def drop_unlisted(folder: Path, catalog: Catalog) -> None:
    """Delete vector files that no commit names; only for the one writer."""
    named = {file for (file,) in catalog.rows("SELECT file FROM segments")}
    for path in folder.glob("*.npy*"):
        if path.name not in named:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system has directories that can be synced."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
