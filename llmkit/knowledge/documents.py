"""Documents from what a Python user hands over: documents, mappings with id and text, one or many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from llmkit.errors import DataError, unknown
from llmkit.knowledge.access_labels import labels
from llmkit.types import Document

DocumentLike: TypeAlias = Document | Mapping[str, Any]
_KEYS = ("id", "text", "title", "metadata", "access")
_EXAMPLE = 'kb.add({"id": "a", "text": "…"}) or kb.add(Document("a", "…"))'


def as_documents(given: DocumentLike | Iterable[DocumentLike]) -> Iterator[Document]:
    """One document or many, as documents, in order; many are read as they are needed.

    Raises:
        DataError: something is not a document; says what to write instead.
    """
    if isinstance(given, Document | Mapping):
        yield _document(given, "the document")
        return
    if isinstance(given, str | Path):
        advice = f"; a file or folder is read with kb.ingest({str(given)!r})" if Path(given).exists() else ""
        raise DataError(f"a text needs an id to be cited by: write {_EXAMPLE}{advice}")
    if not isinstance(given, Iterable):
        raise DataError(f"{type(given).__name__} is not a document: write {_EXAMPLE}")
    for position, item in enumerate(given):
        yield _document(item, f"documents[{position}]")


def _document(item: object, place: str) -> Document:
    if isinstance(item, Document):
        return _checked(item, place)
    if isinstance(item, str):
        raise DataError(f"{place} is a text without an id to be cited by: write {_EXAMPLE}")
    if isinstance(item, Path):
        raise DataError(f"{place} is a path: files are read with kb.ingest({str(item)!r})")
    if hasattr(item, "page_content"):
        raise DataError(
            f"{place} is a LangChain document: write Document(id=…, text=d.page_content, metadata=d.metadata) for each"
        )
    if not isinstance(item, Mapping):
        raise DataError(f"{place} is {type(item).__name__}, not a document: write {_EXAMPLE}")
    for key in item:
        if key not in _KEYS:
            raise DataError(f"{place}: {unknown('key', str(key), _KEYS)}; further values belong into 'metadata'")
    for key in ("id", "text"):
        if not isinstance(item.get(key), str):
            raise DataError(f"{place} needs {key!r}, a string: write {_EXAMPLE}")
    values = {name: item[name] for name in _KEYS if name in item}
    if "access" in values:
        values["access"] = labels(values["access"])
    return _checked(Document(**values), place)


def _checked(document: Document, place: str) -> Document:
    """The document, its dates written as ISO text.

    Raises:
        DataError: an empty id, or metadata that are not JSON.
    """
    if not document.id.strip():
        raise DataError(f"{place} has an empty id: give it a name to be cited by")
    given: Mapping[Any, Any] = document.metadata
    changed = {name: value.isoformat() for name, value in given.items() if isinstance(value, date)}
    for name, value in given.items():
        try:
            if not isinstance(name, str):
                raise TypeError("its name is not a string")
            if name not in changed:
                json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"{place} ({document.id}): metadata {name!r} cannot be kept as JSON: {error}") from error
    return replace(document, metadata={**given, **changed}) if changed else document
