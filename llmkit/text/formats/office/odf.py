"""OpenDocument text, sheets and slides: headings, paragraphs, lists and tables from content.xml."""

from __future__ import annotations

from typing import Any

from llmkit.text.formats.content import Content, member
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable, count
from llmkit.text.formats.markup.xml import local, parse, plain
from llmkit.text.formats.tabular.tables import add_records, add_table, is_header

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_MAX_REPEAT = 200  # sheets repeat an empty cell or row a million times to fill the grid


def read(content: Content) -> Draft:
    """A slide is a page, a sheet a part.

    Raises:
        Unreadable: It is protected by a password, or damaged.
    """
    draft = Draft()
    with content.archive() as archive:
        names = archive.namelist()
        manifest = member(archive, "META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
        if b"encryption-data" in manifest:
            raise Unreadable("encrypted", "the document is protected by a password")
        root = parse(member(archive, "content.xml"), draft)
        if "meta.xml" in names:
            _metadata(draft, parse(member(archive, "meta.xml")))
    body = next((node for node in root.iter("{*}body")), None)
    if body is None:
        raise Unreadable("failed", "damaged OpenDocument file: it has no body")
    _walk(draft, body)
    images = sum(1 for _ in body.iter(f"{_DRAW}image"))
    if images:
        draft.note(f"{count(images, 'image')} not read")
    return draft


def _walk(draft: Draft, node: Any) -> None:
    for child in node:
        name = local(child)
        if name == "h":
            level = child.get(f"{_TEXT}outline-level", "1")
            draft.add(_running(child), "heading", int(level) if level.isdigit() else 1)
            if not draft.title:
                draft.title = _running(child)
        elif name == "p":
            draft.add(_running(child))
            for box in child.iter(f"{_DRAW}text-box"):
                _walk(draft, box)
        elif name == "list":
            draft.add("\n".join(_items(child, 0)), "list")
        elif name == "table":
            _table(draft, child)
        elif name == "page":
            draft.page = (draft.page or 0) + 1
            _walk(draft, child)
        elif name not in ("tracked-changes", "forms", "sequence-decls", "notes", "index-title-template"):
            _walk(draft, child)


def _running(node: Any) -> str:
    """Text of a paragraph with its tabs, spaces and line breaks; text boxes and remarks are not part of it."""
    parts = [node.text or ""]
    for child in node:
        name = local(child)
        if name == "tab":
            parts.append("\t")
        elif name == "line-break":
            parts.append("\n")
        elif name == "s":
            repeat = child.get(f"{_TEXT}c", "1")
            parts.append(" " * min(int(repeat) if repeat.isdigit() else 1, _MAX_REPEAT))
        elif name not in ("frame", "annotation", "custom-shape"):
            parts.append(_running(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _items(node: Any, depth: int) -> list[str]:
    lines = []
    for item in node:
        mark = "- "
        for child in item:
            if local(child) == "list":
                lines.extend(_items(child, depth + 1))
            elif local(child) in ("p", "h") and _running(child).strip():
                lines.append("  " * depth + mark + _running(child).strip())
                mark = "  "
    return lines


def _table(draft: Draft, node: Any) -> None:
    sheet = local(node.getparent()) == "spreadsheet"
    rows: list[list[str]] = []
    for row in node.iter(f"{_TABLE}table-row"):
        cells: list[str] = []
        for cell in row:
            if local(cell) in ("table-cell", "covered-table-cell"):
                repeat = cell.get(f"{_TABLE}number-columns-repeated", "1")
                paragraphs = [
                    _running(p) if not p.find(f".//{_DRAW}frame") else plain(p) for p in cell.iter(f"{_TEXT}p")
                ]
                times = min(int(repeat) if repeat.isdigit() else 1, _MAX_REPEAT)
                cells.extend(["\n".join(paragraphs).strip()] * times)
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append(cells)
    if not sheet:
        add_table(draft, rows)
        return
    draft.part = node.get(f"{_TABLE}name")
    named = len(rows) > 1 and is_header(rows[0], rows[1:])
    add_records(draft, rows[0] if named else (), rows[1:] if named else rows)


def _metadata(draft: Draft, root: Any) -> None:
    found = {local(node): plain(node) for node in root.iter() if isinstance(node.tag, str) and not len(node)}
    draft.title = found.get("title", "")
    author = found.get("initial-creator") or found.get("creator")
    if author:
        draft.metadata["author"] = author
    date = found.get("date") or found.get("creation-date")
    if date:
        draft.metadata["date"] = date[:10]
