"""What the training of an adapter minimises, supervised or by preferences.

A step takes `batch` examples, whatever their length. Its loss is the mean over all its units (learned tokens, or
pairs), so neither packing nor the order inside a step changes the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from llmkit.training.checkpoint import Checkpoint, TrainingState
from llmkit.training.loop import LoopSettings, LossPart, Note, StepReport, TrainingLoop, cosine
from llmkit.training.lora.batching import epoch_batches
from llmkit.training.lora.chat_template import Example
from llmkit.training.lora.packing import Pack, hidden_states, pack_examples, packed_attention
from llmkit.training.lora.recipe import LoraRecipe


class PackLoss(Protocol):
    """A loss that is a sum over units, so that the sums of several packs add up."""

    def packs(self, rows: Sequence[Any], budget: int) -> list[Pack]:
        """The rows as packs of about `budget` tokens."""
        ...

    def units(self, pack: Pack) -> int:
        """How many units the loss of the pack is a sum over."""
        ...

    def loss(self, model: Any, pack: Pack) -> Any:
        """The sum, as a scalar tensor."""
        ...


class CrossEntropy:
    """Cross-entropy of the learned tokens; logits are computed for these only, in float32."""

    def packs(self, rows: Sequence[Example], budget: int) -> list[Pack]:
        """Examples side by side."""
        return list(pack_examples(rows, budget))

    def units(self, pack: Pack) -> int:
        """Learned tokens."""
        return len(pack.targets)

    def loss(self, model: Any, pack: Pack) -> Any:
        """The sum over the learned tokens."""
        return -log_probabilities(model, pack).sum()


class LoraObjective:
    """The objective of :class:`llmkit.training.loop.TrainingLoop` for an adapter.

    Args:
        model: the peft model; what has gradients is trained.
        train: examples or pairs.
        dev: the same, to choose the best step by; may be empty.
        recipe: the settings.
        pack_loss: cross-entropy or DPO.
    """

    def __init__(
        self, model: Any, train: Sequence[Any], dev: Sequence[Any], recipe: LoraRecipe, pack_loss: PackLoss
    ) -> None:
        self.model, self.train, self.dev, self.recipe, self.pack_loss = model, train, dev, recipe, pack_loss
        self.parameters: dict[str, Any] = {
            name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
        }

    def settings(self) -> LoopSettings:
        """The recipe as settings of the loop."""
        recipe = self.recipe
        return LoopSettings(
            steps=recipe.steps or max(1, math.ceil(recipe.epochs * len(self.train) / recipe.batch)),
            schedule=cosine,
            warmup=recipe.warmup,
            clip=recipe.clip,
            seed=recipe.seed,
            measure="loss",
            minimise=True,
            evaluate_every=recipe.evaluate_every,
            patience=recipe.patience,
            checkpoint_every=recipe.evaluate_every,
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All matrices of the adapter, in one group."""
        values = list(self.parameters.values())
        return [{"params": values, "lr": self.recipe.lr, "weight_decay": self.recipe.weight_decay}]

    def batches(self, epoch: int) -> list[list[Any]]:
        """The batches of an epoch."""
        return epoch_batches(self.train, self.recipe.batch, self.recipe.seed, epoch)

    def loss_parts(self, batch: Sequence[Any], step: int) -> Iterator[LossPart]:
        """The mean loss of a batch, a part for each pack."""
        self.model.train()
        packs = self.pack_loss.packs(batch, self.recipe.pack_tokens)
        units = sum(self.pack_loss.units(pack) for pack in packs)
        for pack in packs:
            loss = self.pack_loss.loss(self.model, pack) / units
            yield LossPart(loss, float(loss.detach()), pack.places, sum(pack.lengths))

    def evaluate(self) -> dict[str, float]:
        """The mean loss on the dev data; empty without dev data."""
        if not self.dev:
            return {}
        return {"loss": mean_loss(self.model, self.dev, self.recipe.pack_tokens, self.pack_loss)}


def finetune(
    objective: LoraObjective,
    checkpoint: Checkpoint,
    note: Note = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> TrainingState:
    """Train the adapter; afterwards the model holds the adapter with the lowest dev loss, in evaluation mode.

    Raises:
        DataError: see :meth:`llmkit.training.loop.TrainingLoop.run`.
    """
    model = objective.model
    if objective.recipe.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    with packed_attention(model):
        state = TrainingLoop(objective, objective.settings(), checkpoint, note, on_step).run()
    model.eval()
    return state


def log_probabilities(model: Any, pack: Pack) -> Any:
    """Natural logarithm of the probability of each learned token of a pack: (learned,), float32."""
    from torch.nn.functional import cross_entropy

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    logits = base.lm_head(hidden_states(model, pack)).float()
    return -cross_entropy(logits, pack.targets.to(logits.device), reduction="none")


def mean_loss(model: Any, rows: Sequence[Any], budget: int, pack_loss: PackLoss) -> float:
    """The mean loss of rows, without dropout."""
    import torch

    total = count = 0.0
    model.eval()
    with torch.no_grad():
        for pack in pack_loss.packs(rows, budget):
            total += float(pack_loss.loss(model, pack))
            count += pack_loss.units(pack)
    return total / count
