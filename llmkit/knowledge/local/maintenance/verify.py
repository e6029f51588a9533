"""Verification and repair: what is derived is compared with the catalogue, and made anew where it differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import EmbeddingSpace, passage_key
from llmkit.knowledge.local import spaces
from llmkit.knowledge.local.ann import index_policy
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.lexical.catch_up import rebuild
from llmkit.knowledge.local.lexical.checksums import damaged_files, missing_files
from llmkit.knowledge.local.lexical.index import LexicalIndex, reached
from llmkit.knowledge.local.lexical.reader_indexes import broken_views
from llmkit.knowledge.local.lock import read_only, writer_lock
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.store import Finding
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.types import Document

_BATCH = 4096
_VIEW = "the index of a reader's words, views/{}, is damaged"


def verify(folder: Folder) -> list[Finding]:
    """Check the catalogue itself, every vector file against its SHA-256, the BM25 index against rows, text by offsets.

    Reads everything and changes nothing.
    """
    return [*_catalogue(folder), *_vectors(folder), *_index(folder), *_lexical(folder)]


def repair(folder: Folder) -> list[Finding]:
    """Make what is derived anew where it is damaged: vectors by encoding again, the BM25 index from the text.

    Returns:
        What was found and mended.

    Raises:
        KnowledgeError: the catalogue itself is damaged: restore it from a copy.
    """
    with writer_lock(folder.path, "repair"):
        found = verify(folder)
        lost = [finding.what for finding in found if not finding.repairable]
        if lost:
            raise KnowledgeError(f"{folder.path} cannot be repaired: {'; '.join(lost)}. Restore it from a copy")
        if any(finding.part == "vectors" for finding in found):
            _encode_again(folder)
        if any(finding.part == "index" for finding in found):
            _index_again(folder)
        if any(finding.part == "lexical" for finding in found):
            rebuild(folder.newest)
        folder.reopen()
    return found


def _catalogue(folder: Folder) -> Iterator[Finding]:
    for (said,) in folder.catalog.rows("PRAGMA integrity_check(10)"):
        if said != "ok":
            yield Finding("catalogue", str(said), repairable=False)
    for table, row, *_ in folder.catalog.rows("PRAGMA foreign_key_check"):
        yield Finding("catalogue", f"row {row} of {table} belongs to nothing", repairable=False)
    yield from _digests(folder)
    wrong = folder.catalog.rows(
        """SELECT count(*) FROM chunks c JOIN documents d ON d.seq = c.document
           WHERE substr(d.text, c.start + 1, c.end - c.start) != c.text"""
    )[0][0]
    if wrong:
        yield Finding("catalogue", f"the text of {wrong} chunks is not that of their documents", repairable=False)


def _digests(folder: Folder) -> Iterator[Finding]:
    """Text, titles, headings, metadata and labels against the digests that were made of them."""
    wrong = 0
    sql = "SELECT text, title, metadata, access, version FROM documents"
    for text, title, metadata, readers, version in folder.catalog.each(sql):
        try:
            made = Document("", text, title, json.loads(metadata), access=tuple(json.loads(readers)))
            wrong += made.version != version
        except ValueError:
            wrong += 1
    if wrong:
        yield Finding(
            "catalogue", f"{wrong} documents are not what was written: their digests differ", repairable=False
        )
    wrong, known = 0, spaces.every(folder.catalog)
    rows = [row for (row,) in folder.catalog.rows("SELECT row FROM chunks ORDER BY row")]
    for at in range(0, len(rows), _BATCH):
        keys = dict(folder.catalog.rows("SELECT row, key FROM chunks WHERE row BETWEEN ? AND ?", _ends(rows, at)))
        for chunk in folder.catalog.chunks(rows[at : at + _BATCH]):
            wrong += passage_key(spaces.of_row(known, chunk.row).identity, chunk) != keys[chunk.row]
    if wrong:
        yield Finding("catalogue", f"{wrong} chunks are not what was written: their digests differ", repairable=False)
    apart = folder.catalog.rows(
        """SELECT count(*) FROM chunks c JOIN documents d ON d.seq = c.document
           WHERE c.born != d.born OR c.died IS NOT d.died OR c.died <= c.born
              OR c.born > (SELECT max(id) FROM generations) OR c.born < 1"""
    )[0][0]
    if apart:
        yield Finding("catalogue", f"{apart} chunks live at other times than their documents", repairable=False)


def _ends(rows: list[int], at: int) -> tuple[int, int]:
    return rows[at], rows[min(at + _BATCH, len(rows)) - 1]


def _vectors(folder: Folder) -> Iterator[Finding]:
    path = folder.path / segments.FOLDER
    held: list[int] = []
    for segment in segments.listed(folder.catalog):
        held += segment.ids.tolist()
        yield from (Finding("vectors", what, repairable=True) for what in _damage(folder, segment))
    rows = [row for (row,) in folder.catalog.rows("SELECT row FROM chunks ORDER BY row")]
    if sorted(held) != rows:
        missing, strange = len(set(rows) - set(held)), len(set(held) - set(rows))
        yield Finding("vectors", f"{missing} chunks have no vector, {strange} vectors no chunk", repairable=True)
    named = {file for (file,) in folder.catalog.rows("SELECT file FROM segments")}
    unnamed = sorted(one.name for one in path.glob("*.npy") if one.name not in named)
    if unnamed:
        told = f"{len(unnamed)} files that no commit names, left by a crash: {unnamed[0]}"
        yield Finding("vectors", told, repairable=True)


def _damage(folder: Folder, segment: Segment) -> Iterator[str]:
    path = folder.path / segments.FOLDER / segment.file
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield f"{segment.file} cannot be read: {error.strerror}"
        return
    if digest != segment.sha256:
        yield f"{segment.file} is not what was written: its SHA-256 differs"


def _index(folder: Folder) -> Iterator[Finding]:
    path = folder.path / index_file.FOLDER
    yield from (Finding("index", what, repairable=True) for what in index_file.damage(path, folder.catalog))
    index = index_file.named(folder.catalog)
    if index is not None:
        mine = spaces.listed(folder.catalog, spaces.every(folder.catalog)[-1])
        ids = np.concatenate([np.empty(0, np.int64), *(segment.ids for segment in mine)])
        if len(ids) < index.rows or ids[index.rows - 1] != index.last:
            yield Finding("index", f"{index.file} is of other rows than there are", repairable=True)


def _lexical(folder: Folder) -> Iterator[Finding]:
    if read_only(
        folder.path
    ):  # tantivy makes a lock file even to read: its files are compared with their checksums alone
        path = folder.path / "lexical"
        if not path.exists() and folder.head() == 0:
            return  # nothing was ever written
        yield from _lexical_files(folder, reached(path))
        yield from (Finding("lexical", f"{name} is not there", repairable=True) for name in missing_files(path))
        for view in sorted((path / "views").glob("[0-9a-f]*")):
            if damaged_files(view) or missing_files(view):
                yield Finding("lexical", _VIEW.format(view.name), repairable=True)
        return
    try:
        index = LexicalIndex(folder.path / "lexical", folder.newest.language)
    except KnowledgeError as error:
        yield Finding("lexical", str(error), repairable=True)
        return
    generation = index.generation
    yield from _lexical_files(folder, generation)
    if generation != folder.head():
        return
    try:
        rows = index.rows()
        index.search(["a the"], 1)  # reads the postings too
    except Exception as error:  # whatever tantivy says of a file it cannot read
        yield Finding("lexical", f"the index cannot be searched: {error}", repairable=True)
        return
    live = folder.catalog.live_rows(folder.head())
    if not np.array_equal(rows, live):
        told = f"{len(np.setdiff1d(live, rows))} chunks have no words, {len(np.setdiff1d(rows, live))} words no chunk"
        yield Finding("lexical", told, repairable=True)
    for name in broken_views(folder.path / "lexical" / "views", folder.newest.language):
        yield Finding("lexical", _VIEW.format(name), repairable=True)


def _lexical_files(folder: Folder, generation: int) -> Iterator[Finding]:
    """How far the index has come, and its files against their checksums."""
    if generation != folder.head():
        told = f"the index is at generation {generation}, the catalogue at {folder.head()}"
        yield Finding("lexical", told, repairable=True)
        return
    for name in damaged_files(folder.path / "lexical"):
        yield Finding("lexical", f"{name} is not what was written: its checksum differs", repairable=True)


def _encode_again(folder: Folder) -> None:
    """Write the damaged segments anew, and vectors for chunks that have none; the generation stays what it is."""
    every = spaces.every(folder.catalog)
    for space, after in zip(every, [*every[1:], None], strict=True):
        _encode_space(folder, space, after.first_row if after else None)
    segments.drop_unlisted(folder.path / segments.FOLDER, folder.catalog)
    _index_again(folder)


def _encode_space(folder: Folder, space: EmbeddingSpace, end: int | None) -> None:
    """The same for the rows of one encoder, from its first to before `end`."""
    listed = spaces.listed(folder.catalog, space)
    bad = [segment for segment in listed if any(_damage(folder, segment))]
    inside = "SELECT row FROM chunks WHERE row >= ? AND row < ?"
    known = {row for (row,) in folder.catalog.rows(inside, (space.first_row, end or 2**62))}
    whole = {int(row) for segment in listed if segment not in bad for row in segment.ids}
    if whole - known:
        bad, whole = listed, set()
    rows = np.array(sorted(known - whole), dtype=np.int64)
    parts = []
    if len(rows):
        encoder: Any = folder.encoders.of(space, folder.notes)
        parts = [
            unit_vectors(
                encoder.encode_passages(
                    [chunk.indexed_text for chunk in folder.catalog.chunks(rows[at : at + _BATCH].tolist())]
                ),
                len(rows[at : at + _BATCH]),
                space.dim,
                f"the encoder {encoder.identity}",
            )
            for at in range(0, len(rows), _BATCH)
        ]
    kept = [segment for segment in listed if segment not in bad]
    path = folder.path / segments.FOLDER
    if kept and len(rows):  # ids must ascend from segment to segment: everything goes into one
        all_rows = np.concatenate([rows, *(segment.ids for segment in kept)])
        vectors = np.concatenate([*parts, *(segments.read(path, segment, space.dim) for segment in kept)])
        order = np.argsort(all_rows)
        rows, parts, kept = all_rows[order], [vectors[order]], []
    made = [segments.write(path, parts, rows, folder.head())] if len(rows) else []
    old = [segment for segment in listed if segment not in kept]
    with folder.write_catalog.transaction() as db:
        segments.replace(db, old, made)
        index_file.replace(db, None)
    segments.unlink(path, [segment for segment in old if segment.file not in {one.file for one in made}])


def _index_again(folder: Folder) -> None:
    """Drop the vector index and whatever files there are, and make it anew where the knowledge base needs one."""
    with folder.write_catalog.transaction() as db:
        index_file.replace(db, None)
    index_file.drop_unlisted(folder.path / index_file.FOLDER, folder.catalog)
    index_policy.keep_up(folder)
