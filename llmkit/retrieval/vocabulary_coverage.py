"""How much of a question the encoder can read, and what follows from it.

A vocabulary that lacks a language lacks only some of its characters: of a Japanese question MiniLM knows the kana and a
few kanji, four tokens of five, and understands nothing. So it is words that are counted, by their characters: one with
a hole in it is lost as a whole, and what is written without spaces is one word.
"""

from __future__ import annotations

from llmkit.protocols import Encoder, MeasuresUnknownTokens

TOLD = 0.05
"""Share of unknown tokens from which on the user is told."""
READS = 0.1
"""Share of lost characters up to which dense search has its whole weight beside another retriever."""
BLIND = 0.3
"""Share of lost characters from which on it has none."""


def unknown_share(encoder: Encoder, text: str) -> float:
    """Share of the text's tokens that the encoder's vocabulary does not have, in [0, 1]; 0 where it cannot tell."""
    return float(encoder.unknown_share(text)) if isinstance(encoder, MeasuresUnknownTokens) else 0.0


def lost_share(encoder: Encoder, text: str) -> float:
    """Share of the text's characters that stand in words with an unknown token, in [0, 1]."""
    if not text or unknown_share(encoder, text) == 0:
        return 0.0
    words = text.split()
    return sum(len(word) for word in words if unknown_share(encoder, word) > 0) / sum(map(len, words))


def dense_weight(encoder: Encoder, question: str, passage: str = "") -> float:
    """Factor on the weight of dense search beside others: 1 up to `READS`, 0 from `BLIND`, falling evenly between.

    A question in another script is judged by the best passage that words found, too, where one is given: it may have
    no hole, and the passages be full of them.
    """
    lost = lost_share(encoder, question)
    if lost < BLIND and not question.isascii():
        lost = max(lost, lost_share(encoder, passage))
    return min(1.0, max(0.0, (BLIND - lost) / (BLIND - READS)))


def unread(encoder: Encoder, question: str, passage: str = "", *, mixed: bool = False) -> str:
    """What the user should know where the encoder's vocabulary lacks much of a question; else nothing.

    Args:
        encoder: of the knowledge base.
        question: what was asked.
        passage: the best one that was found.
        mixed: another retriever stands beside dense search, so that its weight was lowered.
    """
    share, weight = unknown_share(encoder, question), dense_weight(encoder, question, passage)
    if share <= TOLD and (weight == 1 or not mixed):
        return ""
    told = f"{share:.0%} of the question's tokens are unknown to the encoder: dense search sees little of it"
    if share <= TOLD:
        told = "the encoder does not read the language of the question"
    if mixed:
        return f"{told} and counts {weight:.0%} of its usual weight beside the other retrievers"
    return f"{told}. Use retriever: hybrid or bm25, or an encoder made for this language"
