"""Which translations a word gets: what the aligned texts and the dictionaries say, joined.

Input: the findings of align.py and graph.py for one language. Output: up to four translations of a word with weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import simplemma
from align import Aligned
from wordfreq import zipf_frequency

TEXTS, DICTIONARIES = 1.5, 1.0
"""What either source weighs."""
SEEN, SURE = 2, 0.1
"""Expected count and probability from which on an aligned translation is heard."""
DOUBT = 5
"""Count at which aligned translations have half their weight."""
FEW = 1.2
"""A word of less weight than this has its lemma's translations too."""
LEMMA = 0.7
"""What the lemma's entries weigh where the word has translations itself, …"""
LEMMA_TEXTS = 0.5
"""… and always what its aligned translations do."""
COMMON = 0.25
"""Translations that are frequent in English weigh more: by 10 to this power for each 2 of Zipf frequency, up to 6."""
MOST, LEAST = 4, 0.15
"""Translations of a word, and the share of the heaviest that each has at least."""
LINKS = "", "s", "es", "n", "en", "er", "e"
"""What German puts between the parts of a compound."""
PART = 4
"""Letters of a part, at least."""

Senses = list[tuple[str, float]]


@dataclass(frozen=True)
class Findings:
    """Of one language."""

    language: str
    aligned: dict[str, list[Aligned]]
    listed: dict[str, dict[str, float]]
    """Of dictionaries, any scale."""
    spell: Callable[[str], str]

    def senses(self, word: str) -> Senses:
        """Translations, the heaviest first; none where nothing is known."""
        spelled = self.spell(word)
        weights: dict[str, float] = {}
        add(weights, self.from_texts(spelled), TEXTS)
        add(weights, self.from_dictionaries(spelled), DICTIONARIES)
        own = sum(weights.values())
        if own < FEW:
            for lemma in sorted(self.lemmas(word) - {spelled}):
                add(weights, self.from_dictionaries(lemma), DICTIONARIES * (LEMMA if own else 1))
                add(weights, self.from_texts(lemma), TEXTS * LEMMA_TEXTS)
        common = {text: weight * 10 ** (COMMON * min(frequency(text), 6) / 2) for text, weight in weights.items()}
        best = sorted(common.items(), key=lambda one: -one[1])[:MOST]
        return [(text, weight) for text, weight in best if weight >= LEAST * best[0][1]]

    def from_texts(self, spelled: str) -> dict[str, float]:
        """Sum to less than one where the word was seen seldom."""
        heard = [one for one in self.aligned.get(spelled, []) if one.count >= SEEN and one.probability > SURE]
        count, total = sum(one.count for one in heard), sum(one.probability for one in heard)
        return {one.english: one.probability / total * count / (count + DOUBT) for one in heard}

    def from_dictionaries(self, spelled: str) -> dict[str, float]:
        """Sum to one."""
        senses = self.listed.get(spelled, {})
        total = sum(senses.values())
        return {text: weight / total for text, weight in senses.items()}

    def lemmas(self, word: str) -> set[str]:
        """As a noun too, in German: word lists have no capitals."""
        forms = {word, word.capitalize()} if self.language == "de" else {word}
        return {self.spell(simplemma.lemmatize(form, self.language)) for form in forms}


def add(weights: dict[str, float], more: dict[str, float], share: float) -> None:
    for text, weight in more.items():
        weights[text] = weights.get(text, 0.0) + share * weight


def frequency(text: str) -> float:
    """In English, on the Zipf scale: 3 is once in a million words (van Heuven et al. 2014)."""
    return zipf_frequency(text, "en")


def compound(word: str, senses: dict[str, Senses]) -> str | None:
    """The translations of a German compound's parts in order: bundesregierung, `federation government`.

    Of several ways to cut, the one with the most equal parts, rather without a link.
    """
    best: tuple[float, str] | None = None
    for cut in range(PART, len(word) - PART + 1):
        tail = senses.get(word[cut:])
        for link in LINKS if tail else ():
            first = word[:cut].removesuffix(link)
            if not word[:cut].endswith(link) or len(first) < PART or first not in senses:
                continue
            cost = (0.1 if link else 0.0) + abs(len(first) - len(word) / 2) / len(word)
            if best is None or cost < best[0]:
                best = cost, f"{senses[first][0][0]} {tail[0][0]}"
    return best[1] if best else None
