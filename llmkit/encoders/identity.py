"""The identity of an encoder, ``model@revision/pooling/max tokens/precision``, and which vectors are comparable."""

from __future__ import annotations

_PRECISIONS = frozenset({"f32", "f16", "bf16"})


def identity(model: str, revision: str, pooling: str, max_tokens: int, precision: str) -> str:
    """Compose the identity that a knowledge base records."""
    return f"{model}@{revision}/{pooling}/{max_tokens}/{precision}"


def same_space(first: str, second: str) -> bool:
    """Whether vectors of two encoders can be compared: their identities are equal, or differ in the precision only.

    Vectors of one model in bf16 and in f32 have nearly the same direction. Identities of another form, as a plugin may
    write them, must be equal.
    """
    (model, _, precision), (other, _, others) = first.rpartition("/"), second.rpartition("/")
    return first == second or (model == other and {precision, others} <= _PRECISIONS)
