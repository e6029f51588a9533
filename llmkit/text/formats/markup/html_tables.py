"""Tables of web pages: which hold data, and what stands in their cells."""

from __future__ import annotations

from typing import Any

from llmkit.text.formats.draft import Draft
from llmkit.text.formats.tabular.tables import add_table

BLOCKS = frozenset(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 header hr html legend li main ol p pre section summary table tbody td tfoot th thead tr ul "
    "caption optgroup menu".split()
)
"""Elements that end the line before them."""
_MAX_SPAN = 100


def is_data(table: Any) -> bool:
    """Whether a table holds data; tables that lay out a page are read through."""
    if table.get("role") in ("presentation", "none"):
        return False
    if table.find(".//th") is not None or table.find("caption") is not None:
        return True
    return all(table.find(f".//{tag}") is None for tag in ("table", "h1", "h2", "h3", "pre"))


def add_html_table(draft: Draft, table: Any) -> None:
    """Add a data table; a cell over several rows is told in each of them, one over several columns once."""
    caption = table.find("caption")
    if caption is not None:
        draft.add(" ".join("".join(caption.itertext()).split()))
    rows: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # by column: rows still to fill, and with what
    headed = False
    for tr in _rows(table):
        row: list[str] = []
        cells = [cell for cell in tr if isinstance(cell.tag, str) and cell.tag.lower() in ("td", "th")]
        headed = headed or (not rows and bool(cells) and all(cell.tag.lower() == "th" for cell in cells))
        for cell in cells:
            _carry(row, below)
            text, tall = _text(cell), _span(cell.get("rowspan"))
            for i in range(_span(cell.get("colspan"))):
                if tall > 1:
                    below[len(row)] = (tall - 1, text if i == 0 else "")
                row.append(text if i == 0 else "")
        _carry(row, below)
        rows.append(row)
    add_table(draft, rows, header=headed or None)


def _carry(row: list[str], below: dict[int, tuple[int, str]]) -> None:
    """Fill in the cells that reach down from the rows above."""
    while len(row) in below:
        left, text = below.pop(len(row))
        if left > 1:
            below[len(row)] = (left - 1, text)
        row.append(text)


def _rows(table: Any) -> list[Any]:
    """Rows of the table itself, not of tables inside its cells."""
    rows = []
    for child in table:
        if child.tag == "tr":
            rows.append(child)
        elif child.tag in ("thead", "tbody", "tfoot"):
            rows.extend(row for row in child if row.tag == "tr")
    return rows


def _text(cell: Any) -> str:
    parts: list[str] = []
    stack: list[tuple[Any, bool]] = [(cell, False)]
    while stack:
        node, done = stack.pop()
        if done:
            parts.append((" " if node.tag in BLOCKS else "") + (node.tail or "" if node is not cell else ""))
            continue
        stack.append((node, True))
        if not isinstance(node.tag, str) or node.tag in ("script", "style"):
            continue
        if node.tag in BLOCKS or node.tag == "br":
            parts.append(" ")
        if node.tag == "img" and node.get("alt"):
            parts.append(f"[image: {node.get('alt')}]")
        parts.append(node.text or "")
        stack.extend((child, False) for child in reversed(node))
    return " ".join("".join(parts).split())


def _span(value: str | None) -> int:
    return min(max(int(value), 1), _MAX_SPAN) if value and value.isdigit() and len(value) < 6 else 1
