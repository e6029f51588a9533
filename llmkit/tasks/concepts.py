"""Whether a text uses given words, in any inflection: words are compared by their stem."""

from __future__ import annotations

from collections.abc import Sequence

from llmkit.extras import optional
from llmkit.text.words import words


def missing(text: str, concepts: Sequence[str]) -> list[str]:
    """The concepts of which a word does not stand in the text, in order, each once."""
    used = set(stems(text))
    return [concept for concept in dict.fromkeys(concepts) if not used.issuperset(stems(concept))]


def stems(text: str) -> list[str]:
    """Words of a text brought to their stem by Porter's English stemmer (Snowball)."""
    with optional():
        import snowballstemmer

    found: list[str] = snowballstemmer.stemmer("english").stemWords([word.text for word in words(text)])
    return found
