"""What can be checked of an acronym without taste: its form, and where its letters come from."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"[A-Za-z0-9]+")
_SMALL = frozenset("a an and at by de for from in of on or the to with".split())
_VOWELS = frozenset("AEIOUY")


@dataclass(frozen=True, slots=True)
class Checked:
    """The acronym of an answer and what holds of it."""

    acronym: str
    """In capitals; empty where the answer is not a single acronym."""
    short: bool
    """Two to ten letters."""
    taken: bool
    """Its letters stand in the title in this order, the first at the beginning of a word."""
    covers: float
    """Share of the title's content words whose first letter it has, in order."""
    speakable: bool
    """At least one vowel, and nowhere more than three consonants in a row."""

    @property
    def score(self) -> float:
        """Mean of the four; 0 where there is no acronym."""
        return (self.short + self.taken + self.covers + self.speakable) / 4 if self.acronym else 0.0


def check(answer: str, title: str) -> Checked:
    """Check the acronym that an answer gives for a title: the whole answer, or what follows ``Acronym:``."""
    text = re.sub(r"(?i)^\s*acronym:\s*", "", answer.strip()).strip(" .\"'`*")
    compact = text.replace(".", "")
    if not re.fullmatch(r"[A-Za-z0-9]{1,20}", compact):
        return Checked("", False, False, 0.0, False)
    acronym = compact.upper()
    content = [word.upper() for word in _WORD.findall(title) if word.lower() not in _SMALL]
    return Checked(
        acronym,
        2 <= len(acronym) <= 10,
        _taken(acronym, [word.upper() for word in _WORD.findall(title)]),
        _initials(acronym, content) / len(content) if content else 0.0,
        bool(_VOWELS & set(acronym)) and not re.search(r"[B-DF-HJ-NP-TV-XZ]{4}", acronym),
    )


def _taken(acronym: str, words: list[str]) -> bool:
    for start, word in enumerate(words):
        if word[0] == acronym[0]:
            letters = iter("".join(words[start:]))
            return all(letter in letters for letter in acronym)
    return False


def _initials(acronym: str, words: list[str]) -> int:
    """How many words begin with a letter of the acronym, taken in order (longest common subsequence)."""
    row = [0] * (len(acronym) + 1)
    for word in words:
        before = list(row)
        for n, letter in enumerate(acronym, 1):
            row[n] = max(row[n - 1], before[n], before[n - 1] + (letter == word[0]))
    return row[-1]
