"""XML of any kind: running text as paragraphs, titles as headings, data as ``name: value`` lines."""

from __future__ import annotations

import re
from typing import Any

from llmkit.errors import DataError
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.tabular.tables import add_table
from llmkit.text.loading.decoding import decode

_TITLES = frozenset("title article-title head heading subtitle invention-title caption-title".split())
_ROWS = frozenset("tr row".split())
_CELLS = frozenset("td th entry cell".split())
_TABLES = frozenset(("table", "tgroup"))
_RUNNING = frozenset("p para paragraph li item line text note quote abstract description summary content body".split())
_RECORD = 600  # characters up to which a record is one block
_SPACE = re.compile(r"\s+")


def read(content: Content) -> Draft:
    """The title is the first element called title.

    Raises:
        Unreadable: It is not well-formed enough to be read.
    """
    draft = Draft()
    root = parse(content.data, draft)
    if local(root) in ("html", "body"):
        from llmkit.text.formats.markup.html import add_html

        add_html(draft, content.decoded.text)
        return draft
    _walk(draft, [root])
    if not draft.text:
        _attributes(draft, root)
    return draft


def parse(data: bytes, draft: Draft | None = None) -> Any:
    """The root of an XML text: no entities, no network, no huge trees.

    Raises:
        Unreadable: There is none.
    """
    from lxml import etree

    def parser(recover: bool, encoding: str | None = None) -> Any:
        return etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=recover,
            remove_comments=True, remove_pis=True, encoding=encoding,
        )  # fmt: skip

    try:
        root = etree.fromstring(data, parser(False))
    except etree.XMLSyntaxError as error:
        if "depth" in str(error):
            raise Unreadable("failed", "elements nested too deep") from error
        try:
            if "encoding" in str(error):  # a few bytes that are not what the file says: the parser would stop there
                data = decode(data).text.encode()
            root = etree.fromstring(data, parser(True, "utf-8" if "encoding" in str(error) else None))
        except (etree.XMLSyntaxError, DataError):
            root = None
        if root is None:
            raise Unreadable("failed", f"not well-formed XML: {str(error)[:200]}") from error
        if draft is not None:
            draft.note(f"not well-formed XML, read as far as it goes: {str(error)[:120]}")
    if draft is not None and root.getroottree().docinfo.internalDTD is not None and b"<!ENTITY" in data[:65536]:
        draft.note("entities declared in the file are not expanded")
    return root


def local(node: Any) -> str:
    """The element's name without its namespace; empty for what is no element."""
    return node.tag.rpartition("}")[2].lower() if isinstance(node.tag, str) else ""


def plain(node: Any) -> str:
    """All text of an element, white space collapsed."""
    return _SPACE.sub(" ", "".join(str(text) for text in node.itertext())).strip()


def _walk(draft: Draft, node: Any, level: int = 0) -> None:
    """Add what is below an element; `level` is the depth of the titled sections around it."""
    children = [child for child in node if isinstance(child.tag, str)]
    if any(local(child) in _TITLES for child in children):
        level += 1
        draft.open_section(level, "")
    fields: list[str] = []
    for child in children:
        name, text = local(child), plain(child)
        leaf = not len(child)
        if not text:
            continue
        if leaf and name not in _RUNNING and name not in _TITLES and len(text) < 200:
            fields.append(f"{name}: {text}")
            continue
        draft.add("\n".join(fields), "row")
        fields = []
        if name in _TITLES:
            draft.title = draft.title or text
            draft.add(text, "heading", min(level, 9))
        elif name in _TABLES and any(local(row) in _ROWS for row in child.iter()):
            add_table(draft, [_cells(row) for row in child.iter() if local(row) in _ROWS])
        elif _is_record(child, text):
            draft.add("\n".join(f"{local(node)}: {plain(node)}" for node in child.iter() if _holds_text(node)), "row")
        elif leaf or _mixed(child):
            draft.add(text)
        else:
            _walk(draft, child, level)
            draft.open_section(level + 1, "")
    draft.add("\n".join(fields), "row")


def _is_record(node: Any, text: str) -> bool:
    """Whether an element is a small record: fields of its own, and below it nothing but fields."""
    if len(text) > _RECORD or not any(local(child) and not len(child) and plain(child) for child in node):
        return False
    prose = _RUNNING | _TITLES | _TABLES
    return not any(local(inner) in prose or (len(inner) and _mixed(inner)) for inner in node.iter())


def _mixed(node: Any) -> bool:
    """Whether text stands beside the elements inside an element."""
    return bool((node.text or "").strip()) or any((child.tail or "").strip() for child in node)


def _holds_text(node: Any) -> bool:
    return bool(local(node)) and not len(node) and bool(plain(node))


def _cells(row: Any) -> list[str]:
    return [plain(cell) for cell in row if local(cell) in _CELLS]


def _attributes(draft: Draft, root: Any) -> None:
    """Data that stands in attributes only."""
    for node in root.iter():
        if isinstance(node.tag, str) and node.attrib:
            pairs = "; ".join(
                f"{key.rpartition('}')[2]}: {value}" for key, value in node.attrib.items() if value.strip()
            )
            draft.add(f"{local(node)}: {pairs}" if pairs else "", "row", gap="\n")
