"""Plain text and source code: the text as it is, with its paragraphs marked."""

from __future__ import annotations

import re

from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.types import BlockKind

_PARAGRAPH = re.compile(r"^(?:[^\S\n]*\S[^\n]*(?:\n|\Z))+", re.M)
_ASCIIDOC = re.compile(r"^(={1,6}) +(\S[^\n]*?)[ \t\r]*$", re.M)
_LINE = re.compile(r"[^\n]+")


def read(content: Content) -> Draft:
    """Paragraphs are runs of lines without a blank one between them; AsciiDoc has its headings marked."""
    draft = _whole(content)
    if content.extension not in ("adoc", "asciidoc"):
        paragraphs(draft, draft.text, 0)
        return draft
    at = 0
    for match in _ASCIIDOC.finditer(draft.text):
        paragraphs(draft, draft.text[at : match.start()], at)
        draft.mark(match.start(), match.end(), "heading", len(match[1]), title=match[2])
        draft.title = draft.title or (match[2] if len(match[1]) == 1 else "")
        at = match.end()
    paragraphs(draft, draft.text[at:], at)
    return draft


def read_code(content: Content) -> Draft:
    """Runs of lines that begin at the margin: definitions with their bodies, where the language indents them."""
    draft = _whole(content)
    if content.language:
        draft.metadata["language"] = content.language
    start = end = -1
    for match in _PARAGRAPH.finditer(draft.text):
        run = match.group()
        # a run that begins indented, or that only closes a bracket, belongs to the definition before it
        if start >= 0 and (run[0].isspace() or run[0] in ")}]"):
            end = match.start() + len(run.rstrip())
            continue
        if start >= 0:
            draft.mark(start, end, "code")
        start, end = match.start(), match.start() + len(run.rstrip())
    if start >= 0:
        draft.mark(start, end, "code")
    return draft


def paragraphs(draft: Draft, text: str, offset: int, kind: BlockKind = "paragraph") -> None:
    """Mark the paragraphs of `text`, which stands at `offset` in the draft."""
    for match in _PARAGRAPH.finditer(text):
        run = match.group()
        start = match.start() + len(run) - len(run.lstrip())
        draft.mark(offset + start, offset + match.start() + len(run.rstrip()), kind)


def _whole(content: Content) -> Draft:
    text = content.decoded.text
    most = content.limits.max_line
    if len(text) > most:
        for number, line in enumerate(_LINE.finditer(text), 1):
            if line.end() - line.start() > most:
                raise Unreadable("too_large", f"a line ({number}) of more than {most:,} characters: data, not text?")
    draft = Draft()
    draft.verbatim(text)
    return draft
