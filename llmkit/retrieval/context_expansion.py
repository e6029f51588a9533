"""Retrieve small, read large: a chunk that was found grows into its surroundings.

A grown passage is a chunk again: ``document.text[start:end]``, with the row, score and place of the best hit in it. No
chunk of the document is in two passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

from llmkit.protocols import Searchable
from llmkit.types import Chunk, Hit

Reach = Literal["window", "section", "document"]


@dataclass
class _Passage:
    """A run of a document's chunks, from `first` to `last`, around the best hit in it."""

    hit: Hit
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Expanded:
    """Passages, best first, and what became of the hits."""

    hits: list[Hit]
    merged: int
    """Hits that lie in the passage of a better one."""
    cut: int
    """Passages that would have gone on, had the budget allowed."""


def expand(kb: Searchable, hits: Sequence[Hit], reach: Reach, window: int, budget: int) -> Expanded:
    """Grow every hit, the best first.

    Args:
        kb: where the hits are from.
        hits: best first.
        reach: window: `window` chunks on either side; section: all under the hit's heading, its subsections included;
            document: all of it.
        window: chunks on either side.
        budget: most tokens of a passage, as the encoder counts its chunks; a chunk that is larger stays as it is.
    """
    view = kb.snapshot()
    documents: dict[tuple[str, str], tuple[str, tuple[Chunk, ...]]] = {}
    grown: dict[tuple[str, str], list[_Passage]] = {}
    order: list[tuple[tuple[str, str], _Passage]] = []
    merged = cut = 0
    for hit in hits:
        document = hit.chunk.document, hit.chunk.version
        if document not in documents:
            documents[document] = view.whole_document(hit.chunk.row)
        pieces = documents[document][1]
        at = hit.chunk.ordinal
        others = grown.setdefault(document, [])
        if any(other.first <= at <= other.last for other in others):
            merged += 1
            continue
        low, high = _reach(pieces, at, reach, window)
        # what a better passage has taken ends the reach
        low = max([low, *(other.last + 1 for other in others if other.last < at)])
        high = min([high, *(other.first - 1 for other in others if other.first > at)])
        passage = _Passage(hit, *_within(pieces, at, low, high, budget))
        cut += (passage.first, passage.last) != (low, high)
        if _swallowed(passage, others, pieces, budget):
            merged += 1
            continue
        others.append(passage)
        order.append((document, passage))
    return Expanded([_hit(passage, *documents[document]) for document, passage in order], merged, cut)


def _reach(pieces: Sequence[Chunk], at: int, reach: Reach, window: int) -> tuple[int, int]:
    """First and last ordinal that belong to the surroundings."""
    if reach == "document":
        return 0, len(pieces) - 1
    if reach == "window":
        return max(0, at - window), min(len(pieces) - 1, at + window)
    heading, part = pieces[at].heading, pieces[at].part

    def inside(piece: Chunk) -> bool:
        return piece.part == part and piece.heading[: len(heading)] == heading

    low = high = at
    while low > 0 and inside(pieces[low - 1]):
        low -= 1
    while high + 1 < len(pieces) and inside(pieces[high + 1]):
        high += 1
    return low, high


def _within(pieces: Sequence[Chunk], at: int, low: int, high: int, budget: int) -> tuple[int, int]:
    """As much of low..high around `at` as the budget holds: what follows and what precedes, in turn."""
    first = last = at
    used = pieces[at].tokens
    after = before = True
    while after or before:
        if after:
            after = last < high and used + pieces[last + 1].tokens <= budget
            if after:
                last += 1
                used += pieces[last].tokens
        if before:
            before = first > low and used + pieces[first - 1].tokens <= budget
            if before:
                first -= 1
                used += pieces[first].tokens
    return first, last


def _swallowed(passage: _Passage, others: Sequence[_Passage], pieces: Sequence[Chunk], budget: int) -> bool:
    """Whether a better passage that touches this one has grown over it: where both together keep the budget."""
    for other in others:
        if passage.first == other.last + 1 or other.first == passage.last + 1:
            first, last = min(passage.first, other.first), max(passage.last, other.last)
            if sum(piece.tokens for piece in pieces[first : last + 1]) <= budget:
                other.first, other.last = first, last
                return True
    return False


def _hit(passage: _Passage, text: str, pieces: Sequence[Chunk]) -> Hit:
    inside = pieces[passage.first : passage.last + 1]
    start, end = min(piece.start for piece in inside), max(piece.end for piece in inside)
    levels = zip(*(piece.heading for piece in inside), strict=False)
    heading = tuple(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))
    chunk = replace(
        passage.hit.chunk,
        start=start,
        end=end,
        text=text[start:end],
        tokens=sum(piece.tokens for piece in inside),
        heading=heading,
        page=inside[0].page,
    )
    return replace(passage.hit, chunk=chunk)
