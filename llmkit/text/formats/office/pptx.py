"""PPTX: a slide is a page; its title is a heading; tables and speaker notes are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmkit.extras import optional
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable, count
from llmkit.text.formats.office.ooxml import package
from llmkit.text.formats.tabular.tables import add_table


def read(content: Content) -> Draft:
    """The title is the properties', else the first slide's.

    Raises:
        Unreadable: The package is damaged.
    """
    with optional():
        import pptx

    draft = Draft()
    try:
        deck = pptx.Presentation(package(content, draft))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable("failed", f"damaged PowerPoint presentation: {str(error)[:200]}") from error
    first = ""
    pictures = charts = 0
    for number, slide in enumerate(deck.slides, 1):
        draft.page = number
        draft.open_section(1, "")
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None and title.has_text_frame else ""
        first = first or heading
        draft.add(heading, "heading", 1)
        for shape in _flat(slide.shapes):
            if title is not None and shape.shape_id == title.shape_id:
                continue
            if getattr(shape, "has_table", False) and shape.has_table:
                add_table(draft, [[_cell(cell) for cell in row.cells] for row in shape.table.rows])
            elif getattr(shape, "has_chart", False) and shape.has_chart:
                charts += 1
                chart = shape.chart
                draft.add(chart.chart_title.text_frame.text if chart.has_title else "")
            elif shape.has_text_frame:
                _frame(draft, shape.text_frame)
            elif "PICTURE" in str(shape.shape_type):
                pictures += 1
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            spoken = slide.notes_slide.notes_text_frame.text.strip()
            draft.add(f"Notes: {spoken}" if spoken else "")
    draft.title = draft.title or first
    if pictures:
        draft.note(f"{count(pictures, 'image')} not read")
    if charts:
        draft.note(f"{count(charts, 'chart')} not read")
    return draft


def _flat(shapes: Any) -> Iterator[Any]:
    """Shapes in the order of the file, those inside groups too."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _flat(shape.shapes)
        else:
            yield shape


def _cell(cell: Any) -> str:
    return "" if cell.is_spanned else str(cell.text_frame.text)


def _frame(draft: Draft, frame: Any) -> None:
    """Paragraphs of a text box: a list where there are several short ones."""
    lines = [(p.level, "".join(_text(p))) for p in frame.paragraphs]
    lines = [(level, text.strip()) for level, text in lines if text.strip()]
    if len(lines) > 1 and all(len(text) < 300 for _, text in lines):
        draft.add("\n".join("  " * level + f"- {text}" for level, text in lines), "list")
    else:
        for _, text in lines:
            draft.add(text)


def _text(paragraph: Any) -> Iterator[str]:
    yield paragraph.text.replace("\v", "\n")
