"""Comma, tab, semicolon or pipe separated values: one document, a record a block."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.tables import Row, add_records, is_header, until

_DELIMITERS = ",;\t|"
_HEAD = 64 * 1024
MAX_CELLS = 5_000_000


def read(content: Content) -> Draft:
    """Delimiter and header are told from the first lines."""
    text = content.decoded.text
    draft = Draft()
    delimiter = sniff(text[:_HEAD], content.extension)
    rows = _rows(text, delimiter, content.limits.max_line)
    first: list[Row] = []
    for row in rows:
        if any(cell.strip() for cell in row):
            first.append(row)
        if len(first) == 20:
            break
    named = bool(first) and is_header(first[0], first[1:])
    header = first[0] if named else ()
    longer = 0

    def body() -> Iterator[Row]:
        nonlocal longer
        for row in _chain(first[1:] if named else first, rows):
            longer += bool(header) and len(row) > len(header)
            yield row

    add_records(draft, header, until(body(), MAX_CELLS, draft))
    if longer:
        draft.note(f"{longer:,} rows have more cells than the header")
    if not named and first:
        draft.note("no header row found")
    return draft


def sniff(head: str, extension: str = "") -> str:
    """The delimiter that cuts the first lines into the same number of cells, the most of them."""
    if extension == "tsv" and "\t" in head:
        return "\t"
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        if delimiter not in head:
            continue
        try:
            widths = [len(row) for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if row][:50]
        except csv.Error:
            continue
        width, times = Counter(widths).most_common(1)[0] if widths else (0, 0)
        score = times / len(widths) + min(width, 20) / 100 if width > 1 else 0.0
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _rows(text: str, delimiter: str, most: int) -> Iterator[Row]:
    csv.field_size_limit(most)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from reader
    except csv.Error as error:
        raise Unreadable("failed", f"line {reader.line_num}: {error}") from error


def _chain(first: list[Row], rest: Iterator[Row]) -> Iterator[Row]:
    yield from first
    yield from rest
