"""HTML: what a reader of the page sees, in the order of the source."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from llmkit.errors import DataError
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft, clean
from llmkit.text.formats.limits import Unreadable, count
from llmkit.text.formats.markup.html_tables import BLOCKS, add_html_table, is_data
from llmkit.text.formats.text import paragraphs
from llmkit.types import BlockKind

_DROPPED = {
    tag: what
    for what, tags in {
        "script": "script",
        "style": "style",
        "navigation": "nav",
        "template": "template",
        "noscript": "noscript",
        "drawing": "svg canvas",
        "frame": "iframe",
        "object": "object embed",
        "form field": "select input textarea datalist",
        "button": "button",
        "recording or video": "audio video",
        "dialog": "dialog",
        "": "head title rp",
    }.items()
    for tag in tags.split()
}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]+)", re.I)
_SPACE = re.compile(r"[ \t\r\n\f\u200b]+")
_DATES = ("article:published_time", "date", "dc.date", "dcterms.created", "dcterms.date", "datepublished", "pubdate")
_AUTHORS = ("author", "article:author", "dc.creator", "dcterms.creator")


def read(content: Content) -> Draft:
    """The title is the page's `title`, else its first heading."""
    from llmkit.text.loading.decoding import decode

    declared = _CHARSET.search(content.data[:4096])
    try:
        decoded = decode(content.data, declared[1].decode("ascii") if declared else "")
    except DataError as error:
        raise Unreadable("unsupported", str(error)) from error
    draft = Draft()
    draft.notes.extend(decoded.notes)
    add_html(draft, decoded.text)
    return draft


def add_html(draft: Draft, text: str) -> None:
    """Add a page's text to the draft; title and metadata are set where they are not yet."""
    root, whole = parse(text)
    if not whole:
        draft.note("elements nested too deep: what is below and after them is left out")
    if root is None:
        return
    _head(draft, root)
    walk = _Walk(draft)
    walk.element(root)
    walk.finish()
    if not draft.title:
        headings = [block for block in draft.blocks if block.kind == "heading"]
        if headings:
            draft.title = headings[0].heading[-1]


def parse(text: str) -> tuple[Any, bool]:
    """The root element, or None for a page without one; and whether the parser went to the bottom of it."""
    from lxml import etree, html

    parser = html.HTMLParser(encoding="utf-8", no_network=True, remove_pis=True, remove_comments=True, huge_tree=True)
    try:
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        root = None
    return root, not any("depth" in entry.message.lower() for entry in parser.error_log)


def _head(draft: Draft, root: Any) -> None:
    metas: dict[str, str] = {}
    for meta in root.iter("meta"):
        key = (meta.get("property") or meta.get("name") or meta.get("itemprop") or "").lower()
        if key and meta.get("content"):
            metas.setdefault(key, meta.get("content").strip())
    titles = root.findall(".//head/title")
    title = " ".join("".join(titles[0].itertext()).split()) if titles else ""
    draft.title = draft.title or title or metas.get("og:title", "")
    author = next((metas[key] for key in _AUTHORS if key in metas), "")
    date = next((metas[key] for key in _DATES if re.match(r"\d{4}-\d\d", metas.get(key, ""))), "")
    for key, value in (("author", author), ("date", date[:10]), ("description", metas.get("description", ""))):
        if value:
            draft.metadata.setdefault(key, value)


class _Walk:
    """One page being read: inline text gathers until a block ends."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.inline: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.lists: list[int] = []
        self.items: list[str] = []
        self.quotes = 0
        self.term = ""

    def element(self, root: Any) -> None:
        """Text of the element and all below it, without recursion: pages nest as deep as they like."""
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            node, done = stack.pop()
            if done:
                self.leave(node)
                self.say(node.tail)
                continue
            if not isinstance(node.tag, str) or not self.enter(node):
                self.say(node.tail)
                continue
            stack.append((node, True))
            self.say(node.text)
            stack.extend((child, False) for child in reversed(node))

    def say(self, text: str | None) -> None:
        if text:
            self.inline.append(_SPACE.sub(" ", text))

    def enter(self, node: Any) -> bool:
        """Begin an element; False where what is in it is left out or was dealt with."""
        tag = node.tag.lower()
        if tag in _DROPPED:
            if _DROPPED[tag] and (len(node) or (node.text or "").strip()):
                self.dropped[_DROPPED[tag]] += 1
            return False
        style = node.get("style")
        if node.get("hidden") is not None or (style and _HIDDEN.search(style)):
            self.dropped["hidden element"] += 1
            return False
        if node.get("role") == "navigation":
            self.dropped["navigation"] += 1
            return False
        if tag == "br":
            self.inline.append("\n")
        elif tag == "img":
            if (node.get("alt") or "").strip():
                self.inline.append(f"[image: {' '.join(node.get('alt').split())}]")
            self.dropped["image"] += 1
        elif tag == "pre":
            self.flush()
            text = "".join(node.itertext())
            if self.lists:
                self.items.append(_indent(text.strip("\n"), "  " * len(self.lists)))
            elif node.find(".//code") is None and _prose(text):
                text = clean(text.replace("\r\n", "\n")).strip("\n")
                paragraphs(self.draft, text, self.draft.verbatim(text))
            else:
                self.draft.add(text, "code")
            return False
        elif tag == "table" and not self.lists and is_data(node):
            self.flush()
            add_html_table(self.draft, node)
            return False
        elif tag in BLOCKS:
            self.flush()
            self.open(tag, node)
        elif tag in ("option", "label"):
            self.inline.append(" ")
        return True

    def open(self, tag: str, node: Any) -> None:
        if tag in ("ul", "ol", "menu"):
            start = node.get("start") or "1"
            self.lists.append(
                int(start) if tag == "ol" and start.isdigit() and len(start) < 10 else 1 if tag == "ol" else 0
            )
        elif tag == "blockquote":
            self.quotes += 1
        elif tag == "li":
            if not self.lists:
                self.lists.append(0)
            number = self.lists[-1]
            self.inline.append(f"\0{f'{number}.' if number else '-'} ")
            self.lists[-1] += bool(number)

    def leave(self, node: Any) -> None:
        tag = node.tag.lower()
        if tag in ("td", "th"):
            self.inline.append(" ")
        if tag not in BLOCKS:
            return
        if tag == "dt":
            self.term = "".join(self.inline).strip()
            self.inline = []
            return
        if tag in ("td", "th"):
            self.flush()
        heading = len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()
        self.flush(
            "heading" if heading and not self.lists else "quote" if self.quotes else "paragraph",
            int(tag[1]) if heading else 0,
        )
        if tag in ("ul", "ol", "menu") and self.lists:
            self.lists.pop()
            if not self.lists:
                self.close_list()
        elif tag == "blockquote":
            self.quotes -= 1

    def flush(self, kind: BlockKind = "paragraph", level: int = 0) -> None:
        """End the block that is being gathered."""
        text = "".join(self.inline)
        self.inline = []
        lines = [_SPACE.sub(" ", line).strip() for line in text.split("\n")]
        text = "\n".join(lines).strip("\n ")
        if self.term:
            text, self.term = (f"{self.term}: {text}" if text else self.term), ""
        if not text.strip("\0- ") and not self.lists:
            return
        if self.lists:
            self.item(text)
        else:
            self.draft.add(text.replace("\0", ""), kind, level)

    def item(self, text: str) -> None:
        if not text.strip("\0 "):
            return
        depth = len(self.lists) - 1
        if text.startswith("\0"):
            bare = re.fullmatch(r"\0(?:-|\d+\.)", text)
            self.items.append("  " * depth + text[1:] + (" " if bare else ""))
        elif self.items and re.search(r"^\s*(?:-|\d+\.) $", self.items[-1]):
            self.items[-1] += _indent(text, "  " * (depth + 1)).lstrip()
        else:
            self.items.append(_indent(text, "  " * (depth + 1)))

    def close_list(self) -> None:
        self.draft.add("\n".join(item.rstrip() for item in self.items if item.strip("- ")), "list")
        self.items = []

    def finish(self) -> None:
        self.flush()
        if self.lists or self.items:
            self.lists = []
            self.close_list()
        images = self.dropped.pop("image", 0)
        if images:
            self.draft.note(f"{count(images, 'image')} not read")
        if self.dropped:
            parts = ", ".join(
                count(number, what, "navigation" if what == "navigation" else "")
                for what, number in sorted(self.dropped.items())
            )
            self.draft.note(f"left out: {parts}")


def _indent(text: str, by: str) -> str:
    return "\n".join(by + line for line in text.split("\n"))


def _prose(text: str) -> bool:
    """Whether preformatted text is written in sentences, as laws and mails are."""
    return len(text) > 400 and sum(char.isalpha() or char.isspace() for char in text) > 0.85 * len(text)
