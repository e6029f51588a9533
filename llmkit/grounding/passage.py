"""A passage read once, so that many sentences can be compared with it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from llmkit.grounding.keys import key_of
from llmkit.grounding.polarity import Negation, find_negations
from llmkit.text.injection_detection import addressed, without
from llmkit.text.sentences import sentences
from llmkit.text.words import Word, words
from llmkit.types import Chunk


@dataclass(frozen=True)
class Window:
    """One sentence of a passage, or two neighbouring sentences."""

    start: int
    """Offset of its first character in the passage."""
    end: int
    words: Sequence[Word]
    clauses: Sequence[Sequence[Word]]
    negations: Sequence[Negation]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Stems and numbers of its words."""
        return frozenset(key_of(word) for word in self.words)

    @cached_property
    def texts(self) -> frozenset[str]:
        """Its words, case-folded."""
        return frozenset(word.text for word in self.words)

    @cached_property
    def names(self) -> frozenset[str]:
        """Stems of its capitalised content words."""
        return frozenset(word.stem for word in self.words if word.name and word.content)


@dataclass(frozen=True)
class Passage:
    """The text of a passage, and the title and headings above it."""

    text: str
    context: str = ""
    """Title and headings; a name in them counts as known, every other word must stand in the text."""

    @cached_property
    def words(self) -> list[Word]:
        """Words of the text, in order."""
        return words(self.text)

    @cached_property
    def context_stems(self) -> frozenset[str]:
        """Stems of the words of the context."""
        return frozenset(word.stem for word in words(self.context))

    @cached_property
    def negations(self) -> list[Negation]:
        """Negations of the sentences, with what each one denies."""
        return [negation for window in self.sentences for negation in window.negations]

    @cached_property
    def sentences(self) -> list[Window]:
        """The sentences that have words."""
        starts = [word.start for word in self.words]
        windows = []
        for start, end in sentences(self.text):
            inside = self.words[bisect_left(starts, start) : bisect_left(starts, end)]
            if inside:
                windows.append(Window(start, end, inside, *find_negations(self.text, inside)))
        return windows

    @cached_property
    def windows(self) -> list[Window]:
        """The sentences, then every pair of neighbours."""
        return [*self.sentences, *(_join(one, other) for one, other in pairwise(self.sentences))]


def _join(one: Window, other: Window) -> Window:
    by = len(one.clauses)
    moved = [replace(found, first=found.first + by, last=found.last + by) for found in other.negations]
    return Window(
        one.start,
        other.end,
        [*one.words, *other.words],
        [*one.clauses, *other.clauses],
        [*one.negations, *moved],
    )


def evidence_from(chunk: Chunk) -> Passage:
    """The passage of a chunk as evidence: text that speaks to the assistant is blank, offsets stay the same."""
    return Passage(without(chunk.text, addressed(chunk.text)), chunk.context)
