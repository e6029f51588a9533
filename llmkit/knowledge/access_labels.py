"""Who may read a document: labels, read from whatever form they were written in, and written in one."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from llmkit.errors import DataError
from llmkit.types import Document

_LABEL = re.compile(r"\w[\w.:@/+-]{0,99}")
KEY = "access"


class LabelStore(Protocol):
    """The part of a store that keeps the labels of roots."""

    def root_labels(self) -> Mapping[str, tuple[str, ...]]:
        """Access labels by the root they were set for."""
        ...

    def set_root_labels(self, labels: Mapping[str, tuple[str, ...]]) -> None:
        """Write labels of roots down."""
        ...


def labels(value: object) -> tuple[str, ...]:
    """Labels, sorted, each once; none at all means everybody.

    Args:
        value: a list of texts, or one text with commas in it (``hr, board``, ``[hr, board]``). None is no labels.

    Raises:
        DataError: something else, an empty text, or a label that is not one word of letters, digits, ``. : @ / + -``.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        inner = value.strip()
        inner = inner[1:-1] if inner[:1] == "[" and inner[-1:] == "]" else inner
        value = [part.strip().strip("\"'") for part in inner.split(",")]
    if not isinstance(value, Iterable) or isinstance(value, dict | bytes):
        raise DataError(f"access takes labels, as in [hr, board], not {value!r}")
    found = []
    for label in value:
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise DataError(f"{label!r} is not an access label: write one word of letters, digits and . : @ / + -")
        found.append(unicodedata.normalize("NFC", label))
    return tuple(sorted(set(found)))


def written(value: Iterable[str]) -> str:
    """Labels as the catalogue keeps them: one text for one set."""
    return json.dumps(sorted(set(value)), ensure_ascii=False)


def settled(document: Document, limit: tuple[str, ...] = ()) -> Document:
    """The document with its labels in their place, out of its metadata, and within `limit`, if there is one.

    Raises:
        DataError: labels that cannot be read, or that would let others in than the limit does. Such a document is
            left out: taken without its labels, everybody could read it.
    """
    own = labels(document.access)
    if KEY in document.metadata:
        said = labels(document.metadata[KEY])
        if own and said != own:
            raise DataError(f"access is {written(own)} and, in the metadata, {written(said)}")
        own = said
    if limit and not own:
        own = limit
    if limit and not set(own) <= set(limit):
        raise DataError(f"its own access {written(own)} lets others in than the ingest's {written(limit)}")
    metadata = {key: value for key, value in document.metadata.items() if key != KEY}
    return replace(document, metadata=metadata, access=own)


class RootLabels:
    """Who may read what is in a root. Labels that an ingest sets for a root hold for later ingests."""

    def __init__(self, store: LabelStore) -> None:
        """Read the labels that were set before."""
        self._store = store
        self._of = dict(store.root_labels())

    def set(self, roots: Sequence[Path], access: tuple[str, ...]) -> None:
        """Set labels of roots; before anything is read, so that a crash lets nobody in."""
        given = {str(root.expanduser().resolve()): access for root in roots}
        self._store.set_root_labels(given)
        self._of |= given

    def of(self, uri: str) -> tuple[str, ...]:
        """Labels of the innermost root around a file for which some were set."""
        around = [root for root in self._of if Path(uri).is_relative_to(root)]
        return self._of[max(around, key=len)] if around else ()
