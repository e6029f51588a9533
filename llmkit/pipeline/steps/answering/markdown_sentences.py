"""The sentences of a Markdown answer that can be checked, with exact offsets, and edits that change nothing else.

Paragraphs, list items, quotes and table cells have sentences. Headings, list numbers, rules, code blocks and the header
row of a table do not. Markdown is parsed with markdown-it; its tokens carry line numbers only, so the offsets of inline
text are found by following the tokens through the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from llmkit.pipeline.steps.answering.answer import MARK
from llmkit.text.sentences import sentences
from llmkit.text.words import words

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_MAX_LABEL = 3  # words of a table cell that is not a sentence of its own
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")  # a line as markdown-it counts lines
_CELL = re.compile(r"(?:\\.|[^|\\])+", re.DOTALL)
_DEFINITION = re.compile(r"\[[^\]]+\]:[ \t]+\S+\Z")  # a link definition, as in "[1]: https://example.org"
_CJK_END = "*_。！？｡」』）”’"  # what can end a sentence that no white space follows
_NO_WORDS = re.compile(r"[\W\d]*")
_STOP = re.compile(r"[.!?。！？]\W*\Z")


class _Pair(NamedTuple):
    """Opening and closing inline markup, as the ``**`` around bold text, by offsets."""

    opens: int
    inner_start: int
    inner_end: int
    closes: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer, with the marks that follow it."""

    start: int
    end: int
    """``text[start:end]`` is the sentence as the model wrote it, its own marks included."""
    claim: str
    """The sentence without Markdown markup and marks; a short table cell follows the label of its row."""
    numbers: tuple[int, ...]
    """Numbers of the passages it cites."""
    mark_at: int
    """Offset at which a mark can be inserted."""
    block: tuple[int, int]
    """Offsets of the block or table cell that contains it."""
    markup: tuple[_Pair, ...] = ()
    """All inline markup of the block."""
    in_table: bool = False
    label: str = ""
    """The first cell of its row, where the sentence is a short table cell that means nothing without it."""


@dataclass(slots=True)
class _Region:
    """Plain text of one block: each character with its run of the source."""

    text: str
    starts: list[int]
    ends: list[int]
    markup: tuple[_Pair, ...]
    block: tuple[int, int]
    in_table: bool = False
    label: str = ""


def find_sentences(text: str) -> list[Sentence]:
    """The sentences of a Markdown text that make a claim, in order.

    A sentence of numbers alone is left out, unless the text has no other: it is the number of a list, or a value.
    """
    regions = list(_regions(text))
    if not regions and _NO_WORDS.fullmatch(text):
        regions = [_plain_region(text)]  # Markdown takes the answer "12." for an empty list
    found: list[Sentence] = []
    for region in regions:
        _add_sentences(found, region)
    found = [one for one in found if words(one.claim) or one.numbers]
    with_words = [one for one in found if any(not word.number for word in words(one.claim))]
    return with_words or found


def insert_marks(text: str, marks: Sequence[tuple[int, int]]) -> str:
    """Insert `` [n]`` at each (offset, n); every other character stays as it is."""
    for offset, n in sorted(marks, reverse=True):
        at = offset
        if text[at : at + 1] in ("(", "[", ":"):  # a mark directly before one of these would become a link
            at = len(text[:at].rstrip(_CJK_END))
        text = f"{text[:at]} [{n}]{text[at:]}"
    return text


def remove_sentences(
    text: str, dropped: Sequence[Sentence], kept: Sequence[Sentence], marks: Sequence[tuple[int, int]] = ()
) -> str:
    """Leave sentences out; a paragraph, list item or table row without other sentences is removed with them.

    Args:
        text: the answer.
        dropped: the sentences to leave out.
        kept: all others.
        marks: as of :func:`insert_marks`, for the kept ones.
    """
    blocks = {one.block for one in kept}
    rows = {_whole_lines(text, one.block) for one in kept if one.in_table}
    cuts: list[tuple[int, int]] = []
    for one in dropped:
        lines = _whole_lines(text, one.block)
        if one.in_table:
            cuts.append(lines if lines not in rows else (one.start, one.end))
        elif one.block not in blocks:
            cuts.append(lines)
        else:
            cuts.append(_with_space(text, one))
    for pair in {pair for one in dropped for pair in one.markup}:
        opening, closing = (pair.opens, pair.inner_start), (pair.inner_end, pair.closes)
        if _is_cut(opening, cuts) != _is_cut(closing, cuts):  # half of it would be left
            cuts += [opening, closing]
    cut = bytearray(len(text))
    for start, end in cuts:
        cut[start:end] = b"\1" * (end - start)
    offsets = [0]
    for flag in cut:
        offsets.append(offsets[-1] + (not flag))
    shorter = "".join(character for character, flag in zip(text, cut, strict=True) if not flag)
    return insert_marks(shorter, [(offsets[offset], n) for offset, n in marks]).strip("\r\n")


def _with_space(text: str, one: Sentence) -> tuple[int, int]:
    """The sentence with the white space that separated it from its neighbour."""
    before = len(text[: one.start].rstrip())
    if one.block[0] < before < one.start:
        return before, one.end
    after = len(text) - len(text[one.end :].lstrip())
    if text[after : after + 1] == ">":  # the next line of a quote keeps its mark
        after = len(text) - len(text[one.end :].lstrip(" \t"))
    return one.start, max(after, one.end)


def _is_cut(span: tuple[int, int], cuts: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in cuts)


def _whole_lines(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """The span grown to whole lines, with the blank lines that follow."""
    start = max(text.rfind("\n", 0, span[0]), text.rfind("\r", 0, span[0])) + 1
    rest = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)(?:[ \t]*(?:\r\n?|\n))*").match(text, span[1])
    return start, rest.end() if rest else len(text)


def _add_sentences(found: list[Sentence], region: _Region) -> None:
    """Append the sentences of a region. A mark behind a full stop belongs to the sentence before it."""
    first = len(found)
    for start, end in sentences(region.text):
        at = start
        lead = MARK.match(region.text, at, end)
        while lead and found:
            last = found[-1]
            stop = region.ends[lead.end() - 1]
            last = replace(last, numbers=_unique([*last.numbers, *_numbers(lead)]))
            found[-1] = replace(last, end=stop, mark_at=stop) if len(found) > first else last
            at = lead.end()
            while at < end and region.text[at] in " .。\n":
                at += 1
            lead = MARK.match(region.text, at, end)
        if at < end:
            found.append(_sentence(region, at, end))


def _sentence(region: _Region, start: int, end: int) -> Sentence:
    text = region.text[start:end]
    numbers = _unique([n for mark in MARK.finditer(text) for n in _numbers(mark)])
    claim = " ".join(MARK.sub("", text).split())
    label = region.label if not numbers and len(words(claim)) <= _MAX_LABEL else ""
    if label:
        claim = f"{label} {claim}"
    first, last = region.starts[start], region.ends[end - 1]
    mark_at = last
    for pair in sorted(region.markup, key=lambda pair: pair.inner_end):
        if pair.inner_end == mark_at:
            mark_at = pair.closes
        if pair.inner_end == last and pair.inner_start >= first:
            last = pair.closes
        if pair.inner_start == first and pair.closes <= last:
            first = pair.opens
    return Sentence(first, last, claim, numbers, mark_at, region.block, region.markup, region.in_table, label)


def _numbers(mark: re.Match[str]) -> list[int]:
    return [int(n) for n in mark.group(1).split(",")]


def _unique(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers))


def _regions(text: str) -> Iterator[_Region]:
    """The blocks of a text that contain sentences."""
    lines = [(line.start(), line.group().rstrip("\r\n")) for line in _LINE.finditer(text)]
    tokens = _parser().parse(text)
    heading = header = cell = False
    row: list[Token] = []
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            setext = token.type == "heading_open" and not token.markup.startswith("#")
            heading = token.type == "heading_open" and not (setext and _is_sentence(lines, token))
        elif token.type in ("thead_open", "thead_close"):
            header = token.type == "thead_open"
        elif token.type in ("td_open", "td_close"):
            cell = token.type == "td_open"
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and not header:
            yield from _cells(row, lines)
        elif token.type == "inline" and not heading and not header and token.map:
            if cell:
                row.append(token)
            else:
                yield from _block(token, lines)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """CommonMark with tables and strikethrough; HTML blocks and link definitions are read as text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": 100})
    return parser.enable(["table", "strikethrough"]).disable(["reference", "html_block", "text_join"])


def _is_sentence(lines: Sequence[tuple[int, str]], token: Token) -> bool:
    """Whether an underlined heading is really a paragraph directly above a rule."""
    first, last = token.map or [0, 0]
    return _STOP.search(MARK.sub("", " ".join(line for _, line in lines[first : last - 1]))) is not None


def _block(token: Token, lines: Sequence[tuple[int, str]]) -> Iterator[_Region]:
    """The region of a paragraph; without text where all of its lines are link definitions."""
    assert token.map is not None
    content: list[str] = []
    offsets: list[int] = []
    for line, (offset, source) in zip(token.content.split("\n"), lines[token.map[0] :], strict=False):
        at = max(source.rfind(line.strip()), 0)
        if content:
            content.append("\n")
            offsets.append(offset - 1)
        content.append(source[at:])
        offsets.extend(range(offset + at, offset + len(source)))
    raw = "".join(content)
    if offsets and not all(_DEFINITION.match(line.strip()) for line in raw.split("\n")):
        yield _inline_region(token, raw, offsets)


def _cells(row: Sequence[Token], lines: Sequence[tuple[int, str]]) -> Iterator[_Region]:
    """The regions of a table row. A first cell of a few words is the label of its row and makes no claim alone."""
    if not row or not row[0].map:
        return
    offset, source = lines[row[0].map[0]]
    if ">" in source[: len(source) - len(source.lstrip(" >"))]:
        offset += len(source) - len(source.lstrip(" >"))
        source = source.lstrip(" >")
    cells = [cell for cell in _CELL.finditer(source) if cell.group().strip() or cell.start() > 0]
    label = ""
    for position, (token, cell) in enumerate(zip(row, cells, strict=False)):
        raw = cell.group().strip()
        at = offset + cell.start() + len(cell.group()) - len(cell.group().lstrip())
        region = _inline_region(token, raw, list(range(at, at + len(raw)))) if raw else None
        if region is None:
            continue
        region.in_table = True
        if position == 0 and len(row) > 1 and len(words(region.text)) <= _MAX_LABEL and not MARK.search(region.text):
            label = region.text
            continue
        region.label = label
        yield region


def _inline_region(token: Token, raw: str, offsets: Sequence[int]) -> _Region:
    """Follow the inline tokens through their source and keep the text, without emphasis, links, images and tags."""
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    pairs: list[_Pair] = []
    opened: list[tuple[int, int]] = []

    def keep(shown: str, at: int, stop: int) -> None:
        for n, character in enumerate(shown):
            first = min(at + n, stop - 1)
            text.append(character)
            starts.append(offsets[first])
            ends.append(offsets[stop - 1 if n == len(shown) - 1 else first] + 1)

    def close(at: int, stop: int) -> None:
        opens, inner_start = opened.pop() if opened else (at, at)
        pairs.append(_Pair(offsets[opens], offsets[inner_start], offsets[at], offsets[stop - 1] + 1))

    at = 0
    for child in token.children or ():
        if child.type == "text" and child.content:
            at = _find(raw, child.content, at)
            keep(child.content, at, at + len(child.content))
            at += len(child.content)
        elif child.type == "text_special":
            at = _find(raw, child.markup, at)
            keep(child.content, at, at + len(child.markup))
            at += len(child.markup)
        elif child.type in ("softbreak", "hardbreak"):
            at = _find(raw, "\n", at)
            keep("\n", at, at + 1)
            at += 1
        elif child.type == "code_inline":
            at = _find(raw, child.markup, at)
            inside = at + len(child.markup)
            closing = re.compile(rf"(?<!`){child.markup}(?!`)").search(raw, inside)
            stop = closing.start() if closing else len(raw)
            keep(raw[inside:stop].replace("[", " "), inside, stop)  # an index in code is no citation
            if closing:
                opened.append((at, inside))
                close(stop, closing.end())
            at = closing.end() if closing else len(raw)
        elif child.type == "html_inline":
            at = _find(raw, child.content, at)
            keep(" ", at, at + len(child.content))
            at += len(child.content)
        elif child.type == "image":
            at = _after_link(raw, _image_end(raw, _find(raw, "![", at) + 1))
        elif child.type == "link_close":
            stop = at + 1 if child.markup == "autolink" else _after_link(raw, at)
            close(at, stop)
            at = stop
        elif child.type.endswith("_close"):
            at = _find(raw, child.markup, at)
            close(at, at + len(child.markup))
            at += len(child.markup)
        elif child.type == "link_open":
            at = _find(raw, "<" if child.markup == "autolink" else "[", at)
            opened.append((at, at + 1))
            at += 1
        elif child.type.endswith("_open"):
            at = _find(raw, child.markup, at)
            opened.append((at, at + len(child.markup)))
            at += len(child.markup)
    return _Region("".join(text), starts, ends, tuple(pairs), (offsets[0], offsets[-1] + 1))


def _find(raw: str, piece: str, at: int) -> int:
    found = raw.find(piece, at)
    return found if found >= 0 else at


def _image_end(raw: str, opening: int) -> int:
    """Offset of the bracket that closes the one at `opening`."""
    depth = 0
    for at in range(opening, len(raw)):
        if raw[at] in "[]" and raw[at - 1] != "\\":
            depth += 1 if raw[at] == "[" else -1
            if depth == 0:
                return at
    return len(raw) - 1


def _after_link(raw: str, bracket: int) -> int:
    """Offset behind the target of a link, as in ``](https://example.org "title")``, whose bracket is at `bracket`."""
    if raw[bracket + 1 : bracket + 2] != "(":
        return bracket + 1
    depth, quote, at = 0, "", bracket + 1
    while at < len(raw):
        character = raw[at]
        if character == "\\":
            at += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and raw[at - 1].isspace():
            quote = character
        elif character == "<" and raw[at - 1] in "( ":
            quote = ">"
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return at + 1
        at += 1
    return len(raw)


def _plain_region(text: str) -> _Region:
    """The whole text as one region."""
    spans = range(len(text))
    return _Region(text, list(spans), [at + 1 for at in spans], (), (0, len(text)))
