"""EPUB: chapters in the order of the spine, each read as the web page it is."""

from __future__ import annotations

import posixpath
import re
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from llmkit.text.formats.content import Content, member
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.markup.html import add_html
from llmkit.text.formats.markup.xml import parse
from llmkit.text.loading.decoding import decode

_DC = "{http://purl.org/dc/elements/1.1/}"


def read(content: Content) -> Draft:
    """A chapter is a part, called by its first heading.

    Raises:
        Unreadable: The book is protected, or its table of contents is damaged.
    """
    with content.archive() as archive:
        names = set(archive.namelist())
        if "META-INF/rights.xml" in names or _locked(archive, names):
            raise Unreadable("encrypted", "the book is protected (DRM)")
        container = parse(member(archive, "META-INF/container.xml"))
        path = next((node.get("full-path") for node in container.iter("{*}rootfile")), None)
        if not path:
            raise Unreadable("failed", "damaged EPUB: its container names no package")
        package = parse(member(archive, path))
        draft = Draft()
        _metadata(draft, package)
        missing = 0
        for name in _spine(package, posixpath.dirname(path)):
            if name not in names:
                missing += 1
                continue
            _chapter(draft, decode(member(archive, name)).text, name)
        if missing:
            draft.note(f"{missing} chapters are missing in the archive")
    return draft


def _chapter(draft: Draft, text: str, name: str) -> None:
    before, title = len(draft.blocks), draft.title
    draft.open_section(1, "")
    draft.part = posixpath.splitext(posixpath.basename(name))[0]
    metadata = dict(draft.metadata)
    add_html(draft, text)
    draft.metadata = metadata
    draft.title = title or draft.title
    first = next((block for block in draft.blocks[before:] if block.kind == "heading"), None)
    if first:
        draft.rename(before, first.heading[-1])


def _spine(package: Any, folder: str) -> list[str]:
    items = {node.get("id"): node for node in package.iter("{*}item")}
    names = []
    for reference in package.iter("{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or "nav" in (item.get("properties") or "").split():
            continue
        if "html" in (item.get("media-type") or "html"):
            names.append(posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or ""))))
    return names


def _metadata(draft: Draft, package: Any) -> None:
    def first(tag: str) -> str:
        return next((" ".join(node.itertext()).strip() for node in package.iter(f"{_DC}{tag}")), "")

    draft.title = first("title")
    for key, tag in (("author", "creator"), ("lang", "language"), ("publisher", "publisher")):
        if first(tag):
            draft.metadata[key] = first(tag)
    if re.match(r"\d{4}", first("date")):
        draft.metadata["date"] = first("date")[:10]


def _locked(archive: ZipFile, names: set[str]) -> bool:
    """Whether chapters are encrypted; scrambled fonts do not count."""
    if "META-INF/encryption.xml" not in names:
        return False
    listed = member(archive, "META-INF/encryption.xml").decode("utf-8", "replace")
    return bool(re.search(r"URI\s*=\s*[\"'][^\"']+\.x?html?[\"']", listed))
