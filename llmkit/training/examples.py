"""What a retriever or a reranker learns from: questions with passages that answer them and passages that do not."""

from __future__ import annotations

from dataclasses import dataclass


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
