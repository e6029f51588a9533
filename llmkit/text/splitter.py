"""Documents into chunks that the encoder reads whole.

Blocks (headings, paragraphs, tables, code) are packed in order until the budget is full. A heading begins a chunk
and is never left alone at the end of one. What is too large for one chunk is cut at the largest boundary that helps:
lines of code and tables, sentences, words, and only then inside a word. The budget counts what the encoder counts:
context, text and special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit.part import Part
from llmkit.protocols import Tokenizer
from llmkit.text.sentences import sentences
from llmkit.types import Block, Chunk, Document, blocks_or_whole

_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\n]+")
_WINDOW = 100_000  # characters tokenised at once, so that a large document does not need memory for all its tokens
_WIDEST = 64  # characters a token may stand for on average: a word piece model has one [UNK] for a word of megabytes

Run = tuple[int, int]


class StructureSplitter(Part):
    """Packs blocks into chunks within a token budget, with exact offsets."""

    family: ClassVar[str] = "splitter"
    type: ClassVar[str] = "structure"

    max_tokens: int | None = Field(default=None, ge=16)
    """Budget of a chunk, context and special tokens included; None: what the encoder reads, at most 256."""
    min_tokens: int = Field(default=32, ge=0)
    """A chunk smaller than this goes on under the next heading of the same page and part."""

    def split(self, document: Document, tokenizer: Tokenizer) -> list[Chunk]:
        """Chunks in order of their offsets.

        ``document.text[chunk.start:chunk.end] == chunk.text`` for each; together they hold every character that is
        not white space or front matter; none has more than the budget's tokens.
        """
        limit = min(self.max_tokens or 256, tokenizer.max_tokens)
        return _Splitting(document, tokenizer, limit, self.min_tokens).chunks()


class _Splitting:
    """One document being split."""

    def __init__(self, document: Document, tokenizer: Tokenizer, limit: int, least: int) -> None:
        self.document, self.tokenizer = document, tokenizer
        self.limit, self.least = limit, least
        self.widest = limit * _WIDEST
        self.version = document.version
        self.starts = _token_starts(document.text, tokenizer)
        self.context = lru_cache(maxsize=64)(self._context)
        self.made: list[Chunk] = []

    def chunks(self) -> list[Chunk]:
        group: list[Block] = []
        for block in _gapless(self.document):
            if block.kind == "front matter":  # it is metadata; the ledger names it
                if group:
                    self._emit(group)
                group = []
                continue
            if group and not self._joins(group, block):
                self._emit(group)
                group = []
            group.append(block)
        if group:
            self._emit(group)
        return self.made

    def _joins(self, group: list[Block], block: Block) -> bool:
        first, last = group[0], group[-1]
        if (first.part, first.page) != (block.part, block.page):
            return False
        if not self._fits(first, first.start, block.end):
            return all(item.kind == "heading" for item in group)
        if block.kind != "heading" or last.kind == "heading":
            return True
        siblings = first.heading[: len(block.heading) - 1] == block.heading[:-1]
        return siblings and self._tokens(first.start, last.end) < self.least

    def _emit(self, group: list[Block]) -> None:
        """Chunks of one group of blocks."""
        first = group[0]
        if self._fits(first, first.start, group[-1].end):
            self._add(first, first.start, group[-1].end)
            return
        pieces = [(piece, block) for block in group for piece in self._cut(block, block.start, block.end, 0)]
        begin, owner = pieces[0][0][0], pieces[0][1]
        for (_, end), (piece, block) in zip((p for p, _ in pieces), [*pieces[1:], (None, None)], strict=True):
            if piece is None or block is None or not self._fits(owner, begin, piece[1]):
                self._add(owner, begin, end)
                if piece is not None and block is not None:
                    begin, owner = piece[0], block

    def _cut(self, block: Block, start: int, end: int, depth: int) -> Iterator[Run]:
        """Runs that fit, at the largest boundaries that make them fit."""
        if self._fits(block, start, end):
            yield start, end
            return
        text = self.document.text[start:end]
        spans: Iterable[Run]
        if depth == 0:
            lined = block.kind in ("code", "table", "row", "list")
            spans = [match.span() for match in _LINE.finditer(text)] if lined else sentences(text)
        elif depth == 1:
            spans = sentences(text)
        elif depth == 2:
            spans = [match.span() for match in _WORD.finditer(text)]
        else:
            yield from self._inside(block, start, end)
            return
        for low, high in self._packed(block, [(start + low, start + high) for low, high in spans]):
            yield from self._cut(block, low, high, depth + 1)

    def _packed(self, block: Block, spans: list[Run]) -> Iterator[Run]:
        """Neighbours joined as far as the budget goes."""
        for i, (low, high) in enumerate(spans):
            if i == 0:
                begin, end = low, high
            elif self._fits(block, begin, high):
                end = high
            else:
                yield begin, end
                begin, end = low, high
        if spans:
            yield begin, end

    def _inside(self, block: Block, start: int, end: int) -> Iterator[Run]:
        """A run without white space that is too long: cut where tokens begin, shorter while the cut adds tokens."""
        while start < end:
            room = self._room(block)
            first = int(np.searchsorted(self.starts, start, side="right"))
            cut = end
            while room > 0:
                cut = int(self.starts[first + room - 1]) if first + room - 1 < len(self.starts) else end
                cut = min(max(cut, start + 1), start + self.widest, end)
                if self._counted(block, start, cut) <= self.limit:
                    break
                room //= 2
            yield start, cut if room else start + 1
            start = cut if room else start + 1

    def _fits(self, block: Block, start: int, end: int) -> bool:
        if end - start > self.widest or self._tokens(start, end) > self._room(block):
            return False
        # the slice of the whole's tokens is the slice's tokens only where words are not cut
        whole = (start == 0 or self.document.text[start - 1].isspace()) and (
            end == len(self.document.text) or self.document.text[end].isspace()
        )
        return whole or self._counted(block, start, end) <= self.limit

    def _room(self, block: Block) -> int:
        return self.limit - self.context(block.heading)[2] - self.tokenizer.special_tokens

    def _tokens(self, start: int, end: int) -> int:
        low, high = np.searchsorted(self.starts, (start, end))
        return int(high - low)

    def _counted(self, block: Block, start: int, end: int) -> int:
        """Tokens of the chunk as the encoder will count them."""
        text = self._chunk(block, start, end).indexed_text
        return len(self.tokenizer.token_starts(text)) + self.tokenizer.special_tokens

    def _context(self, heading: tuple[str, ...]) -> tuple[str, tuple[str, ...], int]:
        """Title and headings as the chunk will carry them, and their tokens: at most a third of the budget.

        The outermost headings are left out first, then words from the end of the title.
        """
        title = self.document.title
        while True:
            context = Chunk("", 0, 0, 0, "", 0, title=title, heading=heading).context
            tokens = len(self.tokenizer.token_starts(f"{context}\n")) if context else 0
            if tokens <= self.limit // 3:
                return title, heading, tokens
            if heading:
                heading = heading[1:]
            else:
                title = " ".join(title.split()[: len(title.split()) // 2])

    def _chunk(self, block: Block, start: int, end: int, tokens: int = 0) -> Chunk:
        title, heading, _ = self.context(block.heading)
        return Chunk(
            document=self.document.id,
            ordinal=len(self.made),
            start=start,
            end=end,
            text=self.document.text[start:end],
            tokens=tokens,
            title=title,
            heading=heading,
            page=block.page,
            part=block.part,
            version=self.version,
            metadata=self.document.metadata,
            access=self.document.access,
        )

    def _add(self, block: Block, start: int, end: int) -> None:
        text = self.document.text[start:end]
        start, end = start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))
        if start >= end:
            return
        tokens = self._counted(block, start, end)
        if tokens > self.limit:  # the tokenizer counts the joined text differently: cut again, one step finer
            for low, high in self._inside(block, start, end):
                self._add(block, low, high)
            return
        self.made.append(self._chunk(block, start, end, tokens))


def _token_starts(text: str, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Where tokens begin in the whole text, counted window by window, cut at white space."""
    found = []
    start = 0
    while start < len(text):
        end = min(start + _WINDOW, len(text))
        if end < len(text):
            space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = space if space > start else end
        found.append(tokenizer.token_starts(text[start:end]) + start)
        start = end
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _gapless(document: Document) -> Iterator[Block]:
    """The blocks, and whatever text lies between them, as blocks of their own."""
    at = 0
    last = Block(0, 0)
    for block in blocks_or_whole(document):
        if document.text[at : block.start].strip():
            yield Block(at, block.start, heading=last.heading, page=last.page, part=last.part)
        yield block
        at, last = block.end, block
    if document.text[at:].strip():
        yield Block(at, len(document.text), heading=last.heading, page=last.page, part=last.part)
