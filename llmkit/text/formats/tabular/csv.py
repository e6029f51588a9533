"""Comma, tab, semicolon or pipe separated values: one document, a record a block."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.tabular.tables import MAX_CELLS, Row, add_sheet

_DELIMITERS = ",;\t|"
_HEAD = 64 * 1024


def read(content: Content) -> Draft:
    """Delimiter and header are told from the first lines."""
    text = content.decoded.text
    draft = Draft()
    delimiter = sniff(text[:_HEAD], content.extension)
    rows = _rows(text, delimiter, content.limits.max_line)
    if not add_sheet(draft, (row for row in rows if any(cell.strip() for cell in row)), MAX_CELLS) and draft.text:
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
