"""Vector files: written once, checked when read, merged as they grow in number.

Each is a plain ``.npy`` of float32, (rows, dim); which chunk a row belongs to stands in the catalogue's table
``segments``, in the same transaction as the chunk itself, so that ids and vectors cannot fall out of step.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.vectors.id_ranges import Runs


@dataclass(frozen=True)
class Segment:
    """One vector file as the catalogue names it."""

    file: str
    runs: Runs
    """Chunk rows, ascending; every id is larger than those of the segments before."""
    sha256: str

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The chunk rows one by one."""
        return self.runs.ids()

    def __len__(self) -> int:
        return self.runs.size


def listed(catalog: Catalog) -> list[Segment]:
    """The segments of the last commit, in order of their ids."""
    found = [
        Segment(file, Runs.decoded(ids), digest)
        for file, ids, digest in catalog.rows("SELECT file, ids, sha256 FROM segments WHERE rows > 0")
    ]
    return sorted(found, key=lambda segment: segment.runs.last)


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
    if vectors.dtype != np.float32 or vectors.shape != (len(segment), dim):
        raise KnowledgeError(
            f"{path} holds {vectors.dtype} {vectors.shape}, the catalogue says ({len(segment)}, {dim}): {RECOVER}"
        )
    return vectors


FOLDER = "vectors"
RECOVER = "llmkit kb repair encodes its passages again; or restore the file from a copy"


_BLOCK = 16384  # rows copied at once


def kept(folder: Path, segment: Segment, dim: int, flags: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    """The vectors of a segment whose flag is set, a block at a time."""
    vectors = read(folder, segment, dim)
    for at in range(0, len(vectors), _BLOCK):
        yield vectors[at : at + _BLOCK][flags[at : at + _BLOCK]]


def write(folder: Path, parts: Iterable[NDArray[np.float32]], ids: NDArray[np.int64], generation: int) -> Segment:
    """Write a segment of these vectors, one part behind the other; it is on disk before its transaction commits.

    Parts may be memory-mapped: they are copied a block at a time. The name carries the generation it is written for; a
    file that no transaction names is dropped at the next open.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    name = f"{generation:08d}-{int(ids[0])}.npy"
    temporary = folder / f"{name}.tmp"
    with temporary.open("wb") as file:
        for number, part in enumerate(parts):
            if number == 0:
                shape = len(ids), part.shape[1]
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for at in range(0, len(part), _BLOCK):
                file.write(np.ascontiguousarray(part[at : at + _BLOCK], dtype="<f4").data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / name)
    sync_folder(folder)
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    runs = Runs()
    runs.append(ids)
    return Segment(name, runs, digest)


def to_merge(segments: list[Segment], rows: int) -> list[Segment]:
    """The last segments that a new one of `rows` rows should take in, so that sizes stay far apart.

    Each row is copied at most a logarithmic number of times (O'Neil et al. 1996).
    """
    taken = 0
    for segment in reversed(segments):
        if len(segment) > 2 * rows:
            break
        rows += len(segment)
        taken += 1
    return segments[len(segments) - taken :]


def replace(db: sqlite3.Connection, old: Sequence[Segment], new: Sequence[Segment]) -> None:
    """Name new segments in the open transaction, instead of old ones."""
    db.executemany("DELETE FROM segments WHERE file = ?", [(segment.file,) for segment in old])
    rows = [(one.file, len(one), one.sha256, one.runs.encoded()) for one in new]
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
