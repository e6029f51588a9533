"""Preference tuning: of two answers, learn to prefer one (DPO, Rafailov et al. 2023).

::

    loss = -log σ(β · ((log π(chosen) - log ρ(chosen)) - (log π(rejected) - log ρ(rejected))))

π is the model with its adapter, ρ the same model with the adapter switched off: the reference costs no memory. Both
answers of a pair are in one pack, their prompt computed once, so a step is made as any other: packed, resumed, stopped
where it is no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.training.lora.chat_template import Example, Renderer
from llmkit.training.lora.datasets import Conversation
from llmkit.training.lora.loop import log_probabilities
from llmkit.training.lora.packing import Pack, grouped, pack, shared
from llmkit.types import Message


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, as tokens."""

    chosen: Example
    rejected: Example
    place: str

    @property
    def ids(self) -> tuple[int, ...]:
        """Tokens of the preferred answer, its prompt before it."""
        return self.chosen.ids


def pair(renderer: Renderer, conversation: Conversation) -> Pair:
    """The tokens of a preference.

    Raises:
        DataError: see :meth:`llmkit.training.lora.chat_template.Renderer.example`.
    """
    other = replace(conversation, turns=(*conversation.turns[:-1], Message("assistant", conversation.rejected)))
    return Pair(renderer.example(conversation), renderer.example(other), conversation.place)


@dataclass(frozen=True)
class Preferences:
    """The objective of DPO, summed over pairs."""

    beta: float
    """How near the adapter stays to its base: larger is nearer."""

    def packs(self, rows: Sequence[Pair], budget: int) -> list[Pack]:
        """Pairs side by side, chosen before rejected."""
        both = [(*chosen, *rejected[shared(chosen, rejected) :]) for chosen, rejected in map(_ids, rows)]
        return [
            pack([half for n in group for half in (rows[n].chosen, rows[n].rejected)])
            for group in grouped(both, budget)
        ]

    def units(self, pack: Pack) -> int:
        """Pairs."""
        return len(pack.lengths) // 2

    def loss(self, model: Any, pack: Pack) -> Any:
        """Sum over the pairs."""
        import torch
        from torch.nn.functional import logsigmoid

        with torch.no_grad(), model.disable_adapter():
            reference = _answers(model, pack)
        margins = (_answers(model, pack) - reference).view(-1, 2)
        return -logsigmoid(self.beta * (margins[:, 0] - margins[:, 1])).sum()


def _ids(pair: Pair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return pair.chosen.ids, pair.rejected.ids


def _answers(model: Any, pack: Pack) -> Any:
    """Log probability of each whole answer of a pack: (examples,)."""
    each = log_probabilities(model, pack)
    return each.new_zeros(len(pack.lengths)).index_add(0, pack.owners.to(each.device), each)
