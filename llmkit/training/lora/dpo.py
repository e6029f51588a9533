"""Preference tuning: of two answers to one prompt, learn to prefer one (DPO, Rafailov et al. 2023).

::

    loss = -log σ(β · ((log π(chosen) - log ρ(chosen)) - (log π(rejected) - log ρ(rejected))))

π is the model with its adapter, and ρ the same model with the adapter switched off, so the reference model needs no
memory of its own. Both answers of a pair are in one pack, where their prompt is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.training.lora.chat_template import ChatTemplate, Example
from llmkit.training.lora.conversations import ChatTurn, Conversation
from llmkit.training.lora.objective import log_probabilities
from llmkit.training.lora.packing import Pack, group_into_packs, make_pack, shared_prefix


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, as tokens."""

    chosen: Example
    rejected: Example
    place: str

    @property
    def ids(self) -> tuple[int, ...]:
        """Tokens of the prompt and the chosen answer."""
        return self.chosen.ids


def make_pair(template: ChatTemplate, conversation: Conversation) -> Pair:
    """The tokens of a preference.

    Raises:
        DataError: see :meth:`llmkit.training.lora.chat_template.ChatTemplate.example`.
    """
    answer = ChatTurn("assistant", conversation.rejected)
    rejected = replace(conversation, turns=(*conversation.turns[:-1], answer))
    return Pair(template.example(conversation), template.example(rejected), conversation.place)


@dataclass(frozen=True)
class DpoLoss:
    """The loss of DPO, summed over pairs."""

    beta: float
    """How close the adapter stays to its base; larger is closer."""

    def packs(self, rows: Sequence[Pair], budget: int) -> list[Pack]:
        """Pairs side by side, chosen before rejected."""
        both = [(*row.chosen.ids, *row.rejected.ids[shared_prefix(row.chosen.ids, row.rejected.ids) :]) for row in rows]
        return [
            make_pack([answer for n in group for answer in (rows[n].chosen, rows[n].rejected)])
            for group in group_into_packs(both, budget)
        ]

    def units(self, pack: Pack) -> int:
        """Pairs."""
        return len(pack.lengths) // 2

    def loss(self, model: Any, pack: Pack) -> Any:
        """The sum over the pairs."""
        import torch
        from torch.nn.functional import logsigmoid

        with torch.no_grad(), model.disable_adapter():
            reference = _answer_log_probabilities(model, pack)
        margins = (_answer_log_probabilities(model, pack) - reference).view(-1, 2)
        return -logsigmoid(self.beta * (margins[:, 0] - margins[:, 1])).sum()


def _answer_log_probabilities(model: Any, pack: Pack) -> Any:
    """Log probability of each whole answer of a pack: (answers,)."""
    each = log_probabilities(model, pack)
    return each.new_zeros(len(pack.lengths)).index_add(0, pack.owners.to(each.device), each)
