"""Truncates a question to the length that an encoder can read."""

from __future__ import annotations

from llmkit.protocols import Encoder


def fit_query(encoder: Encoder, text: str) -> tuple[str, int]:
    """Return the part of the text, from its beginning, that the encoder can read, and the number of tokens left out."""
    room = encoder.max_tokens - encoder.special_tokens
    if len(text) <= room // 4:  # no tokenizer makes more than four tokens of a character
        return text, 0
    starts = encoder.token_starts(text)
    if len(starts) <= room:
        return text, 0
    kept = text[: int(starts[room])].rstrip()
    while kept and len(encoder.token_starts(kept)) > room:  # cutting inside a word can add tokens
        kept = kept[: int(len(kept) * 0.9)].rstrip()
    return kept, len(starts) - len(encoder.token_starts(kept))
