"""Runs the verifiers of a step."""

from __future__ import annotations

from collections.abc import Sequence

from llmkit.protocols import Verifier
from llmkit.types import State, Verdict


def run_verifiers(verifiers: Sequence[Verifier], draft: str, state: State) -> tuple[tuple[str, Verdict], ...]:
    """The type word and the verdict of each verifier."""
    return tuple((verifier.type, verifier.verify(draft, state)) for verifier in verifiers)
