"""Jupyter notebooks: prose and code cell by cell, short text output after the code that gave it."""

from __future__ import annotations

import re
from typing import Any

from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft, clean
from llmkit.text.formats.limits import Unreadable, count
from llmkit.text.formats.markup.markdown import mark
from llmkit.text.formats.tabular.json import parse

_MAX_OUTPUT = 2000
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read(content: Content) -> Draft:
    """A cell is a part: ``cell 3``.

    Raises:
        Unreadable: It is not a notebook of version 4.
    """
    book: Any = parse(content.decoded.text)
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        raise Unreadable("failed", "not a notebook of format 4: it has no cells; convert it with nbconvert")
    draft = Draft()
    metadata = book.get("metadata")
    language = _dig(metadata, "kernelspec", "language") or _dig(metadata, "language_info", "name")
    if language:
        draft.metadata["language"] = language
    if _dig(metadata, "title"):
        draft.title = _dig(metadata, "title")
    left = 0
    for number, cell in enumerate(book["cells"], 1):
        if not isinstance(cell, dict):
            continue
        draft.part = f"cell {number}"
        source = clean(_joined(cell.get("source"))).strip("\n")
        if cell.get("cell_type") == "markdown" and source.strip():
            mark(draft, source, draft.verbatim(source))
        elif cell.get("cell_type") == "code":
            draft.add(source, "code")
            left += _outputs(draft, cell.get("outputs"))
        else:
            draft.add(source)
    draft.part = None
    if left:
        draft.note(f"{count(left, 'output')} without text, or too long, left out or cut")
    return draft


def _outputs(draft: Draft, outputs: object) -> int:
    """Add the text of outputs; returns how many were left out or cut."""
    left = 0
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        if output.get("output_type") == "error":
            text = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        else:
            data = output.get("data")
            text = _joined(output.get("text")) or (_joined(data.get("text/plain")) if isinstance(data, dict) else "")
        text = _ANSI.sub("", text).strip("\n")
        left += not text.strip() or len(text) > _MAX_OUTPUT
        draft.add(f"Output:\n{text[:_MAX_OUTPUT]}" if text.strip() else "", "code")
    return left


def _joined(source: object) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def _dig(value: object, *keys: str) -> str:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
