"""JSON: an array of objects with text is rows; anything else is rendered, a line a value."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from llmkit.errors import DataError
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.tabular.rows import RowReader
from llmkit.text.formats.tabular.values import render
from llmkit.types import Document, Json


def read(content: Content) -> Draft | list[Document]:
    """One draft, or a document a row.

    Raises:
        Unreadable: It is not JSON, or nested too deep.
    """
    value = parse(content.decoded.text)
    if isinstance(value, list) and value and all(isinstance(member, dict) for member in value):
        reader = RowReader(content.id, "json")
        reader.look(iter(value[:50]))
        if reader.text_key:
            return _documents(reader, enumerate(value, 1), "row")
    draft = Draft()
    if isinstance(value, dict) and isinstance(value.get("title"), str):
        draft.title = str(value["title"])
    for member in value if isinstance(value, list) else [value]:
        if isinstance(member, dict) and "access" in member:
            draft.limit_access(member["access"])
    render(draft, value)
    return draft


def read_lines(content: Content) -> list[Document]:
    """A document a line, for row files that are not streamed (those inside another file)."""
    reader = RowReader(content.id, "jsonl")
    lines = [(i, line) for i, line in enumerate(content.decoded.text.split("\n"), 1) if line.strip()]
    values: list[tuple[int, object]] = []
    for number, line in lines:
        try:
            values.append((number, json.loads(line)))
        except (ValueError, RecursionError):
            values.append((number, None))
    reader.look(value for _, value in values[:50])
    return _documents(reader, values, "line")


def parse(text: str) -> Json:
    """The value of a JSON text.

    Raises:
        Unreadable: It is none.
    """
    try:
        return cast("Json", json.loads(text))
    except json.JSONDecodeError as error:
        raise Unreadable("failed", f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise Unreadable("failed", "JSON nested too deep") from error
    except ValueError as error:
        raise Unreadable("failed", f"not JSON: {error}") from error


def _documents(reader: RowReader, rows: Iterable[tuple[int, object]], unit: str) -> list[Document]:
    documents: list[Document] = []
    rejected: list[str] = []
    for number, row in rows:
        try:
            documents.append(reader.document(row, number))
        except DataError as error:
            rejected.append(f"{unit} {number}: {error}")
    if rejected:
        more = f"; and {len(rejected) - 3:,} more" if len(rejected) > 3 else ""
        note = f"{len(rejected):,} rows left out: {'; '.join(rejected[:3])}{more}"
        if not documents:
            raise Unreadable("empty", note)
        documents[0] = replace(documents[0], notes=(note,))
    return documents
