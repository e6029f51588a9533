"""The gradient of a batch of any size in the memory of one micro-batch (Gao et al. 2021, GradCache).

::

    1  each micro-batch ─ encode, no graph ─► vectors          remember the random state of each
    2  all vectors ─ loss ─► gradient of the loss by each vector
    3  each micro-batch ─ encode again, with graph ─ backward with its part of that gradient

A batch of no more than ``graph_tokens`` is encoded once, with its graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmkit.training.retriever.bi_encoder import Ids, Side, Towers, micro_batches


def backward(towers: Towers, queries: Ids, passages: Ids, loss: Callable[[Any, Any], Any]) -> float:
    """Add the gradient of ``loss(query vectors, passage vectors)`` to the parameters.

    Returns:
        The loss. Where it is not finite, no gradient has been added.
    """
    import torch

    budget = towers.recipe.micro_tokens
    of: dict[Side, Ids] = {"query": queries, "passage": passages}
    work: list[tuple[Side, list[int]]] = [
        (side, rows) for side, ids in of.items() for rows in micro_batches(ids, budget)
    ]
    total = sum(len(row) for ids in of.values() for row in ids)
    if total <= towers.recipe.graph_tokens:
        q, p = (_together(towers, side, of[side], budget) for side in ("query", "passage"))
        value = loss(q, p)
        if torch.isfinite(value):
            value.backward()
        return float(value.detach())
    vectors = {side: torch.empty((len(ids), towers.hidden), device=towers.device) for side, ids in of.items()}
    states = []
    with torch.no_grad():
        for side, rows in work:
            states.append(torch.get_rng_state())
            vectors[side][rows] = towers.encode(side, [of[side][row] for row in rows])
    for value in vectors.values():
        value.requires_grad_(True)
    value = loss(vectors["query"], vectors["passage"])
    if not torch.isfinite(value):
        return float(value.detach())
    value.backward()
    gradients: dict[Side, Any] = {side: vector.grad for side, vector in vectors.items()}
    after = torch.get_rng_state()
    for (side, rows), state in zip(work, states, strict=True):
        torch.set_rng_state(state)
        encoded = towers.encode(side, [of[side][row] for row in rows])
        encoded.backward(gradients[side][rows])
    torch.set_rng_state(after)
    return float(value.detach())


def _together(towers: Towers, side: Side, ids: Ids, budget: int) -> Any:
    """Vectors in order, each micro-batch with its graph."""
    import torch

    parts, order = [], []
    for rows in micro_batches(ids, budget):
        parts.append(towers.encode(side, [ids[row] for row in rows]))
        order += rows
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    return torch.cat(parts)[back.to(towers.device)]
