"""The gradient of a batch of any size in the memory of one micro-batch (Gao et al. 2021, GradCache).

::

    1  each micro-batch ─ encode, no graph ─► vectors          remember the random state of each
    2  all vectors ─ loss ─► gradient of the loss by each vector
    3  each micro-batch ─ encode again, with graph ─ backward with its part of that gradient

A batch of at most ``graph_tokens`` tokens is encoded once, with its graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from llmkit.training.loop import LossPart
from llmkit.training.retriever.bi_encoder import BiEncoder, Side, TokenIds, micro_batches


def loss_parts(
    model: BiEncoder,
    queries: TokenIds,
    passages: TokenIds,
    loss: Callable[[Any, Any], Any],
    places: tuple[str, ...] = (),
) -> Iterator[LossPart]:
    """Give ``loss(query vectors, passage vectors)`` as parts for :func:`llmkit.training.loop.accumulate`.

    The first part holds the whole loss. With GradCache its backward pass ends at the vectors, and the parts that follow
    carry the gradient of each micro-batch on into the parameters. If the loss is not finite, no part follows.

    Args:
        model: the encoder under training.
        queries: token ids of each question.
        passages: token ids of each passage.
        loss: scalar tensor of two tensors (questions, hidden) and (passages, hidden).
        places: file and line of the rows, for messages.
    """
    import torch

    budget = model.recipe.micro_tokens
    sides: dict[Side, TokenIds] = {"query": queries, "passage": passages}
    tokens = sum(len(row) for ids in sides.values() for row in ids)
    if tokens <= model.recipe.graph_tokens:
        q, p = (_encode_with_graph(model, side, sides[side], budget) for side in ("query", "passage"))
        value = loss(q, p)
        yield LossPart(value, float(value.detach()), places, tokens)
        return
    work: list[tuple[Side, list[int]]] = [
        (side, rows) for side, ids in sides.items() for rows in micro_batches(ids, budget)
    ]
    vectors = {side: torch.empty((len(ids), model.hidden), device=model.device) for side, ids in sides.items()}
    random_states = []
    with torch.no_grad():
        for side, rows in work:
            random_states.append(torch.get_rng_state())
            vectors[side][rows] = model.encode(side, [sides[side][row] for row in rows])
    for vector in vectors.values():
        vector.requires_grad_(True)
    value = loss(vectors["query"], vectors["passage"])
    yield LossPart(value, float(value.detach()), places, tokens)
    gradients: dict[Side, Any] = {side: vector.grad for side, vector in vectors.items()}
    after = torch.get_rng_state()
    for (side, rows), state in zip(work, random_states, strict=True):
        torch.set_rng_state(state)  # the same dropout as in the first pass
        encoded = model.encode(side, [sides[side][row] for row in rows])
        yield LossPart(encoded, 0.0, gradient=gradients[side][rows])
    torch.set_rng_state(after)


def _encode_with_graph(model: BiEncoder, side: Side, ids: TokenIds, budget: int) -> Any:
    """Vectors in the order of `ids`, each micro-batch with its graph."""
    import torch

    parts, order = [], []
    for rows in micro_batches(ids, budget):
        parts.append(model.encode(side, [ids[row] for row in rows]))
        order += rows
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    return torch.cat(parts)[back.to(model.device)]
