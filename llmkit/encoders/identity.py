"""Which vectors may be compared: ``model@revision/pooling/max tokens/precision`` in one line."""

from __future__ import annotations


def identity(model: str, revision: str, pooling: str, max_tokens: int, precision: str) -> str:
    """The line that a knowledge base records."""
    return f"{model}@{revision}/{pooling}/{max_tokens}/{precision}"


def same_space(first: str, second: str) -> bool:
    """Whether two identities differ in precision at most: bf16 and f32 of one model point the same way."""
    return first.rpartition("/")[0] == second.rpartition("/")[0]
