"""Which vectors may be compared: ``model@revision/pooling/max tokens/precision`` in one line."""

from __future__ import annotations

_PRECISIONS = frozenset({"f32", "f16", "bf16"})


def identity(model: str, revision: str, pooling: str, max_tokens: int, precision: str) -> str:
    """The line that a knowledge base records."""
    return f"{model}@{revision}/{pooling}/{max_tokens}/{precision}"


def same_space(first: str, second: str) -> bool:
    """Whether two identities differ in precision at most: bf16 and f32 of one model point the same way.

    Identities of another form, as a plugin may write them, must be equal.
    """
    (model, _, precision), (other, _, others) = first.rpartition("/"), second.rpartition("/")
    return first == second or (model == other and {precision, others} <= _PRECISIONS)
