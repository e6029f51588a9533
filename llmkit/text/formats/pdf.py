"""PDF by PDFium: the text layer page by page, lines joined into paragraphs."""

from __future__ import annotations

import re
from typing import Any

from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable, count

_BULLET = re.compile(r"\s*(?:[•◦▪‣●○■–—*-]|\(?\d{1,2}[.)]|\(?[a-zA-Z][.)])\s+\S")
_END = re.compile(r"[.!?:;。！？…\"”’)\]]$")
_HYPHEN = "\ufffe"  # PDFium's mark for a hyphen that ends a line
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?")
_FILE_TITLE = re.compile(
    r"(?:microsoft \w+ - .*|untitled.*|\(?(?:anonymous|unspecified)\)?"
    r"|.*\.(?:docx?|pdf|tex|dvi|indd|pptx?|xlsx?|rtf|odt))",
    re.I,
)
_NARROW = 45  # characters; where the longest lines are shorter, lines are no wrapped text
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


def read(content: Content) -> Draft:
    """Headings are the entries of the outline, where the text shows them.

    Raises:
        Unreadable: The file is encrypted, damaged, or holds pictures of text only.
    """
    import pypdfium2 as pdfium

    try:
        pdf = pdfium.PdfDocument(content.data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise Unreadable("encrypted", "the PDF is protected by a password") from error
        raise Unreadable("failed", f"damaged PDF: {error}") from error
    draft = Draft()
    try:
        _metadata(draft, pdf)
        outline = _outline(pdf)
        pages = [_page_text(pdf, i) for i in range(len(pdf))]
        _notes(draft, pdf, pages)
    finally:
        pdf.close()
    words = {word.lower() for page in pages for word in re.findall(r"[^\W\d_]{3,}(?:-[^\W\d_]+)*", page)}
    for number, page in enumerate(pages, 1):
        draft.page = number
        _add_page(draft, page, outline.get(number - 1, []), words)
    return draft


def _page_text(pdf: Any, index: int) -> str:
    import pypdfium2 as pdfium

    try:
        page = pdf[index]
        textpage = page.get_textpage()
        text: str = textpage.get_text_range(errors="replace")
        textpage.close()
        page.close()
    except pdfium.PdfiumError:
        return ""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x02", _HYPHEN)


def _add_page(draft: Draft, text: str, entries: list[tuple[int, str]], words: set[str]) -> None:
    """Wrapped lines are joined; others stay lines of one block, until a sentence ends or a list begins."""
    lines = [line.rstrip() for line in text.split("\n")]
    widths = sorted(len(line) for line in lines if line.strip())
    full = widths[int(len(widths) * 0.9)] if widths else 0
    titles: dict[str, list[int]] = {}
    for level, title in entries:
        titles.setdefault(_key(title), []).append(level)
    titles.pop("", None)
    run: list[str] = []  # lines of the block, each joined from those it was wrapped into
    before = ""
    for line in lines:
        levels = titles.get(_key(line), []) if titles else []
        level = levels.pop(0) if levels else 0
        bullet = bool(_BULLET.match(line))
        if level or not line.strip():
            _add_run(draft, run)
            run, before = [], ""
            draft.add(line, "heading", level or 1)
            continue
        if run and not bullet and _wrapped(before, line, full):
            run[-1] = _join(run[-1], line.strip(), words)
        else:
            if run and (bullet != bool(_BULLET.match(run[0])) or (not bullet and _END.search(before))):
                _add_run(draft, run)
                run = []
            run.append(line.strip())
        before = line
    _add_run(draft, run)


def _add_run(draft: Draft, run: list[str]) -> None:
    listed = bool(run) and _BULLET.match(run[0]) is not None
    draft.add("\n".join(run).replace(_HYPHEN, "-"), "list" if listed else "paragraph")


def _wrapped(before: str, line: str, full: int) -> bool:
    """Whether a line goes on from the one before: its first word would not have fitted there."""
    if before.endswith(_HYPHEN):
        return True
    if full < _NARROW or (_figures(line) and (_figures(before) or _END.search(before))):
        return False
    words = line.split(None, 1)
    return len(before) + 1 + len(words[0]) > 0.85 * full


def _figures(line: str) -> bool:
    """Whether a line is more like the row of a table: a third of its words have digits."""
    words = line.split()
    return sum(any(char.isdigit() for char in word) for word in words) * 3 >= len(words)


def _join(text: str, line: str, words: set[str]) -> str:
    """Two lines as one; a word cut at the line's end is joined only where the text has it whole elsewhere."""
    if text.endswith((_HYPHEN, "-")) and line[:1].islower():
        head = re.search(r"[^\W\d_]+$", text[:-1])
        tail = re.match(r"[^\W\d_]+", line)
        whole = (head[0] + tail[0]).lower() if head and tail else ""
        return text[:-1] + ("" if whole and whole in words else "-") + line
    if text.endswith(_HYPHEN):
        return text[:-1] + "-" + line
    return text + line if _CJK.match(text[-1]) and _CJK.match(line) else f"{text} {line}"


def _metadata(draft: Draft, pdf: Any) -> None:
    found: dict[str, str] = pdf.get_metadata_dict(skip_empty=True)
    title = found.get("Title", "").strip()
    if title and not _FILE_TITLE.fullmatch(title):
        draft.title = title
    author = found.get("Author", "").strip()
    if author and author.strip("()").lower() not in ("anonymous", "unknown", "unspecified"):
        draft.metadata["author"] = author
    date = _DATE.match(found.get("CreationDate", ""))
    if date:
        draft.metadata["date"] = "-".join(part for part in date.groups() if part)
    draft.metadata["pages"] = len(pdf)


def _outline(pdf: Any) -> dict[int, list[tuple[int, str]]]:
    """Outline entries by page: (level from 1, title)."""
    entries: dict[int, list[tuple[int, str]]] = {}
    try:
        for mark in pdf.get_toc(max_depth=6):
            target = mark.get_dest()
            page = target.get_index() if target else None
            if page is not None:
                entries.setdefault(page, []).append((mark.level + 1, mark.get_title()))
    except Exception:
        return entries
    return entries


def _notes(draft: Draft, pdf: Any, pages: list[str]) -> None:
    blank = [str(i) for i, page in enumerate(pages, 1) if not page.strip()]
    if blank and len(blank) == len(pages):
        raise Unreadable(
            "empty", f"{count(len(pages), 'page')} without a text layer: scanned? Run text recognition (OCR) on it"
        )
    if blank:
        shown = ", ".join(blank[:10]) + (" …" if len(blank) > 10 else "")
        draft.note(f"{count(len(blank), 'page')} without text (scanned or blank): {shown}")
    attached = pdf.count_attachments()
    if attached:
        draft.note(f"{count(attached, 'attachment')} not read")


def _key(title: str) -> str:
    return re.sub(r"[\W_]+", "", re.sub(r"^[\s\d.]+", "", title)).lower()
