"""Is a knowledge base whole? What is derived is compared with the catalogue, and made anew where it is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmkit.errors import KnowledgeError
from llmkit.knowledge import embedding_spaces
from llmkit.knowledge.local.ann import index_policy
from llmkit.knowledge.local.lexical.catch_up import catch_up
from llmkit.knowledge.local.lexical.checksums import damaged_files, missing_files
from llmkit.knowledge.local.lexical.index import LexicalIndex, reached, rebuild_from_nothing
from llmkit.knowledge.local.lexical.reader_indexes import broken_views
from llmkit.knowledge.local.lock import read_only, writer_lock
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.registry import one_of
from llmkit.types import Document

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

_BATCH = 4096
_VIEW = "the index of a reader's words, views/{}, is damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    part: Literal["catalogue", "vectors", "index", "lexical"]
    what: str
    repairable: bool
    """Whether :func:`repair` makes it whole from the catalogue."""


def verify(kb: KnowledgeBase) -> list[Finding]:
    """Check the catalogue itself, every vector file against its SHA-256, words against rows, text against offsets.

    Reads everything and changes nothing.

    Raises:
        KnowledgeError: it is open for a reader who may not see everything.
    """
    kb.check_owner()
    return [*_catalogue(kb), *_vectors(kb), *_index(kb), *_lexical(kb)]


def repair(kb: KnowledgeBase) -> list[Finding]:
    """Make what is derived anew where it is damaged: vectors by encoding again, the lexical index from the text.

    Returns:
        What was found and mended.

    Raises:
        KnowledgeError: the catalogue itself is damaged: restore it from a copy.
    """
    kb.check_writable()
    with writer_lock(kb.path, "repair"):
        kb.refresh()
        found = verify(kb)
        lost = [finding.what for finding in found if not finding.repairable]
        if lost:
            raise KnowledgeError(f"{kb.path} cannot be repaired: {'; '.join(lost)}. Restore it from a copy")
        if any(finding.part == "vectors" for finding in found):
            _encode_again(kb)
        if any(finding.part == "index" for finding in found):
            _index_again(kb)
        if any(finding.part == "lexical" for finding in found):
            kb.__dict__.pop("lexical", None)
            catch_up(kb, rebuild_from_nothing(kb.path / "lexical", kb.language))
        kb.reread()
    return found


def _catalogue(kb: KnowledgeBase) -> Iterator[Finding]:
    for (said,) in kb.catalog.rows("PRAGMA integrity_check(10)"):
        if said != "ok":
            yield Finding("catalogue", str(said), repairable=False)
    for table, row, *_ in kb.catalog.rows("PRAGMA foreign_key_check"):
        yield Finding("catalogue", f"row {row} of {table} belongs to nothing", repairable=False)
    yield from _digests(kb)
    wrong = kb.catalog.rows(
        """SELECT count(*) FROM chunks c JOIN documents d ON d.seq = c.document
           WHERE substr(d.text, c.start + 1, c.end - c.start) != c.text"""
    )[0][0]
    if wrong:
        yield Finding("catalogue", f"the text of {wrong} chunks is not that of their documents", repairable=False)


def _digests(kb: KnowledgeBase) -> Iterator[Finding]:
    """Text, titles, headings, metadata and labels against the digests that were made of them."""
    wrong = 0
    sql = "SELECT text, title, metadata, access, version FROM documents"
    for text, title, metadata, readers, version in kb.catalog.each(sql):
        try:
            made = Document("", text, title, json.loads(metadata), access=tuple(json.loads(readers)))
            wrong += made.version != version
        except ValueError:
            wrong += 1
    if wrong:
        yield Finding(
            "catalogue", f"{wrong} documents are not what was written: their digests differ", repairable=False
        )
    wrong, known = 0, embedding_spaces.every(kb.catalog)
    rows = [row for (row,) in kb.catalog.rows("SELECT row FROM chunks ORDER BY row")]
    for at in range(0, len(rows), _BATCH):
        keys = dict(kb.catalog.rows("SELECT row, key FROM chunks WHERE row BETWEEN ? AND ?", _ends(rows, at)))
        for chunk in kb.chunks(rows[at : at + _BATCH]):
            wrong += (
                embedding_spaces.passage_key(embedding_spaces.of_row(known, chunk.row).identity, chunk)
                != keys[chunk.row]
            )
    if wrong:
        yield Finding("catalogue", f"{wrong} chunks are not what was written: their digests differ", repairable=False)
    apart = kb.catalog.rows(
        """SELECT count(*) FROM chunks c JOIN documents d ON d.seq = c.document
           WHERE c.born != d.born OR c.died IS NOT d.died OR c.died <= c.born
              OR c.born > (SELECT max(id) FROM generations) OR c.born < 1"""
    )[0][0]
    if apart:
        yield Finding("catalogue", f"{apart} chunks live at other times than their documents", repairable=False)


def _ends(rows: list[int], at: int) -> tuple[int, int]:
    return rows[at], rows[min(at + _BATCH, len(rows)) - 1]


def _vectors(kb: KnowledgeBase) -> Iterator[Finding]:
    folder = kb.path / "vectors"
    held: list[int] = []
    for segment in segments.listed(kb.catalog):
        held += segment.ids.tolist()
        yield from (Finding("vectors", what, repairable=True) for what in _damage(kb, segment))
    rows = [row for (row,) in kb.catalog.rows("SELECT row FROM chunks ORDER BY row")]
    if sorted(held) != rows:
        missing, strange = len(set(rows) - set(held)), len(set(held) - set(rows))
        yield Finding("vectors", f"{missing} chunks have no vector, {strange} vectors no chunk", repairable=True)
    named = {file for (file,) in kb.catalog.rows("SELECT file FROM segments")}
    unnamed = sorted(path.name for path in folder.glob("*.npy") if path.name not in named)
    if unnamed:
        told = f"{len(unnamed)} files that no commit names, left by a crash: {unnamed[0]}"
        yield Finding("vectors", told, repairable=True)


def _damage(kb: KnowledgeBase, segment: Segment) -> Iterator[str]:
    path = kb.path / "vectors" / segment.file
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield f"{segment.file} cannot be read: {error.strerror}"
        return
    if digest != segment.sha256:
        yield f"{segment.file} is not what was written: its SHA-256 differs"


def _index(kb: KnowledgeBase) -> Iterator[Finding]:
    folder = kb.path / index_file.FOLDER
    yield from (Finding("index", what, repairable=True) for what in index_file.damage(folder, kb.catalog))
    index = index_file.named(kb.catalog)
    if index is not None:
        mine = embedding_spaces.listed(kb.catalog, embedding_spaces.every(kb.catalog)[-1])
        ids = np.concatenate([np.empty(0, np.int64), *(segment.ids for segment in mine)])
        if len(ids) < index.rows or ids[index.rows - 1] != index.last:
            yield Finding("index", f"{index.file} is of other rows than there are", repairable=True)


def _lexical(kb: KnowledgeBase) -> Iterator[Finding]:
    if read_only(kb.path):  # tantivy makes a lock file even to read: its files are compared with their checksums alone
        folder = kb.path / "lexical"
        if not folder.exists() and kb.generation == 0:
            return  # nothing was ever written
        yield from _lexical_files(kb, reached(folder))
        yield from (Finding("lexical", f"{name} is not there", repairable=True) for name in missing_files(folder))
        for view in sorted((folder / "views").glob("[0-9a-f]*")):
            if damaged_files(view) or missing_files(view):
                yield Finding("lexical", _VIEW.format(view.name), repairable=True)
        return
    try:
        index = LexicalIndex(kb.path / "lexical", kb.language)
    except KnowledgeError as error:
        yield Finding("lexical", str(error), repairable=True)
        return
    generation = index.generation
    yield from _lexical_files(kb, generation)
    if generation != kb.generation:
        return
    try:
        rows = index.rows()
        index.search(["a the"], 1)  # reads the postings too
    except Exception as error:  # whatever tantivy says of a file it cannot read
        yield Finding("lexical", f"the index cannot be searched: {error}", repairable=True)
        return
    live = kb.catalog.live_rows(kb.generation)
    if not np.array_equal(rows, live):
        told = f"{len(np.setdiff1d(live, rows))} chunks have no words, {len(np.setdiff1d(rows, live))} words no chunk"
        yield Finding("lexical", told, repairable=True)
    for name in broken_views(kb.path / "lexical" / "views", kb.language):
        yield Finding("lexical", _VIEW.format(name), repairable=True)


def _lexical_files(kb: KnowledgeBase, generation: int) -> Iterator[Finding]:
    """How far the index has come, and its files against their checksums."""
    if generation != kb.generation:
        told = f"the index is at generation {generation}, the catalogue at {kb.generation}"
        yield Finding("lexical", told, repairable=True)
        return
    for name in damaged_files(kb.path / "lexical"):
        yield Finding("lexical", f"{name} is not what was written: its checksum differs", repairable=True)


def _encode_again(kb: KnowledgeBase) -> None:
    """Write the damaged segments anew, and vectors for chunks that have none; the generation stays what it is."""
    every = embedding_spaces.every(kb.catalog)
    for space, after in zip(every, [*every[1:], None], strict=True):
        _encode_space(kb, space, after.first_row if after else None)
    segments.drop_unlisted(kb.path / "vectors", kb.catalog)
    _index_again(kb)


def _encode_space(kb: KnowledgeBase, space: embedding_spaces.Space, end: int | None) -> None:
    """The same for the rows of one encoder, from its first to before `end`."""
    listed = embedding_spaces.listed(kb.catalog, space)
    bad = [segment for segment in listed if any(_damage(kb, segment))]
    inside = "SELECT row FROM chunks WHERE row >= ? AND row < ?"
    known = {row for (row,) in kb.catalog.rows(inside, (space.first_row, end or 2**62))}
    whole = {int(row) for segment in listed if segment not in bad for row in segment.ids}
    if whole - known:
        bad, whole = listed, set()
    rows = np.array(sorted(known - whole), dtype=np.int64)
    parts = []
    if len(rows):
        encoder: Any = kb.encoder if space == kb.space else one_of("encoder").parse(json.loads(space.encoder))
        parts = [
            unit_vectors(
                encoder.encode_passages([chunk.indexed_text for chunk in kb.chunks(rows[at : at + _BATCH])]),
                len(rows[at : at + _BATCH]),
                space.dim,
                f"the encoder {encoder.identity}",
            )
            for at in range(0, len(rows), _BATCH)
        ]
    kept = [segment for segment in listed if segment not in bad]
    folder = kb.path / "vectors"
    if kept and len(rows):  # ids must ascend from segment to segment: everything goes into one
        all_rows = np.concatenate([rows, *(segment.ids for segment in kept)])
        vectors = np.concatenate([*parts, *(segments.read(folder, segment, space.dim) for segment in kept)])
        order = np.argsort(all_rows)
        rows, parts, kept = all_rows[order], [vectors[order]], []
    made = [segments.write(folder, parts, rows, kb.generation)] if len(rows) else []
    old = [segment for segment in listed if segment not in kept]
    with kb.catalog.transaction() as db:
        segments.replace(db, old, made)
        index_file.replace(db, None)
    segments.unlink(folder, [segment for segment in old if segment.file not in {one.file for one in made}])


def _index_again(kb: KnowledgeBase) -> None:
    """Drop the vector index and whatever files there are, and make it anew where the knowledge base needs one."""
    with kb.catalog.transaction() as db:
        index_file.replace(db, None)
    index_file.drop_unlisted(kb.path / index_file.FOLDER, kb.catalog)
    index_policy.keep_up(kb)
