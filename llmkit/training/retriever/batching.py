"""Batches of examples in which no text stands twice and no negative is a known positive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from llmkit.training.data.examples import Example, Passage
from llmkit.training.retriever.losses import Targets
from llmkit.training.retriever.recipe import RetrieverRecipe


@dataclass(frozen=True)
class Batch:
    """One step's texts."""

    examples: tuple[Example, ...]
    passages: tuple[Passage, ...]
    """Each once: positives in the order of the examples, then hard negatives."""
    own: tuple[int, ...]
    """Position among the passages of each example's positive."""
    hard: tuple[tuple[int, ...], ...]
    """Positions of each example's hard negatives."""


def epoch_batches(examples: Sequence[Example], recipe: RetrieverRecipe, number: int) -> list[Batch]:
    """The batches of an epoch: a function of the data, the recipe and the number, so that a resumed run has the same.

    An example whose positive is in the batch already waits for a later one. Batches too small to tell anything apart
    (one example) are left out.
    """
    random = Random(f"{recipe.seed} {number}")  # noqa: S311
    waiting = [(one, random.choice(one.positives)) for one in random.sample(list(examples), len(examples))]
    made = []
    while waiting:
        taken: dict[str, tuple[Example, Passage]] = {}
        later = []
        for position, (example, positive) in enumerate(waiting):
            if positive.key in taken:
                later.append((example, positive))
                continue
            taken[positive.key] = (example, positive)
            if len(taken) == recipe.batch:
                later += waiting[position + 1 :]
                break
        waiting = later
        if len(taken) > 1:
            made.append(_batch(list(taken.values()), recipe, random))
    return made


def targets(batch: Batch, recipe: RetrieverRecipe, device: str) -> Targets:
    """Own positives, masks, and teacher scores where the recipe distils."""
    import torch

    keys = [passage.key for passage in batch.passages]
    masked = torch.zeros((len(batch.examples), len(keys)), dtype=torch.bool)
    for row, example in enumerate(batch.examples):
        known = {passage.key for passage in example.positives}
        for column, name in enumerate(keys):
            masked[row, column] = name in known and column != batch.own[row]
    found = Targets(torch.tensor(batch.own).to(device), masked.to(device))
    if recipe.distil == "none" or not recipe.hard_negatives:
        return found
    rows, asked, teacher = [], [], []
    for row, (example, hard) in enumerate(zip(batch.examples, batch.hard, strict=True)):
        if example.scores and len(hard) == recipe.hard_negatives:
            names = (p.key for p in (*example.positives, *example.negatives))
            given = dict(zip(names, example.scores, strict=True))
            columns = (batch.own[row], *hard)
            rows.append(columns)
            asked.append(row)
            teacher.append([given[keys[column]] for column in columns])
    if not rows:
        return found
    tensors = torch.tensor(rows), torch.tensor(asked), torch.tensor(teacher)
    return Targets(found.own, found.masked, *(tensor.to(device) for tensor in tensors))


def _batch(taken: list[tuple[Example, Passage]], recipe: RetrieverRecipe, random: Random) -> Batch:
    passages = {positive.key: positive for _, positive in taken}
    hard: list[tuple[int, ...]] = []
    where = {name: position for position, name in enumerate(passages)}
    for example, _ in taken:
        chosen = random.sample(example.negatives, min(recipe.hard_negatives, len(example.negatives)))
        for negative in chosen:
            if negative.key not in where:
                where[negative.key] = len(where)
                passages[negative.key] = negative
        hard.append(tuple(where[negative.key] for negative in chosen))
    examples = tuple(example for example, _ in taken)
    return Batch(examples, tuple(passages.values()), tuple(where[p.key] for _, p in taken), tuple(hard))
