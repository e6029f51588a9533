"""The file of a vector index: derived, written once, named in the catalogue with its checksum and certificate."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.knowledge.local.ann import faiss_build
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.vectors.segments import sync_folder
from llmkit.knowledge.recall_bound import Certificate

FOLDER = "index"


@dataclass(frozen=True, slots=True)
class IndexFile:
    """An index as the catalogue names it."""

    file: str
    rows: int
    """How many rows it covers, from the first on, those that died included."""
    last: int
    """The last of them."""
    sha256: str
    certificate: Certificate


def named(catalog: Catalog) -> IndexFile | None:
    """The index of the last commit, if there is one."""
    found = catalog.rows("SELECT file, rows, last, sha256, certificate FROM vector_indexes ORDER BY last DESC LIMIT 1")
    for file, rows, last, digest, certificate in found:
        return IndexFile(file, rows, last, digest, Certificate.loads(certificate))
    return None


def write(folder: Path, index: Any, rows: int, last: int, generation: int, certificate: Certificate) -> IndexFile:
    """Write an index so that it is on disk before its transaction commits; named by what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    temporary = folder / f"{generation:08d}.faiss.tmp"
    faiss_build.write(index, temporary)
    with temporary.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    name = f"{generation:08d}-{digest[:12]}.faiss"
    temporary.replace(folder / name)
    sync_folder(folder)
    return IndexFile(name, rows, last, digest, certificate)


def replace(db: sqlite3.Connection, new: IndexFile | None) -> None:
    """Name another index in the open transaction, or none."""
    db.execute("DELETE FROM vector_indexes")
    if new is not None:
        row = new.file, new.rows, new.last, new.sha256, new.certificate.dumps()
        db.execute("INSERT INTO vector_indexes VALUES (?, ?, ?, ?, ?)", row)


def drop_unlisted(folder: Path, catalog: Catalog) -> None:
    """Delete index files that no commit names; only for the one writer."""
    for path in strays(folder, catalog):
        with suppress(OSError):  # a system that keeps open files lets the next writer drop it
            path.unlink(missing_ok=True)


def strays(folder: Path, catalog: Catalog) -> list[Path]:
    """Index files that no commit names."""
    kept = {file for (file,) in catalog.rows("SELECT file FROM vector_indexes")}
    return sorted(path for path in folder.glob("*.faiss*") if path.name not in kept)


def damage(folder: Path, catalog: Catalog) -> Iterator[str]:
    """What is wrong with the index file, if anything."""
    index = named(catalog)
    if index is not None:
        try:
            with (folder / index.file).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield f"{index.file} cannot be read: {error.strerror}"
        else:
            if digest != index.sha256:
                yield f"{index.file} is not what was written: its SHA-256 differs"
    left = strays(folder, catalog)
    if left:
        yield f"{len(left)} index files that no commit names, left by a crash: {left[0].name}"
