"""XLSX: sheet by sheet, a record a block; formulas as the values they had when the file was saved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmkit.extras import optional
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable, count
from llmkit.text.formats.office.ooxml import package
from llmkit.text.formats.tabular.tables import MAX_CELLS, Row, add_sheet, as_text

_GENERIC = re.compile(r"(?:sheet|tabelle|feuil|hoja|foglio|シート|工作表|лист)\s?\d*", re.I)


def read(content: Content) -> Draft:
    """A sheet's name is its part and, where it says something, a heading.

    Raises:
        Unreadable: The package is damaged.
    """
    with optional():
        import openpyxl

    draft = Draft()
    file = package(content, draft)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable("failed", f"damaged Excel workbook: {str(error)[:200]}") from error
    for sheet in book.worksheets:
        draft.part = sheet.title
        draft.open_section(1, "")
        if not _GENERIC.fullmatch(sheet.title):
            draft.add(sheet.title, "heading", 1)
        sheet.reset_dimensions()
        add_sheet(draft, _filled(sheet), MAX_CELLS)
        if sheet.sheet_state != "visible":
            draft.note(f"sheet {sheet.title!r} is hidden in the workbook, read all the same")
    draft.part = None
    book.close()
    file.seek(0)
    lost = _uncached(file)
    if lost:
        draft.note(
            f"{count(lost, 'formula')} without a saved value left out: open and save the file in a spreadsheet program"
        )
    if len(draft.blocks) == sum(block.kind == "heading" for block in draft.blocks):
        raise Unreadable("empty", "; ".join(["no values in its sheets", *draft.notes]))
    return draft


def _filled(sheet: Any) -> Iterator[Row]:
    for row in sheet.iter_rows(values_only=True):
        cells = [as_text(value) for value in row]
        if any(cell.strip() for cell in cells):
            yield cells


def _uncached(file: Any) -> int:
    """Formulas that were saved without their value."""
    import zipfile

    lost = 0
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                data = archive.read(name)
                lost += len(re.findall(rb"<f(?:\s[^>]*)?>[^<]*</f>\s*(?:<v\s*/>|<v></v>|</c>)", data))
    return lost
