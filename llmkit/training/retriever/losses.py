"""The ranking loss: the right passage of each question above all other passages of the batch.

::

    questions (b, d) · passages (n, d)ᵀ · scale ─ known positives of others masked ─ softmax ─ -log p(own positive)

InfoNCE / multiple-negatives ranking (Henderson et al. 2017; Karpukhin et al. 2020), MarginMSE (Hofstätter et al. 2020),
Matryoshka (Kusupati et al. 2022), straight-through codes (Bengio et al. 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmkit.training.retriever.recipe import RetrieverRecipe


@dataclass(frozen=True)
class Targets:
    """Which passage belongs to which question; tensors of torch."""

    own: Any
    """(b,) column of each question's positive."""
    masked: Any
    """(b, n) true where a passage is another known positive of the question, or the same text: it is no negative."""
    rows: Any = None
    """(m, 1 + h) columns of a positive and its negatives, for questions with teacher scores."""
    asked: Any = None
    """(m,) which questions those are."""
    teacher: Any = None
    """(m, 1 + h) the teacher's scores of them."""


def ranking_loss(queries: Any, passages: Any, targets: Targets, recipe: RetrieverRecipe) -> Any:
    """The mean loss over the dimensions of the recipe; with `quantise`, also over vectors as an index stores them."""
    sizes = recipe.matryoshka or (recipe.dim or queries.shape[1],)
    terms = []
    for size in sizes:
        q, p = cut(queries, size), cut(passages, size)
        terms.append(_one(q, p, targets, recipe))
        if recipe.quantise != "none":
            terms.append(_one(q, straight_through(p, recipe.quantise), targets, recipe))
    return sum(terms) / len(terms)


def cut(vectors: Any, size: int) -> Any:
    """The first dimensions, of unit length again."""
    from torch.nn.functional import normalize

    return vectors if size == vectors.shape[1] else normalize(vectors[:, :size], dim=-1)


def straight_through(vectors: Any, kind: str) -> Any:
    """The vectors as an index with codes stores them; gradients pass straight through (Bengio et al. 2013).

    int8: 256 steps between the least and the greatest value of each dimension, as FAISS's SQ8. binary: the signs.
    """
    import torch

    with torch.no_grad():
        if kind == "binary":
            codes = torch.nn.functional.normalize(torch.where(vectors >= 0, 1.0, -1.0), dim=-1)
        else:
            low, high = vectors.amin(0), vectors.amax(0)
            step = (high - low).clamp_min(1e-12) / 255
            codes = low + torch.round((vectors - low) / step) * step
    return vectors + (codes - vectors).detach()


def _one(queries: Any, passages: Any, targets: Targets, recipe: RetrieverRecipe) -> Any:
    import torch
    from torch.nn.functional import cross_entropy

    scores = queries @ passages.T * recipe.scale
    open_scores = scores.masked_fill(targets.masked, float("-inf"))
    total = cross_entropy(open_scores, targets.own)
    if recipe.symmetric:
        back = open_scores[:, targets.own].T
        total = (total + cross_entropy(back, torch.arange(len(back), device=back.device))) / 2
    if targets.teacher is not None:
        total = total + recipe.distil_weight * _distillation_loss(scores, targets, recipe)
    return total


def _distillation_loss(scores: Any, targets: Targets, recipe: RetrieverRecipe) -> Any:
    from torch.nn.functional import kl_div, log_softmax, mse_loss

    student = scores[targets.asked.unsqueeze(1), targets.rows]
    teacher = targets.teacher * recipe.teacher_scale
    if recipe.distil == "margin-mse":
        return mse_loss(student[:, :1] - student[:, 1:], teacher[:, :1] - teacher[:, 1:])
    return kl_div(log_softmax(student, -1), log_softmax(teacher, -1), log_target=True, reduction="batchmean")
