"""A response laid beside its evidence, sentence by sentence: what is found there, and what speaks against it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from llmkit.grounding.antonyms import opposed
from llmkit.grounding.longest_common_subsequence import subsequence
from llmkit.text.sentences import sentences
from llmkit.text.words import Word, words

_OWN = frozenset("i i'm i've i'd i'll me my mine myself".split())


@dataclass(frozen=True)
class Window:
    """One sentence of the evidence, or two neighbours."""

    words: Sequence[Word]
    parts: Sequence[Window] = ()
    """The two neighbours, where it is two."""

    @cached_property
    def stems(self) -> frozenset[str]:
        """Stems of its words."""
        return frozenset(word.stem for word in self.words)

    @cached_property
    def texts(self) -> frozenset[str]:
        """Its words, case-folded."""
        return frozenset(word.text for word in self.words)

    def denies(self, content: Set[str]) -> set[bool]:
        """Whether the sentence that has most of `content` denies; both answers where two that have as many differ."""
        shared = [len(content & part.stems) for part in self.parts or [self]]
        return {part.odd for part, found in zip(self.parts or [self], shared, strict=True) if found == max(shared)}

    @cached_property
    def odd(self) -> bool:
        """Whether it holds an odd number of negations."""
        return sum(word.negation for word in self.words) % 2 == 1


@dataclass(frozen=True)
class Evidence:
    """The words of an evidence text: all of them, and by windows."""

    whole: Window
    windows: Sequence[Window]

    @classmethod
    def of(cls, text: str) -> Evidence:
        """The evidence of `text`; an empty text has no windows."""
        alone = [Window(part) for _, _, part in by_sentence(text)]
        joined = [Window([*one.words, *other.words], (one, other)) for one, other in pairwise(alone)]
        return cls(Window(words(text)), [*alone, *joined])

    def nearest(self, claim: Sequence[Word]) -> list[Window]:
        """The windows that have most content stems of `claim`, and of those most stems: one, unless some are equal.

        Negations do not count: a neighbour's `not` must not draw the window away from the sentence that lacks it.
        """
        content, every = ({word.stem for word in some} for some in (_content(claim), _affirmed(claim)))
        shared = [(len(content & window.stems), len(every & window.stems)) for window in self.windows]
        most = max(shared, default=(0, 0))
        if most[1] == 0:
            return [Window(())]
        return [window for window, found in zip(self.windows, shared, strict=True) if found == most]


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of a response beside the window that supports it best.

    Each number is in [0, 1]; at 1 nothing speaks against the sentence.
    """

    start: int
    end: int
    order: float
    """Longest common subsequence of stems with the window, as a share of the sentence's words."""
    numbers: float
    """Share of its numbers that the window has."""
    names: float
    """Share of its names that the evidence has."""
    polarity: float
    """0 where the sentence denies and the nearest sentence of the window does not, or the reverse."""
    unopposed: float
    """0 where a word that the window lacks has an opposite there."""
    third_person: float
    """0 where the speaker talks of himself in words the evidence does not use, or asks."""

    @property
    def score(self) -> float:
        """`order`, times the mean of the four checks: numbers, names, polarity and opposites."""
        return self.order * (self.numbers + self.names + self.polarity + self.unopposed) / 4


def claims(response: str, evidence: Evidence) -> list[Claim]:
    """A claim for each sentence of `response` that has words, in order."""
    return [_claim(response, start, end, found, evidence) for start, end, found in by_sentence(response)]


def by_sentence(text: str) -> list[tuple[int, int, list[Word]]]:
    """Start, end and words of each sentence that has words."""
    found = words(text)
    starts = [word.start for word in found]
    parts = [
        (start, end, found[bisect_left(starts, start) : bisect_left(starts, end)]) for start, end in sentences(text)
    ]
    return [part for part in parts if part[2]]


def _claim(response: str, start: int, end: int, claim: Sequence[Word], evidence: Evidence) -> Claim:
    whole = evidence.whole
    # a sentence's first word is capitalised without being a name
    names = [word for word in _content(claim[1:]) if word.name]
    numbers = [word for word in claim if word.number]
    personal = any(word.text in _OWN and word.text not in whole.texts for word in claim)
    asks = response[start:end].rstrip("\"'”’)]» ").endswith(("?", "？"))
    beside = [
        Claim(
            start=start,
            end=end,
            order=subsequence([word.stem for word in claim], [word.stem for word in window.words]) / len(claim),
            numbers=share(sum(word.text in window.texts for word in numbers), len(numbers)),
            names=share(sum(word.stem in whole.stems for word in names), len(names)),
            polarity=float(Window(claim).odd in window.denies({word.stem for word in _content(claim)})),
            unopposed=float(not any(w.text not in window.texts and opposed(w.text, window.texts) for w in claim)),
            third_person=float(not (personal or asks)),
        )
        for window in evidence.nearest(claim)
    ]
    return max(beside, key=lambda found: found.score)


def _content(some: Sequence[Word]) -> list[Word]:
    return [word for word in some if word.content]


def _affirmed(some: Sequence[Word]) -> list[Word]:
    return [word for word in some if not word.negation] or list(some)


def share(part: float, whole: float) -> float:
    """`part` of `whole`; of nothing, all."""
    return part / whole if whole else 1.0
