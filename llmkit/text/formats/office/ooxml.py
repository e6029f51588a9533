"""What DOCX, PPTX and XLSX share: the checked package, strict namespaces, core properties."""

from __future__ import annotations

import io
import re
import zipfile

from llmkit.text.formats.content import Content, member
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.markup.xml import local, parse, plain

# ISO 29500 strict writes its own namespaces; the libraries know the transitional ones
_STRICT = b"http://purl.oclc.org/ooxml/"
_NAMESPACES = (
    (b"http://purl.oclc.org/ooxml/officeDocument/", b"http://schemas.openxmlformats.org/officeDocument/2006/"),
    (b"http://purl.oclc.org/ooxml/wordprocessingml/", b"http://schemas.openxmlformats.org/wordprocessingml/2006/"),
    (b"http://purl.oclc.org/ooxml/spreadsheetml/", b"http://schemas.openxmlformats.org/spreadsheetml/2006/"),
    (b"http://purl.oclc.org/ooxml/presentationml/", b"http://schemas.openxmlformats.org/presentationml/2006/"),
    (b"http://purl.oclc.org/ooxml/drawingml/", b"http://schemas.openxmlformats.org/drawingml/2006/"),
)
_GENERIC = re.compile(r"(?:powerpoint presentation|presentation|document\d*|word document|untitled|slide 1|pptx)", re.I)


def package(content: Content, draft: Draft) -> io.BytesIO:
    """The package for a library to open, checked, with strict namespaces made transitional.

    Raises:
        Unreadable: The archive is unsafe, or its XML declares entities.
    """
    with content.archive() as archive:
        strict = False
        _properties(draft, archive)
        for info in archive.infolist():
            if info.filename.endswith((".xml", ".rels")):
                data = member(archive, info.filename)
                if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data[:4096]:
                    raise Unreadable("failed", f"{info.filename} declares XML entities, which Office files never do")
                strict = strict or _STRICT in data
        if not strict:
            return io.BytesIO(content.data)
        draft.note("strict OOXML, read as transitional")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as copy:
            for info in archive.infolist():
                data = member(archive, info.filename)
                if info.filename.endswith((".xml", ".rels")):
                    for old, new in _NAMESPACES:
                        data = data.replace(old, new)
                copy.writestr(info.filename, data)
        out.seek(0)
        return out


def _properties(draft: Draft, archive: zipfile.ZipFile) -> None:
    """Title, author and date; read here because the libraries fill in today's date where there is none."""
    name = next((n for n in archive.namelist() if n.lower().endswith(("core.xml", ".psmdcp"))), None)
    if name is None:
        return
    try:
        root = parse(member(archive, name))
    except Unreadable:
        return
    found = {local(node): plain(node) for node in root}
    title = found.get("title", "")
    if not _GENERIC.fullmatch(title):
        draft.title = title
    author = found.get("creator", "")
    if author and author.lower() not in ("python-docx", "openpyxl"):
        draft.metadata["author"] = author
    date = found.get("modified") or found.get("created") or ""
    if re.match(r"\d{4}-\d\d-\d\d", date):
        draft.metadata["date"] = date[:10]
