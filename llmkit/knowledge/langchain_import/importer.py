"""A FAISS folder of LangChain's (``index.faiss``, ``index.pkl``) into a knowledge base, without unpickling it.

Vectors are kept where that can be shown to be right: the encoder of the knowledge base must give a sample of the texts
the vectors they have, and a text must be one passage here. All others are encoded.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.langchain_import.faiss_file import FlatFile, read_flat
from llmkit.knowledge.langchain_import.safe_pickle import Thing, read_pickle
from llmkit.types import Document

SOURCE = "langchain"
"""Where the documents come from, as the catalogue notes it; the same as for those that the bridge adds."""
_SAMPLE = 20
_AGREE = 0.99  # cosine of a kept vector and the encoder's own
_VALUES = 100_000  # in one document's metadata, each counted as often as it is reached
_NESTED = 64


@dataclass
class ImportSummary:
    """What an import did."""

    documents: int = 0
    """Documents added or replaced."""
    unchanged: int = 0
    """Documents that were here already."""
    kept: int = 0
    """Vectors taken over from the index."""
    encoded: int = 0
    """Passages encoded: of texts longer than one passage, or without a vector to keep."""
    agreement: float | None = None
    """Smallest cosine of a sampled vector and the encoder's own."""
    generation: int = 0
    notes: list[str] = field(default_factory=list)
    """What the user should know."""


def import_faiss(folder: str | Path, kb: KnowledgeBase, *, encode: bool = False, name: str = "index") -> ImportSummary:
    """Bring a folder that LangChain's ``FAISS.save_local`` wrote into a knowledge base; ids and metadata are kept.

    Args:
        folder: holds ``NAME.faiss`` and ``NAME.pkl``.
        kb: its encoder must be the one the index was made with, or `encode` must be set.
        encode: encode every text, and look at no vector.
        name: of the index.

    Raises:
        KnowledgeError: a file is missing, damaged, or holds what it should not; ids and vectors do not match; or the
            encoder of `kb` gives other vectors.
    """
    folder = Path(folder).expanduser()
    files = folder / f"{name}.faiss", folder / f"{name}.pkl"
    for file in files:
        if not file.is_file():
            raise KnowledgeError(f"there is no {file}: a folder of LangChain's FAISS holds {name}.faiss and {name}.pkl")
    summary = ImportSummary()
    index = read_flat(files[0])
    stored, order = _docstore(files[1])
    if len(order) != index.rows:
        raise KnowledgeError(
            f"{folder} is out of step: {files[0].name} has {index.rows} vectors, {files[1].name} names {len(order)}. "
            "It was saved halfway; which vector belongs to which text cannot be known"
        )
    documents = {key: _document(key, thing, files[1]) for key, thing in stored.items()}
    lost = sorted(set(order) - documents.keys())
    if lost:
        raise KnowledgeError(f"{files[1]} names {len(lost)} documents that it does not hold, such as {lost[0]!r}")
    bare = documents.keys() - set(order)
    if bare:
        summary.notes.append(f"{len(bare)} documents had no vector, so LangChain did not find them; they are encoded")
    empty = [key for key, document in documents.items() if not document.text.strip()]
    if empty:
        summary.notes.append(f"{len(empty)} documents have no text and will be found by no search")
    vectors = {} if encode else _kept(kb, index, order, documents, summary, files[0])
    _add(kb, documents, vectors, summary)
    return summary


def _add(
    kb: KnowledgeBase,
    documents: dict[str, Document],
    vectors: Mapping[str, NDArray[np.float32]],
    summary: ImportSummary,
) -> None:
    done = kb.add(documents.values(), source=SOURCE, vectors=vectors)
    summary.documents, summary.unchanged = done.documents, len(documents) - done.documents
    summary.kept, summary.encoded, summary.generation = done.given, done.encoded, done.generation
    summary.notes += [reason for _, _, reason in done.problems]


def _docstore(path: Path) -> tuple[dict[str, Thing], list[str]]:
    """Documents by id, and the id of every row."""
    value = read_pickle(path)
    match value:
        case (Thing(kind="docstore", state={"_dict": dict(stored)}), dict(places)):
            pass
        case _:
            raise KnowledgeError(f"{path} is not a pair of a docstore and a mapping of rows to ids")
    for key, thing in stored.items():
        if not isinstance(key, str):
            raise KnowledgeError(
                f"{path} holds a document under the id {key!r}, which is no text; LangChain does so when some "
                "documents were added with an id and some without. Give all of them one, or none"
            )
        if not isinstance(thing, Thing) or thing.kind != "document":
            raise KnowledgeError(f"{path} holds under {key!r} something that is no document")
    if any(type(row) is not int for row in places) or set(places) != set(range(len(places))):
        raise KnowledgeError(f"{path} names rows that are not 0 to {len(places) - 1}")
    order = [places[row] for row in range(len(places))]
    if any(not isinstance(key, str) for key in order):
        raise KnowledgeError(f"{path} names a row by something that is no text")
    if len(set(order)) < len(order):
        raise KnowledgeError(f"{path} names {len(order) - len(set(order))} documents twice")
    return stored, order


def _document(key: str, thing: Thing, path: Path) -> Document:
    fields = thing.state.get("__dict__")
    text = fields.get("page_content") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(text, str):
        raise KnowledgeError(f"{path}: document {key!r} has no text")
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        raise KnowledgeError(f"{path}: the metadata of document {key!r} are no mapping")
    return Document(key, text, metadata=_json(metadata, [_VALUES], f"{path}: the metadata of document {key!r}"))


def _json(value: Any, left: list[int], where: str, depth: int = 0) -> Any:
    """The value as JSON has it; tuples become lists. What refers to itself, or to one thing too often, is refused."""
    left[0] -= 1
    if left[0] < 0 or depth > _NESTED:
        raise KnowledgeError(f"{where} are nested too deeply or too large")
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise KnowledgeError(f"{where} have a key that is no text: {wrong[0]!r}")
        return {key: _json(one, left, where, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one, left, where, depth + 1) for one in value]
    if value is None or isinstance(value, str | bool):
        return value
    if (isinstance(value, int) and abs(value) < 1 << 63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise KnowledgeError(f"{where} hold a {type(value).__name__} that is no JSON value")


def _kept(
    kb: KnowledgeBase,
    index: FlatFile,
    order: list[str],
    documents: dict[str, Document],
    summary: ImportSummary,
    path: Path,
) -> dict[str, NDArray[np.float32]]:
    """Vectors by text, unit length, once a sample of them has been shown to be the encoder's own."""
    again = "or give --encode (encode=True), which encodes every text again"
    if index.vectors is None:
        raise KnowledgeError(
            f"{path} is a FAISS index of kind {index.kind}, which may hold its vectors rounded: only flat ones are "
            f"taken over. Convert it, {again}"
        )
    if index.dim != kb.dim:
        raise KnowledgeError(
            f"{path} has vectors of {index.dim}, the encoder {kb.identity} makes {kb.dim}. Use its encoder, {again}"
        )
    vectors = np.array(index.vectors)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        raise KnowledgeError(
            f"{path}: vector {wrong[0]} has length {lengths[wrong[0]]:g}. Nothing can be near it, {again}"
        )
    long = int((np.abs(lengths - 1) > 0.01).sum())
    if long:
        how = "L2" if index.metric == "L2" else "inner product"
        summary.notes.append(
            f"{long} vectors were not of unit length (from {lengths.min():.2f} to {lengths.max():.2f}) and compared by "
            f"{how}: they are made so here, and what is found is ranked by cosine, which may be another order"
        )
    vectors /= lengths[:, None].astype(np.float32)
    whole = [row for row, key in enumerate(order) if _one_passage(kb, documents[key])]
    if len(whole) < len(order):
        some = len(order) - len(whole)
        summary.notes.append(f"{some} documents are longer than a passage (or empty): their passages are encoded")
    sample = sorted(random.Random(0).sample(whole, min(_SAMPLE, len(whole))))  # noqa: S311 (which rows are looked at)
    if sample:
        texts = [documents[order[row]].text.strip() for row in sample]
        cosines = np.einsum("ij,ij->i", kb.encoder.encode_passages(texts), vectors[sample])
        worst = int(np.argmin(cosines))
        summary.agreement = float(cosines[worst])
        if not summary.agreement >= _AGREE:
            raise KnowledgeError(
                f"{path} was not made with the encoder {kb.identity}: for document {order[sample[worst]]!r} its vector "
                f"and the encoder's have a cosine of {summary.agreement:.3f}, below {_AGREE}. Use its encoder, {again}"
            )
    return {documents[order[row]].text.strip(): vectors[row] for row in whole}


def _one_passage(kb: KnowledgeBase, document: Document) -> bool:
    chunks = kb.splitter.split(document, kb.encoder)
    return len(chunks) == 1 and chunks[0].indexed_text == document.text.strip()
