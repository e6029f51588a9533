"""What a retriever's training minimises: batches of questions and passages, and the ranking loss over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llmkit.errors import DataError
from llmkit.training.data.examples import Example
from llmkit.training.loop import LoopSettings, LossPart, linear
from llmkit.training.retriever import gradcache, losses
from llmkit.training.retriever.batching import Batch, epoch_batches, targets
from llmkit.training.retriever.bi_encoder import BiEncoder, SideTokenizer
from llmkit.training.retriever.dev_eval import DevSet
from llmkit.training.retriever.recipe import RetrieverRecipe


class RetrieverObjective:
    """The objective of :class:`llmkit.training.loop.TrainingLoop` for a bi-encoder.

    Raises:
        DataError: the examples do not give one batch of two different passages.
    """

    def __init__(
        self,
        recipe: RetrieverRecipe,
        model: BiEncoder,
        tokenizer: SideTokenizer,
        examples: Sequence[Example],
        dev: DevSet,
    ) -> None:
        self.recipe, self.model, self.tokenizer, self.dev = recipe, model, tokenizer, dev
        self.examples = list(examples)
        self.parameters: dict[str, Any] = model.trainable()
        self.batches_per_epoch = len(self.batches(0))
        if not self.batches_per_epoch:
            raise DataError(
                "fewer than two examples with different passages: a retriever learns by telling passages apart; give "
                "more data"
            )

    def settings(self) -> LoopSettings:
        """The recipe as settings of the loop."""
        recipe = self.recipe
        return LoopSettings(
            steps=recipe.epochs * self.batches_per_epoch,
            epochs=recipe.epochs,
            schedule=linear,
            warmup=recipe.warmup,
            clip=recipe.clip,
            seed=recipe.seed,
            measure=recipe.measure,
            evaluate_first=True,
            evaluate_every=recipe.evaluate_every,
            patience=recipe.patience,
            checkpoint_every=recipe.checkpoint_every,
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices with weight decay; biases and norms without."""
        recipe = self.recipe
        matrices = [value for value in self.parameters.values() if value.ndim > 1]
        vectors = [value for value in self.parameters.values() if value.ndim <= 1]
        return [
            {"params": matrices, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
            {"params": vectors, "lr": recipe.lr, "weight_decay": 0.0},
        ]

    def batches(self, epoch: int) -> list[Batch]:
        """The batches of an epoch."""
        return epoch_batches(self.examples, self.recipe, epoch)

    def loss_parts(self, batch: Batch, step: int) -> Iterator[LossPart]:
        """The ranking loss of a batch, by GradCache where the batch is large."""
        self.model.train(self.recipe.dropout > 0)
        queries = self.tokenizer("query", [example.query for example in batch.examples])
        passages = self.tokenizer("passage", [passage.indexed_text for passage in batch.passages])
        wanted = targets(batch, self.recipe, self.model.device)
        places = tuple(example.place for example in batch.examples)
        return gradcache.loss_parts(
            self.model, queries, passages, lambda q, p: losses.ranking_loss(q, p, wanted, self.recipe), places
        )

    def evaluate(self) -> dict[str, float]:
        """recall@1/5/20, mrr@10 and ndcg@10 on the dev set."""
        self.model.train(False)
        return self.dev.figures(
            lambda side, texts: self.model.vectors(side, self.tokenizer(side, texts)), self.recipe.dim
        )
