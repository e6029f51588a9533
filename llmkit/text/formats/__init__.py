"""Readers, one a format: bytes in, a draft with its blocks out. Libraries are imported when a file needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from llmkit.text.formats.content import Content, gunzip
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.loading.detect_type import tell
from llmkit.types import Document

_READERS = {
    "text": "text:read",
    "code": "text:read_code",
    "markdown": "markup.markdown:read",
    "html": "markup.html:read",
    "xml": "markup.xml:read",
    "csv": "tabular.csv:read",
    "json": "tabular.json:read",
    "jsonl": "tabular.json:read_lines",
    "pdf": "pdf:read",
    "docx": "office.docx:read",
    "pptx": "office.pptx:read",
    "xlsx": "office.xlsx:read",
    "epub": "markup.epub:read",
    "odt": "office.odf:read",
    "ods": "office.odf:read",
    "odp": "office.odf:read",
    "rtf": "office.rtf:read",
    "notebook": "markup.notebook:read",
    "email": "email:read",
}
KINDS = tuple(_READERS)
"""Words that `metadata["type"]` can have."""


def read(content: Content) -> tuple[str, list[Document]]:
    """The word for a file's kind, and its documents: one, or one a row; none where there is no text.

    Raises:
        Unreadable: With the status the file ends in and a plain reason.
    """
    kind = tell(content)
    if kind.word == "gzip":
        return _expanded(content)
    content.language = kind.language
    module, _, function = _READERS[kind.word].partition(":")
    reader: Callable[[Content], Draft | list[Document]] = getattr(import_module(f"{__name__}.{module}"), function)
    found = reader(content)
    documents = found if isinstance(found, list) else [found.document(content.id, content.id, kind.word)]
    notes = [kind.note] if kind.note else []
    if "decoded" in content.__dict__ and kind.word not in ("html", "xml", "email"):
        notes.extend(content.decoded.notes)
    if documents and notes:
        documents[0] = replace(documents[0], notes=(*notes, *documents[0].notes))
    return kind.word, documents


def _expanded(content: Content) -> tuple[str, list[Document]]:
    if content.depth:
        raise Unreadable("unsupported", "an archive inside another file; unpack it first")
    data = gunzip(content.data, content.limits)
    return read(Content(data, content.name.removesuffix(".gz"), content.id, content.limits, depth=1))
