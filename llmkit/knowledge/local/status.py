"""The totals of a snapshot, and what became of every file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np

from llmkit.knowledge.embedding_spaces import EmbeddingSpace
from llmkit.knowledge.local import spaces
from llmkit.knowledge.local.reads import GenerationReads
from llmkit.knowledge.local.vectors import index_file
from llmkit.knowledge.local.vectors.vector_set import VectorSet
from llmkit.knowledge.recall_bound import describe
from llmkit.knowledge.status import FileStatus, Status

_DEAD = 0.2  # share of an index from which on it is worth saying
_ALIVE = "d.born <= ? AND (d.died IS NULL OR d.died > ?)"


def status(
    view: GenerationReads, vectors: VectorSet, space: EmbeddingSpace, problems: Sequence[str], *, owner: bool = True
) -> Status:
    """The totals; `problems` keep it from being searched. Sizes on disk are for the owner alone."""
    rows = view.catalog.rows
    now = (view.generation, view.generation)
    live = view.live_rows()
    at = rows("SELECT at FROM generations WHERE id <= ? ORDER BY id DESC LIMIT 1", (view.generation,))
    sources = view.sources()
    characters: Counter[str] = Counter()
    documents = 0
    for (fates,) in view.catalog.each(f"SELECT fates FROM documents d WHERE {_ALIVE}", now):  # noqa: S608
        documents += 1
        characters.update(json.loads(fates))
    index = index_file.named(view.catalog)
    return Status(
        path=str(view.path),
        generation=view.generation,
        at=at[0][0] if at else "",
        encoder=space.identity,
        words=tuple(json.loads(space.encoder).get("words", ())),
        documents=documents,
        chunks=len(live),
        embedded=int(vectors.holds(live).sum()),
        language=view.language,
        duplicates=len(_duplicates(view)),
        files=dict(Counter(source.status for source in sources)),
        characters=dict(characters),
        bytes=sizes(view) if owner else {},
        vectors=_searched(view, space, index),
        index=asdict(index.certificate) if index else None,
        notes=(*view.notes, *problems),
    )


def files(view: GenerationReads, vectors: VectorSet) -> Iterator[FileStatus]:
    """Every source, and every name under which documents were added from Python, in order of its name."""
    known = {source.uri: (source.name, source.kind, source.status, source.reason) for source in view.sources()}
    by_source = view.documents_by_source()
    added = {source: (source, "api", "parsed", "") for source in by_source if source not in known}
    for uri, (name, kind, state, reason) in sorted({**known, **added}.items(), key=lambda item: item[1][0]):
        rows = np.array(view.rows_of(by_source.get(uri, [])), dtype=np.int64)
        fates: Counter[str] = Counter()
        notes: dict[str, None] = {}
        for one, texts in view.catalog.rows(
            f"SELECT fates, notes FROM documents d WHERE source = ? AND {_ALIVE}",  # noqa: S608
            (uri, view.generation, view.generation),
        ):
            fates.update(json.loads(one))
            notes |= dict.fromkeys(json.loads(texts))
        for one, original, similarity in _duplicates(view, uri):
            notes[f"{one} is a near duplicate of {original} ({similarity:.0%} of the wording): not indexed"] = None
        dropped = {key.partition(": ")[2]: count for key, count in fates.items() if key.startswith("dropped")}
        yield FileStatus(
            name=name,
            path=uri,
            kind=kind,
            status=state,
            reason=reason,
            documents=len(by_source.get(uri, ())),
            chunks=len(rows),
            embedded=int(vectors.holds(rows).sum()),
            indexed=fates["indexed"],
            dropped=dropped,
            truncated=sum(count for key, count in fates.items() if key.startswith("truncated")),
            notes=tuple(notes)[:20],
        )


def sizes(view: GenerationReads) -> dict[str, int]:
    """Bytes on disk by part."""
    return {
        "catalogue": sum(path.stat().st_size for path in view.path.glob("catalog.sqlite*")),
        "vectors": sum(path.stat().st_size for path in view.path.glob("vectors/*")),
        "index": sum(path.stat().st_size for path in view.path.glob("index/*")),
        "lexical": sum(path.stat().st_size for path in view.path.glob("lexical/**/*") if path.is_file()),
    }


def _duplicates(view: GenerationReads, source: str | None = None) -> list[tuple[str, str, float]]:
    """(id, original, similarity) of the near duplicates, of all sources or of one."""
    return view.catalog.rows(
        f"""SELECT d.id, t.original, t.similarity FROM duplicates t JOIN documents d ON d.seq = t.document
            WHERE {_ALIVE} AND (? IS NULL OR d.source = ?) ORDER BY d.seq""",  # noqa: S608
        (view.generation, view.generation, source, source),
    )


def _searched(view: GenerationReads, space: EmbeddingSpace, index: index_file.IndexFile | None) -> str:
    if index is None:
        return "searched exactly: a scan of half-precision codes in memory"
    since = sum(len(segment) for segment in spaces.listed(view.catalog, space)) - index.rows
    dead = view.catalog.rows(
        "SELECT count(*) FROM chunks WHERE died IS NOT NULL AND row <= ? AND row >= ?", (index.last, space.first_row)
    )[0][0]
    text = describe(index.certificate) + (f"; {since} newer ones exactly" if since else "")
    if dead > _DEAD * index.rows:
        text += f"; {dead / index.rows:.0%} of those in the index are of older generations: `llmkit kb compact`"
    return text
