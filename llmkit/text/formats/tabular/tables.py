"""Tables as text that a chunk can be cut from: no value without its header."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from llmkit.text.formats.draft import Draft

Row = Sequence[str]

_NUMBER = re.compile(r"[-+(]?[$€£¥]?\s?[\d.,:/ -]*\d[\d.,:/ -]*\s?[%)]?[a-z]{0,3}")
_SHORT = 160  # characters up to which a record stands on one line
_LOOK = 20  # rows looked at to find the header
MAX_CELLS = 5_000_000
_WHOLE = 1200  # characters up to which a table is kept as one block


def add_table(draft: Draft, rows: Iterable[Row], *, header: bool | None = None) -> None:
    """A table from a document: whole where it is small, else one record a block.

    Args:
        draft: Where to add it.
        rows: Cells as text.
        header: Whether the first row names the columns; None: told from its cells.
    """
    kept = [[_cell(cell) for cell in row] for row in rows]
    kept = [row for row in kept if any(row)]
    if not kept:
        return
    width = max(map(len, kept))
    if width == 1:
        draft.add("\n".join(row[0] for row in kept), "table")
        return
    text = "\n".join(" | ".join(row).rstrip(" |") if not row[0] else " | ".join(row) for row in kept)
    if len(text) <= _WHOLE or len(kept) < 3:
        draft.add(text, "table")
        return
    named = is_header(kept[0], kept[1:]) if header is None else header
    add_records(draft, kept[0] if named else (), kept[1:] if named else kept)


def add_records(draft: Draft, header: Row, rows: Iterable[Row]) -> int:
    """Each row as a block of ``header: value`` pairs; returns how many."""
    names = unique(header)
    number = 0
    for row in rows:
        text = record(names, row)
        if text:
            draft.add(text, "row", gap="\n\n" if number == 0 or "\n" in text else "\n")
            number += 1
    return number


def record(names: Row, row: Row) -> str:
    """One row in words; empty cells are left out."""
    pairs = []
    for i, value in enumerate(row):
        value = _cell(value)
        if value:
            name = names[i] if i < len(names) else ""
            pairs.append(f"{name}: {value}" if name else value)
    if not names:
        return " | ".join(pairs)
    line = "; ".join(pairs)
    return line if len(line) <= _SHORT else "\n".join(pairs)


def is_header(first: Row, rest: Sequence[Row]) -> bool:
    """Whether a first row names the columns below it."""
    cells = [cell.strip() for cell in first]
    filled = [cell for cell in cells if cell]
    if not filled or len(filled) < 0.6 * len(cells) or len(set(filled)) < 0.8 * len(filled):
        return False
    return bool(rest) and not any(_NUMBER.fullmatch(cell) or len(cell) > 100 for cell in filled)


def add_sheet(draft: Draft, rows: Iterator[Row], cells: int) -> bool:
    """A whole sheet: titles above the table, then a block a record; returns whether there was a header.

    Args:
        draft: Where to add it.
        rows: Rows that are not blank.
        cells: How many cells are read.
    """
    first = list(islice(rows, _LOOK))
    width = max((_filled(row) for row in first), default=0)
    while len(first) > 2 and _filled(first[0]) == 1 < width:
        draft.add(next(cell for cell in first.pop(0) if cell.strip()))
    header: Row = ()
    if width > 1 and is_header(_used(first), first[1:]):
        header = first.pop(0)
    add_records(draft, header, until(chain(first, rows), cells, draft))
    return bool(header)


def _used(rows: list[Row]) -> Row:
    """The first row without the columns that no row fills."""
    columns = [i for i in range(len(rows[0])) if any(i < len(row) and row[i].strip() for row in rows)] if rows else []
    return [rows[0][i] for i in columns]


def _filled(row: Row) -> int:
    return sum(bool(cell.strip()) for cell in row)


def unique(header: Row) -> list[str]:
    """Column names, on one line each."""
    return [" ".join(name.split()) for name in header]


def as_text(value: object) -> str:
    """A cell's value as a person would write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes" if not value.second else "auto")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)


def _cell(value: str) -> str:
    return " ".join(value.split())


def until(rows: Iterable[Row], cells: int, draft: Draft) -> Iterator[Row]:
    """The rows up to a total of `cells`; what is beyond is counted in a note."""
    seen = left = 0
    for row in rows:
        if seen > cells:
            left += 1
            continue
        seen += len(row)
        yield row
    if left:
        draft.note(f"{left:,} rows left out: the table has more than {cells:,} cells")
