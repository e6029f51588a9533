"""Markdown: the source as it is; headings, lists, tables and code are marked where they stand."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.markup import front_matter
from llmkit.text.formats.text import paragraphs
from llmkit.types import BlockKind

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
    "blockquote_open": "quote",
    "html_block": "paragraph",
}
_NEWLINE = re.compile(r"\r\n?|\n")
_SECTION = 400_000  # characters parsed at once: the parser's time grows faster than the text


def read(content: Content) -> Draft:
    """The title is the front matter's, else the first heading of level 1."""
    draft = Draft()
    text = content.decoded.text
    draft.verbatim(text)
    mark(draft, text, 0)
    return draft


def mark(draft: Draft, text: str, offset: int) -> None:
    """Mark the blocks of a Markdown source that stands at `offset` in the draft."""
    front = front_matter.find(text)
    if front:
        front_matter.put(front, draft)
        head = text[: front.end]
        if front.data:
            draft.mark(offset + len(head) - len(head.lstrip()), offset + len(head.rstrip()), "front matter")
        else:
            paragraphs(draft, head, offset)
    begin = front.end if front else 0
    for start, end in _sections(text, begin):
        _mark_section(draft, text[start:end], offset + start)
    if not draft.title:
        first = next((block for block in draft.blocks if block.kind == "heading" and block.level == 1), None)
        draft.title = first.heading[-1] if first and first.heading else ""


def _mark_section(draft: Draft, text: str, offset: int) -> None:
    lines = [0, *(match.end() for match in _NEWLINE.finditer(text)), len(text)]
    tokens = _parser().parse(text)
    for i, token in enumerate(tokens):
        kind = _KINDS.get(token.type)
        if token.level or kind is None or token.map is None:
            continue
        start = lines[min(token.map[0], len(lines) - 1)]
        end = lines[min(token.map[1], len(lines) - 1)]
        run = text[start:end]
        if not run.strip():
            continue
        if kind != "code":
            start += len(run) - len(run.lstrip())
        end -= len(run) - len(run.rstrip())
        if kind == "heading" and token.map[1] - token.map[0] > 3:
            kind = "paragraph"  # a whole paragraph that a line of dashes happens to stand under
        title = _plain(tokens[i + 1]) if kind == "heading" else ""
        draft.mark(offset + start, offset + end, kind, int(token.tag[1]) if kind == "heading" else 0, title=title)


def _plain(token: Token) -> str:
    """A heading's text without its markup."""
    words = (child.content or ("\n" if child.type.endswith("break") else "") for child in token.children or ())
    return " ".join("".join(words).split()) or token.content


def _sections(text: str, begin: int) -> list[tuple[int, int]]:
    """Runs of at most about `_SECTION` characters, cut before a heading or a blank line."""
    runs = []
    while len(text) - begin > _SECTION:
        cut = max(text.rfind("\n# ", begin, begin + _SECTION), text.rfind("\n## ", begin, begin + _SECTION))
        if cut <= begin:
            cut = text.rfind("\n\n", begin, begin + _SECTION)
        if cut <= begin:
            cut = begin + _SECTION - 1
        runs.append((begin, cut + 1))
        begin = cut + 1
    return [*runs, (begin, len(text))]


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": 40}).enable("table")
