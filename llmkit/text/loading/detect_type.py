"""What a file is, told by its content; the extension only decides between texts.

Magic numbers come first, then the table of contents of a zip archive, then what the decoded text looks like.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from llmkit.text.formats.content import Content, member
from llmkit.text.formats.limits import Unreadable


@dataclass(frozen=True, slots=True)
class Kind:
    """The word for a kind of file, as readers are registered under."""

    word: str
    language: str = ""
    """Programming language of source code."""
    note: str = ""
    """What was surprising: ``named .pdf, but holds HTML``."""


LANGUAGES = {
    extension: language
    for language, extensions in {
        "python": "py pyi pyw",
        "javascript": "js mjs cjs jsx",
        "typescript": "ts tsx",
        "java": "java",
        "kotlin": "kt kts",
        "scala": "scala",
        "c": "c h",
        "cpp": "cc cpp cxx hh hpp hxx",
        "csharp": "cs",
        "go": "go",
        "rust": "rs",
        "ruby": "rb",
        "php": "php",
        "swift": "swift",
        "shell": "sh bash zsh fish",
        "powershell": "ps1",
        "sql": "sql",
        "r": "r",
        "julia": "jl",
        "lua": "lua",
        "perl": "pl pm",
        "haskell": "hs",
        "elixir": "ex exs",
        "erlang": "erl",
        "clojure": "clj",
        "css": "css scss less",
        "yaml": "yaml yml",
        "toml": "toml",
        "ini": "ini cfg conf",
        "vue": "vue",
        "protobuf": "proto",
        "graphql": "graphql",
        "terraform": "tf",
        "make": "mk",
        "cmake": "cmake",
    }.items()
    for extension in extensions.split()
}
_MARKUP = {"md": "markdown", "markdown": "markdown", "mdown": "markdown", "mkd": "markdown", "qmd": "markdown"}
_TEXTS = {"html": "html", "htm": "html", "xhtml": "html", "xml": "xml", "nxml": "xml", "svg": "xml", "eml": "email"}
_TABLES = {"csv": "csv", "tsv": "csv", "tab": "csv", "psv": "csv"}
_ROWS = {"jsonl", "ndjson", "jsonlines"}
_BINARY = {"pdf", "docx", "pptx", "xlsx", "epub", "odt", "docm", "xlsm", "pptm", "doc", "xls", "ppt", "msg"}
_MEDIA = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"ID3", "an MP3 recording"),
    (b"OggS", "an Ogg recording"),
    (b"fLaC", "a FLAC recording"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a compiled program"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it and ingest the folder"),
    (b"Rar!", "a RAR archive; unpack it and ingest the folder"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"SQLite format 3", "an SQLite database; export its tables as CSV"),
    (b"PAR1", "a Parquet file; export it as CSV or JSONL"),
    (b"\x00asm", "a WebAssembly program"),
    (b"wOFF", "a font"),
    (b"\x80\x04\x95", "a Python pickle, which is never opened"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LEGACY = (
    ("WordDocument", "a Word 97-2003 document (.doc); save it as .docx or PDF"),
    ("Workbook", "an Excel 97-2003 workbook (.xls); save it as .xlsx or CSV"),
    ("PowerPoint Document", "a PowerPoint 97-2003 presentation (.ppt); save it as .pptx or PDF"),
    ("__substg1.0_", "an Outlook message (.msg); save it as .eml"),
    ("__properties_version1.0", "an Outlook message (.msg); save it as .eml"),
)
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!doctype\s+html|<html\b|<head\b|<body\b)", re.I | re.S
)
_HEADER = re.compile(
    r"^(from|to|cc|subject|date|message-id|mime-version|received|return-path|delivered-to|content-type|reply-to"
    r"|x-[\w-]+):[ \t]",
    re.I,
)
_SHEBANG = re.compile(r"#!.*?\b(python|bash|sh|zsh|node|ruby|perl|php)[\d.]*\b")


def tell(content: Content) -> Kind:
    """The kind of a file.

    Raises:
        Unreadable: It is encrypted, or of a kind that is not read; the message says what to do.
    """
    kind = _binary(content) or _text(content)
    extension = content.extension
    surprised = (
        extension in _BINARY
        and kind.word != extension
        and not (extension.endswith("m") and kind.word[:-1] == extension[:-1])
    ) or (
        kind.word in ("pdf", "docx", "pptx", "xlsx", "epub")
        and extension in {*_TEXTS, *_MARKUP, *_TABLES, "txt", "json"}
    )
    return Kind(kind.word, kind.language, f"named .{extension}, but holds {kind.word}") if surprised else kind


def holds_rows(head: bytes, name: str) -> bool:
    """Whether the beginning of a file (expanded, where it is gzip) is JSON objects, one a line."""
    content = Content(head, name.removesuffix(".gz"))
    text = head.decode("utf-8-sig", "replace")
    if content.extension in _ROWS:
        return not (text.lstrip()[:1] == "[" and content.extension == "jsonl" and _is_json_array(text))
    if content.extension not in ("json", "txt", "data", ""):
        return False
    lines = [line for line in text[: text.rfind("\n") + 1].split("\n") if line.strip()][:3]
    return len(lines) >= 2 and all(_is_object(line) for line in lines)


def _is_json_array(text: str) -> bool:
    first = text.lstrip().split("\n", 1)[0].strip()
    return first == "[" or first.startswith("[{")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _binary(content: Content) -> Kind | None:
    data = content.data
    if b"%PDF-" in data[:1024]:
        return Kind("pdf")
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(content)
    if data.startswith(_OLE):
        _refuse_ole(data)
    if data.startswith(b"{\\rtf"):
        return Kind("rtf")
    if data.startswith(b"\x1f\x8b"):
        return Kind("gzip")
    if data[4:8] == b"ftyp":
        raise Unreadable("unsupported", "a video or picture, which holds no text to read")
    if data.startswith(b"RIFF") and data[8:12] in (b"WAVE", b"AVI ", b"WEBP"):
        raise Unreadable("unsupported", "a recording, video or picture, which holds no text to read")
    for magic, what in _MEDIA:
        if data.startswith(magic) and (len(magic) > 3 or any(byte < 9 for byte in data[:64])):
            hint = "; run text recognition (OCR) on it" if what.endswith("image") else ""
            raise Unreadable("unsupported", f"{what}, which holds no text to read{hint}" if ";" not in what else what)
    return None


def _zipped(content: Content) -> Kind:
    with content.archive() as archive:
        names = archive.namelist()
        if "[Content_Types].xml" in names:
            for folder, word in (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx")):
                if any(name.startswith(folder) for name in names):
                    if "xl/workbook.bin" in names:
                        raise Unreadable("unsupported", "a binary Excel workbook (.xlsb); save it as .xlsx")
                    return Kind(word)
        if "mimetype" in names:
            mime = member(archive, "mimetype")[:200].decode("ascii", "replace").strip()
            if mime == "application/epub+zip":
                return Kind("epub")
            if mime.startswith("application/vnd.oasis.opendocument.") and "content.xml" in names:
                return Kind(
                    {"text": "odt", "spreadsheet": "ods", "presentation": "odp"}.get(mime.rpartition(".")[2], "odt")
                )
        if "META-INF/container.xml" in names:
            return Kind("epub")
    raise Unreadable("unsupported", f"a zip archive of {len(names):,} files; unpack it and ingest the folder")


def _refuse_ole(data: bytes) -> None:
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise Unreadable("encrypted", "the document is protected by a password")
    for stream, what in _LEGACY:
        if stream.encode("utf-16-le") in data:
            raise Unreadable("unsupported", what)
    raise Unreadable("unsupported", "a legacy Office file; save it in a current format")


def _text(content: Content) -> Kind:
    extension = content.extension
    text = content.decoded.text
    head = text[:4096].lstrip()
    if extension == "ipynb" or (
        extension in ("json", "") and '"nbformat"' in text and '"cells"' in text and head[:1] == "{"
    ):
        return Kind("notebook")
    if head[:1] == "<":
        if _HTML.match(head):
            return Kind("html")
        if extension not in LANGUAGES and (head.startswith("<?xml") or _TEXTS.get(extension) == "xml"):
            return Kind("xml")
    if extension in _TEXTS and (head[:1] == "<" or _TEXTS[extension] in ("html", "email")):
        return Kind(_TEXTS[extension])
    if extension in _ROWS or holds_rows(content.data[:65536], content.name):
        return Kind("jsonl")
    if extension == "json" or (extension in ("txt", "") and head[:1] in ("{", "[") and _parses(text)):
        return Kind("json")
    if extension in _TABLES:
        return Kind("csv")
    if extension in _MARKUP or extension in ("mdx",):
        return Kind("markdown")
    if extension in LANGUAGES:
        return Kind("code", LANGUAGES[extension])
    name = content.name.rpartition("/")[2].lower()
    if name in ("makefile", "dockerfile"):
        return Kind("code", name.removesuffix("file"))
    shebang = _SHEBANG.match(head)
    if shebang and not extension:
        return Kind(
            "code", {"bash": "shell", "sh": "shell", "zsh": "shell", "node": "javascript"}.get(shebang[1], shebang[1])
        )
    if extension not in ("txt", "text", "log", "rst", "adoc", "asciidoc") and _is_mail(head):
        return Kind("email")
    return Kind("text")


def _is_mail(head: str) -> bool:
    lines = head.split("\n")
    names = set()
    for line in lines[:40]:
        if not line.strip():
            break
        match = _HEADER.match(line)
        if match:
            names.add(match[1].lower())
        elif not line[:1].isspace() and not re.match(r"[\w-]+:", line):
            return False
    return len(names) >= 3 and bool(names & {"from", "subject"})


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
