"""Does an exported model say what the adapter on its base said? Measured, not assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.models.local.engine import Engine, Request, Turn

PROMPTS: tuple[tuple[Turn, ...], ...] = (
    (("user", "What is the capital of France?"),),
    (("user", "Name three things that float on water."),),
    (("system", "Answer in one word."), ("user", "Is ice colder than steam?")),
    (("user", "Write one sentence about a pump that rests in May."),),
    (("user", "Passages:\n\n[1] Pumps\nThe pump rests in May.\n\nQuestion: When does the pump rest?"),),
    (("user", "Passages:\n\n[1] Valves\nA valve has two seats.\n\nQuestion: Who built the bridge?"),),
    (("user", "Add 17 and 25."),),
    (("user", "Translate 'good morning' into German."),),
)
"""What is asked where no prompts are given."""
_LENGTH = 24
_LIKELY = 0.01
_UNSEEN = -20.0  # of a token that is not among the hundred most likely


@dataclass(frozen=True)
class Parity:
    """How near two models are, over some prompts."""

    prompts: int
    agreement: float
    """Mean share of the greedy answer that is the same, character by character from its begin."""
    identical: int
    """Prompts with the very same greedy answer."""
    difference: float
    """Largest difference of the log probability of a first token that the reference gives at least one in a hundred."""


def parity(
    reference: Engine, other: Engine, prompts: Sequence[Sequence[Turn]] = PROMPTS,
    adapters: tuple[str | None, str | None] = (None, None),
) -> Parity:  # fmt: skip
    """Compare two engines, each with one of its adapters or none.

    Greedy answers of two runtimes part at near-ties even for equal weights, so the difference of the first token's
    log probabilities is the sharper measure.
    """
    shares, worst = [], 0.0
    for turns in prompts:
        expected, found = _greedy(reference, turns, adapters[0]), _greedy(other, turns, adapters[1])
        longest = max(len(expected), len(found), 1)
        shares.append(_shared(expected, found) / longest if expected != found else 1.0)
        first, second = reference.first_token(turns, adapters[0]), other.first_token(turns, adapters[1])
        likely = [token for token, value in first.items() if value >= math.log(_LIKELY)]
        worst = max(worst, *(abs(first[token] - second.get(token, _UNSEEN)) for token in likely))
    return Parity(len(shares), sum(shares) / len(shares), sum(share == 1.0 for share in shares), worst)


def _shared(first: str, second: str) -> int:
    """Characters that are the same from the begin on."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def _greedy(engine: Engine, turns: Sequence[Turn], adapter: str | None) -> str:
    pieces: list[str] = []

    def hear(piece: str) -> bool:
        pieces.append(piece)
        return False

    engine.generate(Request(turns, max_tokens=_LENGTH, temperature=0.0, adapter=adapter), hear)
    return "".join(pieces)


def as_record(found: Parity) -> dict[str, Any]:
    """JSON values."""
    return {
        "prompts": found.prompts,
        "greedy_agreement": round(found.agreement, 4),
        "identical": found.identical,
        "max_logprob_difference": round(found.difference, 4),
    }
