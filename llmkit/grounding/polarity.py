"""What the negations of a sentence deny.

A negation denies the words after it, up to the end of its clause; where no content word follows (`water is not`), it
denies its whole clause. A clause ends at a stop, at `but`, and at a comma that a subject or a conjunction follows; a
comma in a list ends none. A negation inside quotation marks denies nothing outside them: `"Don't Stop Walking" is by
Anna Bell` denies nothing about Anna Bell. The rules know English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmkit.grounding.keys import key_of
from llmkit.text.words import Word

_STOP = re.compile(r"[.;:!?()。、；：！？—–]|\n[ \t]*\n")
_COMMA = re.compile(r"[,，]")
_QUOTED = re.compile(r"\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|„[^“”\n]{1,200}[“”]|«[^»\n]{1,200}»")
_AFTER_COMMA = frozenset(
    """a although an as because but he her his however i if instead it its my our rather she since so that the their
    there these they this those though we when where whereas which while who whose yet you your""".split()
)
_NOT_ONLY = frozenset("only just merely simply".split())
_OF_ALL = frozenset("no none neither nobody nothing".split())
_TRUTH = frozenset("true case correct right so".split())


@dataclass(frozen=True, slots=True)
class Negation:
    """A word that denies others."""

    word: Word
    scope: Sequence[Word]
    """The content words that it denies."""
    first: int
    """Place of its clause among the clauses, from 0."""
    last: int
    """Place of the last clause that its scope reaches."""

    @property
    def keys(self) -> frozenset[str]:
        """Stems and numbers of the words that it denies."""
        return frozenset(key_of(word) for word in self.scope)

    @property
    def of_phrase(self) -> bool:
        """Whether it denies a phrase (`without oil`) instead of a clause."""
        return self.word.text == "without"


def find_negations(text: str, some: Sequence[Word]) -> tuple[list[Sequence[Word]], list[Negation]]:
    """The clauses and the negations of a sentence.

    Args:
        text: the text that holds the sentence.
        some: the words of the sentence, which is not empty.
    """
    breaks = [i for i in range(1, len(some)) if _breaks(text, some, i)]
    edges = [0, *breaks, len(some)]
    clauses = [some[a:b] for a, b in pairwise(edges)]
    if not any(word.negation for word in some):
        return clauses, []
    # the quotation marks stand beside the words
    quoted = [match.span() for match in _QUOTED.finditer(text, max(some[0].start - 1, 0), some[-1].end + 1)]
    found = []
    for n, (first, end) in enumerate(pairwise(edges)):
        for i in range(first, end):
            if some[i].negation and not _idle(text, some, i):
                last = _last_clause(text, some, i, edges, n)
                after = [word for word in some[i + 1 : edges[last + 1]] if word.content]
                scope = after or [word for word in some[first:end] if word.content]
                found.append(Negation(some[i], _within(some[i], scope, quoted), n, last))
    return clauses, [negation for negation in found if negation.scope]


def _last_clause(text: str, some: Sequence[Word], at: int, edges: Sequence[int], n: int) -> int:
    """Place of the last clause that a negation reaches: its own, except for `not true, that …` and `none of …, …`."""
    last = n
    rest = {word.text for word in some[at + 1 : edges[n + 1]] if word.content}
    if rest and rest <= _TRUTH:
        return min(n + 1, len(edges) - 2)
    while some[at].text in _OF_ALL and last + 2 < len(edges) and not _stops(text, some, edges[last + 1]):
        last += 1
    return last


def _within(negation: Word, scope: Sequence[Word], quoted: Sequence[tuple[int, int]]) -> list[Word]:
    """The part of a scope that lies in the same quotation as the negation; all of it where that is in none."""
    for start, end in quoted:
        if start < negation.start < end:
            return [word for word in scope if start < word.start < end]
    return list(scope)


def _idle(text: str, some: Sequence[Word], at: int) -> bool:
    """Whether a negation denies nothing: `not only`, and the `No,` that begins a reply."""
    if at + 1 == len(some):
        return False
    return some[at + 1].text in _NOT_ONLY or (
        some[at].text == "no" and _COMMA.search(text, some[at].end, some[at + 1].start) is not None
    )


def _stops(text: str, some: Sequence[Word], at: int) -> bool:
    """Whether the clause before this word ends by more than a comma."""
    return some[at].text == "but" or _STOP.search(text, some[at - 1].end, some[at].start) is not None


def _breaks(text: str, some: Sequence[Word], at: int) -> bool:
    """Whether a clause ends before this word."""
    comma = some[at].text in _AFTER_COMMA and _COMMA.search(text, some[at - 1].end, some[at].start) is not None
    return comma or _stops(text, some, at)
