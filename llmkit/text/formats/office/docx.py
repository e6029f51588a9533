"""DOCX: paragraphs, headings, lists and tables in the order they are read."""

from __future__ import annotations

import re
from typing import Any

from llmkit.extras import optional
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable, count
from llmkit.text.formats.office.formula import formula
from llmkit.text.formats.office.ooxml import package
from llmkit.text.formats.tabular.tables import add_table

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_WRAPPERS = frozenset(f"{_W}{tag}" for tag in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"))
_LEFT_OUT = frozenset((f"{_W}del", f"{_W}moveFrom", f"{_W}txbxContent", f"{_W}pPr", f"{_W}rPr", _FALLBACK))
_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop|επικεφαλίδα|заголовок|見出し|标题)\s*(\d)", re.I)


def read(content: Content) -> Draft:
    """Headers and footers are left out and said so; footnotes follow the text.

    Raises:
        Unreadable: The package is damaged.
    """
    with optional():
        import docx

    draft = Draft()
    try:
        document = docx.Document(package(content, draft))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable("failed", f"damaged Word document: {str(error)[:200]}") from error
    reading = _Reading(draft, document)
    reading.body(document.element.body)
    reading.end_list()
    _notes(draft, document, reading)
    if not draft.title:
        first = next((b for b in draft.blocks if b.kind == "heading" and b.level == 1), None)
        draft.title = draft.text[first.start : first.end] if first else ""
    return draft


class _Reading:
    """One document being read."""

    def __init__(self, draft: Draft, document: Any) -> None:
        self.draft = draft
        self.levels = _heading_levels(document)
        self.numbering = _numbering(document)
        self.listed = _listed_styles(document)
        self.items: list[str] = []
        self.numbers: dict[tuple[str, int], int] = {}
        self.pictures = 0

    def body(self, parent: Any) -> None:
        for node in parent:
            if node.tag == f"{_W}p":
                self.paragraph(node)
            elif node.tag == f"{_W}tbl":
                self.end_list()
                self.table(node)
            elif node.tag in _WRAPPERS:
                self.body(node)

    def paragraph(self, node: Any) -> None:
        text = run_text(node).strip()
        self.pictures += sum(1 for _ in node.iter("{http://schemas.openxmlformats.org/drawingml/2006/picture}pic"))
        style = _style(node)
        level = self.levels.get(style, 0) or _outline_level(node)
        if level and text:
            self.end_list()
            self.draft.add(text, "heading", level)
        elif text:
            depth = self.list_item(node, style)
            if depth is None:
                self.end_list()
                self.draft.add(text)
            else:
                level, mark = depth
                self.items.append("  " * level + f"{mark} " + text.replace("\n", "\n" + "  " * (level + 1)))
        for box in node.iter(f"{_W}txbxContent"):
            if not any(parent.tag == _FALLBACK for parent in box.iterancestors()):
                self.body(box)

    def list_item(self, node: Any, style: str) -> tuple[int, str] | None:
        """Depth and mark of a list item; None for a paragraph that is none."""
        found = node.find(f"{_W}pPr/{_W}numPr")
        number, level = self.listed.get(style, ("", 0))
        if found is not None:
            id, depth = found.find(f"{_W}numId"), found.find(f"{_W}ilvl")
            number = id.get(f"{_W}val", "") if id is not None else number
            level = int(depth.get(f"{_W}val", "0")) if depth is not None else level
        if not number or number == "0":
            return None
        form = self.numbering.get((number, level), "bullet")
        for deeper in [key for key in self.numbers if key[0] == number and key[1] > level]:
            del self.numbers[deeper]
        if form in ("bullet", "none"):
            return level, "-"
        self.numbers[number, level] = self.numbers.get((number, level), 0) + 1
        return level, f"{_counted(self.numbers[number, level], form)}."

    def end_list(self) -> None:
        if self.items:
            self.draft.add("\n".join(self.items), "list")
            self.items = []

    def table(self, node: Any) -> None:
        rows: list[list[str]] = []
        for row in _children(node, f"{_W}tr"):
            cells: list[str] = []
            for cell in _children(row, f"{_W}tc"):
                merge = cell.find(f"{_W}tcPr/{_W}vMerge")
                wide = cell.find(f"{_W}tcPr/{_W}gridSpan")
                text = "\n".join(filter(None, (run_text(p).strip() for p in cell.iter(f"{_W}p"))))
                if merge is not None and merge.get(f"{_W}val", "continue") == "continue" and not text and rows:
                    text = rows[-1][len(cells)] if len(cells) < len(rows[-1]) else ""
                cells.append(text)
                extra = int(wide.get(f"{_W}val", "1")) - 1 if wide is not None else 0
                cells.extend([""] * min(max(extra, 0), 100))
            rows.append(cells)
        add_table(self.draft, rows)


def run_text(paragraph: Any) -> str:
    """Text of a paragraph: insertions, links, fields and formulas in; deletions and text boxes out."""
    parts: list[str] = []
    stack = [paragraph]
    while stack:
        node = stack.pop()
        tag = node.tag
        if tag == f"{_W}t":
            parts.append(node.text or "")
        elif tag in (f"{_W}tab", f"{_W}ptab"):
            parts.append("\t")
        elif tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif tag == f"{_W}noBreakHyphen":
            parts.append("-")
        elif tag == f"{_M}oMath":
            parts.append(formula(node))
        elif tag not in _LEFT_OUT:
            stack.extend(reversed(node))
    return "".join(parts)


def _children(parent: Any, tag: str) -> list[Any]:
    """Children of a tag, through content controls and insertions."""
    found = []
    for node in parent:
        if node.tag == tag:
            found.append(node)
        elif node.tag in _WRAPPERS:
            found.extend(_children(node, tag))
    return found


def _style(node: Any) -> str:
    found = node.find(f"{_W}pPr/{_W}pStyle")
    return found.get(f"{_W}val", "") if found is not None else ""


def _outline_level(node: Any) -> int:
    found = node.find(f"{_W}pPr/{_W}outlineLvl")
    value = found.get(f"{_W}val", "9") if found is not None else "9"
    return int(value) + 1 if value.isdigit() and int(value) < 9 else 0


def _heading_levels(document: Any) -> dict[str, int]:
    """Level of each heading style by its id; styles inherit it."""
    levels: dict[str, int] = {}
    bases: dict[str, str] = {}
    for style in document.styles.element.iter(f"{_W}style"):
        id = style.get(f"{_W}styleId", "")
        name = style.find(f"{_W}name")
        match = _HEADING.match(name.get(f"{_W}val", "") if name is not None else "") or _HEADING.match(id)
        base = style.find(f"{_W}basedOn")
        bases[id] = base.get(f"{_W}val", "") if base is not None else ""
        level = int(match[1]) if match else _outline_level(style)
        if level or (name is not None and name.get(f"{_W}val", "").lower() == "title"):
            levels[id] = level or 1
    for id in bases:
        at, steps = id, 0
        while at not in levels and bases.get(at) and steps < 20:
            at, steps = bases[at], steps + 1
        if at in levels and steps < 20:
            levels.setdefault(id, levels[at])
    return levels


def _listed_styles(document: Any) -> dict[str, tuple[str, int]]:
    """Numbering id and depth that paragraph styles bring."""
    listed = {}
    for style in document.styles.element.iter(f"{_W}style"):
        number = style.find(f"{_W}pPr/{_W}numPr/{_W}numId")
        depth = style.find(f"{_W}pPr/{_W}numPr/{_W}ilvl")
        if number is not None:
            level = int(depth.get(f"{_W}val", "0")) if depth is not None else 0
            listed[style.get(f"{_W}styleId", "")] = (number.get(f"{_W}val", ""), level)
    return listed


def _numbering(document: Any) -> dict[tuple[str, int], str]:
    """Number format by numbering id and depth."""
    part = next((r.target_part for r in document.part.rels.values() if r.reltype.endswith("/numbering")), None)
    if part is None or not hasattr(part, "element"):
        return {}
    abstract: dict[str, dict[int, str]] = {}
    for node in part.element.iter(f"{_W}abstractNum"):
        formats = {}
        for level in node.iter(f"{_W}lvl"):
            form = level.find(f"{_W}numFmt")
            formats[int(level.get(f"{_W}ilvl", "0"))] = form.get(f"{_W}val", "") if form is not None else "decimal"
        abstract[node.get(f"{_W}abstractNumId", "")] = formats
    found = {}
    for node in part.element.iter(f"{_W}num"):
        link = node.find(f"{_W}abstractNumId")
        for level, form in abstract.get(link.get(f"{_W}val", "") if link is not None else "", {}).items():
            found[node.get(f"{_W}numId", ""), level] = form
    return found


def _counted(number: int, form: str) -> str:
    if form in ("lowerLetter", "upperLetter") and number <= 26:
        letter = chr(96 + number)
        return letter.upper() if form == "upperLetter" else letter
    if form in ("lowerRoman", "upperRoman") and number < 40:
        roman = "x" * (number // 10) + ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")[number % 10]
        return roman.upper() if form == "upperRoman" else roman
    return str(number)


def _notes(draft: Draft, document: Any, reading: _Reading) -> None:
    edges = set()
    for relation in document.part.rels.values():
        if relation.is_external:
            continue
        kind = relation.reltype.rpartition("/")[2]
        if kind in ("header", "footer"):
            text = " ".join("".join(relation.target_part.element.itertext()).split())
            if text:
                edges.add(text)
        elif kind in ("footnotes", "endnotes"):
            _footnotes(draft, relation.target_part.blob)
        elif kind == "comments":
            from lxml import etree

            comments = etree.fromstring(relation.target_part.blob, _parser()).findall(f"{_W}comment")
            if comments:
                draft.note(f"{count(len(comments), 'comment')} left out")
    if edges:
        draft.note(f"{count(len(edges), 'header or footer', 'headers and footers')} left out")
    if reading.pictures:
        draft.note(f"{count(reading.pictures, 'image')} not read")


def _footnotes(draft: Draft, blob: bytes) -> None:
    from lxml import etree

    draft.open_section(1, "")
    for note in etree.fromstring(blob, _parser()):
        if note.get(f"{_W}type") is None:
            text = " ".join(run_text(p).strip() for p in note.iter(f"{_W}p")).strip()
            draft.add(f"[{note.get(f'{_W}id')}] {text}" if text else "")


def _parser() -> Any:
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
