"""Another encoder for a knowledge base: every passage encoded anew, as one new generation.

The passages stay as they are cut, with new rows; the old ones die but are kept, so that ``as_of`` shows older
generations with their own encoder and a rollback goes back to it. Vectors are on disk before the one commit: a process
that is killed before it leaves the old encoder in use, and what it wrote is dropped by the next writer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.identity import same_space
from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import EmbeddingSpace, passage_key
from llmkit.knowledge.local import generations, spaces
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.commit import end_lives, fresh_rows
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.maintenance.rollback import copy_document, rows_of
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.store import Reencoded
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.part import Part
from llmkit.protocols import Encoder

_BATCH = 1024


def reencode(folder: Folder, encoder: Encoder, on_progress: Callable[[int, int], None] | None = None) -> Reencoded:
    """Encode every live passage with another encoder, as one new generation.

    Args:
        folder: of the knowledge base.
        encoder: its configuration is written down; it must read every passage whole.
        on_progress: called with passages encoded and passages in all.

    Raises:
        KnowledgeError: the encoder is in use already, cannot read some passages whole, or another process is writing.
    """
    if not isinstance(encoder, Part):
        raise KnowledgeError(f"{type(encoder).__name__} is not a Part: its configuration cannot be written down")
    with folder.exclusive("adopt an encoder"):
        catalog, old = folder.write_catalog, folder.newest.space.identity
        if same_space(old, encoder.identity):
            raise KnowledgeError(f"{folder.path} uses {old} already: there is nothing to adopt")
        live = generations.live(catalog, folder.head())
        seqs = [seq for seq, _ in live.values()]
        rows = [row for seq in seqs for row in rows_of(catalog, seq)]
        counts = _token_counts(catalog, encoder, rows)
        ids = fresh_rows(catalog, len(rows))
        vectors = _encoded(catalog, encoder, rows, on_progress)
        keys = [passage_key(encoder.identity, chunk) for chunk in catalog.chunks(rows)]
        with catalog.commit(f"adopt the encoder {encoder.identity}") as (generation, db):
            end_lives(db, generation, seqs, [])
            new = iter(ids.tolist())
            for seq in seqs:
                copy_document(db, seq, generation, [next(new) for _ in rows_of(catalog, seq)])
            db.executemany(
                "UPDATE chunks SET tokens = ?, key = ? WHERE row = ?", zip(counts, keys, ids.tolist(), strict=True)
            )
            begins = int(ids[0]) if len(ids) else int(fresh_rows(catalog, 1)[0])
            space = EmbeddingSpace.of_encoder(generation, begins, encoder)
            spaces.record(db, space)
            index_file.replace(db, None)  # it covers rows of the old encoder; a new one is made when it is due
            if len(ids):
                path = folder.path / segments.FOLDER
                segments.replace(db, [], [segments.write(path, [vectors], ids, generation)])
        folder.encoders.put(space, encoder)
        folder.reopen()
    return Reencoded(old, encoder.identity, generation, len(rows))


def _encoded(
    catalog: Catalog, encoder: Any, rows: list[int], on_progress: Callable[[int, int], None] | None
) -> NDArray[np.float32]:
    """Vectors (n, dim) of the rows; what different readers may read is encoded apart, as a writer does it."""
    vectors = np.empty((len(rows), encoder.dim), dtype=np.float32)
    groups: dict[tuple[str, ...], list[int]] = {}
    for start in range(0, len(rows), _BATCH):
        for at, chunk in enumerate(catalog.chunks(rows[start : start + _BATCH]), start):
            groups.setdefault(chunk.access, []).append(at)
    done = 0
    for places in groups.values():
        for start in range(0, len(places), _BATCH):
            some = places[start : start + _BATCH]
            texts = [chunk.indexed_text for chunk in catalog.chunks([rows[at] for at in some])]
            made = encoder.encode_passages(texts)
            vectors[some] = unit_vectors(made, len(some), encoder.dim, f"the encoder {encoder.identity}")
            done += len(some)
            if on_progress is not None:
                on_progress(done, len(rows))
    return vectors


def _token_counts(catalog: Catalog, encoder: Any, rows: list[int]) -> list[int]:
    """Tokens of each passage by the new encoder.

    Raises:
        KnowledgeError: some are longer than it reads: the passages would have to be cut anew, from their files.
    """
    counts: list[int] = []
    for start in range(0, len(rows), _BATCH):
        chunks = catalog.chunks(rows[start : start + _BATCH])
        counts += [len(encoder.token_starts(chunk.indexed_text)) + encoder.special_tokens for chunk in chunks]
    long = sum(count > encoder.max_tokens for count in counts)
    if long:
        raise KnowledgeError(
            f"{long} of {len(rows)} passages are longer than the {encoder.max_tokens} tokens that {encoder.identity} "
            "reads, and none is cut in silence: ingest the files into a new knowledge base with this encoder"
        )
    return counts
