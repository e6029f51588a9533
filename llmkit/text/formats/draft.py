"""A document being read: text grows, and every block is marked where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from llmkit.types import Block, BlockKind, Document, Json, blocks_or_whole

# not characters of any text; one by one they become a space, so that offsets stay
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")


def clean(text: str) -> str:
    """The text with control characters and halves of surrogate pairs as spaces; the length stays."""
    return _UNFIT.sub(" ", text) if _UNFIT.search(text) else text


@dataclass
class Draft:
    """Text and blocks of one document while its format is read."""

    title: str = ""
    metadata: dict[str, Json] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    id: str | None = None
    """Id the content itself gives, as a JSON row does."""
    page: int | None = None
    part: str | None = None
    _pieces: list[str] = field(default_factory=list)
    _length: int = 0
    _headings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, text: str, kind: BlockKind = "paragraph", level: int = 0, *, gap: str = "\n\n") -> None:
        """Append a block, `gap` after what is there; blank text is not a block."""
        text = clean(text.replace("\r\n", "\n").replace("\r", "\n"))
        text = text.strip("\n").rstrip() if kind == "code" else _BLANK_LINES.sub("\n\n", text.strip())
        if not text.strip():
            return
        if kind == "heading":
            text = " ".join(text.split())
        start = self._append(gap, text)
        self.mark(start, start + len(text), kind, level, title=text)

    def verbatim(self, text: str) -> int:
        """Append text as it is, unmarked, and return where it starts."""
        return self._append("\n\n", text)

    def mark(self, start: int, end: int, kind: BlockKind = "paragraph", level: int = 0, *, title: str = "") -> None:
        """Call ``text[start:end]`` a block; a heading's `title` begins a section."""
        if kind == "heading":
            self.open_section(level, title)
        path = tuple(title for _, title in self._headings)
        self.blocks.append(Block(start, end, kind, level, path, self.page, self.part))

    def open_section(self, level: int, title: str) -> None:
        """What follows stands under this heading, whether or not the text shows it."""
        self._headings = [pair for pair in self._headings if pair[0] < level]
        if title:
            self._headings.append((level, " ".join(title.split())[:300]))

    def embed(self, document: Document, part: str) -> None:
        """Append another document, an attachment, under the name `part`."""
        if "access" in document.metadata:
            self.limit_access(document.metadata["access"])
        start = self._append("\n\n", document.text)
        for block in blocks_or_whole(document):
            path = (part, *block.heading)
            self.blocks.append(
                replace(block, start=block.start + start, end=block.end + start, heading=path, part=part)
            )

    def rename(self, first: int, part: str) -> None:
        """Call the part of the blocks from number `first` on by another name."""
        self.blocks[first:] = [replace(block, part=part) for block in self.blocks[first:]]

    def limit_access(self, value: Json) -> None:
        """Keep what the content says of who may read it; said twice, it must be the same."""
        said = self.metadata.setdefault("access", value)
        if said != value:
            self.metadata["access"] = f"{said}; {value}"  # no label: such a document is refused

    def note(self, text: str) -> None:
        """Say once what was left out or guessed."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def text(self) -> str:
        """All that was appended."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def depth(self) -> int:
        """Level of the innermost open section, 0 for none."""
        return self._headings[-1][0] if self._headings else 0

    def document(self, id: str, path: str, kind: str) -> Document:
        """The finished document; `path` is the id of its source."""
        return Document(
            id=self.id or id,
            text=self.text,
            title=" ".join(clean(self.title).split())[:500],
            metadata={"path": path, "type": kind, **self.metadata},
            blocks=tuple(self.blocks),
            notes=tuple(self.notes),
        )

    def _append(self, gap: str, text: str) -> int:
        if self._length and text:
            self._pieces.append(gap)
            self._length += len(gap)
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        return start
