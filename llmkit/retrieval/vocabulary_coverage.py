"""How much of a question the encoder's vocabulary covers, and how much weight dense search gets for it.

The share of unknown tokens alone is misleading. MiniLM's vocabulary has the kana and a few kanji, so it knows four of
five tokens of a Japanese question and still understands nothing. This module therefore counts the characters of whole
words: a word with one unknown token counts as lost, and text without spaces counts as one word.
"""

from __future__ import annotations

from llmkit.protocols import Encoder, MeasuresUnknownTokens

NOTE_FROM = 0.05
"""The user gets a note when the share of unknown tokens is above this value."""
READS = 0.1
"""Up to this share of lost characters, dense search keeps its full weight beside another retriever."""
BLIND = 0.3
"""From this share of lost characters on, the weight of dense search is 0."""


def unknown_share(encoder: Encoder, text: str) -> float:
    """Share of the text's tokens outside the encoder's vocabulary, in [0, 1]; 0 if the encoder cannot measure it."""
    return float(encoder.unknown_share(text)) if isinstance(encoder, MeasuresUnknownTokens) else 0.0


def lost_share(encoder: Encoder, text: str) -> float:
    """Share of the text's characters that stand in words with an unknown token, in [0, 1]."""
    if not text or unknown_share(encoder, text) == 0:
        return 0.0
    words = text.split()
    return sum(len(word) for word in words if unknown_share(encoder, word) > 0) / sum(map(len, words))


def dense_weight(encoder: Encoder, question: str, passage: str = "") -> float:
    """Factor on the weight of dense search beside others: 1 up to `READS`, 0 from `BLIND`, linear in between.

    For a question with non-ASCII characters, the larger lost share of the question and of `passage` counts: the
    vocabulary may cover the question and still lack much of the passages.
    """
    lost = lost_share(encoder, question)
    if lost < BLIND and not question.isascii():
        lost = max(lost, lost_share(encoder, passage))
    return min(1.0, max(0.0, (BLIND - lost) / (BLIND - READS)))


def unread(encoder: Encoder, question: str, passage: str = "", *, mixed: bool = False) -> str:
    """A note for the user if the encoder's vocabulary lacks much of the question, else an empty string.

    Args:
        encoder: The encoder of the knowledge base.
        question: The question of the search.
        passage: The text of the best hit, or an empty string.
        mixed: Whether another retriever ran beside dense search, so that the weight of dense search was lowered.
    """
    share, weight = unknown_share(encoder, question), dense_weight(encoder, question, passage)
    if share <= NOTE_FROM and (weight == 1 or not mixed):
        return ""
    note = f"{share:.0%} of the question's tokens are unknown to the encoder: dense search sees little of it"
    if share <= NOTE_FROM:
        note = "the encoder does not read the language of the question"
    if mixed:
        return f"{note} and counts {weight:.0%} of its usual weight beside the other retrievers"
    return f"{note}. Use retriever: hybrid or bm25, or an encoder made for this language"
