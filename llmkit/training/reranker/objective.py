"""What a reranker's training minimises: one right passage above the wrong ones of the same question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit import cpu
from llmkit.errors import DataError
from llmkit.training.data.rerank_candidates import Group
from llmkit.training.loop import LoopSettings, LossPart, linear
from llmkit.training.reranker.cross_encoder import CrossEncoder
from llmkit.training.reranker.ranking import mrr
from llmkit.training.reranker.recipe import RerankerRecipe

Scores = NDArray[np.float32]

MEASURE = "mrr@10"
_EVALUATED_TOGETHER = 16  # questions of the dev set in one forward pass


class RerankerObjective:
    """The objective of :class:`llmkit.training.loop.TrainingLoop` for a cross-encoder.

    Raises:
        DataError: too few questions with a right and a wrong passage for one batch, or no dev questions.
    """

    def __init__(self, recipe: RerankerRecipe, groups: Sequence[Group], dev: Sequence[Group]) -> None:
        self.recipe, self.dev = recipe, dev
        self.groups = [group for group in groups if group.positives and group.negatives]
        if len(self.groups) < recipe.batch or not dev:
            raise DataError(
                f"{len(self.groups)} questions with a right and a wrong passage and {len(dev)} dev questions are too "
                f"few for batches of {recipe.batch}: give more data, or a smaller batch. Wrong passages come from the "
                "corpus of the data or, if it has none, from `llmkit train mine`"
            )
        self.net = CrossEncoder(recipe)
        self.parameters: dict[str, Any] = dict(self.net.named())
        automatic = "bf16" if cpu.has_bfloat16() else "f32"
        self.precision = automatic if recipe.precision == "auto" else recipe.precision
        self.before = mrr(dev, [group.prior for group in dev])
        """MRR@10 of the retriever alone on the dev questions."""

    def settings(self) -> LoopSettings:
        """The recipe as settings of the loop."""
        recipe = self.recipe
        steps = recipe.epochs * (len(self.groups) // recipe.batch)
        return LoopSettings(
            steps=min(steps, recipe.steps or steps),
            schedule=linear,
            warmup=recipe.warmup,
            clip=recipe.clip,
            seed=recipe.seed,
            measure=MEASURE,
            evaluate_every=recipe.evaluate_every,
            patience=recipe.patience,
            checkpoint_every=recipe.checkpoint_every,
            # with the retriever's score in the sum, the untrained reranker ranks as the retriever does
            initial_best=self.before if recipe.prior > 0 else float("-inf"),
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices with weight decay; biases, norms, the head and the weight of the retriever's score without."""
        recipe, named = self.recipe, self.parameters.items()
        head = [value for name, value in named if name.startswith("classifier")]
        prior = [value for name, value in named if name == "prior"]
        rest = [value for name, value in named if not name.startswith("classifier") and name != "prior"]
        groups = [
            {"params": [one for one in rest if one.ndim > 1], "lr": recipe.lr, "weight_decay": recipe.weight_decay},
            {"params": [one for one in rest if one.ndim <= 1], "lr": recipe.lr, "weight_decay": 0.0},
            {"params": head, "lr": recipe.head_lr, "weight_decay": 0.0},
            {"params": prior, "lr": 10 * recipe.head_lr, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def batches(self, epoch: int) -> list[list[Group]]:
        """The batches of an epoch; questions that do not fill the last one are left out."""
        size = self.recipe.batch
        random = Random(f"{self.recipe.seed} {epoch}")  # noqa: S311
        order = [self.groups[i] for i in random.sample(range(len(self.groups)), len(self.groups))]
        return [order[at : at + size] for at in range(0, len(order) - size + 1, size)]

    def loss_parts(self, batch: Sequence[Group], step: int) -> Iterator[LossPart]:
        """The loss of a batch, as one part."""
        import torch

        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # the dropout of a step does not depend on earlier steps
        queries, passages, prior, widths = [], [], [], []
        for group in batch:
            chosen = sample_passages(group, recipe.negatives, Random(f"{recipe.seed} {step} {group.query}"))  # noqa: S311
            queries += [group.query] * len(chosen)
            passages += [group.passages[i] for i in chosen]
            prior += [float(group.prior[i]) for i in chosen]
            widths.append(len(chosen))
        self.net.train(True)
        scores = self.net.score(queries, passages, self.precision) + self.net.prior * torch.tensor(prior)
        value = ranking_loss(scores, widths, recipe.loss)
        places = tuple(group.place or group.query[:40] for group in batch)
        yield LossPart(value, float(value.detach()), places, self.net.tokens)

    def evaluate(self) -> dict[str, float]:
        """MRR@10 on the dev questions."""
        return {MEASURE: mrr(self.dev, self.scores(self.dev))}

    def scores(self, groups: Sequence[Group]) -> list[Scores]:
        """The score of every passage of every question, the retriever's score included."""
        import torch

        self.net.train(False)
        scores = []
        with torch.no_grad():
            for at in range(0, len(groups), _EVALUATED_TOGETHER):
                some = groups[at : at + _EVALUATED_TOGETHER]
                queries = [group.query for group in some for _ in group.passages]
                passages = [passage for group in some for passage in group.passages]
                prior = torch.from_numpy(np.concatenate([group.prior for group in some]))
                total = self.net.score(queries, passages, self.precision) + self.net.prior * prior
                scores += np.split(total.float().numpy(), np.cumsum([len(group.passages) for group in some])[:-1])
        return scores


def ranking_loss(scores: Any, widths: Sequence[int], kind: str) -> Any:
    """Mean loss over the questions of a batch.

    Args:
        scores: (passages of all questions,); the right passage is the first of its question.
        widths: how many passages each question has.
        kind: ``listwise``, a softmax over the passages of a question (Gao, Dai & Callan 2021), or ``bce``, each passage
            by itself.
    """
    import torch

    losses = []
    for part in torch.split(scores, list(widths)):
        if kind == "listwise":
            losses.append(torch.logsumexp(part, 0) - part[0])
        else:
            labels = torch.zeros_like(part)
            labels[0] = 1.0
            losses.append(torch.nn.functional.binary_cross_entropy_with_logits(part, labels))
    return torch.stack(losses).mean()


def sample_passages(group: Group, negatives: int, random: Random) -> list[int]:
    """Draw one right passage and up to `negatives` wrong ones; returns their positions in the group."""
    wrong = group.negatives
    return [random.choice(group.positives), *random.sample(wrong, min(negatives, len(wrong)))]
