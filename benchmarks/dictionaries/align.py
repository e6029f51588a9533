"""Which words translate which, learnt from parallel texts: IBM model 1 (Brown et al. 1993) both ways.

Input: pairs of texts, cut into words. Output: for each word its likeliest English ones, as far as both directions know
them. Expectation maximisation from equal probabilities, with an empty word that may translate any (NULL).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STEPS = 5
LONGEST = 60
"""Words of a text; longer ones are left out, as are pairs of which one side is 2.5 times the other."""
SEEN, PROBABLE = 0.3, 0.01
"""Expected count and probability that a translation has in either direction."""
SENSES = 8


class Aligned(NamedTuple):
    """A translation."""

    english: str
    probability: float
    """Geometric mean of p(English | word) and p(word | English)."""
    count: float
    """How often it is expected to be one, the lower of both directions."""


def align(pairs: Sequence[tuple[list[str], list[str]]]) -> dict[str, list[Aligned]]:
    """English words of each word, the likeliest first, at most eight."""
    kept = [pair for pair in pairs if comparable(*pair)]
    theirs, ours = numbered([text for text, _ in kept]), numbered([english for _, english in kept])
    forth, back = model1(theirs[1], ours[1]), model1(ours[1], theirs[1])
    found: dict[str, list[Aligned]] = {}
    for (word, english), (probability, count) in forth.items():
        if word and english and (english, word) in back:
            other, times = back[english, word]
            one = Aligned(ours[0][english], (probability * other) ** 0.5, min(count, times))
            found.setdefault(theirs[0][word], []).append(one)
    return {word: sorted(several, key=lambda one: -one.probability)[:SENSES] for word, several in found.items()}


def comparable(text: list[str], english: list[str]) -> bool:
    """Whether the texts may be translations by their lengths; of short ones any are."""
    n, m = len(text), len(english)
    return 0 < n <= LONGEST and 0 < m <= LONGEST and (n + m <= 6 or 0.4 < n / m < 2.5)


def numbered(texts: Sequence[list[str]]) -> tuple[list[str], list[list[int]]]:
    """The words, the empty one first, and the texts as numbers of words."""
    numbers = {"": 0}
    rows = [[numbers.setdefault(word, len(numbers)) for word in text] for text in texts]
    return list(numbers), rows


def model1(sources: list[list[int]], targets: list[list[int]]) -> dict[tuple[int, int], tuple[float, float]]:
    """p(target word | source word) and its expected count, rounded: counts come near to whole ones from below."""
    froms, tos, places, at = [], [], [], 0
    for source, target in zip(sources, targets, strict=True):
        froms.append(np.tile([0, *source], len(target)))
        tos.append(np.repeat(target, len(source) + 1))
        places.append(np.repeat(np.arange(at, at + len(target)), len(source) + 1))
        at += len(target)
    to, place = np.concatenate(tos), np.concatenate(places)
    span = int(to.max()) + 1
    keys, cell = np.unique(np.concatenate(froms) * span + to, return_inverse=True)
    source_of = keys // span
    probability = np.ones(len(keys))
    for _ in range(STEPS):
        share = probability[cell]
        share /= np.bincount(place, share)[place]
        count = np.bincount(cell, share)
        probability = count / np.bincount(source_of, count)[source_of]
    sure = np.flatnonzero((count > SEEN) & (probability > PROBABLE))
    return {
        (key // span, key % span): (round(p, 4), round(n, 2))
        for key, p, n in zip(keys[sure].tolist(), probability[sure].tolist(), count[sure].tolist(), strict=True)
    }
