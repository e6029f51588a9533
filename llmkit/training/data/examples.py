"""What a retriever or a reranker learns from: questions with passages that answer them and passages that do not."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from llmkit.arguments import many

_SPACE = re.compile(r"\s+")


def key(text: str) -> str:
    """A text without case, compatibility forms and runs of white space: two that agree in it are one question."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that can be retrieved."""

    text: str
    title: str = ""
    id: str = ""
    """Where the source names it; empty otherwise."""

    @property
    def indexed_text(self) -> str:
        """What the encoder reads: the title, if any, a newline, the text; as a knowledge base does it."""
        return f"{self.title}\n{self.text}" if self.title else self.text

    @property
    def key(self) -> str:
        """What the passage is, wherever it came from: 16 hex digits."""
        return hashlib.sha256(key(self.indexed_text).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Example:
    """One question (Karpukhin et al. 2020, section 3.2)."""

    query: str
    positives: tuple[Passage, ...]
    """At least one."""
    negatives: tuple[Passage, ...] = ()
    """Passages that look right and are not, hardest first."""
    answers: tuple[str, ...] = ()
    """Short answers, where the source has them: a negative that holds one is no negative."""
    place: str = ""
    """File and line, for messages."""
    scores: tuple[float, ...] = ()
    """The scores of a teacher for the positives, then the negatives; empty without a teacher."""
    remarks: tuple[str, ...] = ()
    """What was not used of the row; equal remarks are counted and shown once."""

    def __post_init__(self) -> None:
        many(self.answers, "answers")
